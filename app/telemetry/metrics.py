"""Metrics for Prometheus: counters that hot paths may touch, and the latencies of turns as quantiles.

One registry per application, so that several applications live in one process (tests do).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.calls.journal import JournalEvent, MediaMeasured, TurnMeasured, UsageCounted
from app.telemetry.latency import LatencyMetrics, Quantiles, stage_times
from app.telemetry.trunks import MediaQuality

_SHARES = (0.5, 0.9, 0.99)


class Metrics:
    """Everything `/metrics` tells. A counter or gauge is created the first time its name comes by."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._levels: dict[str, Gauge] = {}
        self._latencies = _Latencies()
        self._media: MediaQuality | None = None
        self.registry.register(self._latencies)
        self.live_calls = Gauge("sidetone_live_calls", "Calls in progress", registry=self.registry)
        self.loop_lag = Summary("sidetone_loop_lag_seconds", "How late the event loop runs", registry=self.registry)

    def count(self, name: str, **labels: str) -> None:
        """One more of `name`. The labels of a name are always the same."""
        self.add(name, 1, **labels)

    def add(self, name: str, amount: float, **labels: str) -> None:
        """So many more of `name`. The labels of a name are always the same."""
        counter = self._counters.get(name)
        if counter is None:
            counter = Counter(f"sidetone_{name}", name.replace("_", " "), sorted(labels), registry=self.registry)
            self._counters[name] = counter
        (counter.labels(**labels) if labels else counter).inc(amount)

    def level(self, name: str, value: float, **labels: str) -> None:
        """`name` stands at `value` now."""
        gauge = self._levels.get(name)
        if gauge is None:
            gauge = Gauge(f"sidetone_{name}", name.replace("_", " "), sorted(labels), registry=self.registry)
            self._levels[name] = gauge
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, event: JournalEvent) -> None:
        """Take the latencies of a measured turn, a call's media and its costs; other events say nothing here."""
        match event:
            case TurnMeasured():
                self._latencies.add(event)
            case MediaMeasured():
                self._media = self._media or MediaQuality(self.registry)
                self._media.observe(event)
            case UsageCounted(usage=usage):
                for provider, amounts in usage.items():
                    for unit, amount in amounts.items():
                        self.add("usage", amount, provider=provider, unit=unit)
            case _:
                pass

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Latencies(Collector):
    """p50, p90 and p99 of each stage over the most recent thousand turns."""

    def __init__(self) -> None:
        self._stages: dict[str, Quantiles] = {}

    def add(self, event: TurnMeasured) -> None:
        stamps = LatencyMetrics(**event.stamps)  # type: ignore[arg-type]  # stamps are floats, the rest has defaults
        measured = {**stage_times(stamps), "response_onset": event.onset_s, "barge_in_stop": event.barge_in_stop_s}
        measured.pop("llm_token_generation")  # per token and per chunk need counts that stamps do not hold
        measured.pop("tts_chunk_generation")
        for stage, seconds in measured.items():
            if seconds is not None:
                self._stages.setdefault(stage, Quantiles()).add(seconds)

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "sidetone_turn_latency_seconds", "Latency of turns by stage", labels=["stage", "quantile"]
        )
        for stage, quantiles in self._stages.items():
            for share in _SHARES:
                value = quantiles.at(share)
                if value is not None:
                    family.add_metric([stage, f"{share:g}"], value)
        return [family]
