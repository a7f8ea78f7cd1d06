"""When a filler is due, and what it sounds like."""

from app.conversation.filler import Filler
from providers.base import SpeechChunk, SpokenWord
from telephony.audio import FRAME_BYTES


def filler(expected_s: float) -> Filler:
    return Filler("One moment.", (), lambda tools: expected_s)


def test_a_wait_that_is_not_foreseen_is_waited_for() -> None:
    assert filler(0.5).due((), asked_at=10.0, now=10.0, after_s=1.0) == 11.0


def test_a_wait_that_is_foreseen_is_bridged_after_a_short_pause() -> None:
    assert filler(2.0).due((), asked_at=10.0, now=10.0, after_s=1.0) == 10.3


def test_what_has_passed_of_a_wait_is_not_to_come() -> None:
    assert filler(2.0).due((), asked_at=8.5, now=10.0, after_s=1.0) == 11.0


def test_its_speech_is_filled_up_to_whole_frames() -> None:
    speech = (SpeechChunk(b"\x01" * 100, (SpokenWord("One", 0, 90),)), SpeechChunk(b"\x01" * 100))
    frames = Filler("One moment.", speech, lambda tools: 0.0).frames()
    assert sum(len(chunk.audio) for chunk in frames) == 2 * FRAME_BYTES
    assert frames[0] == speech[0]
    assert frames[1].audio.startswith(b"\x01" * 100 + b"\xff")
