"""The notation of phrases: what it reads, matches, writes and samples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.llm.dialogue.phrases import (
    Choice,
    Optional,
    Phrase,
    PhraseError,
    Reference,
    Sampler,
    Sequence,
    SlotPhrase,
    Vocabulary,
    Word,
    first_words,
    jsgf,
    matches,
    parse,
    references,
    ways,
)

NAMES = Vocabulary(
    fragments={"want": parse("i want | i'd like"), "when": parse("<day> [at <time>]")},
    slots={
        "day": (SlotPhrase("+1", parse("tomorrow")), SlotPhrase("monday", parse("[on] monday"))),
        "time": (SlotPhrase("10:00", parse("ten [o'clock | a.m.]")), SlotPhrase("10:30", parse("half past ten"))),
    },
)

words = st.sampled_from(["book", "i'd", "a.m.", "on", "ten"]).map(Word)
phrases: st.SearchStrategy[Phrase] = st.recursive(
    words | st.sampled_from(["want", "when", "day"]).map(Reference),
    lambda inner: (
        inner.map(Optional)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: Sequence(tuple(parts)))
        | st.lists(inner, min_size=2, max_size=3).map(lambda options: Choice(tuple(options)))
    ),
    max_leaves=8,
)


def ends(text: str, said: str) -> set[int]:
    return {end for end, _ in matches(parse(text), tuple(said.split()), 0, NAMES)}


def test_a_choice_binds_weaker_than_a_sequence() -> None:
    assert parse("a b | c") == Choice((Sequence((Word("a"), Word("b"))), Word("c")))


def test_brackets_make_optional_and_parentheses_group() -> None:
    assert parse("[on] (monday | friday)") == Sequence((Optional(Word("on")), Choice((Word("monday"), Word("friday")))))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a word is missing before its end"),
        ("a | ", "a word is missing before its end"),
        ("(a", "')' is missing before its end"),
        ("[a)", "']' is missing before )"),
        ("a)", "')' closes nothing"),
        ("Book it", "unexpected 'Book it'"),
        ("at 10", "unexpected '10'"),
        ("<Day>", "unexpected '<Day>'"),
    ],
)
def test_a_broken_phrase_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(PhraseError) as caught:
        parse(text)
    assert complaint in str(caught.value)
    assert repr(text) in str(caught.value)


@given(phrases)
def test_what_is_written_as_jsgf_is_read_back_with_the_same_meaning(phrase: Phrase) -> None:
    again = parse(jsgf(phrase))
    assert jsgf(again) == jsgf(parse(jsgf(again)))
    assert ways(again, NAMES) == ways(phrase, NAMES)
    assert references(again) == references(phrase)


@given(phrases)
def test_a_sampled_sentence_is_matched_whole_by_its_phrase(phrase: Phrase) -> None:
    sampler = Sampler(NAMES)
    for _ in range(5):
        said = tuple(sampler.sentence(phrase).split())
        assert len(said) in {end for end, _ in matches(phrase, said, 0, NAMES)}


@given(phrases)
def test_a_sentence_begins_with_one_of_the_first_words(phrase: Phrase) -> None:
    firsts, can_be_empty = first_words(phrase, NAMES)
    said = Sampler(NAMES).sentence(phrase).split()
    assert said[0] in firsts if said else can_be_empty


def test_slots_are_filled_in_the_order_in_which_they_are_said() -> None:
    (found,) = [
        slots
        for end, slots in matches(parse("<when>"), ("on", "monday", "at", "half", "past", "ten"), 0, NAMES)
        if end == 6
    ]
    assert found == (("day", "monday"), ("time", "10:30"))


def test_a_match_may_end_before_the_words_do() -> None:
    assert ends("<when>", "tomorrow at ten o'clock please") == {1, 3, 4}
    assert ends("<when>", "book it") == set()


def test_every_option_of_a_phrase_is_sampled() -> None:
    sampler = Sampler(NAMES)
    said = {sampler.sentence(parse("<want> (a | b | c | d | e)")) for _ in range(20)}
    assert {sentence.split()[-1] for sentence in said} == set("abcde")


def test_the_same_sentences_are_sampled_every_time() -> None:
    one, other = Sampler(NAMES), Sampler(NAMES)
    phrase = parse("[<want>] <when>")
    assert [one.sentence(phrase) for _ in range(50)] == [other.sentence(phrase) for _ in range(50)]
