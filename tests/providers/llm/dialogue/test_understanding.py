"""What the words of callers mean, from our own recogniser and from those that write as people do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.llm.dialogue import DEMO, load
from providers.llm.dialogue.grammar import grammar
from providers.llm.dialogue.understanding import Listener, Understanding, words_of

DESK = load(DEMO)
LISTENER = Listener(DESK)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, how are you today?", "hello how are you today"),
        ("I’d like 10:30 AM.", "i'd like ten thirty a.m."),
        ("at 2:00pm", "at two p.m."),
        ("10 a.m., please", "ten a.m. please"),
        ("ten o'clock a.m.", "ten o'clock a.m."),
        ("I am 10", "i am ten"),
        ("call 5551234", "call 5551234"),
        ("", ""),
    ],
)
def test_transcripts_become_the_words_of_phrases(text: str, words: str) -> None:
    assert words_of(text) == tuple(words.split())


@pytest.mark.parametrize(
    ("text", "intent", "slots"),
    [
        ("tomorrow", "inform", {"day": "+1"}),
        ("no wednesday at two", "inform", {"day": "wednesday", "time": "14:00"}),
        ("Well, I'd like to book an appointment, please.", "book", {}),
        ("Um, could you book an appointment for Friday, say, at 3 p.m.?", "book", {"day": "friday", "time": "15:00"}),
        ("i would like to book an appointment tomorrow at ten", "book", {"day": "+1", "time": "10:00"}),
        ("hours", "hours", {}),
        ("thank you goodbye", "goodbye", {}),
        ("yes that's right", "yes", {}),
    ],
)
def test_callers_are_understood(text: str, intent: str, slots: dict[str, str]) -> None:
    understood = LISTENER.understand(text)
    assert understood is not None
    assert (understood.intent, dict(understood.slots)) == (intent, slots)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?!",
        "I do not want to cancel my appointment",
        "the quick brown fox jumps over the lazy dog",
        "we met on a friday once, a very long time ago, somewhere in the mountains",
        "word " * 500,
    ],
)
def test_what_is_outside_of_the_dialogue_is_not_guessed_at(text: str) -> None:
    assert LISTENER.understand(text) is None


def test_the_recognisers_sentences_are_all_understood() -> None:
    missed = [sentence for sentence in set(grammar(DESK).sentences) if LISTENER.understand(sentence) is None]
    assert missed == []


@given(st.text(max_size=200))
def test_any_text_is_understood_or_not_and_nothing_else(text: str) -> None:
    understood = LISTENER.understand(text)
    assert understood is None or isinstance(understood, Understanding)
