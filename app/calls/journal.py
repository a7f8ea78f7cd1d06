"""What happened in a call, in order: typed events, from which everything else can be told.

The journal is append-only. A transcript is a fold over it, and so are the records, the live view and, after a crash,
the session itself. `at` is seconds since the call was answered, or began to ring, by the clock of the call, which goes
on when another process carries the call on.

**Versions.** Journals outlive the program that wrote them, and two versions of it may share one call. So a kind's
fields are only ever added to, each with a default; what changes its meaning gets a new kind. A kind that a reader does
not know comes back as `UnknownEvent`. `CallAnswered` and `CallTakenOver` say which `SCHEMA` was written.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

log = structlog.get_logger()

SCHEMA = 1
"""Counts up with every kind or field added to this page."""


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class JournalEvent(msgspec.Struct, frozen=True, tag_field="kind", tag=_snake):
    """Something that happened `at` seconds into the call."""

    at: float


class CallAnswered(JournalEvent, frozen=True):
    """The call exists. `providers` names who listens, thinks and speaks; `settings` are those that shape the talk."""

    call_id: str
    carrier: str
    caller: str
    called: str
    answered_at: str  # wall time, ISO 8601
    providers: dict[str, str] = {}
    variables: dict[str, str] = {}
    direction: str = "inbound"
    settings: dict[str, Any] = {}
    schema: int = SCHEMA


class CallTakenOver(JournalEvent, frozen=True):
    """Another process carries the call on from here: `owner`, as the call's `fence`-th."""

    owner: str
    fence: int
    reason: str
    schema: int = SCHEMA


class JournalGap(JournalEvent, frozen=True):
    """`lost` events that happened since the moment `since` could not be kept."""

    lost: int
    since: float
    reason: str


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


class DigitKeyed(JournalEvent, frozen=True):
    """One key; the number that it belongs to comes as `CallerSaid`."""

    digit: str


class ReplyBegun(JournalEvent, frozen=True):
    """The agent has something to say. `purpose`: answer, or which of its own phrases; `text`: what is known of it by
    now; `then`: what the call does once it was heard (a `Then`), and why."""

    turn: int
    purpose: str
    text: str = ""
    then: str = "listen"
    then_reason: str = ""
    interruptible: bool = True


class ReplyStarted(JournalEvent, frozen=True):
    """The first sound of a reply left."""

    turn: int


class ReplyHeard(JournalEvent, frozen=True, omit_defaults=True):
    """How far a reply is, while it is spoken: `heard_ms` of its sound and `words` of its words were heard. What it
    says, as far as it is made: that of the event before up to the character `said_from` (None: all of it), then `said`;
    `generated`: that is all. `held`: the sound was stopped, the caller may be interrupting. `then`: what it leads to.
    """

    turn: int
    heard_ms: int
    words: int
    held: bool = False
    said_from: int | None = None
    said: str = ""
    generated: bool = False
    then: str = "listen"
    then_reason: str = ""


class ToolCalled(JournalEvent, frozen=True):
    """The model asked for a tool, after `said` (what the reply said since the tool before). A tool that is
    `idempotent` may be run again with the same `idempotency_key` and does its work once."""

    turn: int
    tool_call_id: str
    name: str
    arguments: dict[str, Any]
    said: str = ""
    idempotency_key: str = ""
    idempotent: bool = False


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


class SpeculationMeasured(JournalEvent, frozen=True):
    """What replies that were begun before the caller's turn was confirmed came to in this call. Tokens are pieces of
    text as the model streamed them; characters went to the voice."""

    started: int
    used: int
    discarded: int
    wasted_tokens: int
    wasted_characters: int


class ProviderFailed(JournalEvent, frozen=True):
    """A provider let us down; the call goes on without it as well as it can."""

    provider: str
    error: str
    detail: str


class ProviderReplaced(JournalEvent, frozen=True):
    """`provider` failed (`error`, `detail`) or was too slow, and `successor` went on where it was: nothing is said
    twice. The same name: it was asked again."""

    provider: str
    error: str
    detail: str
    successor: str


class AudioLost(JournalEvent, frozen=True):
    """`lost_ms` of the caller's audio were not recognised; `replayed_ms` were heard again by another recogniser, or by
    the same one over a new connection."""

    lost_ms: float
    reason: str
    replayed_ms: float = 0.0


class AnomalyHeard(JournalEvent, frozen=True):
    """The caller's audio is not as it should be: `anomaly` names how, `facts` say where in the stream (ms) and how
    much (see `telephony.anomalies`)."""

    anomaly: str
    facts: dict[str, Any]


class UsageCounted(JournalEvent, frozen=True):
    """What the call cost since this was last counted, so that they add up: amounts by provider and unit (`audio_ms`,
    `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens`, `characters`; `…_estimated` where the
    vendor never said)."""

    usage: dict[str, dict[str, int]]


class CallBegun(JournalEvent, frozen=True):
    """The first event of a call that is not answered at once: we call somebody, or the caller hears an announcement
    before the answer. `CallAnswered` follows, if it comes to that."""

    call_id: str
    carrier: str
    caller: str
    called: str
    direction: str
    began_at: str  # wall time, ISO 8601


class CallRinging(JournalEvent, frozen=True):
    """Whom we call hears it ring, or something else is on its way to an answer; `status` is the carrier's word."""

    status: str


class LegHeld(JournalEvent, frozen=True):
    """The far end put us on hold."""


class LegResumed(JournalEvent, frozen=True):
    """The far end is back."""


class TransferRequested(JournalEvent, frozen=True):
    """The caller is to be handed over to `target`."""

    reason: str
    target: str = ""


class TransferProgressed(JournalEvent, frozen=True):
    """What the far end tells of a hand-over in mid-call."""

    status: str


class TransferFailed(JournalEvent, frozen=True):
    """Nobody took over, and why: the call goes on. `asked_for`: the reason why it was wanted."""

    target: str
    asked_for: str
    reason: str


class MediaMeasured(JournalEvent, frozen=True):
    """How well the media went, over the whole call: loss, jitter (ms), round trip (ms), an estimate of the MOS."""

    facts: dict[str, float | str]


class CallEnded(JournalEvent, frozen=True):
    """The last event of a call. `cause`: in ISDN's word (Q.850), theirs or ours, where there is one."""

    reason: str
    cause: int | None = None


class CallerPartial(JournalEvent, frozen=True):
    """What the recogniser makes of the caller's turn so far."""

    text: str


class FloorChanged(JournalEvent, frozen=True):
    """Who has the floor now."""

    floor: str
    phase: str


class UnknownEvent(JournalEvent, frozen=True):
    """An event that is newer than this program, or of a form that it does not know; all that it says is in `fields`."""

    fields: dict[str, Any]


KEPT = (
    CallAnswered
    | CallTakenOver
    | JournalGap
    | LegAttached
    | LegDetached
    | CallerSaid
    | DigitKeyed
    | ReplyBegun
    | ReplyStarted
    | ToolCalled
    | ToolReturned
    | ReplyEnded
    | TurnMeasured
    | SpeculationMeasured
    | ProviderFailed
    | ProviderReplaced
    | AudioLost
    | AnomalyHeard
    | CallBegun
    | CallRinging
    | LegHeld
    | LegResumed
    | TransferRequested
    | TransferProgressed
    | TransferFailed
    | MediaMeasured
    | UsageCounted
    | CallEnded
)
PASSING = ReplyHeard | CallerPartial | FloorChanged
"""What later events soon say better: told to listeners and stored, but not kept in memory."""

Listener = Callable[[JournalEvent], None]
"""Called synchronously for each event; must not block and must not raise."""


class Journal:
    """The events of one call, in memory, and whoever listens to them live."""

    def __init__(self, past: Iterable[JournalEvent] = ()) -> None:
        self.events = [event for event in past if not isinstance(event, PASSING)]
        self._listeners: list[Listener] = []

    def append(self, event: JournalEvent) -> None:
        """Keep the event, unless it is a passing one, and tell the listeners."""
        if not isinstance(event, PASSING):
            self.events.append(event)
        for listener in tuple(self._listeners):
            listener(event)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear of each event from now on; the result ends it, however often it is called."""
        self._listeners.append(listener)
        listening: Listener | None = listener

        def stop() -> None:
            nonlocal listening
            if listening is not None:
                self._listeners.remove(listening)
                listening = None  # who listened may hold this in turn

        return stop


class _Envelope(msgspec.Struct):
    """What every event has, of whatever kind and version."""

    kind: str
    at: float


_SURROGATE = re.compile("[\ud800-\udfff]")
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[JournalEvent] = msgspec.json.Decoder(KEPT | PASSING)


def encode(event: JournalEvent) -> bytes:
    """One event as a JSON object; an unknown one as it was read. See `to_json`."""
    return to_json(event.fields if isinstance(event, UnknownEvent) else event)


def to_json(value: Any) -> bytes:
    """Any value as JSON. What no JSON can hold, halves of surrogate pairs, becomes replacement characters: what
    somebody sent us must not keep the whole process from writing."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        log.warning("text that is no text was repaired", kind=type(value).__name__)
        return _encoder.encode(_repaired(msgspec.to_builtins(value, enc_hook=msgspec.json.decode)))


def _repaired(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        case dict():
            return {_repaired(key): _repaired(item) for key, item in value.items()}
        case list() | tuple():
            return [_repaired(item) for item in value]
        case _:
            return value


def decode(line: bytes) -> JournalEvent:
    """The event that `encode` wrote, in this version of the program or in another: nothing that is newer, and no field
    that has changed its type, makes a whole journal unreadable.

    Raises `msgspec.MsgspecError` for what is no event.
    """
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        envelope = msgspec.json.decode(line, type=_Envelope)
        return UnknownEvent(envelope.at, msgspec.json.decode(line))
