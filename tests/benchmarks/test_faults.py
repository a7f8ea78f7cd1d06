"""What a caller heard, as the recording of voices that spell has it."""

import pytest

from benchmarks.faults import in_order, said_again
from tests.fakes.deepgram import silence
from tests.fakes.elevenlabs import CHARACTER_SAMPLES, heard, sound

WORDS = "we are open from nine to five".split()


def test_what_was_spelled_is_read_whatever_silence_is_around_it() -> None:
    recording = silence(40) + sound("hello, all") + silence(1000) + sound(" bye")
    assert heard(recording) == "hello, all bye"


def test_a_gap_within_a_character_takes_nothing_of_it() -> None:
    spelled = sound("hello")
    assert heard(spelled[:240] + silence(30) + spelled[240:400] + silence(10) + spelled[400:]) == "hello"


def test_of_a_character_that_broke_off_less_than_half_is_none() -> None:
    broken = sound("ab")[: -CHARACTER_SAMPLES // 2 - 2]
    assert heard(broken + silence(100) + sound("c")) == "ac"


@pytest.mark.parametrize(
    ("spelled", "whole", "again"),
    [
        ("we are open from nine to five", True, 0),
        ("One moment. we are open from from nine to five", True, 0),
        ("we are opopen from nine to five", True, 0),
        ("we are open from nine", False, 0),
        ("we are from nine to five", False, 0),
        ("we are open from are open from nine to five", True, 1),
        ("we are open from nine to five we are open from nine to five", True, 5),
    ],
)
def test_words_that_are_missing_and_words_that_came_twice_are_seen(spelled: str, whole: bool, again: int) -> None:
    assert in_order(WORDS, spelled) is whole
    assert said_again(WORDS, spelled) == again
