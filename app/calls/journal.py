"""What happened in a call, in order: typed events, from which everything else can be told.

The journal is append-only. A transcript is a fold over it, and so are the records, the live view and, after a crash,
the session itself. `at` is seconds since the call was answered.
"""

from collections.abc import Callable
from typing import Any

import msgspec


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class JournalEvent(msgspec.Struct, frozen=True, tag_field="kind", tag=_snake):
    """Something that happened `at` seconds into the call."""

    at: float


class CallAnswered(JournalEvent, frozen=True):
    """The call exists. `providers` names who listens, thinks and speaks."""

    call_id: str
    carrier: str
    caller: str
    called: str
    answered_at: str  # wall time, ISO 8601
    providers: dict[str, str] = {}
    variables: dict[str, str] = {}


class LegAttached(JournalEvent, frozen=True):
    """Media flows, over this stream."""

    stream_id: str


class LegDetached(JournalEvent, frozen=True):
    """Media is lost or closed; the call may go on over another leg."""

    reason: str


class CallerSaid(JournalEvent, frozen=True):
    """One turn of the caller as recognised; empty text: speech that nobody understood. `digits`: keyed, not spoken."""

    text: str
    digits: bool = False


class ReplyStarted(JournalEvent, frozen=True):
    """The first sound of a reply left."""

    turn: int


class ToolCalled(JournalEvent, frozen=True):
    """The model asked for a tool, after `said` (what the reply said since the tool before)."""

    turn: int
    tool_call_id: str
    name: str
    arguments: dict[str, Any]
    said: str = ""


class ToolReturned(JournalEvent, frozen=True):
    """A tool's one result."""

    turn: int
    tool_call_id: str
    content: str
    failed: bool = False


class ReplyEnded(JournalEvent, frozen=True):
    """A reply is over: what it said in all, what of it was heard, and why it ended (a `TurnReason`)."""

    turn: int
    said: str
    heard: str
    reason: str
    certainty: str = "confirmed"


class TurnMeasured(JournalEvent, frozen=True):
    """The stamps of a turn (seconds since the call was answered; None: did not happen) and what they amount to."""

    turn: int
    stamps: dict[str, float | None]
    onset_s: float | None = None
    barge_in_stop_s: float | None = None
    breaches: list[str] = []


class ProviderFailed(JournalEvent, frozen=True):
    """A provider let us down; the call goes on without it as well as it can."""

    provider: str
    error: str
    detail: str


class AudioLost(JournalEvent, frozen=True):
    """`lost_ms` of the caller's audio were not recognised."""

    lost_ms: float
    reason: str


class AnomalyHeard(JournalEvent, frozen=True):
    """The caller's audio is not as it should be: `anomaly` names how, `facts` say where in the stream (ms) and how
    much (see `telephony.anomalies`)."""

    anomaly: str
    facts: dict[str, float]


class CallEnded(JournalEvent, frozen=True):
    """The last event of a call."""

    reason: str


class CallerPartial(JournalEvent, frozen=True):
    """What the recogniser makes of the caller's turn so far. Told to listeners, never kept."""

    text: str


class FloorChanged(JournalEvent, frozen=True):
    """Who has the floor now. Told to listeners, never kept."""

    floor: str
    phase: str


KEPT = (
    CallAnswered
    | LegAttached
    | LegDetached
    | CallerSaid
    | ReplyStarted
    | ToolCalled
    | ToolReturned
    | ReplyEnded
    | TurnMeasured
    | ProviderFailed
    | AudioLost
    | AnomalyHeard
    | CallEnded
)
TRANSIENT = (CallerPartial, FloorChanged)

Listener = Callable[[JournalEvent], None]
"""Called synchronously for each event; must not block and must not raise."""


class Journal:
    """The events of one call, in memory, and whoever listens to them live."""

    def __init__(self) -> None:
        self.events: list[JournalEvent] = []
        self._listeners: list[Listener] = []

    def append(self, event: JournalEvent) -> None:
        """Keep the event, unless it is a transient one, and tell the listeners."""
        if not isinstance(event, TRANSIENT):
            self.events.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear of each event from now on; the result ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def encode(event: JournalEvent) -> bytes:
    """One event as a JSON object."""
    return msgspec.json.encode(event)


def decode(line: bytes) -> JournalEvent:
    """The event that `encode` wrote. Raises `msgspec.ValidationError` on anything else."""
    event: JournalEvent = msgspec.json.decode(line, type=KEPT)
    return event
