"""Phrases are synthesised before they are needed, in the telephone's format."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from app.conversation.phrasebook import Phrasebook, synthesise
from app.conversation.phrasestore import PhraseStore
from app.conversation.reply import Phrase
from providers.base import ProviderSwitched, SpeechChunk, SpeechEvent, SpokenWord
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


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


class KeptVoice(ScriptedTextToSpeech):
    """One whose sound may be kept."""

    key = "vendor model voice"

    def voice_key(self) -> str:
        return self.key


def test_the_next_process_has_a_phrase_without_asking_the_voice(tmp_path: Path) -> None:
    async def scene() -> None:
        first, second = KeptVoice(LoopClock()), KeptVoice(LoopClock())
        before, after = (Phrasebook(PhraseStore(tmp_path)) for _ in range(2))
        assert await before.prepare(("Hello there.",), first) is None
        assert await after.prepare(("Hello there.",), second) is None
        assert (first.spoken, second.spoken) == (1, 0)
        assert after.phrase("Hello there.", TELEPHONE) == before.phrase("Hello there.", TELEPHONE)

    run(scene())


def test_another_voice_or_text_is_another_phrase(tmp_path: Path) -> None:
    async def scene() -> None:
        voice = KeptVoice(LoopClock())
        await Phrasebook(PhraseStore(tmp_path)).prepare(("Hello.",), voice)
        voice.key = "vendor model another"
        await Phrasebook(PhraseStore(tmp_path)).prepare(("Hello.",), voice)
        await Phrasebook(PhraseStore(tmp_path)).prepare(("Hello!",), voice)
        assert voice.spoken == 3

    run(scene())


@pytest.mark.parametrize(
    "damage", [lambda kept: kept[:-1], lambda kept: b"", lambda kept: kept[:60] + b"x" + kept[61:]]
)
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    async def scene() -> None:
        voice = KeptVoice(LoopClock())
        for _ in range(2):
            assert await Phrasebook(PhraseStore(tmp_path)).prepare(("Hello.",), voice) is None
            path = only_file(tmp_path)
            sound = path.read_bytes()
            path.write_bytes(damage(sound))
        assert voice.spoken == 2
        assert await Phrasebook(PhraseStore(tmp_path)).prepare(("Hello.",), voice) is None
        assert path.read_bytes() == sound

    run(scene())


def test_the_voice_of_a_stand_in_is_not_kept(tmp_path: Path) -> None:
    class Replaced(KeptVoice):
        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
            yield ProviderSwitched(ProviderUnavailable("scripted", "gone"), "another")
            async for chunk in super().speak(text, audio):
                yield chunk

    async def scene() -> None:
        book = Phrasebook(PhraseStore(tmp_path))
        assert await book.prepare(("Hello.",), Replaced(LoopClock())) is None
        assert book.phrase("Hello.", TELEPHONE).speech

    run(scene())
    assert not list(tmp_path.iterdir())


def test_what_is_on_disk_is_at_hand_while_the_voice_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        await Phrasebook(PhraseStore(tmp_path)).prepare(("Sorry.",), KeptVoice(LoopClock()))
        failure = ProviderUnavailable("scripted", "gone")
        book = Phrasebook(PhraseStore(tmp_path))
        voice = KeptVoice(LoopClock(), faults={1: Fault(0, failure)})
        assert await book.prepare(("Hello.", "Sorry."), voice) is failure
        assert book.phrase("Sorry.", TELEPHONE).speech

    run(scene())


def test_a_disk_that_takes_nothing_costs_the_next_process_time_and_nothing_else(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "file").write_bytes(b"")
        book = Phrasebook(PhraseStore(tmp_path / "file"))
        assert await book.prepare(("Hello.",), KeptVoice(LoopClock())) is None
        assert book.phrase("Hello.", TELEPHONE).speech

    run(scene())
