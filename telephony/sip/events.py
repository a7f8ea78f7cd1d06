"""What a SIP endpoint tells about trunks and calls: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from telephony.leg import Leg


class TrunkState(StrEnum):
    """Whether calls can go over a trunk."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"  # no answer, or an error: tried again, ever more slowly
    REJECTED = "rejected"  # the registrar refuses our password: tried again rarely, lest it locks us out
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TrunkStatus:
    """A trunk's state; `status` and `reason` are the last answer's, 0 and empty before the first one."""

    name: str
    state: TrunkState
    status: int = 0
    reason: str = ""
    retry_in_s: float | None = None
    """When it is tried again, if it is down."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who stands in a From, To or P-Asserted-Identity header. `user` is the number, if it is one."""

    uri: str = ""
    user: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An INVITE that the endpoint let in: who calls whom, and what the carrier says about it."""

    call_id: str
    """SIP Call-ID."""
    trunk: str
    source: str
    """Address and port it came from."""
    caller: Party
    """P-Asserted-Identity if there is one, else From."""
    asserted: bool
    """The caller's identity is the carrier's word (RFC 3325), not the caller's own."""
    private: bool
    """The caller asked not to be shown (Privacy: id)."""
    called: str
    """User part of the request URI; of To where the request URI is only our own registration."""
    diverted_from: str = ""
    """Number that was called first (Diversion or History-Info), and why it was forwarded."""
    diversion_reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Custom headers, `x-…`, names in lower case."""
    received_at: float = 0.0
    """On the endpoint's clock."""


@dataclass(frozen=True, slots=True)
class DialRequest:
    """A call to place. `target` is a number, `user@host`, or a `sip:` URI; without a host it goes to the trunk's."""

    trunk: str
    target: str
    caller: str = ""
    """Number to show, where it is not the trunk's; also sent as P-Asserted-Identity."""
    display_name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_within_s: float = 60.0
    """Then it is cancelled: `CallEnded` with status 408."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a call ended, was refused, or is to be: a SIP status, and ISDN's word (Q.850) where somebody said it.

    `status` 0: an established call was hung up (BYE).
    """

    status: int = 0
    q850: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class MediaStatistics:
    """One call's RTP as it was measured; receiving unless it says otherwise. `mos` is an estimate, 1.0 to 4.5."""

    codec: str = ""
    encrypted: bool = False
    packets_received: int = 0
    packets_lost: int = 0
    packets_discarded: int = 0
    packets_sent: int = 0
    packets_lost_by_peer: int = 0
    jitter_ms: float = 0.0
    jitter_max_ms: float = 0.0
    round_trip_ms: float | None = None
    """None without RTCP from the peer."""
    mos: float | None = None
    """None before anything was received."""


# Events of one call


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """An outgoing call rings (180) or tells something else than an answer (1xx)."""

    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MediaOpened:
    """Sound flows. Once per call, before `CallAnswered` when there is early media; re-INVITEs change nothing."""

    leg: Leg
    early: bool


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """The call is established: 200 and ACK have passed. `MediaOpened` has been told, or follows at once."""


@dataclass(frozen=True, slots=True)
class CallHeld:
    """The peer put us on hold: it hears nothing, and sends nothing worth listening to."""


@dataclass(frozen=True, slots=True)
class CallResumed:
    """The peer took us back."""


@dataclass(frozen=True, slots=True)
class TransferProgressed:
    """What the peer tells about the call that we asked it to make (NOTIFY with a sipfrag)."""

    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The transfer's outcome; the call itself lives on until it is hung up, by the peer or by us.

    408: no outcome in the time allowed.
    """

    succeeded: bool
    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over; nothing follows. `by_peer`: they hung up, refused or could not be reached."""

    cause: Cause
    by_peer: bool
    statistics: MediaStatistics


CallEvent = (
    CallProgressed
    | MediaOpened
    | CallAnswered
    | CallHeld
    | CallResumed
    | TransferProgressed
    | TransferEnded
    | CallEnded
)
