"""The estimate of how a call sounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.events import MediaStatistics
from telephony.sip.quality import StreamCounts, mean_opinion_score, summarise


def test_a_perfect_line_sounds_as_good_as_a_telephone_gets() -> None:
    assert mean_opinion_score("PCMU", 0, 20) == pytest.approx(4.40, abs=0.02)


@pytest.mark.parametrize(("loss", "score"), [(1, 4.3), (5, 3.75), (20, 2.5)])
def test_loss_costs_what_the_e_model_says(loss: float, score: float) -> None:
    assert mean_opinion_score("PCMU", loss, 20) == pytest.approx(score, abs=0.35)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 2000), st.floats(0, 2000))
def test_less_loss_and_less_delay_never_sound_worse(loss: float, more: float, delay: float, longer: float) -> None:
    better = mean_opinion_score("PCMU", loss, delay)
    assert 1.0 <= better <= 4.5
    assert mean_opinion_score("PCMU", loss + more, delay + longer) <= better + 1e-9


def test_streams_of_a_call_add_up() -> None:
    first = StreamCounts("PCMU", False, 1000, 10, 5, 900, 3, 2000, 9000, 40_000)
    held = StreamCounts("PCMU", True, 10, 0, 0, 100, 1, 500, 700, 0)
    total = summarise((first, StreamCounts(), held))
    assert (total.packets_received, total.packets_lost, total.packets_discarded) == (1010, 10, 5)
    assert (total.packets_sent, total.packets_lost_by_peer, total.encrypted) == (1000, 4, False)
    assert (total.jitter_ms, total.jitter_max_ms, total.round_trip_ms) == (2.0, 9.0, 40.0)
    assert total.mos is not None and 3.5 < total.mos < 4.4


def test_nothing_received_is_no_quality() -> None:
    assert summarise(()) == MediaStatistics()
    assert summarise((StreamCounts("PCMA", sent=5),)).mos is None
