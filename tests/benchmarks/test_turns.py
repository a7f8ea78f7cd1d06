"""The turn-taking benchmark measures what it says, on a few of its items."""

from functools import partial

import numpy as np
import pytest

from benchmarks.farend import Echo
from benchmarks.noises import cough
from benchmarks.sayings import Saying, by_flite, paused, prompts, spoken
from benchmarks.scenes import disturbance, interruption, play, turns
from tests.recordings import needs_human_speech

pytestmark = needs_human_speech


def test_a_pause_is_as_long_as_it_is_said_to_be_and_moves_the_words_after_it() -> None:
    tone = np.sin(np.arange(8000) / 3) * 8000
    tone[4000:4400] = 0.0  # 50 ms that are quiet already
    saying = paused(spoken("tone", "one two", tone), 400)
    assert saying.pause == (4000, 4000 + 3200)
    assert len(saying.sound) == 8000 + 2800
    assert saying.words == ((4000, "one"), (10800, "two"))


def test_a_pause_of_400_ms_ends_no_turn() -> None:
    for (taken,) in play([partial(turns, seed=n, sayings=[paused(prompts()[n], 400)]) for n in range(6)]):
        assert not taken.cut_in
        assert taken.words_kept
        assert taken.latency_s is not None
        assert 0.4 < taken.latency_s < 0.8


def test_speech_into_a_reply_stops_and_ends_it_with_all_its_words() -> None:
    for found in play([partial(interruption, seed=n, saying=prompts()[n]) for n in range(6)]):
        assert found.cleared_s is not None
        assert found.committed_s is not None
        assert found.words_kept


def test_what_is_no_speech_loses_neither_the_reply_nor_a_word() -> None:
    coughs = [partial(disturbance, seed=n, saying=Saying("cough", cough(n))) for n in range(6)]
    echo = partial(disturbance, seed=0, saying=None, echo=Echo(-20.0, 200.0))
    found = play([*coughs, echo])
    assert sum(one.holds for one in found) > 0
    assert not any(one.lost or one.entered_context or one.words_lost for one in found)
    assert max(one.words_doubled for one in found) <= 1


def test_backchannels_lose_no_reply_however_drawn_out() -> None:
    said = by_flite(("mm hm", "i see"))
    if not said:
        pytest.skip("flite is not installed")
    for one in play([partial(disturbance, seed=n, saying=saying) for n, saying in enumerate(said)]):
        assert one.holds == 1
        assert not one.lost
        assert not one.entered_context
        assert 0.0 < one.resumed_s[0] <= 0.7
