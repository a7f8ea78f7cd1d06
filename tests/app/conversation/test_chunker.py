"""Pieces of a reply: early, speakable, and together exactly the text."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conversation.chunker import Chunker

ATOMS = (
    "3.14 1,200.50 $4.99 10:30 2026-03-02 555-0123 Dr. Mr. e.g. i.e. a.m. p.m. U.S. St. J. vs. "
    "https://example.com/a?b=c,d;e https://example.org. bob.smith@mail.example.com www.example.net/x.html. v2.0.1"
).split()
"""What must stay in one piece with what surrounds its punctuation."""

WORDS = st.sampled_from(
    [*ATOMS, *"we are open on Monday and never, I think; but: yes! no? well... (perhaps) Then It".split()]
)
TEXTS = st.lists(WORDS, max_size=60).map(" ".join)


def pieces_of(text: str, cuts: list[int] | None = None) -> list[str]:
    chunker = Chunker()
    bounds = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or [])})
    pieces = []
    for begin, end in pairwise(bounds):
        pieces += chunker.push(text[begin:end])
    return pieces + chunker.flush()


@given(st.text(max_size=600) | TEXTS, st.lists(st.integers(0, 10_000), max_size=30))
def test_the_pieces_are_the_text(text: str, cuts: list[int]) -> None:
    joined = "".join(pieces_of(text, cuts))
    assert text.startswith(joined)
    assert not text[len(joined) :].strip()


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=60))
def test_how_the_text_streams_in_does_not_change_the_pieces(text: str, cuts: list[int]) -> None:
    assert pieces_of(text, cuts) == pieces_of(text)


@given(TEXTS)
def test_no_word_number_address_or_url_is_cut(text: str) -> None:
    assert [word for piece in pieces_of(text) for word in piece.split()] == text.split()


@given(st.lists(WORDS, max_size=60).map(" ".join))
def test_every_piece_but_the_last_ends_with_punctuation_or_is_long(text: str) -> None:
    for piece in pieces_of(text)[:-1]:
        assert re.search(r"[.!?…,;:—–][\"')\]”’]*\s+$", piece) or len(piece.strip()) >= 320


@given(st.lists(st.sampled_from(("Dr.", "Mr.", "e.g.", "a.m.", "U.S.", "J.", "approx.")), min_size=1, max_size=12))
def test_nothing_is_cut_behind_an_abbreviation(abbreviations: list[str]) -> None:
    text = " ".join(f"{abbreviation} Example" for abbreviation in abbreviations)
    assert len(pieces_of(text)) == 1


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Yes. We are open.", ["Yes. ", "We are open."]),
        ("Sure! Which day?", ["Sure! ", "Which day?"]),
        ("No. People answer so.", ["No. ", "People answer so."]),
        ("Dr. Smith is in. Shall I put you through?", ["Dr. Smith is in. ", "Shall I put you through?"]),
        ("It costs 3.50 euros. Good?", ["It costs 3.50 euros. ", "Good?"]),
        ("At 5 p.m. on Monday", ["At 5 p.m. on Monday"]),
        ("He asked why. then left.", ["He asked why. then left."]),
        ('"Good morning." That is what I say.', ['"Good morning." ', "That is what I say."]),
        ("On Monday the second of March, we open at nine.", ["On Monday the second of March, ", "we open at nine."]),
        ("Well, yes, it is.", ["Well, yes, it is."]),
        ("Your number is 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and", ["Your number is 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and"]),
        ("   ", []),
        ("", []),
    ],
)
def test_a_reply_is_cut_where_one_would_breathe(text: str, pieces: list[str]) -> None:
    assert pieces_of(text) == pieces


def test_the_first_sentence_leaves_with_the_first_letter_of_the_next() -> None:
    chunker = Chunker()
    assert chunker.push("Of course.") == []
    assert chunker.push(" ") == []
    assert chunker.push("W") == ["Of course. "]


def test_later_pieces_are_longer_than_the_first() -> None:
    text = "One moment. " + "This is short. " * 40
    lengths = [len(piece.strip()) for piece in pieces_of(text)]
    assert lengths[0] < 30 <= lengths[1] < 60 <= lengths[2] < 90 <= min(lengths[3:-1])


def test_text_without_any_punctuation_is_cut_between_words_at_last() -> None:
    pieces = pieces_of("word " * 200)
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= 330


def test_digits_read_out_stay_together_even_in_an_endless_text() -> None:
    assert len(pieces_of("1 " * 400)) == 1


def test_after_a_flush_the_text_goes_on() -> None:
    chunker = Chunker()
    chunker.push("Let me look")
    assert chunker.flush() == ["Let me look"]
    assert chunker.flush() == []
    chunker.push("It is free.")
    assert chunker.flush() == ["It is free."]
