"""A call's session: it decides by the state machine, and performs what the machine says.

A session is keyed by call, not by socket: legs attach and detach, the session stays. It owns the call's one
`TaskGroup`; its tasks are the recogniser's reader, the deadline keeper, the reply in progress, and a reader and a
writer for the attached leg. Everything else is a synchronous function, so that nothing can come between a decision and
its effect. What the caller does comes from `CallerSide`, what becomes of a reply from `AgentSide`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from app.calls.journal import CallAnswered, CallEnded, FloorChanged, LegAttached, LegDetached
from app.conversation.agent import AgentSide
from app.conversation.caller import CallerSide
from app.conversation.deadlines import DeadlineTable
from app.conversation.record import CallRecord
from app.conversation.services import Services
from app.conversation.state import Action, CallState, Event, Floor, Phase, step
from app.conversation.turn import Then, Turn, TurnReason
from app.telemetry.latency import LatencyMetrics
from telephony.anomalies import AudioAnomalies
from telephony.audio import TELEPHONE
from telephony.carrier import AudioReceived, CallOffered, CarrierEvent, DigitPressed, MarkReached
from telephony.clock import Alarm
from telephony.echo import EchoGuard
from telephony.leg import Leg

log = structlog.get_logger()


class CallSession:
    """One call, from its answer to its end. `run` is its life; everything else is told to it."""

    def __init__(self, carrier: str, offered: CallOffered, services: Services) -> None:
        self.call_id = offered.call_id
        self.offered = offered
        self.carrier = carrier
        self.state = CallState()
        self.record = CallRecord(services.clock, services.counters)
        self.end_reason = ""
        self.transfer_reason = ""
        self._services = services
        self._manners = services.manners
        self._clock = services.clock
        self._deadlines = DeadlineTable()
        self._alarm = Alarm(self._clock)
        echo = EchoGuard(TELEPHONE.rate_hz)
        self._caller = CallerSide(services, self.record, self._deadlines, self, echo)
        self._agent = AgentSide(offered, services, self.record, self._deadlines, self, echo)
        self._group: asyncio.TaskGroup | None = None
        self._leg: Leg | None = None
        self._anomalies = AudioAnomalies()
        self._asked_whether_there = 0
        self._failures = 0
        self._noticed = False
        self._silence_deadline = 0.0
        self._goodbye = self._goodbye_reason = ""
        self._crash: Exception | None = None
        self._perform: Mapping[Action, Callable[[], None]] = {
            Action.GREET: self._greet,
            Action.FINALIZE: self._caller.finalize,
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
            Action.SUSPEND: self._agent.suspend,
            Action.REATTACH: self._reattach,
            Action.CLOSE_LEG: self._close_leg,
            Action.FINISH: self._finish,
        }

    # life

    async def run(self) -> None:
        """Live until the call has ended. Raises only for bugs of ours; whatever happens, the journal is closed."""
        self.record.add(
            CallAnswered(
                at=0.0,
                call_id=self.call_id,
                carrier=self.carrier,
                caller=self.offered.caller,
                called=self.offered.called,
                answered_at=self.record.answered_at.isoformat(timespec="seconds"),
                providers=self._services.providers.names(),
                variables=dict(self.offered.variables),
            )
        )
        self._deadlines.set("limit", self.record.began + self._manners.limit_s)
        self._deadlines.set("phase", self.record.began + self._manners.media_s)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                hearing = group.create_task(self._caller.hearing.run())
                await self._keep_deadlines()
                hearing.cancel()
                self._agent.end(TurnReason.LOST)
        finally:
            self._group = None
            try:
                self._agent.end(TurnReason.LOST)
            finally:
                if self._leg is not None:
                    self._leg.close()
                self.state = CallState(Phase.ENDED, self.state.floor)
                self.record.add(CallEnded(at=self.record.at(), reason=self.end_reason or "crashed"))

    def attach(self, leg: Leg, stream_id: str) -> asyncio.Event:
        """Talk over this leg from now on; an older one is closed. The event is set when the leg is gone.

        The session must be running; one that is about to end closes the leg at once.
        """
        detached = asyncio.Event()
        if self._group is None or self.state.phase not in (Phase.NEW, Phase.LIVE, Phase.SUSPENDED):
            leg.close()
            detached.set()
            return detached
        older, self._leg = self._leg, leg
        if older is not None:
            older.close()
            self._agent.mouth.detach(self._clock.now())  # what it had not played yet is played over the new one
        self._anomalies = AudioAnomalies()
        self._agent.mouth.attach(leg)
        self.record.add(LegAttached(at=self.record.at(), stream_id=stream_id))
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
                writer = group.create_task(leg.play(self._agent.mouth))
                async for event in leg:
                    self._receive(event)
                writer.cancel()
        finally:
            leg.close()
            detached.set()
            if self._leg is leg:
                self._leg = None
                self.record.anomalies(self._anomalies.finish())
                self.record.add(LegDetached(at=self.record.at(), reason=self.state.phase.value))
                self.dispatch(Event.LEG_LOST)

    def _receive(self, event: CarrierEvent) -> None:
        match event:
            case AudioReceived(payload, timestamp_ms):
                self._caller.hearing.audio(payload)
                anomalies = self._anomalies.feed(payload, timestamp_ms)
                if anomalies:
                    self.record.anomalies(anomalies)
            case MarkReached(name):
                self._agent.mark_reached(name)
            case DigitPressed(digit):
                self._caller.key(digit)
            case _:  # started and stopped: the leg's own beginning and end
                pass

    # deciding

    def dispatch(self, event: Event) -> None:
        """Take one step of the state machine and perform what it says."""
        before, turns = self.state, self._agent.turns
        self.state, actions = step(before, event)
        if self.state is before:
            self.record.counters.count("events_ignored", event=event.name.lower())
            return
        for action in actions:
            self._perform[action]()
        if self.state != before:
            floor, phase = self.state.floor.value, self.state.phase.value
            self.record.add(FloorChanged(at=self.record.at(), floor=floor, phase=phase))
            if self.state.phase is not before.phase:
                log.info("phase changed", phase=phase, because=event.name.lower())
            else:
                log.debug("floor changed", floor=floor, because=event.name.lower())
        if self.state != before or self._agent.turns != turns:  # a new reply has a deadline of its own
            self._arm()
        if Action.RETURN_TO_LISTENING in actions:
            self._deadlines.set("floor", max(self._silence_deadline, self._clock.now()))
        self._alarm.ring()

    def follow(self, events: list[Event]) -> None:
        """Act on what the caller does. While something is said that he must hear to its end it waits until then."""
        turn = self._agent.turn
        if turn is None or turn.interruptible:
            for event in events:
                self.dispatch(event)

    def disputed(self) -> bool:
        """The agent has, or is about to have, the floor."""
        return self.state.floor in (Floor.THINKING, Floor.SPEAKING, Floor.INTERRUPTED)

    def _catch_up(self) -> None:
        """What the caller did meanwhile happens now; without it the greeting is due."""
        ear = self._caller.ear
        if self._caller.digits:
            self.dispatch(Event.DIGIT_PRESSED)
        elif ear.began_at is not None:
            self.dispatch(Event.SPEECH_STARTED)
            if not ear.speaking:
                self.dispatch(Event.TURN_ENDED)
        else:
            self.dispatch(Event.GREETING_DUE)

    # deadlines

    async def _keep_deadlines(self) -> None:
        while self.state.phase is not Phase.ENDED:
            await self._alarm.wait_until(self._deadlines.earliest())
            if self._crash is not None:
                raise self._crash
            while (name := self._deadlines.expire(self._clock.now())) is not None:
                self._expire(name)

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
                self._caller.final_missed()
            case "digits":
                self.dispatch(Event.TURN_UNDERSTOOD)
            case "playout":
                self._agent.check_playout()
            case "limit":
                self._deadlines.set("overtime", self._clock.now() + self._manners.grace_s)
                self._request_goodbye(self._manners.time_up, "time is up")
            case "overtime":
                self.end("time is up")

    def _floor_expired(self) -> None:
        now, stall_s = self._clock.now(), self._manners.stall_s
        if self.state.floor is Floor.SPEAKING and not self._agent.stalled(now - stall_s):
            self._deadlines.set("floor", now + stall_s)
        elif self.state.floor is Floor.LISTENING and self._asked_whether_there >= self._manners.reprompts:
            self._request_goodbye(self._manners.goodbye, "caller silent")
        else:
            if self.state.floor is Floor.INTERRUPTED:
                self._caller.ear.take_words()  # whatever it was, it is over: the next speech is judged by itself
            self.dispatch(Event.FLOOR_EXPIRED)

    def deadline_moved(self) -> None:
        """Look at the deadlines again."""
        self._alarm.ring()

    # performing: turns

    def _greet(self) -> None:
        if self._manners.notice and not self._noticed:
            self._noticed = True
            self._agent.say(self._manners.notice, Then.GREET, interruptible=False)
        elif self._manners.greeting:
            self._agent.say(self._manners.greeting)
        else:
            self._agent.think(LatencyMetrics())

    def _begin_reply(self) -> None:
        turn = self._caller.take_turn()
        if turn.words or turn.digits:
            self._asked_whether_there = 0
            self._goodbye = ""
        self._agent.think(turn.metrics)

    def _collect_digit(self) -> None:
        complete_at = self._caller.collect_digits()
        self._silence_deadline = complete_at + self._manners.silence_s  # a pressed key is a sign of life

    def _return_to_listening(self) -> None:
        """It was noise: the caller's silence goes on being counted where it was, noise cannot reset it."""
        self._caller.forget_half()

    def _reprompt(self) -> None:
        self._asked_whether_there += 1
        self._agent.say(self._manners.reprompt)

    def _apologise(self) -> None:
        self._failures += 1
        beyond = self._failures - self._manners.failures
        if beyond <= 0:
            self._agent.say(self._manners.apology)
        elif beyond == 1:
            self._agent.say(self._manners.failed, Then.END, "providers failed")
        else:  # not even that can be said
            self.end("providers failed")

    def _request_goodbye(self, text: str, reason: str) -> None:
        """Say this and hang up; asked for it again after it was cut short, hang up without a word."""
        turn = self._agent.turn
        if turn is not None and turn.then is Then.END:
            return  # a goodbye is heard to its end
        if self._goodbye == text:
            self.end(reason)
        else:
            self._goodbye, self._goodbye_reason = text, reason
            self.dispatch(Event.GOODBYE_REQUESTED)

    def _say_goodbye(self) -> None:
        self._agent.say(self._goodbye, Then.END, self._goodbye_reason)

    def _cancel_reply(self) -> None:
        self._agent.end(TurnReason.CANCELLED)

    # performing: the interruption

    def _hold(self) -> None:
        now = self._clock.now()
        self._agent.hold(self._caller.ear.began_at or now, now)

    def _commit(self) -> None:
        self._agent.end(TurnReason.INTERRUPTED)

    def _resume(self) -> None:
        self._agent.resume()
        self._caller.forget_half()

    # performing: legs and the end

    def _reattach(self) -> None:
        """Go on where the line broke: with the reply, or with finding out what the caller said before it did."""
        floor, ear, turn = self.state.floor, self._caller.ear, self._agent.turn
        undisputed = ear.began_at is None or (turn is not None and not turn.interruptible)
        if floor is Floor.SPEAKING or (floor is Floor.THINKING and undisputed):
            self._resume()
            if turn is None:  # it failed meanwhile
                self._apologise()
        elif floor is not Floor.LISTENING and not ear.speaking:
            self._caller.finalize()
        if self._caller.digits:
            self._collect_digit()

    def _close_leg(self) -> None:
        self._agent.end(TurnReason.LOST)
        if self._leg is not None:
            self._leg.close()

    def _finish(self) -> None:
        self.end_reason = self.end_reason or "media lost"
        self._close_leg()

    # what becomes of a reply, of the recogniser, of us

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run a reply as a task of the call."""
        assert self._group is not None, "because: replies are begun by a running session only"
        return self._group.create_task(work)

    def reply_audible(self) -> None:
        """The reply's first sound leaves."""
        self.dispatch(Event.REPLY_STARTED)

    def reply_failed(self) -> None:
        """Nothing more will come of the reply."""
        self.dispatch(Event.REPLY_FAILED)

    def reply_heard(self, turn: Turn) -> None:
        """The reply was heard to its end: what it leads to happens now."""
        if turn.metrics.llm_started is not None:  # an apology that was heard mends nothing
            self._failures = 0
        self.dispatch(Event.REPLY_FINISHED)
        self._silence_deadline = self._clock.now() + self._manners.silence_s
        match turn.then:
            case Then.END:
                self.end(turn.then_reason or "agent ended the call")
            case Then.TRANSFER:
                self.transfer_reason = turn.then_reason or "the caller asked for a human"
                self.end_reason = self.end_reason or "transferred"
                self.dispatch(Event.TRANSFER_REQUESTED)
            case Then.GREET:
                self._catch_up()
            case Then.LISTEN:
                pass

    def recogniser_lost(self, failures_in_a_row: int) -> None:
        """Without a recogniser for long there is no conversation."""
        if failures_in_a_row > self._manners.failures and self.state.phase is Phase.LIVE:
            self._request_goodbye(self._manners.failed, "recognition failed")

    def crashed(self, error: Exception) -> None:
        """A bug of ours surfaced where it must not be raised: it ends this call, from the call's own task."""
        self._crash = error
        self._alarm.ring()
