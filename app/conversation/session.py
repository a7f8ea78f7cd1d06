"""A call's session: it decides by the state machine, and performs what the machine says.

A session is keyed by call, not by socket: legs attach and detach, the session stays. It owns the call's one
`TaskGroup`; its tasks are the recogniser's reader, the deadline keeper, the reply in progress, and a reader and a
writer for the attached leg. Everything else is a synchronous function, so that nothing can come between a decision and
its effect. What the caller does comes from `CallerSide`, what becomes of a reply from `AgentSide`; `Legs` connects
both with the line, `Timekeeper` gives each state its deadline, and `Courtesies` knows what is said unasked.
"""

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, ClassVar

import structlog

from app.calls.journal import (
    CallEnded,
    CallRinging,
    FloorChanged,
    JournalEvent,
    LegHeld,
    LegResumed,
)
from app.conversation.agent import AgentSide
from app.conversation.caller import CallerSide
from app.conversation.courtesies import Courtesies
from app.conversation.ear import Hint
from app.conversation.handover import FarEnd, HandOver
from app.conversation.legs import Legs
from app.conversation.record import CallRecord
from app.conversation.reply import Then, TurnReason
from app.conversation.resumption import owed, pay, resting_state
from app.conversation.services import Services
from app.conversation.state import Action, CallState, Event, Floor, Phase, step
from app.conversation.timekeeper import Timekeeper
from app.conversation.turn import Turn
from app.telemetry.latency import LatencyMetrics
from telephony.audio import TELEPHONE
from telephony.carrier import CallOffered
from telephony.echo import EchoGuard
from telephony.leg import Leg
from telephony.tasks import TaskGroup

_EXPIRED = {Phase.RINGING: "no answer", Phase.HELD: "held too long", Phase.TRANSFERRING: "transfer stuck"}
"""Why a call ended whose phase lasted too long; elsewhere the media did not come."""

_CALLERS_TURN = CallState(Phase.LIVE, Floor.PROCESSING_SPEECH)


class CallSession:
    """One call, from its answer to its end. `run` is its life; everything else is told to it."""

    CRASHED = "crashed"
    """The end reason of a call that ended by a bug of ours."""

    def __init__(
        self,
        carrier: str,
        offered: CallOffered,
        services: Services,
        past: Sequence[JournalEvent] = (),
        *,
        far_end: FarEnd | None = None,
        ringing: bool = False,
    ) -> None:
        """`past`: the journal of a call that another process carried until now. `far_end`: where it can be steered in
        mid-call. `ringing`: the call is not answered yet, and begins with `answered`."""
        self.call_id = offered.call_id
        self.offered = offered
        self.carrier = carrier
        self.record = CallRecord(services.clock, services.counters, past)
        self.handover = HandOver(far_end, self.record, services.clock)
        memory = self.record.memory
        self.state = CallState(Phase.RINGING) if ringing else resting_state(memory)
        self._owed = owed(memory)
        self.end_reason = ""
        self.perhaps_elsewhere = False
        """Somebody else may have the call's line: while no leg comes, it is not for us to say that it is over."""
        self.unwanted = False
        """No leg came in time to a call that is perhaps elsewhere: it is to be left."""
        self._services = services
        self._manners = services.manners
        self._clock = services.clock
        self._time = Timekeeper(self._clock, self._manners)
        echo = EchoGuard(TELEPHONE.rate_hz)
        me = weakref.proxy(self)  # who is told things is not held by who tells them: an ended call is gone at once
        self._caller = CallerSide(services, self.record, self._time.table, me, echo)
        metered = replace(services, providers=services.providers.metered(self.record.usage))
        self._agent = AgentSide(offered, metered, self.record, self._time.table, me, echo)
        self._group: TaskGroup | None = None
        self.running = asyncio.Event()
        """Set once legs can be attached."""
        self._begun = asyncio.Event()
        self._legs = Legs(self._caller, self._agent, self.record, self._clock, me)
        self._courtesies = Courtesies(self._manners, self._agent, memory, me)
        self._caller.digits = memory.digits
        self._crash: Exception | None = None
        self._log = structlog.get_logger().bind(call_id=self.call_id)
        self._context = contextvars.copy_context()
        """Of the call's own task. What a leg or the voice detector tells comes from outside of it."""

    # life

    async def run(self) -> None:
        """Live until the call has ended. Raises only for bugs of ours; whatever happens, the journal is closed."""
        self._context = contextvars.copy_context()
        if self.state.phase is Phase.RINGING:
            self.record.ringing(self.carrier, self.offered)
        else:
            self._begin()
        self._time.arm(self.state, steered=self.handover.far_end is not None)
        try:
            async with TaskGroup() as group:
                self._group = group
                self.running.set()
                hearing = group.create_task(self._hear())
                warming = group.create_task(self._services.providers.warm())
                await self._keep_deadlines()
                warming.cancel()
                hearing.cancel()
                self.handover.cancel()
                self._agent.end(TurnReason.LOST)
        finally:
            self._group = None
            self.running.set()
            try:
                self._agent.close()
            finally:
                self._caller.close()
                self._legs.close()
                self.state = CallState(Phase.ENDED, self.state.floor)
                reason = self.end_reason or self.CRASHED
                cause = self.handover.close(reason)
                self._count_usage()
                self.record.add(CallEnded(at=self.record.at(), reason=reason, cause=cause))

    def _begin(self) -> None:
        """Somebody is there."""
        services, memory = self._services, self.record.memory
        if memory.answered is None:
            self.record.answered(self.carrier, self.offered, services.providers.names(), services.settings())
        answered_at = memory.answered.at if memory.answered is not None else 0.0
        self._time.answered(self.record.began + answered_at)
        self._begun.set()

    async def _hear(self) -> None:
        await self._begun.wait()
        await self._caller.hearing.run()

    def answered(self) -> None:
        """The call that rang is answered: attach its leg. Nothing if it was answered already."""
        if self.state.phase is Phase.RINGING:
            self._begin()
            self.dispatch(Event.ANSWERED)

    def progressed(self, status: str) -> None:
        """Whom we call hears it ring, or the like."""
        if self.state.phase is Phase.RINGING:
            self.record.add(CallRinging(at=self.record.at(), status=status))

    def attach(self, leg: Leg, stream_id: str) -> asyncio.Event:
        """Talk over this leg from now on; an older one is closed. The event is set when the leg is gone.

        The session must be running; one that is about to end closes the leg at once.
        """
        if self._group is None or self.state.phase not in (Phase.NEW, Phase.LIVE, Phase.HELD, Phase.SUSPENDED):
            leg.close()
            detached = asyncio.Event()
            detached.set()
            return detached
        self.perhaps_elsewhere = self.unwanted = False
        detached = self._legs.attach(leg, stream_id, self._group)
        self.dispatch(Event.LEG_ATTACHED)
        return detached

    def fills(self) -> Mapping[str, float]:
        """How full the call's buffers are, by name, from 0 to 1."""
        return self._agent.fills()

    def usage(self) -> dict[str, dict[str, int]]:
        """What the call has cost so far, by provider and unit."""
        self._caller.hearing.report_usage()
        return self.record.usage.totals()

    def _count_usage(self) -> None:
        self._caller.hearing.report_usage()
        self.record.count_usage()

    def caller_gone(self, status: str) -> None:
        """The carrier says that the call is over."""
        self.end_reason = self.end_reason or f"carrier: {status}"
        self.dispatch(Event.CALLER_GONE)

    def hold(self, held: bool) -> None:
        """The far end has put us on hold, or is back."""
        if held is not self.handover.held and self.state.phase is not Phase.ENDED:
            self.handover.held = held
            event = LegHeld if held else LegResumed
            self.record.add(event(at=self.record.at()))
            self.dispatch(Event.LEG_HELD if held else Event.LEG_RESUMED)

    def transfer(self, target: str, reason: str, *, attended: bool | None = None) -> None:
        """Hand the call over to somebody else, whatever is being said."""
        if self.state.phase in (Phase.LIVE, Phase.HELD):
            self.handover.request(target, reason, attended)
            self.dispatch(Event.TRANSFER_REQUESTED)

    def press(self, digits: str) -> None:
        """Press keys at the far end; nothing where that cannot be done now."""
        if self.state.phase is Phase.LIVE and self.handover.far_end is not None:
            self.handover.far_end.press(digits)

    def dismiss(self, text: str, reason: str) -> None:
        """Say this to its end, and hang up."""
        self._courtesies.request_goodbye(text, reason)

    def end(self, reason: str) -> None:
        """Hang up now."""
        self.end_reason = self.end_reason or reason
        self.dispatch(Event.END_REQUESTED)

    def hang_up_stream(self) -> None:
        """Close the leg as if the line had broken: the carrier asks what to do, and may reach somebody else."""
        self._legs.close()

    def mute(self, muted: bool) -> None:
        """Not a sound until told otherwise: whose call it is, is not known. What is due then is kept."""
        self._agent.mouth.mute(muted)

    def leave(self) -> None:
        """Another process carries the call on: fall silent at once, and tell the journal no more."""
        self._agent.progress()
        self._count_usage()
        self.record.seal()
        self.caller_gone("carried on elsewhere")

    def progress(self) -> None:
        """Journal how far the agent's reply is, if it has gone on; for whoever keeps the journal, a few times a
        second."""
        self._agent.progress()

    # deciding

    def dispatch(self, event: Event) -> None:
        """Take one step of the state machine and perform what it says."""
        before, turns = self.state, self._agent.turns
        self.state, actions = step(before, event)
        if self.state is before:
            self.record.counters.count("events_ignored", event=event.name.lower())
            return
        for action in actions:
            self._PERFORM[action](self)
        if self._agent.speculation.draft is not None and self.state != _CALLERS_TURN:
            self._agent.speculation.forget()
        if self.state != before:
            floor, phase = self.state.floor.value, self.state.phase.value
            self.record.add(FloorChanged(at=self.record.at(), floor=floor, phase=phase))
            if self.state.phase is not before.phase:
                self._log.info("phase changed", phase=phase, because=event.name.lower())
            else:
                self._log.debug("floor changed", floor=floor, because=event.name.lower())
        if self.state != before or self._agent.turns != turns:  # a new reply has a deadline of its own
            self._time.arm(self.state, steered=self.handover.far_end is not None)
        if Action.RETURN_TO_LISTENING in actions:
            self._time.go_on_listening()
        self._time.look_again()

    def follow(self, events: list[Event]) -> None:
        """Act on what the caller does. While something is said that he must hear to its end it waits until then."""
        turn = self._agent.turn
        if turn is None or turn.interruptible:
            for event in events:
                self.dispatch(event)

    def anticipate(self, words: str, hint: Hint) -> None:
        """The caller has perhaps said all that he wants to say."""
        if self.state == _CALLERS_TURN:
            self._agent.anticipate(words, hint)

    def disputed(self) -> bool:
        """The agent has, or is about to have, the floor."""
        return self.state.floor in (Floor.THINKING, Floor.SPEAKING, Floor.INTERRUPTED)

    def heard_out(self) -> bool:
        """The caller has heard what the agent has to say, and it is for him to answer."""
        return self._agent.heard_out()

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
            await self._time.wait()
            if self._crash is not None:
                raise self._crash
            while (name := self._time.expired()) is not None:
                self._expire(name)

    def _expire(self, name: str) -> None:
        match name:
            case "floor":
                self._floor_expired()
            case "phase" if self.perhaps_elsewhere:
                self.unwanted = True
            case "phase":
                self.end_reason = self.end_reason or _EXPIRED.get(self.state.phase, "no media")
                self.dispatch(Event.PHASE_EXPIRED)
            case "final":
                self._caller.final_missed()
            case "digits":
                self.dispatch(Event.TURN_UNDERSTOOD)
            case "playout":
                self._agent.check_playout()
            case "limit":
                self._time.time_is_up()
                self._courtesies.request_goodbye(self._manners.time_up, "time is up")
            case "overtime":
                self.end("time is up")

    def _floor_expired(self) -> None:
        if (silent_until := self._reply_due_by()) > self._clock.now():
            self._time.go_on_replying(silent_until)
        elif self.state.floor is Floor.LISTENING and self._courtesies.patience_is_over:
            self._courtesies.request_goodbye(self._manners.goodbye, "caller silent")
        else:
            if self.state.floor is Floor.INTERRUPTED:
                self._caller.ear.take_words()  # whatever it was, it is over: the next speech is judged by itself
            self.dispatch(Event.FLOOR_EXPIRED)

    def _reply_due_by(self) -> float:
        """Until when the reply in progress may be silent: tools have deadlines of their own, and so has who uses their
        results. Minus infinity if none is due."""
        match self.state.floor:
            case Floor.SPEAKING:
                return self._agent.active_at() + self._manners.stall_s
            case Floor.THINKING:
                return self._agent.worked_at() + self._manners.think_s
            case _:
                return -inf

    def deadline_moved(self) -> None:
        """Look at the deadlines again."""
        self._time.look_again()

    # performing: turns

    def _begin_reply(self) -> None:
        turn = self._caller.take_turn()
        if turn.words or turn.digits:
            self._courtesies.caller_is_there()
        self._agent.think(turn.metrics)

    def _say_goodbye(self) -> None:
        """Said over the caller it is heard to its end: what he was saying before does not stop it."""
        self._courtesies.say_goodbye(interruptible=self._caller.ear.began_at is None)

    def _collect_digit(self) -> None:
        self._agent.speculation.forget()
        self._time.count_silence(self._caller.collect_digits())  # a pressed key is a sign of life

    # performing: the interruption

    def _hold(self) -> None:
        now = self._clock.now()
        self._agent.hold(self._caller.ear.began_at or now, now)

    def _resume(self) -> None:
        self._agent.resume()
        self._caller.forget_half()

    # performing: legs and the end

    def _reattach(self) -> None:
        """Go on where the line broke: with the reply, or with finding out what the caller said before it did."""
        due, self._owed = self._owed, None
        if due is not None:
            pay(due, self._agent, self.record, self._manners.when_back())
            if self.state.floor is Floor.THINKING and self._agent.turn is None:  # nothing is asked: he may go on
                self.dispatch(Event.REPLY_FINISHED)
                self._time.count_silence(self._clock.now())
            return
        floor, ear, turn = self.state.floor, self._caller.ear, self._agent.turn
        undisputed = ear.began_at is None or (turn is not None and not turn.interruptible)
        if floor is Floor.SPEAKING or (floor is Floor.THINKING and undisputed):
            self._resume()
            if turn is None:  # it failed meanwhile
                self._courtesies.apologise()
        elif floor is not Floor.LISTENING and not ear.speaking:
            self._caller.finalize()
        elif floor is Floor.LISTENING and self._agent.has_to_bridge():
            self.dispatch(Event.BRIDGE_DUE)
        if self._caller.digits:
            self._collect_digit()

    def _hand_over(self) -> None:
        """In mid-call where that can be done: the line stays ours until somebody has taken over."""
        if self.handover.far_end is None or self._group is None:
            self.end_reason = self.end_reason or "transferred"
            self._close_leg()
        else:
            self._agent.silence()
            self.handover.task = self.spawn(self._run_handover(self.handover.far_end))

    def _call_off(self) -> None:
        """Any key brings the caller back; it says nothing else."""
        self._caller.digits = ""
        self.handover.call_off()

    async def _run_handover(self, far_end: FarEnd) -> None:
        if await self.handover.run(far_end, self._agent.mouth):
            self.end("transferred")
        elif not self._legs:
            self.end("media lost")
        else:
            self.dispatch(Event.TRANSFER_FAILED)
            if self.handover.held:
                self.dispatch(Event.LEG_HELD)

    def _close_leg(self) -> None:
        self._agent.end(TurnReason.LOST)
        self._legs.close()

    def _finish(self) -> None:
        self.end_reason = self.end_reason or "media lost"
        self._close_leg()

    # what becomes of a reply, of the recogniser, of us

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run this as a task of the call, whoever told of what led to it."""
        assert self._group is not None, "because: only a running session has anything done"
        return self._group.create_task(work, context=self._context.copy())

    def reply_audible(self) -> None:
        """The reply's first sound leaves."""
        self.dispatch(Event.REPLY_STARTED)

    def reply_failed(self) -> None:
        """Nothing more will come of the reply."""
        self.dispatch(Event.REPLY_FAILED)

    def reply_heard(self, turn: Turn) -> None:
        """The reply was heard to its end: what it leads to happens now."""
        if turn.metrics.llm_started is not None:
            self._courtesies.model_was_heard()
        self._count_usage()  # now and then, for another process may have to go on with it
        self.dispatch(Event.REPLY_FINISHED)
        self._time.count_silence(self._clock.now())
        match turn.then:
            case Then.END:
                self.end(turn.then_reason or "agent ended the call")
            case Then.TRANSFER:
                self.transfer(self._manners.transfer_to, turn.then_reason or "the caller asked for a human")
            case Then.GREET:
                self._catch_up()
            case Then.LISTEN:
                pass

    def recogniser_lost(self, failures_in_a_row: int) -> None:
        """Without a recogniser for long there is no conversation."""
        if failures_in_a_row > self._manners.failures and self.state.phase is Phase.LIVE:
            self._courtesies.request_goodbye(self._manners.failed, "recognition failed")

    def crashed(self, error: Exception) -> None:
        """A bug of ours surfaced where it must not be raised: it ends this call, from the call's own task."""
        self._crash = error
        self._time.look_again()

    _PERFORM: ClassVar[Mapping[Action, Callable[["CallSession"], None]]] = {
        Action.GREET: lambda call: call._courtesies.greet(),
        Action.FINALIZE: lambda call: call._caller.finalize(),
        Action.BEGIN_REPLY: _begin_reply,
        Action.CANCEL_REPLY: lambda call: call._agent.end(TurnReason.CANCELLED),
        Action.HOLD: _hold,
        Action.COMMIT: lambda call: call._agent.end(TurnReason.INTERRUPTED),
        Action.RESUME: _resume,
        Action.BRIDGE: lambda call: call._agent.bridge(),
        Action.REPROMPT: lambda call: call._courtesies.reprompt(),
        Action.APOLOGISE: lambda call: call._courtesies.apologise(),
        Action.SAY_GOODBYE: _say_goodbye,
        Action.COLLECT_DIGIT: _collect_digit,
        Action.RETURN_TO_LISTENING: lambda call: call._caller.forget_half(),
        Action.EXPLAIN_TRANSFER: lambda call: call._agent.think(LatencyMetrics()),
        Action.PAUSE: lambda call: call._agent.pause(),
        Action.SUSPEND: lambda call: call._agent.suspend(call._caller.hearing.heard_at),
        Action.REATTACH: _reattach,
        Action.HAND_OVER: _hand_over,
        Action.CALL_OFF: _call_off,
        Action.CLOSE_LEG: _close_leg,
        Action.FINISH: _finish,
    }
    """What each of the state machine's words does."""
