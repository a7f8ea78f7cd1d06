"""eSpeak NG in process: speech with no key and no network, half a millisecond of one core per second of speech.

Text is spoken in units of at most a few sentences, each rendered whole by one worker thread that all calls share.
Whoever has more to say queues up again, so calls take turns. A unit is rendered when the one before it was taken, so
nothing piles up behind a slow listener, and an interrupted call leaves at most one unit behind, which stops.

eSpeak NG is GPL-3.0-or-later; the extra `speak` installs it.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Self

from providers.base import ProviderContext, SpeechChunk, SpokenWord
from providers.errors import ProviderMisconfigured, ProviderUnavailable
from providers.tts.espeak_library import RATE_HZ, EspeakBroken, Voice, VoiceUnknown, load
from providers.tts.espeak_units import Clause, Unit, clauses, units
from telephony.audio import AudioFormat, Encoding

NAME = "espeak"

_FORMAT = AudioFormat(Encoding.PCM16, RATE_HZ)
_CHUNK_SAMPLES = RATE_HZ // 5  # 200 ms
_LONGEST_PAUSE_SAMPLES = RATE_HZ * 170 // 1000  # with what a clause keeps of its silence: 200 ms
_END_SAMPLES = RATE_HZ * 40 // 1000  # likewise: 50 ms
_WORDS_PER_MINUTE = range(80, 451)  # what eSpeak itself accepts
_PITCH = range(100)


def create(context: ProviderContext) -> "Espeak":
    """The voice that `ESPEAK_VOICE`, `ESPEAK_WORDS_PER_MINUTE` and `ESPEAK_PITCH` describe.

    Raises `ProviderMisconfigured` when a number is out of range or the package is missing.
    """
    environment = context.environment
    if find_spec("espeakng_loader") is None:
        raise ProviderMisconfigured(NAME, "TTS_PROVIDER", "eSpeak NG is not installed: install the extra `speak`")
    return Espeak(
        Voice(
            environment.get("ESPEAK_VOICE") or "en-us",
            _number(environment, "ESPEAK_WORDS_PER_MINUTE", 165, _WORDS_PER_MINUTE),
            _number(environment, "ESPEAK_PITCH", 50, _PITCH),
        )
    )


def _number(environment: Mapping[str, str], variable: str, default: int, allowed: range) -> int:
    text = environment.get(variable) or str(default)
    if not text.isdecimal() or int(text) not in allowed:
        remedy = f"set a whole number from {allowed[0]} to {allowed[-1]}, not {text!r}"
        raise ProviderMisconfigured(NAME, variable, remedy)
    return int(text)


class Espeak:
    """`TextToSpeech` by eSpeak NG. Text is plain: markup is read out."""

    name = NAME

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    async def __aenter__(self) -> Self:
        """Start the worker thread. Raises `ProviderMisconfigured` for an unknown voice or an unusable installation."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=NAME)
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, _select, self._voice)
        except ProviderMisconfigured:
            self._worker.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    def voice_key(self) -> str:
        """See `DistinctVoice`."""
        return f"{self.name} {self._voice!r}"

    def formats(self) -> tuple[AudioFormat, ...]:
        return (_FORMAT,)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        """Speech in chunks of at most 200 ms, all of a unit as soon as it is rendered.

        `audio` is the one of `formats()`; another raises `ValueError`. Silence is trimmed: at most 20 ms before the
        first sound, 200 ms between clauses, 50 ms at the end.
        """
        if audio != _FORMAT:
            raise ValueError(f"{NAME} speaks {_FORMAT}, not {audio}")
        utterance = _Utterance()
        async for piece in text:
            for unit in units(piece):
                for clause in await self._rendered(unit):
                    for chunk in utterance.speak(clause):
                        yield chunk
        for chunk in utterance.end():
            yield chunk

    async def _rendered(self, unit: Unit) -> tuple[Clause, ...]:
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._worker, _render, unit, self._voice, abandoned.is_set)
        except EspeakBroken as reason:
            raise ProviderUnavailable(NAME, str(reason)) from reason
        finally:
            abandoned.set()


def _select(voice: Voice) -> None:
    try:
        load().select(voice)
    except VoiceUnknown:
        remedy = f"set a voice that eSpeak NG has, such as en-us, en-gb or de, not {voice.name!r}"
        raise ProviderMisconfigured(NAME, "ESPEAK_VOICE", remedy) from None
    except (ImportError, EspeakBroken) as reason:
        raise ProviderMisconfigured(NAME, "TTS_PROVIDER", f"reinstall the extra `speak`: {reason}") from reason


def _render(unit: Unit, voice: Voice, abandoned: Callable[[], bool]) -> tuple[Clause, ...]:
    return tuple(clauses(unit, load().synthesise(unit.text, voice, abandoned)))


class _Utterance:
    """One reply on its way out: joins clauses with the silence between them, and cuts them into chunks.

    The silence behind a clause waits until it is known whether more follows. So do words without any sound ("...").
    """

    def __init__(self) -> None:
        self._spoken = False
        self._pause_samples = 0
        self._mute: tuple[SpokenWord, ...] = ()

    def speak(self, clause: Clause) -> Iterator[SpeechChunk]:
        if not len(clause.samples):
            self._mute += clause.words
            self._pause_samples = max(self._pause_samples, clause.pause_samples)
            return
        silence = min(self._pause_samples, _LONGEST_PAUSE_SAMPLES) if self._spoken else 0
        words = self._mute + tuple(SpokenWord(w.text, w.start + silence, w.end + silence) for w in clause.words)
        yield from _chunks(bytes(_FORMAT.bytes_of_samples(silence)) + clause.samples.tobytes(), words)
        self._spoken, self._pause_samples, self._mute = True, clause.pause_samples, ()

    def end(self) -> Iterator[SpeechChunk]:
        silence = min(self._pause_samples, _END_SAMPLES)
        if silence or self._mute:
            yield SpeechChunk(bytes(_FORMAT.bytes_of_samples(silence)), self._mute)


def _chunks(audio: bytes, words: tuple[SpokenWord, ...]) -> Iterator[SpeechChunk]:
    length = _FORMAT.samples(len(audio))
    for start in range(0, length, _CHUNK_SAMPLES):
        end = min(start + _CHUNK_SAMPLES, length)
        inside = (word for word in words if start <= word.start < end or word.start == end == length)
        yield SpeechChunk(
            audio[_FORMAT.bytes_of_samples(start) : _FORMAT.bytes_of_samples(end)],
            tuple(SpokenWord(word.text, word.start - start, word.end - start) for word in inside),
        )
