"""What a second model adds to the words of the first: nothing is said twice, nothing new is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.resilience.continuation import Continuation, sentences_of, settled, whole_sentences

REPLY = "We are open on Monday. On Tuesday, we open at nine. We never open on Sundays!"


def goes_on(said: str, text: str, *, by: int = 5) -> str:
    """What is heard in all when a model adds `text`, in deltas of some length."""
    continuation = Continuation(said)
    new = [continuation.feed(text[start : start + by]) for start in range(0, len(text), by)]
    return said + "".join(new) + continuation.flush()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", ""),
        ("Tues", ""),
        ("On Tues", "On "),
        ("On Tuesday ", "On Tuesday "),
        ("On Tuesday.", "On Tuesday."),
        ("At 10.", "At "),
        ('He said "no."', 'He said "no."'),
        ("On\nTues", "On\n"),
    ],
)
def test_an_unfinished_word_is_not_kept(said: str, kept: str) -> None:
    assert settled(said) == kept


def test_only_whole_sentences_end_a_reply() -> None:
    assert whole_sentences("We are open. On Tues") == "We are open. "
    assert whole_sentences("We are open.") == "We are open."
    assert whole_sentences("We are, in") == whole_sentences("") == ""


@given(st.text(alphabet="ab .!?,\n1"))
def test_sentences_are_the_text(text: str) -> None:
    assert "".join(sentences_of(text)) == text


@given(st.integers(0, len(REPLY)), st.integers(1, 30))
def test_a_model_that_goes_on_where_it_was_told_is_heard_word_for_word(cut: int, by: int) -> None:
    said = settled(REPLY[:cut])
    assert goes_on(said, REPLY[len(said) :].lstrip(), by=by).split() == REPLY.split()


@given(st.integers(0, len(REPLY)), st.integers(1, 30))
def test_a_model_that_begins_anew_is_heard_from_where_the_other_stopped(cut: int, by: int) -> None:
    assert goes_on(settled(REPLY[:cut]), REPLY, by=by).split() == REPLY.split()


@given(st.integers(4, 8), st.integers(2, 4), st.integers(1, 30))
def test_a_model_that_repeats_the_last_words_is_heard_without_them(words: int, repeated: int, by: int) -> None:
    """Within the second sentence, where the words are not the end of a whole one."""
    sentence = "On the second day of the week we open at nine."
    told = sentence.split()
    said = " ".join(told[:words]) + " "
    assert goes_on(said, " ".join(told[words - repeated :]), by=by).split() == told


def test_what_is_new_is_kept_whatever_it_is() -> None:
    assert goes_on("We are open.", "Yes. Yes! No") == "We are open. Yes. Yes! No"
