"""What the agent says by itself, synthesised before it is needed: it is also what remains when a vendor is gone."""

import asyncio
from contextlib import aclosing

import structlog

from app.conversation.phrasestore import PhraseKey, PhraseStore
from app.conversation.reply import Phrase, once
from providers.base import DistinctVoice, ProviderSwitched, SpeechChunk, SpokenWord, TextToSpeech
from providers.errors import ProviderError
from telephony.audio import TELEPHONE, AudioFormat
from telephony.codecs.transcode import Transcoder

log = structlog.get_logger()


class Phrasebook:
    """Phrases with their speech in the telephone's format, by text: in memory, and on disk for the next process."""

    def __init__(self, store: PhraseStore | None = None) -> None:
        self._store = store
        self._speech: dict[str, tuple[SpeechChunk, ...]] = {}

    async def prepare(self, texts: tuple[str, ...], voice: TextToSpeech) -> ProviderError | None:
        """Fetch from disk, else synthesise, what is missing. A voice that fails is reported, not raised: the phrases
        stay unspoken texts."""
        failure: ProviderError | None = None
        voice_key = voice.voice_key() if isinstance(voice, DistinctVoice) else ""
        for text in texts:
            if text in self._speech:
                continue
            key = PhraseKey(voice_key, TELEPHONE, text) if voice_key else None
            kept = await self._load(key)
            if kept is not None:
                self._speech[text] = kept
            elif failure is None:
                try:
                    speech, genuine = await _synthesised(text, voice, TELEPHONE)
                except ProviderError as error:
                    failure = error  # what is on disk is fetched all the same
                    continue
                self._speech[text] = speech
                await self._save(key if genuine else None, speech)
        return failure

    def phrase(self, text: str, audio: AudioFormat) -> Phrase:
        """The phrase, with its speech if that is at hand in this format."""
        return Phrase(text, self._speech.get(text, ()) if audio == TELEPHONE else ())

    async def _load(self, key: PhraseKey | None) -> tuple[SpeechChunk, ...] | None:
        if self._store is None or key is None:
            return None
        return await asyncio.to_thread(self._store.load, key)

    async def _save(self, key: PhraseKey | None, speech: tuple[SpeechChunk, ...]) -> None:
        if self._store is None or key is None:
            return
        try:
            await asyncio.to_thread(self._store.save, key, speech)
        except OSError as error:
            log.warning("phrase not kept on disk", error=str(error))


async def synthesise(text: str, voice: TextToSpeech, audio: AudioFormat) -> tuple[SpeechChunk, ...]:
    """One text as speech in `audio`, words included. Raises `ProviderError`."""
    return (await _synthesised(text, voice, audio))[0]


async def _synthesised(text: str, voice: TextToSpeech, audio: AudioFormat) -> tuple[tuple[SpeechChunk, ...], bool]:
    """The same, and whether it was this very voice that spoke, and nobody in its place."""
    source = audio if audio in voice.formats() else voice.formats()[0]
    transcoder = Transcoder(source, audio)
    sound = bytearray()
    words: list[SpokenWord] = []
    spoken, genuine = 0, True

    async with aclosing(voice.speak(once(text), source)) as speech:
        async for chunk in speech:
            if not isinstance(chunk, SpeechChunk):
                genuine = genuine and not isinstance(chunk, ProviderSwitched)
                continue
            words += (
                SpokenWord(word.text, transcoder.scale(spoken + word.start), transcoder.scale(spoken + word.end))
                for word in chunk.words
            )
            spoken += source.samples(len(chunk.audio))
            sound += transcoder.feed(chunk.audio)
    sound += transcoder.flush()
    return (SpeechChunk(bytes(sound), tuple(words)),), genuine
