"""What the vendor says after we took its last partial for its answer: no word of it twice, none missing."""

import json

from providers.base import FinalTranscript, PartialTranscript, RecognitionEvent
from providers.stt.deepgram.flux import Flux
from providers.stt.deepgram.live import Live
from providers.stt.deepgram.settings import DeepgramSettings

SETTINGS = DeepgramSettings("key")


def result(live: Live, text: str, start: float, duration: float, **flags: bool) -> tuple[RecognitionEvent, ...]:
    """What a result says."""
    message = {
        "type": "Results",
        "channel_index": [0, 1],
        "start": start,
        "duration": duration,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.9, "words": []}]},
        "metadata": {},
        **flags,
    }
    return live.hear(json.dumps(message)).events


def turn(flux: Flux, event: str, text: str, index: int = 0) -> tuple[RecognitionEvent, ...]:
    """What the state of a turn says."""
    message = {
        "type": "TurnInfo",
        "event": event,
        "turn_index": index,
        "transcript": text,
        "audio_window_start": 0.0,
        "audio_window_end": 2.0,
        "words": [{"word": word, "confidence": 0.9} for word in text.split()],
        "end_of_turn_confidence": 0.5,
    }
    return flux.hear(json.dumps(message)).events


def test_a_late_final_brings_only_the_words_that_were_not_given() -> None:
    live = Live(SETTINGS)
    result(live, "book a", 1.0, 0.5)
    assert live.answer().events == (FinalTranscript("book a", finalized=True),)
    assert result(live, "book a table", 1.0, 0.9) == (PartialTranscript("table", stable=True),)
    late = result(live, "book a table", 1.0, 1.2, is_final=True, from_finalize=True)
    assert late == (FinalTranscript("table", 0.9, finalized=True),)
    assert result(live, "please", 2.2, 0.5, is_final=True) == (FinalTranscript("please", 0.9),)


def test_what_was_given_twice_is_given_twice_in_parts() -> None:
    live = Live(SETTINGS)
    result(live, "book a", 1.0, 0.5)
    live.answer()
    result(live, "book a table", 1.0, 0.9)
    assert live.answer().events == (FinalTranscript("table", finalized=True),)
    assert result(live, "book a table", 1.0, 1.2, is_final=True) == ()


def test_a_late_end_of_turn_brings_only_the_words_that_were_not_given() -> None:
    flux = Flux(SETTINGS)
    turn(flux, "StartOfTurn", "book a")
    assert flux.answer().events == (FinalTranscript("book a", finalized=True),)
    (late,) = turn(flux, "EndOfTurn", "book a table")
    assert isinstance(late, FinalTranscript)
    assert (late.text, late.ends_turn) == ("table", True)
    (following,) = turn(flux, "StartOfTurn", "please", index=1)
    assert following == PartialTranscript("please", stable=True)


def test_an_end_of_turn_without_new_words_says_nothing_any_more() -> None:
    flux = Flux(SETTINGS)
    turn(flux, "StartOfTurn", "book a")
    flux.answer()
    assert turn(flux, "EndOfTurn", "book a") == ()
    assert flux.answer().events == (FinalTranscript("", finalized=True),)


def test_an_update_leaves_an_eager_end_of_turn_in_force() -> None:
    flux = Flux(SETTINGS)
    turn(flux, "StartOfTurn", "book")
    for event, complete in (("EagerEndOfTurn", True), ("Update", True), ("TurnResumed", False), ("Update", False)):
        (partial,) = turn(flux, event, "book it")
        assert isinstance(partial, PartialTranscript)
        assert partial.complete is complete
