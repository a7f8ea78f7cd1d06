"""RTP as the far end of a wire sees it: G.711 packets out, and what comes in judged by its own clock."""

import struct
from array import array
from collections.abc import Iterable

from telephony.audio import FRAME_BYTES, FRAME_MS

FRAME_S = FRAME_MS / 1000
RATE_HZ = 8000
_HEADER = struct.Struct(">BBHII")
_PCMU = 0
_TELEPHONE_EVENT = 101
_QUIET = (0xFF, 0x7F, 0xFE, 0x7E)
"""µ-law of no sound, and of the least there is."""
_STAMPS = 1 << 32


class Sender:
    """Makes the packets of one stream, 20 ms each."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._count = 0

    def packet(self, frame: bytes) -> bytes:
        """The next one. `frame`: 160 bytes of µ-law."""
        self._count += 1
        count = self._count
        stamp = count * FRAME_BYTES % _STAMPS
        return _HEADER.pack(0x80, _PCMU, count & 0xFFFF, stamp, self._source) + frame


class Stream:
    """What one call brings. Every packet says in its timestamp when its sound belongs on the wire; the packet that was
    least late is the measure for the others. So a stream that stops and catches up is late, one that runs smoothly some
    milliseconds behind is not."""

    def __init__(self) -> None:
        self._transit_s = array("d")
        self._stamp: int | None = None
        self._sounded_at: int | None = None
        self._sequence: int | None = None
        self.lost = 0

    def arrived(self, packet: bytes, at: float) -> float | None:
        """Take a packet. If it sounds: the seconds of silence on the wire before it, infinite for the first; else None.
        Keys (RFC 4733) and what is no RTP are left out."""
        if len(packet) <= _HEADER.size or packet[1] & 0x7F != _PCMU:
            return None
        _, _, sequence, stamp, _ = _HEADER.unpack_from(packet)
        self._count(sequence)
        self._stamp = unwrapped = _unwrapped(stamp, self._stamp)
        self._transit_s.append(at - unwrapped / RATE_HZ)
        if not sounds(packet[_HEADER.size :]):
            return None
        before, self._sounded_at = self._sounded_at, unwrapped
        return float("inf") if before is None else max(0, unwrapped - before - FRAME_BYTES) / RATE_HZ

    def _count(self, sequence: int) -> None:
        missing = 0 if self._sequence is None else (sequence - self._sequence - 1) & 0xFFFF
        if missing < 0x8000:
            self._sequence = sequence
            self.lost += missing
        else:
            self.lost -= 1  # it comes after a later one, and was taken for lost

    def forget(self) -> None:
        """What came so far is not measured."""
        del self._transit_s[:]
        self.lost = 0

    def late_s(self) -> list[float]:
        """How late each packet was."""
        best = min(self._transit_s, default=0.0)
        return [transit - best for transit in self._transit_s]


def sounds(payload: bytes) -> bool:
    """Whether most of it is more than nothing."""
    return 2 * sum(map(payload.count, _QUIET)) < len(payload)


def share_over(values: Iterable[float], limit: float) -> float | None:
    """The share of values above the limit; None of nothing."""
    count = over = 0
    for value in values:
        count += 1
        over += value > limit
    return over / count if count else None


def _unwrapped(stamp: int, before: int | None) -> int:
    """The timestamp on a scale that does not begin again every 149 hours."""
    if before is None:
        return stamp
    ahead = (stamp - before) % _STAMPS
    return before + (ahead if ahead < _STAMPS // 2 else ahead - _STAMPS)
