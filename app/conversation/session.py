"""A call's session: it hears, decides by the state machine, and performs what the machine says.

A session is keyed by call, not by socket: legs attach and detach, the session stays. It owns the call's one
`TaskGroup`; its tasks are the recogniser's reader, the deadline keeper, the reply in progress, and a reader and a
writer for the attached leg. Everything else is a synchronous function, so that nothing can come between a decision and
its effect.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.calls.journal import (
    AudioLost,
    CallAnswered,
    CallEnded,
    CallerPartial,
    CallerSaid,
    FloorChanged,
    Journal,
    JournalEvent,
    LegAttached,
    LegDetached,
    ProviderFailed,
    ReplyEnded,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TurnMeasured,
)
from app.conversation.deadlines import DeadlineTable
from app.conversation.ear import Ear
from app.conversation.hearing import Hearing, VoiceDetector
from app.conversation.manners import Manners
from app.conversation.mouth import Mouth
from app.conversation.phrasebook import Phrasebook
from app.conversation.state import Action, CallState, Event, Floor, Phase, step
from app.conversation.tools import END_CALL, TRANSFER_CALL, CallContext, Toolbox
from app.conversation.transcript import Transcript
from app.conversation.turn import Phrase, Then, Turn, TurnReason
from app.telemetry.latency import LatencyMetrics
from providers.base import (
    FinalTranscript,
    LanguageModel,
    PartialTranscript,
    RecognitionGap,
    ReplyRequest,
    SpeechToText,
    TextToSpeech,
    ToolCall,
    ToolResult,
)
from providers.errors import ProviderError
from telephony.carrier import AudioReceived, CallOffered, CarrierEvent, DigitPressed, MarkReached
from telephony.clock import Alarm, Clock
from telephony.leg import Leg
from telephony.vad import VoiceFrame

_MAX_DIGITS = 32


class Counters(Protocol):
    """Where hot paths count."""

    def count(self, name: str, **labels: str) -> None: ...


@dataclass(frozen=True)
class Providers:
    """Who listens, thinks and speaks."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech

    def names(self) -> dict[str, str]:
        return {"stt": self.stt.name, "llm": self.llm.name, "tts": self.tts.name}


@dataclass(frozen=True)
class Services:
    """What all sessions of a process share."""

    providers: Providers
    activity: VoiceDetector
    toolbox: Toolbox
    phrasebook: Phrasebook
    manners: Manners
    counters: Counters
    clock: Clock


class CallSession:
    """One call, from its answer to its end. `run` is its life; everything else is told to it."""

    def __init__(self, carrier: str, offered: CallOffered, services: Services) -> None:
        self.call_id = offered.call_id
        self.offered = offered
        self.carrier = carrier
        self.state = CallState()
        self.journal = Journal()
        self.transcript = Transcript()
        self.end_reason = ""
        self.transfer_reason = ""
        self._services = services
        self._manners = services.manners
        self._clock = services.clock
        self._counters = services.counters
        self._began = self._clock.now()
        self._ear = Ear(self._manners.ear)
        self._mouth = Mouth(self, lead_ms=self._manners.lead_ms)
        self._hearing = Hearing(services.providers.stt, services.activity, self, self._clock)
        self._deadlines = DeadlineTable()
        self._alarm = Alarm(self._clock)
        self._group: asyncio.TaskGroup | None = None
        self._turn_task: asyncio.Task[None] | None = None
        self._leg: Leg | None = None
        self._turns = 0
        self._asked_whether_there = 0
        self._failures = 0
        self._digits = ""
        self._awaiting_final = False
        self._caller_half = LatencyMetrics()
        self._silence_deadline = 0.0
        self._goodbye = ""
        self._crash: Exception | None = None
        self._ending_as = "agent ended the call"
        self._perform: Mapping[Action, Callable[[], None]] = {
            Action.GREET: self._greet,
            Action.FINALIZE: self._finalize,
            Action.BEGIN_REPLY: self._begin_reply,
            Action.CANCEL_REPLY: self._cancel_reply,
            Action.HOLD: self._hold,
            Action.COMMIT: self._commit,
            Action.RESUME: self._resume,
            Action.REPROMPT: self._reprompt,
            Action.APOLOGISE: self._apologise,
            Action.SAY_GOODBYE: self._say_goodbye,
            Action.COLLECT_DIGIT: self._collect_digit,
            Action.RETURN_TO_LISTENING: self._return_to_listening,
            Action.SUSPEND: self._suspend,
            Action.REATTACH: self._reattach,
            Action.CLOSE_LEG: self._close_leg,
            Action.FINISH: self._finish,
        }

    # life

    async def run(self) -> None:
        """Live until the call has ended. Raises only for bugs of ours; whatever happens, the journal is closed."""
        self._record(
            CallAnswered(
                at=0.0,
                call_id=self.call_id,
                carrier=self.carrier,
                caller=self.offered.caller,
                called=self.offered.called,
                answered_at=self._clock.today().isoformat(timespec="seconds"),
                providers=self._services.providers.names(),
                variables=dict(self.offered.variables),
            )
        )
        self._deadlines.set("limit", self._began + self._manners.limit_s)
        self._deadlines.set("phase", self._began + self._manners.media_s)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                hearing = group.create_task(self._hearing.run())
                await self._keep_deadlines()
                hearing.cancel()
                if self._turn_task is not None:
                    self._turn_task.cancel()
        finally:
            self._group = None
            if self._leg is not None:
                self._leg.close()
            self.state = CallState(Phase.ENDED, self.state.floor)
            self._record(CallEnded(at=self._at(), reason=self.end_reason or "crashed"))

    def attach(self, leg: Leg, stream_id: str) -> asyncio.Event:
        """Talk over this leg from now on; an older one is closed. The event is set when the leg is gone.

        The session must be running.
        """
        detached = asyncio.Event()
        if self._group is None or self.state.phase is Phase.ENDED:
            leg.close()
            detached.set()
            return detached
        older, self._leg = self._leg, leg
        if older is not None:
            older.close()
        self._mouth.attach(leg)
        self._record(LegAttached(at=self._at(), stream_id=stream_id))
        self._group.create_task(self._serve(leg, detached))
        self.dispatch(Event.LEG_ATTACHED)
        return detached

    def caller_gone(self, status: str) -> None:
        """The carrier says that the call is over."""
        self.end_reason = self.end_reason or f"carrier: {status}"
        self.dispatch(Event.CALLER_GONE)

    def end(self, reason: str) -> None:
        """Hang up now."""
        self.end_reason = self.end_reason or reason
        self.dispatch(Event.END_REQUESTED)

    async def _serve(self, leg: Leg, detached: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(leg.play(self._mouth))
                async for event in leg:
                    self._receive(event)
                writer.cancel()
        finally:
            leg.close()
            detached.set()
            if self._leg is leg:
                self._leg = None
                self._record(LegDetached(at=self._at(), reason=self.state.phase.value))
                self.dispatch(Event.LEG_LOST)

    async def _keep_deadlines(self) -> None:
        while self.state.phase is not Phase.ENDED:
            await self._alarm.wait_until(self._deadlines.earliest())
            if self._crash is not None:
                raise self._crash
            for name in self._deadlines.due(self._clock.now()):
                self._expire(name)

    # what is heard

    def _receive(self, event: CarrierEvent) -> None:
        match event:
            case AudioReceived(payload):
                self._hearing.audio(payload)
            case MarkReached(name):
                if self._mouth.ledger.mark_reached(name, self._clock.now()):
                    self._check_playout()
            case DigitPressed(digit):
                if len(self._digits) < _MAX_DIGITS:
                    self._digits += digit
                self.dispatch(Event.DIGIT_PRESSED)
            case _:  # started and stopped: the leg's own beginning and end
                pass

    @property
    def _disputed(self) -> bool:
        return self.state.floor in (Floor.THINKING, Floor.SPEAKING, Floor.INTERRUPTED)

    def voice(self, frame: VoiceFrame) -> None:
        """The voice detector's verdict, every 32 ms."""
        for event in self._ear.voice(frame.probability, frame.now, disputed=self._disputed):
            if event is Event.TURN_ENDED:
                self._caller_half.turn_ended = frame.now
            self.dispatch(event)

    def partial(self, transcript: PartialTranscript) -> None:
        """The recogniser's present reading."""
        now = self._clock.now()
        if transcript.text and self._caller_half.asr_partial is None:
            self._caller_half.asr_partial = now
        if transcript.text != self._ear.words:
            self._record(CallerPartial(at=self._at(), text=transcript.text))
        for event in self._ear.partial(transcript, now, disputed=self._disputed):
            self.dispatch(event)

    def final(self, transcript: FinalTranscript) -> None:
        """Words that stay. An answer to a question that nobody waits for any more is dropped: its words were taken
        from the last partial already."""
        if transcript.finalized and not self._awaiting_final:
            self._counters.count("late_finals")
            return
        if transcript.finalized or transcript.ends_turn:
            self._awaiting_final = False
            self._deadlines.clear("final")
        for event in self._ear.final(transcript, disputed=self._disputed):
            self.dispatch(event)

    def gap(self, gap: RecognitionGap) -> None:
        """Audio was lost on the way to words."""
        self._record(AudioLost(at=self._at(), lost_ms=gap.lost_ms, reason=gap.reason))

    def hearing_crashed(self, error: Exception) -> None:
        """A bug of ours surfaced in the process's voice detector: it is this call's bug, and ends this call."""
        self._crash = error
        self._alarm.ring()

    def recognition_failed(self, failure: ProviderError, *, failures_in_a_row: int) -> None:
        """The recogniser is gone for now; without it for long there is no conversation."""
        self._provider_failed(failure)
        if failures_in_a_row > self._manners.failures and self.state.phase is Phase.LIVE:
            self._request_goodbye(self._manners.failed, "recognition failed")

    # deciding

    def dispatch(self, event: Event) -> None:
        """Take one step of the state machine and perform what it says."""
        before = self.state
        self.state, actions = step(before, event)
        if self.state is before:
            self._counters.count("events_ignored", event=event.name.lower())
            return
        for action in actions:
            self._perform[action]()
        if self.state != before:
            self._record(FloorChanged(at=self._at(), floor=self.state.floor.value, phase=self.state.phase.value))
        if self.state != before or Action.BEGIN_REPLY in actions:
            self._arm()
        if Action.RETURN_TO_LISTENING in actions:
            self._deadlines.set("floor", max(self._silence_deadline, self._clock.now()))
        self._alarm.ring()

    def _arm(self) -> None:
        """Give the new state its deadline."""
        now = self._clock.now()
        match self.state.phase:
            case Phase.LIVE:
                self._deadlines.clear("phase")
                self._deadlines.set("floor", now + self._manners.floor_limit_s(self.state.floor))
            case Phase.SUSPENDED:
                self._deadlines.clear("floor")
                self._deadlines.set("phase", now + self._manners.grace_s)
            case Phase.ENDING | Phase.TRANSFERRING:
                self._deadlines.clear("floor")
                self._deadlines.set("phase", now + self._manners.hang_up_s)
            case _:
                pass

    def _expire(self, name: str) -> None:
        match name:
            case "floor":
                self._floor_expired()
            case "phase":
                self.end_reason = self.end_reason or "no media"
                self.dispatch(Event.PHASE_EXPIRED)
            case "final":
                self._awaiting_final = False
                self._counters.count("finals_missed")
                last = FinalTranscript(self._ear.unfinished, finalized=True)
                for event in self._ear.final(last, disputed=self._disputed):
                    self.dispatch(event)
            case "digits":
                self.dispatch(Event.TURN_UNDERSTOOD)
            case "playout":
                self._check_playout()
            case "limit":
                self._deadlines.set("limit", self._clock.now() + self._manners.grace_s)
                self._request_goodbye(self._manners.time_up, "time is up")

    def _floor_expired(self) -> None:
        if self.state.floor is Floor.SPEAKING:
            ledger, now = self._mouth.ledger, self._clock.now()
            quiet_since = now - self._manners.stall_s
            if ledger.finish_expected_at() > quiet_since or ledger.sent < ledger.queued:
                self._deadlines.set("floor", now + self._manners.stall_s)
                return
        elif self.state.floor is Floor.LISTENING and self._asked_whether_there >= self._manners.reprompts:
            self._request_goodbye(self._manners.goodbye, "caller silent")
            return
        self.dispatch(Event.FLOOR_EXPIRED)

    # performing: the caller's turn

    def _finalize(self) -> None:
        if self._awaiting_final:
            return
        self._awaiting_final = self._hearing.finalize()
        wait = self._manners.final_s if self._awaiting_final else 0.0
        self._deadlines.set("final", self._clock.now() + wait)

    def _collect_digit(self) -> None:
        gap = 0.0 if self._digits.endswith("#") else self._manners.digit_gap_s
        self._deadlines.set("digits", self._clock.now() + gap)

    def _return_to_listening(self) -> None:
        """It was noise: the caller's silence goes on being counted where it was, noise cannot reset it."""
        self._caller_half = LatencyMetrics()

    # performing: the agent's turn

    def _greet(self) -> None:
        if self._manners.greeting:
            self._say(self._manners.greeting)
        else:
            self._think()

    def _begin_reply(self) -> None:
        self._deadlines.clear("digits")
        self._deadlines.clear("final")
        self._awaiting_final = False
        digits, self._digits = self._digits.rstrip("#"), ""
        began_at, ended_at = self._ear.began_at, self._ear.last_voice_at
        words = self._ear.take_words()
        if words or digits:
            self._asked_whether_there = 0
            self._goodbye = ""
        metrics, self._caller_half = self._caller_half, LatencyMetrics()
        metrics.asr_complete = self._clock.now()
        if began_at is not None:
            metrics.audio_chunk_received = began_at
            metrics.asr_started = max(began_at, self._hearing.opened_at or began_at)
            metrics.speech_ended = ended_at
        self._record(CallerSaid(at=self._at(), text=digits or words, digits=bool(digits)))
        self._think(metrics)

    def _think(self, metrics: LatencyMetrics | None = None) -> None:
        turn = self._new_turn(metrics or LatencyMetrics())
        providers = self._services.providers
        self._run(turn.run(providers.llm, providers.tts, self._mouth.audio))

    def _say(self, text: str, then: Then = Then.LISTEN) -> None:
        turn = self._new_turn(LatencyMetrics())
        turn.then = then
        phrase: Phrase = self._services.phrasebook.phrase(text, self._mouth.audio)
        self._run(turn.say(phrase, self._services.providers.tts, self._mouth.audio))

    def _new_turn(self, metrics: LatencyMetrics) -> Turn:
        self._end_turn(TurnReason.CANCELLED)
        self._turns += 1
        turn = Turn(
            self._turns,
            pacer=self._mouth.pacer,
            observer=self,
            metrics=metrics,
            clock=self._clock,
            deadlines=self._manners.deadlines,
        )
        self._mouth.begin(turn, self._clock.now())
        return turn

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None, "because: replies are begun by a running session only"
        self._turn_task = self._group.create_task(work)

    def _reprompt(self) -> None:
        self._asked_whether_there += 1
        self._say(self._manners.reprompt)

    def _apologise(self) -> None:
        self._failures += 1
        if self._failures <= self._manners.failures:
            self._say(self._manners.apology)
        else:
            self._ending_as = "providers failed"
            self._say(self._manners.failed, Then.END)

    def _request_goodbye(self, text: str, reason: str) -> None:
        """Say this and hang up; asked for a second time, hang up without a word."""
        if self._goodbye == text:
            self.end(reason)
        else:
            self._goodbye, self._ending_as = text, reason
            self.dispatch(Event.GOODBYE_REQUESTED)

    def _say_goodbye(self) -> None:
        self._say(self._goodbye, Then.END)

    def _cancel_reply(self) -> None:
        self._end_turn(TurnReason.CANCELLED)

    # performing: the interruption

    def _hold(self) -> None:
        now = self._clock.now()
        self._mouth.hold(now)
        turn = self._mouth.turn
        if turn is not None and turn.metrics.stopped_at is None:
            turn.metrics.barge_in_at = self._ear.began_at or now
            turn.metrics.stopped_at = now

    def _commit(self) -> None:
        self._end_turn(TurnReason.INTERRUPTED)

    def _resume(self) -> None:
        self._mouth.resume()
        turn = self._mouth.turn
        if turn is not None:
            turn.metrics.barge_in_at = turn.metrics.stopped_at = None
            self._watch_playout(turn)

    # performing: legs and the end

    def _suspend(self) -> None:
        self._deadlines.clear("playout")
        self._mouth.detach(self._clock.now())

    def _reattach(self) -> None:
        if self.state.floor in (Floor.SPEAKING, Floor.THINKING):
            self._resume()

    def _close_leg(self) -> None:
        self.end_reason = self.end_reason or self._ending_as
        self._end_turn(TurnReason.LOST)
        if self._leg is not None:
            self._leg.close()

    def _finish(self) -> None:
        self.end_reason = self.end_reason or "media lost"
        self._end_turn(TurnReason.LOST)
        if self._leg is not None:
            self._leg.close()

    # a reply's reports

    def request(self) -> ReplyRequest:
        """The context for the model, as it is now."""
        variables = {
            "now": self._clock.today().isoformat(timespec="seconds"),
            "caller": self.offered.caller,
            "called": self.offered.called,
            **self.offered.variables,
        }
        own = (END_CALL, TRANSFER_CALL) if self._manners.transfer_to else (END_CALL,)
        tools = (*self._services.toolbox.specs(), *own)
        return ReplyRequest(self.transcript.messages(), self._manners.instructions, tools, variables)

    def tool_called(self, event: ToolCalled) -> None:
        """The reply asks for a tool."""
        self._record(event)

    def tool_returned(self, event: ToolReturned) -> None:
        """The tool's one result."""
        self._record(event)

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run an application's tool for the reply."""
        offered = self.offered
        context = CallContext(self.call_id, offered.caller, offered.called, offered.variables)
        return await self._services.toolbox.run(call, context)

    def sound_queued(self) -> None:
        """The pacer, which had run dry, has something to send."""
        self._mouth.wake()

    def reply_room(self) -> None:
        """The pacer has room again."""
        if self._mouth.turn is not None:
            self._mouth.turn.room()

    def reply_started(self, turn: Turn, now: float) -> None:
        """The first sound of the reply leaves."""
        turn.metrics.playout_started = now
        self._record(ReplyStarted(at=self._at(), turn=turn.number))
        self.dispatch(Event.REPLY_STARTED)

    def generated(self, turn: Turn) -> None:
        """Nothing more will be queued for this reply."""
        if turn.failure is not None:
            self._provider_failed(turn.failure)
        self._mouth.wake()
        if self._mouth.ledger.queued:
            self._watch_playout(turn)
        elif turn.failure is not None or (not turn.said.strip() and turn.then is Then.LISTEN):
            self._end_turn(TurnReason.FAILED)
            self.dispatch(Event.REPLY_FAILED)
        else:
            self._reply_heard(turn)

    def _watch_playout(self, turn: Turn) -> None:
        if not turn.generating:
            now = self._clock.now()
            unsent_s = self._mouth.pacer.unsent_samples / self._mouth.audio.rate_hz
            self._deadlines.set("playout", max(now, self._mouth.ledger.finish_expected_at()) + unsent_s)
            self._alarm.ring()

    def _check_playout(self) -> None:
        turn = self._mouth.turn
        if turn is None or turn.generating or self._mouth.pacer.held:
            return
        if self._mouth.ledger.finished(self._clock.now()):
            self._reply_heard(turn)
        elif self._deadlines.at("playout") is None:
            self._watch_playout(turn)

    def _reply_heard(self, turn: Turn) -> None:
        if turn.failure is not None:
            self._end_turn(TurnReason.FAILED)
            self.dispatch(Event.REPLY_FAILED)
            return
        self._failures = 0
        self._end_turn(TurnReason.COMPLETED)
        self.dispatch(Event.REPLY_FINISHED)
        self._silence_deadline = self._clock.now() + self._manners.silence_s
        match turn.then:
            case Then.END:
                self.dispatch(Event.END_REQUESTED)
            case Then.TRANSFER:
                self.transfer_reason = turn.then_reason or "the caller asked for a human"
                self.dispatch(Event.TRANSFER_REQUESTED)
            case Then.LISTEN:
                pass

    def _end_turn(self, reason: TurnReason) -> None:
        """Whatever reply is in progress has its one outcome now."""
        self._deadlines.clear("playout")
        turn = self._mouth.turn
        ended = self._mouth.end(reason, self._clock.now())
        if turn is None or ended is None:
            return
        if turn.generating and self._turn_task is not None:
            self._turn_task.cancel()
        self._turn_task = None
        outcome, certainty = ended
        self._record(
            ReplyEnded(
                at=self._at(),
                turn=outcome.number,
                said=outcome.said,
                heard=outcome.heard,
                reason=outcome.reason.value,
                certainty=certainty.value,
            )
        )
        self._measure(turn)

    # records

    def _measure(self, turn: Turn) -> None:
        metrics = turn.metrics
        breaches = self._manners.budgets.breaches(metrics)
        for breach in breaches:
            self._counters.count("budget_breaches", stage=breach.stage)
        stamps = {name: None if at is None else round(at - self._began, 4) for name, at in metrics.stamps().items()}
        self._record(
            TurnMeasured(
                at=self._at(),
                turn=turn.number,
                stamps=stamps,
                onset_s=metrics.response_onset,
                barge_in_stop_s=metrics.barge_in_stop,
                breaches=[
                    f"{breach.stage} took {breach.measured_s:.3f} s, budget {breach.budget_s:g} s"
                    for breach in breaches
                ],
            )
        )

    def _provider_failed(self, failure: ProviderError) -> None:
        self._counters.count("provider_errors", provider=failure.provider, kind=type(failure).__name__)
        self._record(
            ProviderFailed(
                at=self._at(), provider=failure.provider, error=type(failure).__name__, detail=failure.detail
            )
        )

    def _at(self) -> float:
        return round(self._clock.now() - self._began, 4)

    def _record(self, event: JournalEvent) -> None:
        self.journal.append(event)
        self.transcript.apply(event)
