"""Metrics of SIP: each trunk's state as it is now, and how well the media of ended calls went."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.calls.journal import MediaMeasured
from telephony.sip.events import TrunkState, TrunkStatus

_LOSS = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1)
_MS = (1, 5, 10, 20, 30, 50, 100, 200, 500)
_MOS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.2, 4.4)


class _Trunks(Collector):
    def __init__(self, trunks: Callable[[], tuple[TrunkStatus, ...]]) -> None:
        self._trunks = trunks

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily("sidetone_sip_trunk", "1 for the state a trunk is in", labels=["trunk", "state"])
        for status in self._trunks():
            for state in TrunkState:
                family.add_metric([status.name, state.value], float(status.state is state))
        return [family]


class MediaQuality:
    """Loss, jitter, round trip and the estimated MOS of calls over RTP."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"sidetone_rtp_{name}", text, registry=registry, buckets=(*buckets, float("inf")))

        self._loss = histogram("loss_ratio", "RTP packets lost on the way to us", _LOSS)
        self._facts = {
            "jitter_ms": histogram("jitter_milliseconds", "Interarrival jitter of RTP", _MS),
            "round_trip_ms": histogram("round_trip_milliseconds", "Round trip by RTCP", _MS),
            "mos": histogram("mos", "Estimated mean opinion score of a call", _MOS),
        }

    def observe(self, event: MediaMeasured) -> None:
        """Take what was measured in a call that has ended."""
        for name, metric in self._facts.items():
            value = event.facts.get(name)
            if isinstance(value, float):
                metric.observe(value)
        received, lost = event.facts.get("packets_received"), event.facts.get("packets_lost")
        if isinstance(received, float) and isinstance(lost, float) and received + lost:
            self._loss.observe(lost / (received + lost))


def expose_trunks(registry: CollectorRegistry, trunks: Callable[[], tuple[TrunkStatus, ...]]) -> None:
    """Tell each trunk's state whenever the metrics are asked for."""
    registry.register(_Trunks(trunks))
