"""What the library's threads hand to the event loop: plain values, read while the library holds the call still."""

from dataclasses import dataclass
from enum import StrEnum

from telephony.sip.leg import Ring
from telephony.sip.quality import StreamCounts


class DialogState(StrEnum):
    """How far an INVITE is (the states of pjsip's invite session that matter)."""

    CALLING = "calling"
    EARLY = "early"
    CONNECTING = "connecting"  # 200 sent or received
    CONFIRMED = "confirmed"
    DISCONNECTED = "disconnected"


class MediaState(StrEnum):
    """What the last offer and answer agreed on."""

    NONE = "none"
    ACTIVE = "active"
    HELD_BY_PEER = "held by peer"
    HELD_BY_US = "held by us"


@dataclass(frozen=True, slots=True)
class StateSignalled:
    """The dialog moved. `message` is the SIP message that did it, if one came in."""

    state: DialogState
    status: int
    reason: str
    call_id: str
    message: str


@dataclass(frozen=True, slots=True)
class MediaSignalled:
    """Offer and answer are settled, for the first time or anew. The ring is connected by now; there is one per call."""

    state: MediaState
    ring: Ring | None
    key: int


@dataclass(frozen=True, slots=True)
class DigitSignalled:
    """The peer pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class TransferSignalled:
    """A NOTIFY about a REFER of ours, or the REFER's own answer."""

    status: int
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """An RTP stream is being torn down: this is what it came to."""

    counts: StreamCounts


CallSignal = StateSignalled | MediaSignalled | DigitSignalled | TransferSignalled | StreamEnded


@dataclass(frozen=True, slots=True)
class RegistrationSignalled:
    """The registrar's answer, or that there was none (`status` 408, 503). `expires_s` 0: not registered."""

    status: int
    reason: str
    expires_s: int
    source: str


@dataclass(frozen=True, slots=True)
class AnswerSignalled:
    """The answer to an OPTIONS of ours."""

    status: int
    reason: str
    source: str


TrunkSignal = RegistrationSignalled | AnswerSignalled
