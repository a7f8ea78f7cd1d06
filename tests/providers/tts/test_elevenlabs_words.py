"""Every word once and in order, whatever alignment the vendor sends; to the sample where it aligned the text."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from providers.base import SpokenWord
from providers.tts.elevenlabs_words import TimedCharacter, WordTimes

RATE = 8000
LETTER = 400  # samples that each character of a fake speech lasts: 50 ms
ALPHABET = "abcdefghij klmnopq'.,10:é"


def characters(text: str) -> list[TimedCharacter]:
    """As if the chunk held just this text."""
    return [TimedCharacter(one, at * 50.0, 50.0) for at, one in enumerate(text)]


def chunked(said: str, cuts: Sequence[int], *, aligned: bool = True) -> list[tuple[int, list[TimedCharacter] | None]]:
    """The speech of `said`, cut at these samples; a character belongs to the chunk in which it begins."""
    total = len(said) * LETTER
    edges = [0, *sorted(cut % (total + 1) for cut in cuts), total]
    chunks: list[tuple[int, list[TimedCharacter] | None]] = []
    for start, end in pairwise(edges):
        within = [at for at in range(len(said)) if start <= at * LETTER < end]
        timed = [TimedCharacter(said[at], (at * LETTER - start) / 8, LETTER / 8) for at in within]
        chunks.append((end - start, timed if aligned else None))
    return chunks


def placed(times: WordTimes, chunks: Sequence[tuple[int, list[TimedCharacter] | None]]) -> list[SpokenWord]:
    """All words, with times from the start of the utterance. Checks that each begins within its chunk."""
    words, at = [], 0
    for samples, alignment in chunks:
        for word in times.place(samples, alignment):
            assert 0 <= word.start < samples
            assert word.start <= word.end
            words.append(SpokenWord(word.text, word.start + at, word.end + at))
        at += samples
    return words + [SpokenWord(word.text, at, at) for word in times.rest()]


texts = st.text(ALPHABET, min_size=1, max_size=60).filter(str.strip)
cuts = st.lists(st.integers(0, 100_000), max_size=6)


@given(st.lists(texts, min_size=1, max_size=3), cuts)
def test_words_of_an_aligned_text_begin_where_the_vendor_says(pieces: list[str], at: list[int]) -> None:
    times = WordTimes(RATE)
    for piece in pieces:
        times.add(piece)
    said = "".join(" ".join(piece.split()) + " " for piece in pieces)
    words = placed(times, chunked(said, at))
    assert [word.text for word in words] == said.split()
    assert times.exact
    starts = [n for n, one in enumerate(said) if one != " " and (n == 0 or said[n - 1] == " ")]
    assert [word.start for word in words] == [n * LETTER for n in starts]
    assert all(word.end <= len(said) * LETTER for word in words)


@given(texts, texts, cuts, st.booleans())
def test_each_word_comes_once_and_in_order_whatever_the_alignment(
    text: str, said: str, at: list[int], aligned: bool
) -> None:
    times = WordTimes(RATE)
    times.add(text)
    words = placed(times, chunked(said, at, aligned=aligned))
    assert [word.text for word in words] == text.split()
    assert [word.start for word in words] == sorted(word.start for word in words)


@given(
    texts,
    st.lists(
        st.tuples(
            st.integers(0, 5000),
            st.none()
            | st.lists(
                st.builds(
                    TimedCharacter,
                    st.text(ALPHABET, max_size=2),
                    st.floats(-1e4, 1e4),
                    st.floats(-1e4, 1e4),
                )
            ),
        )
    ),
)
def test_nonsense_for_times_harms_no_word(text: str, chunks: list[tuple[int, list[TimedCharacter] | None]]) -> None:
    times = WordTimes(RATE)
    times.add(text)
    assert [word.text for word in placed(times, chunks)] == text.split()


def test_a_normalised_alignment_is_believed_where_it_agrees() -> None:
    times = WordTimes(RATE)
    times.add("You are booked at 10:30 on Monday.")
    said = "You are booked at ten thirty on Monday. "
    words = {word.text: word for word in placed(times, [(len(said) * LETTER, characters(said))])}
    for word in ("You", "booked", "Monday."):
        assert words[word].start == said.index(word) * LETTER
    assert said.index("ten") - 2 <= words["10:30"].start / LETTER <= said.index("thirty")
    assert not times.exact


def test_a_word_that_is_cut_by_a_chunk_comes_with_the_chunk_in_which_it_begins() -> None:
    times = WordTimes(RATE)
    times.add("hello there")
    first = times.place(8 * LETTER, characters("hello th"))
    assert [word.text for word in first] == ["hello", "there"]
    assert first[0] == SpokenWord("hello", 0, 5 * LETTER)
    assert 8 * LETTER < first[1].end <= 11 * LETTER
    assert times.place(3 * LETTER, characters("ere")) == ()


def test_an_alignment_ahead_of_its_audio_waits_for_it() -> None:
    times = WordTimes(RATE)
    times.add("one two six")
    assert [word.text for word in times.place(3 * LETTER, characters("one two six"))] == ["one"]
    assert times.place(3 * LETTER, []) == (SpokenWord("two", LETTER, 4 * LETTER),)
    assert times.place(5 * LETTER, None) == (SpokenWord("six", 2 * LETTER, 5 * LETTER),)


def test_without_any_alignment_words_have_their_share_of_the_time() -> None:
    times = WordTimes(RATE)
    times.add("one two six")
    words = placed(times, [(2000, None)] * 4)
    assert [word.start for word in words] == [0, 1800, 3600]
    assert all(word.end <= 8000 for word in words)


def test_words_that_no_audio_was_found_for_are_at_its_end() -> None:
    times = WordTimes(RATE)
    times.add("one two")
    assert [word.text for word in times.place(1200, characters("one"))] == ["one"]
    assert times.rest() == (SpokenWord("two", 0, 0),)
    assert times.rest() == ()


def test_a_skipped_alignment_is_bridged() -> None:
    times = WordTimes(RATE)
    times.add("alpha bravo charlie delta")
    assert [word.text for word in times.place(6 * LETTER, characters("alpha "))] == ["alpha"]
    assert times.place(6 * LETTER, None) == ()
    late = times.place(13 * LETTER, characters("charlie delta"))
    assert [(word.text, word.start) for word in late] == [("bravo", 0), ("charlie", 0), ("delta", 8 * LETTER)]
