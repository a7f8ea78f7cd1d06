"""What the simulator can do wrong on purpose, as carriers and networks do."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """A carrier's misbehaviour. The bridge has to live with each of them."""

    DUPLICATE_WEBHOOK = "duplicate_webhook"  # the voice webhook comes twice; the second answer counts
    HANDSHAKE_FAILS = "handshake_fails"  # the first media websocket is never opened (31920)
    LATE_MARKS_AFTER_CLEAR = "late_marks_after_clear"  # a clear's echoes come 300 ms late, amid newer audio
    LATE_MEDIA_AFTER_CLEAR = "late_media_after_clear"  # 200 ms of what was cleared are heard all the same
    NO_STOP = "no_stop"  # the stream's last message is missing
    OUT_OF_ORDER_STATUS = "out_of_order_status"  # `completed` while the stream is open, the earlier states after it
    UNKNOWN_EVENT = "unknown_event"  # once a second an event that nobody documented


@dataclass(frozen=True, slots=True)
class Stall:
    """From `at_s` seconds into the first stream nothing passes, in either direction, for `for_ms`; nothing is lost."""

    at_s: float
    for_ms: float


@dataclass(frozen=True, slots=True)
class Network:
    """What the network does to the media websockets: delays each message, in order; once it may stall or break.

    `jitter_ms` is the upper end of a uniform delay on top of `delay_ms`. TCP loses nothing: a lost packet is a stall.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    stalls: tuple[Stall, ...] = ()
    drop_at_s: float | None = None
    """The connection is reset, without a close frame, so many seconds into the first stream."""

    @property
    def delays(self) -> bool:
        return bool(self.delay_ms or self.jitter_ms or self.stalls)

    def afterwards(self) -> "Network":
        """What the streams after the first one meet."""
        return replace(self, stalls=(), drop_at_s=None)
