import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from providers.tts.espeak_library import RATE_HZ, SpokenClause, Synthesis
from providers.tts.espeak_units import MOST_CHARACTERS, Unit, clauses, units

TEXTS = st.text(max_size=3 * MOST_CHARACTERS) | st.text(" ab.,\n", max_size=4 * MOST_CHARACTERS)


def words_of(parts: list[Unit]) -> list[str]:
    return [word for unit in parts for _, word in unit.words]


@given(TEXTS)
def test_units_hold_every_word_of_the_text_once(text: str) -> None:
    assert words_of(list(units(text))) == text.split()


@given(TEXTS)
def test_units_are_short_and_leave_out_only_space(text: str) -> None:
    parts = list(units(text))
    assert all(len(unit.text) <= MOST_CHARACTERS for unit in parts)
    assert "".join("".join(unit.text for unit in parts).split()) == "".join(text.split())


@given(TEXTS)
def test_a_words_place_is_where_it_is_written(text: str) -> None:
    for unit in units(text):
        for at, word in unit.words:
            assert unit.text[at : at + len(word)] == word[: len(unit.text) - at]


def test_a_long_text_is_cut_behind_a_sentence_then_behind_a_clause_then_between_words() -> None:
    sentence = "This is one sentence, of some words. "
    assert {unit.text[-2:] for unit in list(units(sentence * 40))[:-1]} == {". "}
    assert {unit.text[-2:] for unit in list(units("some words, and more, " * 40))[:-1]} == {", "}
    assert {unit.text[-2:] for unit in list(units("words " * 200))[:-1]} == {"s "}


def test_a_word_longer_than_a_unit_is_reported_where_it_begins() -> None:
    long = "x" * (2 * MOST_CHARACTERS + 10)
    parts = list(units(f"{long} end"))
    assert [[word for _, word in unit.words] for unit in parts] == [[long], [], ["end"]]


def tone(ms: int) -> np.ndarray:
    return np.full(ms * RATE_HZ // 1000, 5000, np.int16)


def silence(ms: int) -> np.ndarray:
    return np.zeros(ms * RATE_HZ // 1000, np.int16)


def at(ms: int) -> int:
    return ms * RATE_HZ // 1000


def test_silence_around_a_clause_is_cut_and_counted() -> None:
    samples = np.concatenate([silence(100), tone(300), silence(250)])
    (clause,) = clauses(Unit("hello", ((0, "hello"),)), Synthesis(samples, (SpokenClause(5, len(samples), ()),)))
    assert abs(len(clause.samples) - at(20 + 300 + 10)) <= 2
    assert abs(clause.pause_samples - at(240)) <= 2
    assert [(word.text, word.start, word.end) for word in clause.words] == [("hello", 0, len(clause.samples))]


def test_places_that_espeak_names_are_believed() -> None:
    samples = np.concatenate([silence(50), tone(950)])
    spoken = SpokenClause(11, len(samples), ((0, at(50)), (6, at(600))))
    (clause,) = clauses(Unit("hello world", ((0, "hello"), (6, "world"))), Synthesis(samples, (spoken,)))
    assert [word.start for word in clause.words] == [0, at(600) - at(30)]
    assert clause.words[0].end == clause.words[1].start


def test_words_that_espeak_joins_share_the_time_by_their_letters() -> None:
    text = "on the 5th"
    unit = Unit(text, ((0, "on"), (3, "the"), (7, "5th")))
    spoken = SpokenClause(len(text), at(1000), ((0, 0), (7, at(700))))
    (clause,) = clauses(unit, Synthesis(tone(1000), (spoken,)))
    starts = [word.start for word in clause.words]
    assert starts[0] == 0
    assert abs(starts[1] - at(300)) <= 2
    assert starts[2] == at(700)


def test_a_word_that_espeak_splits_is_reported_once() -> None:
    unit = Unit("at 10:30 sharp", ((0, "at"), (3, "10:30"), (9, "sharp")))
    spoken = SpokenClause(14, at(1000), ((0, 0), (3, at(200)), (6, at(400)), (9, at(700))))
    (clause,) = clauses(unit, Synthesis(tone(1000), (spoken,)))
    assert [(word.text, word.start) for word in clause.words] == [("at", 0), ("10:30", at(200)), ("sharp", at(700))]


def test_a_silent_clause_keeps_its_words() -> None:
    (clause,) = clauses(
        Unit("... --", ((0, "..."), (4, "--"))), Synthesis(silence(300), (SpokenClause(6, at(300), ()),))
    )
    assert len(clause.samples) == 0
    assert clause.pause_samples == at(300)
    assert [(word.text, word.start, word.end) for word in clause.words] == [("...", 0, 0), ("--", 0, 0)]


@given(st.data())
def test_whatever_espeak_reports_every_word_is_there_once_and_time_never_falls(data: st.DataObject) -> None:
    text = data.draw(st.text("ab ,.1", min_size=1, max_size=60).filter(str.strip))
    (unit,) = units(text)
    ends = sorted(data.draw(st.lists(st.integers(0, 3000), min_size=1, max_size=4)))
    numbers = st.integers(-5, len(text) + 5)
    spoken = tuple(
        SpokenClause(data.draw(numbers), end, tuple(data.draw(st.lists(st.tuples(numbers, st.integers(-50, 3500))))))
        for end in ends
    )
    samples = np.where(np.arange(ends[-1]) % 1000 < 600, 5000, 0).astype(np.int16)
    found = list(clauses(unit, Synthesis(samples, spoken)))
    assert [word.text for clause in found for word in clause.words] == text.split()
    for clause in found:
        times = [time for word in clause.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0 <= time <= len(clause.samples) for time in times)
