"""The voice's half of a reply: text in, sound and placed words into the pacer.

    pieces ──(each when what was made runs out)──► TextToSpeech ──► Transcoder ──► Pacer

A full pacer makes the voice wait, and with it whoever feeds it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Protocol

from app.conversation.ahead import SpeechAhead
from app.conversation.wording import Wording
from app.telemetry.latency import LatencyMetrics
from providers.base import Progress, ProviderSwitched, SpeechChunk, SpeechEvent, TextToSpeech, UsageReported
from telephony.audio import AudioFormat
from telephony.clock import Clock
from telephony.codecs.transcode import Transcoder
from telephony.pacing import Pacer
from telephony.playout import PlacedWord


class SpeakingObserver(Protocol):
    """Told, synchronously, what becomes of the speech."""

    def sound_queued(self) -> None:
        """The pacer, which had run dry, has something to send."""
        ...

    def provider_event(self, event: ProviderSwitched | UsageReported) -> None:
        """Something about the providers that came in their streams."""
        ...


class Speaking:
    """One reply's speech. After `silence()` nothing reaches the pacer or the observer any more."""

    def __init__(
        self,
        pacer: Pacer,
        wording: Wording,
        *,
        observer: SpeakingObserver,
        metrics: LatencyMetrics,
        clock: Clock,
        ahead_s: float,
    ) -> None:
        """The voice gets its next piece when what it has made will be heard within `ahead_s`."""
        self._pacer = pacer
        self._wording = wording
        self._observer: SpeakingObserver | None = observer
        self._metrics = metrics
        self._clock = clock
        self._ahead = SpeechAhead(pacer, clock, ahead_s)
        self._room = asyncio.Event()
        self._preface_samples = 0

    def silence(self) -> None:
        """Whatever still comes is dropped."""
        self._observer = None

    def room(self) -> None:
        """The pacer has room again."""
        self._room.set()

    def wasted_characters(self, heard: str) -> int:
        """Characters that the voice was given, of which nothing was heard."""
        return self._ahead.wasted(heard.removeprefix(self._wording.preface.strip()))

    @property
    def sounded(self) -> bool:
        """The voice has begun to speak."""
        return self._metrics.tts_first_chunk is not None

    @property
    def quiet(self) -> bool:
        """Nothing is on its way to be heard."""
        return not self._pacer.unsent_samples

    async def speak(self, voice: TextToSpeech, pieces: AsyncIterator[str], audio: AudioFormat) -> None:
        """Have the pieces spoken in `audio`. Raises `ProviderError` if the voice lets us down."""
        source = audio if audio in voice.formats() else voice.formats()[0]
        await self._queue_all(voice.speak(self._given(pieces), source), source, audio)

    async def replay(self, speech: Iterable[SpeechChunk], audio: AudioFormat) -> None:
        """Play speech that is at hand, which is in `audio`."""
        self._metrics.tts_started = self._clock.now()
        await self._queue_all(_stream(speech), audio, audio)

    def preface(self, speech: Iterable[SpeechChunk]) -> None:
        """Play this before the voice's first sound, if that is not there yet. It is short: no room is waited for, so
        that nothing can come in between."""
        for chunk in speech:
            words = _placed(chunk, self._preface_samples)
            self._preface_samples += self._pacer.audio.samples(len(chunk.audio))
            self._put(chunk.audio, words)

    def _drop_inaudible_preface(self) -> None:
        """The reply is there before anything of the preface was heard: it is not needed."""
        if self._wording.preface and not self._pacer.ledger.sent:
            self._pacer.begin(self._clock.now(), held=self._pacer.held)
            self._wording.drop_preface()
            self._preface_samples = 0

    async def _given(self, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
        """The pieces as the voice takes them, each when it is time for it."""
        async for piece in pieces:
            await self._ahead.has_run_down()
            self._ahead.given(piece)
            if self._metrics.tts_started is None:
                self._metrics.tts_started = self._clock.now()
            yield piece

    async def _queue_all(
        self, speech: AsyncGenerator[SpeechEvent, None], source: AudioFormat, audio: AudioFormat
    ) -> None:
        transcoder = None if source == audio else Transcoder(source, audio)
        spoken = 0  # samples of the source so far
        asked_at = self._clock.now()
        async with aclosing(speech):
            async for chunk in speech:
                if not isinstance(chunk, SpeechChunk):
                    self._report(chunk)
                    continue
                self._stamp(asked_at, first=not spoken)
                if not spoken:
                    self._drop_inaudible_preface()
                words = _placed(chunk, self._preface_samples, spoken, transcoder)
                spoken += source.samples(len(chunk.audio))
                await self._queue(chunk.audio if transcoder is None else transcoder.feed(chunk.audio), words)
                asked_at = self._clock.now()
        if transcoder is not None:
            await self._queue(transcoder.flush(), ())
        self._metrics.tts_complete = self._clock.now()

    def _stamp(self, asked_at: float, *, first: bool) -> None:
        now = self._clock.now()
        self._metrics.tts_chunks += 1
        if self._metrics.tts_first_chunk is None:
            self._metrics.tts_first_chunk = now
        elif not first:
            self._metrics.tts_busy_s += now - asked_at

    async def _queue(self, sound: bytes, words: tuple[PlacedWord, ...]) -> None:
        while not self._pacer.has_room():
            self._room.clear()
            await self._room.wait()
        self._put(sound, words)

    def _put(self, sound: bytes, words: tuple[PlacedWord, ...]) -> None:
        if self._observer is not None and (sound or words) and self._pacer.queue(sound, words):
            self._observer.sound_queued()

    def _report(self, event: ProviderSwitched | UsageReported | Progress) -> None:
        if self._observer is not None and not isinstance(event, Progress):
            self._observer.provider_event(event)


def _placed(
    chunk: SpeechChunk, begin: int, spoken: int = 0, transcoder: Transcoder | None = None
) -> tuple[PlacedWord, ...]:
    """The chunk's words in reply positions: `begin` samples of the leg's, then `spoken` ones of the voice's."""
    scale = int if transcoder is None else transcoder.scale
    return tuple(
        PlacedWord(word.text, begin + scale(spoken + word.start), begin + scale(spoken + word.end))
        for word in chunk.words
    )


async def _stream(speech: Iterable[SpeechChunk]) -> AsyncGenerator[SpeechChunk, None]:
    for chunk in speech:
        yield chunk
