"""How a call sounded, estimated from its packets: the E-model (ITU-T G.107), and the sums over a call's streams."""

from collections.abc import Iterable
from dataclasses import dataclass

from telephony.sip.events import MediaStatistics

_BEST_R = 93.2
"""R with all defaults: no delay, no loss, G.711."""
_BUFFERED_JITTERS = 2.0
"""An adaptive buffer holds about twice the jitter."""
_PACKETISATION_MS = 20.0
_IMPAIRMENT = {"PCMU": (0.0, 25.1), "PCMA": (0.0, 25.1), "G722": (13.0, 13.0), "OPUS": (5.0, 18.0)}
"""Ie and Bpl: G.711 with concealment and G.722 by G.113, Appendix I and IV; Opus by what is published of it."""


def mean_opinion_score(codec: str, loss_percent: float, one_way_ms: float) -> float:
    """What people would say of it on average, 1.0 (bad) to 4.5 (as good as a telephone gets). G.107, simplified."""
    impairment, robustness = _IMPAIRMENT.get(codec.upper(), _IMPAIRMENT["PCMU"])
    loss = min(100.0, max(0.0, loss_percent))
    by_loss = impairment + (95.0 - impairment) * loss / (loss + robustness)
    by_delay = 0.024 * one_way_ms + 0.11 * max(0.0, one_way_ms - 177.3)
    r = min(100.0, max(0.0, _BEST_R - by_loss - by_delay))
    return max(1.0, min(4.5, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6))


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """One RTP stream pair as the library counted it. A re-INVITE ends one and begins another."""

    codec: str = ""
    encrypted: bool = False
    received: int = 0
    lost: int = 0
    discarded: int = 0
    sent: int = 0
    lost_by_peer: int = 0
    jitter_us: int = 0
    jitter_max_us: int = 0
    round_trip_us: int = 0


def summarise(streams: Iterable[StreamCounts]) -> MediaStatistics:
    """The whole call: counts add up, jitter and round trip are those of the stream with most packets received."""
    counts = [stream for stream in streams if stream.codec]
    if not counts:
        return MediaStatistics()
    longest = max(counts, key=lambda stream: stream.received)
    received = sum(stream.received for stream in counts)
    lost = sum(stream.lost for stream in counts)
    discarded = sum(stream.discarded for stream in counts)
    round_trip_ms = longest.round_trip_us / 1000 if longest.round_trip_us else None
    jitter_ms = longest.jitter_us / 1000
    mos = None
    if received:
        loss_percent = 100 * (lost + discarded) / max(1, received + lost)
        one_way_ms = (round_trip_ms or 0.0) / 2 + _BUFFERED_JITTERS * jitter_ms + _PACKETISATION_MS
        mos = round(mean_opinion_score(longest.codec, loss_percent, one_way_ms), 2)
    return MediaStatistics(
        codec=counts[-1].codec,
        encrypted=all(stream.encrypted for stream in counts),
        packets_received=received,
        packets_lost=lost,
        packets_discarded=discarded,
        packets_sent=sum(stream.sent for stream in counts),
        packets_lost_by_peer=sum(stream.lost_by_peer for stream in counts),
        jitter_ms=jitter_ms,
        jitter_max_ms=max(stream.jitter_max_us for stream in counts) / 1000,
        round_trip_ms=round_trip_ms,
        mos=mos,
    )
