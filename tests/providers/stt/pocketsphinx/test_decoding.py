"""What is heard, of synthesised callers and of a person; and what is rightly not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from providers.base import Grammar
from providers.stt.pocketsphinx.decoding import Recogniser, UnknownWords, UnusableGrammar
from telephony.audio import FRAME_BYTES
from tests.providers.stt.pocketsphinx.conftest import mulaw

TURNS = [
    "what are your opening hours",
    "i would like to book an appointment",
    "tomorrow at half past ten",
    "yes please",
    "goodbye",
    "hello how are you today",
    "what's the weather like",
    "can you tell me the time",
    "no thank you",
    "move my appointment to friday",
    "i want to cancel my appointment",
    "when is my appointment",
    "next wednesday",
    "thursday at nine thirty",
    "are you a robot",
    "can i speak to a human",
    "repeat that",
    "never mind",
    "what times do you have tomorrow",
    "monday next week at eleven",
    "the day after tomorrow",
    "no",
    "yes",
    "hours",
]
OUTSIDE = [
    "the quick brown fox jumps over the lazy dog",
    "my cat has eaten all of the butter again",
    "please transfer four thousand dollars to my savings account",
    "the train to the airport leaves from platform seven",
    "could somebody please water the plants in the kitchen",
    "a large pizza with mushrooms and extra cheese",
]
# Prompts of one to six seconds in which nothing is said that a caller of the desk would say.
# fmt: off
UNRELATED = (
    "agent-alreadyon", "agent-incorrect", "agent-newlocation", "agent-user", "all-circuits-busy-now",
    "cannot-complete-as-dialed", "conf-errormenu", "conf-full", "conf-getchannel", "conf-getconfno", "conf-getpin",
    "conf-invalid", "conf-invalidpin", "conf-leaderhasleft", "conf-noempty", "conf-onlyone", "conf-onlyperson",
    "conf-waitforleader", "demo-nomatch", "dir-nomatch", "feature-not-avail-line", "pbx-invalidpark",
    "privacy-prompt", "privacy-unident", "queue-callswaiting", "simul-call-limit-reached", "spy-dahdi",
    "tt-somethingwrong", "vm-enter-num-to-call", "vm-incorrect", "vm-invalid-password", "vm-mailboxfull",
    "vm-nobodyavail", "vm-tooshort", "vm-unknown-caller", "vm-whichbox",
)
# fmt: on


@pytest.mark.parametrize("text", TURNS)
def test_a_synthesised_caller_is_understood(
    text: str, speech: Callable[[str], bytes], transcribe: Callable[[bytes], str]
) -> None:
    assert transcribe(speech(text)) == text


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_outside_of_the_dialogue_is_rejected(
    text: str, speech: Callable[[str], bytes], transcribe: Callable[[bytes], str]
) -> None:
    assert transcribe(speech(text)) == ""


@pytest.mark.parametrize(
    ("recording", "text"),
    [
        ("hours", "hours"),
        ("digits/tomorrow", "tomorrow"),
        ("digits/today", "today"),
        ("goodbye", "goodbye"),
        ("hello", "hello"),
        ("digits/day-1", "monday"),
        ("digits/day-3", "wednesday"),
        ("digits/day-5", "friday"),
        ("digits/9", "nine"),
    ],
)
def test_a_person_is_understood(recording: str, text: str, sounds: Path, transcribe: Callable[[bytes], str]) -> None:
    assert transcribe(mulaw(sounds / f"{recording}.wav")) == text


def test_a_person_who_says_something_else_is_rejected(sounds: Path, transcribe: Callable[[bytes], str]) -> None:
    prompts = [path for name in UNRELATED if (path := sounds / f"{name}.wav").exists()]
    heard = {path.stem: text for path in prompts if (text := transcribe(mulaw(path)))}
    assert len(prompts) >= 30
    assert heard == {}


def test_partials_come_early_and_the_stable_ones_hold(recogniser: Recogniser, speech: Callable[[str], bytes]) -> None:
    text = "i would like to book an appointment"
    audio = speech(text)
    utterance = recogniser.utterance()
    partials = []
    for at in range(0, len(audio) - FRAME_BYTES, FRAME_BYTES):
        heard = utterance.hear(audio[at : at + FRAME_BYTES])
        if heard is not None:
            partials.append((at / len(audio), heard))
    utterance.finish()
    stable = [heard.text for _, heard in partials if heard.stable]
    assert partials[0][0] < 0.4
    assert len(stable) >= 2
    assert all(text.startswith(words) for words in stable)
    assert [heard.text for _, heard in partials if heard.complete][-1] == text


def test_every_sentence_of_the_dialogue_is_in_the_grammar(recogniser: Recogniser, desk: Grammar) -> None:
    missed = [sentence for sentence in desk.sentences if not recogniser.automaton.accepts(sentence.split())]
    assert missed == []


def test_the_grammar_is_small_enough_for_a_telephone_call(recogniser: Recogniser) -> None:
    transitions = sum(len(row) for row in recogniser.automaton.rows)
    assert len(recogniser.automaton.rows) < 500
    assert transitions < 4000


def test_decoders_are_used_again(recogniser: Recogniser) -> None:
    first = recogniser.utterance()
    pair = first._pair
    first.finish()
    again = recogniser.utterance()
    assert again._pair is pair
    again.finish()


@pytest.mark.parametrize(
    ("one", "other", "agreement"),
    [("tomorrow", "tomorrow", 1.0), ("two", "to", 1.0), ("tomorrow", "", 0.0), ("", "", 0.0), ("ten", "at ten", 3 / 5)],
)
def test_agreement_is_counted_in_phones(one: str, other: str, agreement: float, recogniser: Recogniser) -> None:
    assert recogniser.agreement(one, other) == pytest.approx(agreement)


def test_words_that_nobody_can_pronounce_are_named(tmp_path: Path) -> None:
    grammar = "#JSGF V1.0;\ngrammar g;\npublic <turn> = hello sidetone | hello qwrty;\n"
    with pytest.raises(UnknownWords, match="qwrty, sidetone"):
        Recogniser(grammar, ["hello sidetone", "hello qwrty"], tmp_path)


@pytest.mark.parametrize(
    ("grammar", "sentences"),
    [("nonsense", ["hello"]), ("#JSGF V1.0;\ngrammar g;\n<turn> = hello;\n", ["hello"]), ("#JSGF V1.0;\n", [])],
)
def test_a_grammar_that_is_none_is_refused(grammar: str, sentences: list[str], tmp_path: Path) -> None:
    with pytest.raises(UnusableGrammar):
        Recogniser(grammar, sentences, tmp_path)
