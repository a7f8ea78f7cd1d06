"""What a session knows, as a fold over its journal: the one way from what happened to where the talk is.

A live session applies each event as it journals it; a process that takes a call over folds what was stored and goes on
from there. There is no other source: what cannot be told from the journal is lost with the process, and what can is
the same on both sides. Any prefix of a journal folds to a valid memory, for a process may die after any event.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.calls.journal import (
    CallAnswered,
    CallEnded,
    CallerPartial,
    CallerSaid,
    CallTakenOver,
    DigitKeyed,
    FloorChanged,
    JournalEvent,
    JournalGap,
    LegAttached,
    LegDetached,
    ReplyBegun,
    ReplyEnded,
    ReplyHeard,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TransferFailed,
    TransferRequested,
    UsageCounted,
)
from app.conversation.reply import Purpose, Then, TurnReason
from app.conversation.state import Floor, Phase
from app.conversation.transcript import Transcript
from telephony.carrier import CallOffered


@dataclass(slots=True)
class ReplyInProgress:
    """The reply that was begun last and has not ended."""

    turn: int
    purpose: str
    said: str = ""
    """All of its text that was made so far."""
    generated: bool = False
    """`said` is the whole reply."""
    audible: bool = False
    held: bool = False
    """The sound was stopped, for the caller may be interrupting."""
    words: int = 0
    """Words of `said` that were heard, as was known at most 200 ms before the last event."""
    heard_ms: int = 0
    then: Then = Then.LISTEN
    then_reason: str = ""
    interruptible: bool = True

    @property
    def heard(self) -> str:
        """What the caller heard of it."""
        return " ".join(self.said.split()[: self.words])

    @property
    def rest(self) -> str:
        """What he did not hear of it yet, as far as it is made."""
        return " ".join(self.said.split()[self.words :])


@dataclass(slots=True)
class SessionMemory:
    """Where a call is. Apply events in order; the context for the model is `transcript.messages()`."""

    transcript: Transcript = field(default_factory=Transcript)
    answered: CallAnswered | None = None
    at: float = 0.0
    """The call's time at the last event."""
    turns: int = 0
    """The number of the last reply."""
    reply: ReplyInProgress | None = None
    tools: dict[str, ToolCalled] = field(default_factory=dict)
    """Tools of the reply in progress that have no result yet, by `tool_call_id`."""
    cut_off: dict[str, ToolCalled] = field(default_factory=dict)
    """Idempotent tools of replies that ended before there was a result, by `idempotency_key`; without those that were
    called again."""
    half_said: str = ""
    """What the caller has said of a turn that has not ended."""
    digits: str = ""
    """What he has keyed of a number that has not ended."""
    unanswered: bool = False
    """The caller's last turn got no reply of which he heard anything."""
    phase: Phase = Phase.NEW
    floor: Floor = Floor.LISTENING
    stream_id: str = ""
    """The stream that is attached; empty: none."""
    noticed: bool = False
    """The notice was begun."""
    asked_whether_there: int = 0
    """How often in a row the caller was asked whether he is there."""
    failures: int = 0
    """Replies that failed in a row."""
    fence: int = 0
    """Of the last owner who took the call over."""
    lost: int = 0
    """Events that the store could not keep."""
    usage: dict[str, dict[str, int]] = field(default_factory=dict)
    """What the call has cost, by provider and unit."""
    transfer_reason: str = ""
    end_reason: str = ""
    """Why the call ended; empty: it has not."""

    @property
    def offered(self) -> CallOffered | None:
        """The call as its carrier offered it; None for a journal without a beginning."""
        answered = self.answered
        if answered is None:
            return None
        return CallOffered(
            answered.call_id, answered.caller, answered.called, answered.direction, dict(answered.variables)
        )

    def lost_reply(self, at: float) -> ReplyEnded | None:
        """The end of the reply in progress, if it cannot go on; None if there is none."""
        reply = self.reply
        if reply is None:
            return None
        said = " ".join(reply.said.split())
        return ReplyEnded(at, reply.turn, said, reply.heard, TurnReason.LOST.value, "estimated")

    def key_of_repeat(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """The `idempotency_key` of a tool call that was cut off, of which this is a repetition."""
        cut_off = (key for key, tool in self.cut_off.items() if tool.name == name and tool.arguments == arguments)
        return next(cut_off, None)

    def passing(self) -> list[JournalEvent]:
        """What the events that a journal does not keep in memory (`PASSING`) have left of themselves: the kept ones
        and these fold to this memory."""
        events: list[JournalEvent] = [FloorChanged(self.at, self.floor.value, self.phase.value)]
        if self.half_said:
            events.append(CallerPartial(self.at, self.half_said))
        reply = self.reply
        if reply is not None:
            progress = (reply.turn, reply.heard_ms, reply.words, reply.held, 0, reply.said, reply.generated)
            events.append(ReplyHeard(self.at, *progress, reply.then.value, reply.then_reason))
        return events

    def apply(self, event: JournalEvent) -> None:
        """Take one event; those that change nothing are passed over."""
        if event.at > self.at:
            self.at = event.at
        change = _CHANGES.get(type(event))
        if change is not None:
            change(self, event)

    # the call

    def _answered(self, event: CallAnswered) -> None:
        self.answered = event

    def _taken_over(self, event: CallTakenOver) -> None:
        self.fence, self.stream_id = event.fence, ""

    def _gap(self, event: JournalGap) -> None:
        self.lost += event.lost

    def _attached(self, event: LegAttached) -> None:
        self.stream_id = event.stream_id

    def _detached(self, event: LegDetached) -> None:
        self.stream_id = ""

    def _floor_changed(self, event: FloorChanged) -> None:
        self.phase = _PHASES.get(event.phase, self.phase)
        self.floor = _FLOORS.get(event.floor, self.floor)
        if self.floor is Floor.LISTENING:  # whatever he said, it was no turn
            self.half_said = ""

    def _transfer_requested(self, event: TransferRequested) -> None:
        self.transfer_reason = event.reason

    def _transfer_failed(self, event: TransferFailed) -> None:
        self.transcript.apply(event)
        self.transfer_reason = self.digits = ""

    def _usage_counted(self, event: UsageCounted) -> None:
        for provider, amounts in event.usage.items():
            units = self.usage.setdefault(provider, {})
            for unit, amount in amounts.items():
                units[unit] = units.get(unit, 0) + amount

    def _ended(self, event: CallEnded) -> None:
        self.end_reason, self.phase, self.reply, self.stream_id = event.reason, Phase.ENDED, None, ""
        self.tools.clear()

    # the caller

    def _caller_partial(self, event: CallerPartial) -> None:
        self.half_said = event.text

    def _digit_keyed(self, event: DigitKeyed) -> None:
        self.digits += event.digit

    def _caller_said(self, event: CallerSaid) -> None:
        self.transcript.apply(event)
        self.half_said = ""
        self.unanswered = True
        if event.digits:
            self.digits = ""
        if event.text:
            self.asked_whether_there = 0

    # the agent

    def _reply_begun(self, event: ReplyBegun) -> None:
        self.turns = max(self.turns, event.turn)
        self._cut_off_tools()
        self.reply = ReplyInProgress(
            event.turn,
            event.purpose,
            event.text,
            generated=bool(event.text),
            then=_THENS.get(event.then, Then.LISTEN),
            then_reason=event.then_reason,
            interruptible=event.interruptible,
        )
        match event.purpose:
            case Purpose.NOTICE:
                self.noticed = True
            case Purpose.REPROMPT:
                self.asked_whether_there += 1
            case Purpose.APOLOGY:
                self.failures += 1

    def _reply_started(self, event: ReplyStarted) -> None:
        if self.reply is not None and self.reply.turn == event.turn:
            self.reply.audible = True

    def _reply_heard(self, event: ReplyHeard) -> None:
        reply = self.reply
        if reply is None or reply.turn != event.turn:
            return
        if event.said:
            reply.said = reply.said[: event.said_from] + event.said
        reply.words, reply.heard_ms, reply.held = event.words, event.heard_ms, event.held
        reply.generated = event.generated
        reply.then, reply.then_reason = _THENS.get(event.then, reply.then), event.then_reason

    def _tool_called(self, event: ToolCalled) -> None:
        self.transcript.apply(event)
        self.tools[event.tool_call_id] = event
        self.cut_off.pop(event.idempotency_key, None)

    def _tool_returned(self, event: ToolReturned) -> None:
        self.transcript.apply(event)
        self.tools.pop(event.tool_call_id, None)

    def _reply_ended(self, event: ReplyEnded) -> None:
        self.transcript.apply(event)
        answered = self.reply is not None and self.reply.purpose == Purpose.ANSWER
        if event.heard:
            self.unanswered = False
        if answered and event.reason == TurnReason.COMPLETED:
            self.failures = 0
        self.turns = max(self.turns, event.turn)
        self.reply = None
        self._cut_off_tools()

    def _cut_off_tools(self) -> None:
        for tool in self.tools.values():
            if tool.idempotent and tool.idempotency_key:
                self.cut_off[tool.idempotency_key] = tool
        self.tools.clear()


_PHASES = {phase.value: phase for phase in Phase}
_FLOORS = {floor.value: floor for floor in Floor}
_THENS = {then.value: then for then in Then}
"""Looked up, not converted: a later version may write names that this one does not know."""

_CHANGES: Mapping[type[JournalEvent], Callable[[SessionMemory, Any], None]] = {
    CallAnswered: SessionMemory._answered,
    CallTakenOver: SessionMemory._taken_over,
    JournalGap: SessionMemory._gap,
    LegAttached: SessionMemory._attached,
    LegDetached: SessionMemory._detached,
    FloorChanged: SessionMemory._floor_changed,
    TransferRequested: SessionMemory._transfer_requested,
    TransferFailed: SessionMemory._transfer_failed,
    CallEnded: SessionMemory._ended,
    UsageCounted: SessionMemory._usage_counted,
    CallerPartial: SessionMemory._caller_partial,
    DigitKeyed: SessionMemory._digit_keyed,
    CallerSaid: SessionMemory._caller_said,
    ReplyBegun: SessionMemory._reply_begun,
    ReplyStarted: SessionMemory._reply_started,
    ReplyHeard: SessionMemory._reply_heard,
    ToolCalled: SessionMemory._tool_called,
    ToolReturned: SessionMemory._tool_returned,
    ReplyEnded: SessionMemory._reply_ended,
}
"""What each kind of event changes. A live call applies several in the middle of an interruption: one look-up each."""


def fold(events: Iterable[JournalEvent]) -> SessionMemory:
    """The memory of a session of which this is the journal, or the beginning of it."""
    memory = SessionMemory()
    for event in events:
        memory.apply(event)
    return memory
