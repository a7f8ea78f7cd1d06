"""What the agent says by itself, synthesised before it is needed: it is also what remains when a vendor is gone."""

from contextlib import aclosing

from app.conversation.turn import Phrase, once
from providers.base import SpeechChunk, SpokenWord, TextToSpeech
from providers.errors import ProviderError
from telephony.audio import TELEPHONE, AudioFormat
from telephony.codecs.transcode import Transcoder


class Phrasebook:
    """Phrases with their speech in the telephone's format, by text."""

    def __init__(self) -> None:
        self._speech: dict[str, tuple[SpeechChunk, ...]] = {}

    async def prepare(self, texts: tuple[str, ...], voice: TextToSpeech) -> ProviderError | None:
        """Synthesise what is missing. A voice that fails is reported, not raised: the phrases stay unspoken texts."""
        for text in texts:
            if text in self._speech:
                continue
            try:
                self._speech[text] = await synthesise(text, voice, TELEPHONE)
            except ProviderError as failure:
                return failure
        return None

    def phrase(self, text: str, audio: AudioFormat) -> Phrase:
        """The phrase, with its speech if that is at hand in this format."""
        return Phrase(text, self._speech.get(text, ()) if audio == TELEPHONE else ())


async def synthesise(text: str, voice: TextToSpeech, audio: AudioFormat) -> tuple[SpeechChunk, ...]:
    """One text as speech in `audio`, words included. Raises `ProviderError`."""
    source = audio if audio in voice.formats() else voice.formats()[0]
    transcoder = Transcoder(source, audio)
    sound = bytearray()
    words: list[SpokenWord] = []
    spoken = 0

    async with aclosing(voice.speak(once(text), source)) as speech:
        async for chunk in speech:
            words += (
                SpokenWord(word.text, transcoder.scale(spoken + word.start), transcoder.scale(spoken + word.end))
                for word in chunk.words
            )
            spoken += source.samples(len(chunk.audio))
            sound += transcoder.feed(chunk.audio)
    sound += transcoder.flush()
    return (SpeechChunk(bytes(sound), tuple(words)),)
