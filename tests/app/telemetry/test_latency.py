"""Where a turn's time went, what it may take, and how the figures of many turns are told."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.telemetry.latency import PROFILES, STRICT, BudgetBreach, LatencyBudgets, LatencyMetrics, Quantiles, stage_times


def whole_turn() -> LatencyMetrics:
    """A turn in which every stage takes a time of its own."""
    return LatencyMetrics(
        audio_chunk_received=10.0,
        asr_started=10.01,
        asr_partial=10.4,
        speech_ended=11.0,
        turn_ended=11.5,
        asr_complete=11.7,
        llm_started=11.7,
        llm_first_token=12.0,
        llm_complete=12.5,
        tts_started=12.1,
        tts_first_chunk=12.25,
        tts_complete=13.0,
        playout_started=12.26,
        llm_tokens=51,
        tts_chunks=11,
        tts_busy_s=0.3,
    )


def test_what_each_stage_took() -> None:
    assert stage_times(whole_turn()) == pytest.approx(
        {
            "asr_processing": 0.01,
            "asr_finalization": 0.2,
            "llm_first_token": 0.3,
            "llm_token_generation": 0.01,
            "tts_first_chunk": 0.15,
            "tts_chunk_generation": 0.03,
            "time_to_first_audio": 0.55,
        }
    )


def test_the_two_totals_and_what_the_caller_perceives() -> None:
    metrics = whole_turn()
    assert metrics.time_to_first_audio == pytest.approx(12.25 - 11.7)
    assert metrics.total_latency == pytest.approx(3.0)
    assert metrics.response_onset == pytest.approx(1.26)
    assert metrics.barge_in_stop is None


@pytest.mark.parametrize(
    ("figure", "stamps"),
    [
        ("time_to_first_audio", ("asr_complete", "tts_first_chunk")),
        ("total_latency", ("audio_chunk_received", "tts_complete")),
        ("response_onset", ("speech_ended", "playout_started")),
    ],
)
def test_a_cut_turn_that_lacks_a_stamp_has_no_figure(figure: str, stamps: tuple[str, ...]) -> None:
    for stamp in stamps:
        metrics = whole_turn()
        setattr(metrics, stamp, None)
        assert getattr(metrics, figure) is None


def test_stamps_of_different_turns_make_no_figure() -> None:
    assert LatencyMetrics(asr_complete=5.0, tts_first_chunk=4.0).time_to_first_audio is None


def test_a_turn_without_any_stamp_breaches_nothing() -> None:
    assert LatencyBudgets().breaches(LatencyMetrics()) == ()
    assert set(stage_times(LatencyMetrics()).values()) == {None}


def test_a_turn_within_the_budgets_breaches_nothing() -> None:
    assert LatencyBudgets().breaches(whole_turn()) == ()


@pytest.mark.parametrize("stage", [field.name for field in dataclasses.fields(LatencyBudgets)])
def test_a_breach_names_the_stage_what_it_took_and_what_was_allowed(stage: str) -> None:
    took = stage_times(whole_turn())[stage]
    assert took is not None
    tight = dataclasses.replace(LatencyBudgets(), **{stage: took / 2})
    assert tight.breaches(whole_turn()) == (BudgetBreach(stage, took, took / 2),)


def test_every_budget_is_held_to_a_stage() -> None:
    assert set(stage_times(LatencyMetrics())) == {field.name for field in dataclasses.fields(LatencyBudgets)}


def test_the_budgets_are_those_that_were_agreed() -> None:
    assert dataclasses.astuple(LatencyBudgets()) == (0.1, 0.3, 0.5, 0.02, 0.2, 0.05, 1.0)
    assert dataclasses.astuple(STRICT) == (0.08, 0.3, 0.3, 0.02, 0.15, 0.05, 0.8)
    assert PROFILES["strict"] is STRICT


def test_all_stamps_are_reported_and_only_stamps() -> None:
    stamps = whole_turn().stamps()
    assert len(stamps) == 15
    assert stamps["asr_complete"] == 11.7
    assert LatencyMetrics(**stamps).total_latency == whole_turn().total_latency


SHARES = st.sampled_from((0.0, 0.07, 0.1, 0.5, 0.9, 0.99, 1.0))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), SHARES)
def test_a_quantile_is_the_smallest_value_that_its_share_does_not_exceed(values: list[float], share: float) -> None:
    quantiles = Quantiles()
    for value in values:
        quantiles.add(value)
    quantile = quantiles.at(share)
    assert quantile in values
    needed = max(1, math.ceil(round(share * len(values), 6)))
    assert sum(value <= quantile for value in values) >= needed
    assert sum(value < quantile for value in values) < needed


def test_the_median_of_two_is_the_smaller_and_p99_of_a_hundred_the_ninety_ninth() -> None:
    assert Quantiles(values=[1.0, 2.0]).at(0.5) == 1.0
    assert Quantiles(values=[float(n) for n in range(1, 101)]).at(0.99) == 99.0


def test_quantiles_of_nothing_are_none() -> None:
    assert Quantiles().at(0.5) is None


def test_only_the_most_recent_values_count() -> None:
    quantiles = Quantiles(capacity=10)
    for value in range(100):
        quantiles.add(float(value))
    assert len(quantiles.values) == 10
    assert quantiles.at(0.0) == 90.0
