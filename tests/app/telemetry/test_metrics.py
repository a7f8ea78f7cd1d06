"""What `/metrics` tells, in the format that Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.calls.journal import CallEnded, TurnMeasured
from app.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def test_a_counter_exists_from_its_first_count() -> None:
    metrics = Metrics()
    metrics.count("late_finals")
    metrics.count("late_finals")
    assert samples(metrics)["sidetone_late_finals_total", ()] == 2


def test_labels_are_counted_apart_in_whatever_order_they_are_given() -> None:
    metrics = Metrics()
    metrics.count("provider_errors", provider="a", kind="x")
    metrics.count("provider_errors", kind="x", provider="a")
    metrics.count("provider_errors", provider="b", kind="x")
    told = samples(metrics)
    assert told["sidetone_provider_errors_total", (("kind", "x"), ("provider", "a"))] == 2
    assert told["sidetone_provider_errors_total", (("kind", "x"), ("provider", "b"))] == 1


def test_two_applications_in_one_process_do_not_share_their_counts() -> None:
    first, second = Metrics(), Metrics()
    first.count("calls_ended")
    assert ("sidetone_calls_ended_total", ()) not in samples(second)


def test_live_calls_are_asked_for_when_they_are_told() -> None:
    metrics, calls = Metrics(), [1, 2]
    metrics.live_calls.set_function(lambda: len(calls))
    calls.append(3)
    assert samples(metrics)["sidetone_live_calls", ()] == 3


def measured(complete: float, first_chunk: float | None, onset: float | None) -> TurnMeasured:
    return TurnMeasured(
        at=1.0, turn=1, stamps={"asr_complete": complete, "tts_first_chunk": first_chunk}, onset_s=onset
    )


def test_latencies_of_turns_are_told_as_quantiles_by_stage() -> None:
    metrics = Metrics()
    for hundredth in range(1, 101):
        metrics.observe(measured(1.0, 1.0 + hundredth / 100, hundredth / 50))
    told = samples(metrics)
    for stage, scale in (("time_to_first_audio", 1), ("response_onset", 2)):
        for quantile, value in (("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)):
            labels = (("quantile", quantile), ("stage", stage))
            assert told["sidetone_turn_latency_seconds", labels] == pytest.approx(value * scale)


def test_a_turn_that_lacks_a_stamp_and_an_event_that_is_no_turn_say_nothing() -> None:
    metrics = Metrics()
    metrics.observe(measured(1.0, None, None))
    metrics.observe(CallEnded(at=1.0, reason="done"))
    assert not [name for name, _ in samples(metrics) if name == "sidetone_turn_latency_seconds"]
