"""Phrases are synthesised before they are needed, in the telephone's format."""

from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from app.conversation.phrasebook import Phrasebook, synthesise
from app.conversation.turn import Phrase
from providers.base import SpeechChunk, SpokenWord
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedTextToSpeech
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.clock import LoopClock
from tests.virtual import run

WIDEBAND = AudioFormat(Encoding.PCM16, 16000)


class WidebandVoice(ScriptedTextToSpeech):
    """Speaks linear samples at 16 kHz only: each word half a second."""

    def formats(self) -> tuple[AudioFormat, ...]:
        return (WIDEBAND,)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        assert audio == WIDEBAND
        async for piece in text:
            for word in piece.split():
                yield SpeechChunk(b"\0\0" * 8000, (SpokenWord(word, 0, 8000),))


def test_a_prepared_phrase_has_its_speech_at_hand() -> None:
    async def scene() -> None:
        voice = ScriptedTextToSpeech(LoopClock())
        book = Phrasebook()
        assert await book.prepare(("Hello there.", "Goodbye."), voice) is None
        phrase = book.phrase("Hello there.", TELEPHONE)
        assert phrase.text == "Hello there."
        assert sum(len(chunk.audio) for chunk in phrase.speech) == (6 + 7) * 60 * 8
        assert [word.text for chunk in phrase.speech for word in chunk.words] == ["Hello", "there."]

    run(scene())


def test_a_phrase_is_synthesised_once() -> None:
    async def scene() -> None:
        voice = ScriptedTextToSpeech(LoopClock())
        book = Phrasebook()
        await book.prepare(("Hello.", "Hello."), voice)
        await book.prepare(("Hello.", "Goodbye."), voice)
        assert voice.spoken == 2

    run(scene())


def test_an_unprepared_phrase_and_one_for_another_format_are_texts() -> None:
    async def scene() -> None:
        book = Phrasebook()
        await book.prepare(("Hello.",), ScriptedTextToSpeech(LoopClock()))
        assert book.phrase("Goodbye.", TELEPHONE) == Phrase("Goodbye.")
        assert book.phrase("Hello.", WIDEBAND) == Phrase("Hello.")

    run(scene())


def test_a_voice_that_fails_is_reported_and_what_was_done_before_stays() -> None:
    async def scene() -> None:
        failure = ProviderUnavailable("scripted", "gone")
        book = Phrasebook()
        voice = ScriptedTextToSpeech(LoopClock(), faults={2: Fault(0, failure)})
        assert await book.prepare(("Hello.", "Goodbye.", "Sorry."), voice) is failure
        assert book.phrase("Hello.", TELEPHONE).speech
        assert not book.phrase("Goodbye.", TELEPHONE).speech
        assert not book.phrase("Sorry.", TELEPHONE).speech

    run(scene())


def test_a_voice_of_another_format_is_converted_and_its_words_stay_in_place() -> None:
    async def scene() -> None:
        (chunk,) = await synthesise("one two", WidebandVoice(LoopClock()), TELEPHONE)
        assert len(chunk.audio) == 8000
        assert [(word.text, word.start, word.end) for word in chunk.words] == [("one", 0, 4000), ("two", 4000, 8000)]

    run(scene())


def test_a_failing_synthesis_raises_the_providers_error() -> None:
    async def scene() -> None:
        voice = ScriptedTextToSpeech(LoopClock(), faults={1: Fault(1, ProviderUnavailable("scripted", "gone"))})
        with pytest.raises(ProviderUnavailable):
            await synthesise("Hello there.", voice, TELEPHONE)

    run(scene())
