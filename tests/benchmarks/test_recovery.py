"""What a recording of tones tells about words."""

from benchmarks.recovery import compared, joined


def test_a_word_with_a_gap_in_it_was_heard_once_and_one_that_begins_again_twice() -> None:
    gap = [(1.0, "alfa", 0.6), (1.3, "alfa", 0.5), (1.4, "bravo", 1.0)]
    assert joined(gap) == [(1.0, "alfa", 1.1), (1.4, "bravo", 1.0)]
    again = [(1.0, "alfa", 0.6), (3.0, "alfa", 1.0)]
    assert joined(again) == again


def test_words_are_missing_or_too_many() -> None:
    assert compared(["a", "b", "c"], ["a", "b", "c"]) == (0, 0)
    assert compared(["a", "b", "c"], ["a", "c"]) == (1, 0)
    assert compared(["a", "b", "c"], ["a", "b", "b", "c"]) == (0, 1)
