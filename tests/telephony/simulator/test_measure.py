import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.caller import Spoken
from telephony.simulator.ear import Phrase
from telephony.simulator.measure import Gap, exchanges, gaps, percentiles
from telephony.simulator.playout import Run


def spoken(start_ms: int, end_ms: int, interrupting: bool = False) -> Spoken:
    return Spoken(1, "words", start_ms * 8, end_ms * 8, interrupting)


def phrase(start_ms: int, end_ms: int) -> Phrase:
    return Phrase(start_ms * 8, end_ms * 8)


def run(start_ms: int, end_ms: int, cut: bool = False) -> Run:
    return Run(start_ms * 8, end_ms * 8, cut)


def test_the_onset_is_from_the_callers_last_to_the_agents_first_sample() -> None:
    (exchange,) = exchanges([spoken(1000, 2000)], [phrase(0, 500), phrase(2612, 3000), phrase(3400, 4000)])
    assert exchange.onset_s == pytest.approx(0.612)
    assert (exchange.answered_at_s, exchange.answered_until_s) == (2.612, 4.0)
    assert exchange.stop_s is None
    assert not exchange.cut_in


def test_an_utterance_without_an_answer_has_no_onset() -> None:
    first, second = exchanges([spoken(1000, 2000), spoken(3000, 4000)], [phrase(4500, 5000)])
    assert (first.onset_s, second.onset_s) == (None, 0.5)


def test_a_barge_in_stops_at_the_last_sample_of_what_was_interrupted() -> None:
    (exchange,) = exchanges([spoken(1000, 1600)], [phrase(0, 1230), phrase(2100, 3000)])
    assert (exchange.stop_s, exchange.onset_s) == (pytest.approx(0.23), pytest.approx(0.5))


def test_an_agent_that_goes_on_talking_while_the_caller_speaks_has_not_stopped() -> None:
    (exchange,) = exchanges([spoken(1000, 2000)], [phrase(0, 1100), phrase(1500, 2400), phrase(3000, 3500)])
    assert (exchange.stop_s, exchange.onset_s) == (pytest.approx(1.4), pytest.approx(1.0))


def test_an_interruption_that_hits_a_pause_between_phrases_counts() -> None:
    phrases = [phrase(0, 950), phrase(1500, 1800)]
    assert exchanges([spoken(1000, 1300, interrupting=True)], phrases)[0].stop_s == 0
    assert exchanges([spoken(1000, 1300)], phrases)[0].stop_s is None


def test_an_agent_that_speaks_into_the_utterance_cuts_in() -> None:
    (exchange,) = exchanges([spoken(1000, 2000)], [phrase(0, 500), phrase(1400, 3000)])
    assert exchange.cut_in
    assert exchange.onset_s is None


def test_a_playout_that_runs_dry_inside_speech_is_a_gap() -> None:
    runs = [run(0, 500), run(560, 1000), run(1020, 1400)]
    assert gaps(runs, []) == (Gap(0.5, pytest.approx(0.06)),)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([run(0, 500), run(520, 1000)], []),
        ([run(0, 500), run(1200, 2000)], []),
        ([run(0, 500, cut=True), run(600, 1000)], []),
        ([run(0, 500), run(1000, 2000)], [spoken(600, 800)]),
    ],
    ids=["20 ms", "the end of a stretch", "a clear", "the caller's turn"],
)
def test_these_are_no_gaps(runs: list[Run], words: list[Spoken]) -> None:
    assert gaps(runs, words) == ()


def test_percentiles_of_nothing_are_none() -> None:
    assert percentiles([None, None]) is None


def test_percentiles_interpolate() -> None:
    figures = percentiles([None, *(value / 100 for value in range(101))])
    assert figures is not None
    assert (figures.count, figures.p50, figures.p90) == (101, pytest.approx(0.5), pytest.approx(0.9))
    assert figures.p99 == pytest.approx(0.99)


@given(st.lists(st.floats(0, 10), min_size=1))
def test_percentiles_are_ordered_and_within_the_values(values: list[float]) -> None:
    figures = percentiles(values)
    assert figures is not None
    assert min(values) <= figures.p50 <= figures.p90 <= figures.p99 <= max(values)


def test_after_a_cough_the_agent_goes_on_at_once_or_after_a_while_or_never() -> None:
    heard_through = exchanges([spoken(1000, 1300)], [phrase(0, 2000)])
    resumed = exchanges([spoken(1000, 1300)], [phrase(0, 1100), phrase(1900, 2500)])
    lost = exchanges([spoken(1000, 1300)], [phrase(0, 1100)])
    assert [one[0].gone_on_s for one in (heard_through, resumed, lost)] == [0, pytest.approx(0.6), None]
