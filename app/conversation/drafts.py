"""A draft: the model's reply, and the speech of its first piece, to words that the caller has not confirmed yet.

A draft is a language model and has a voice; whoever asks them gets what is prepared, then what is still to come, then
the providers themselves. Both work in tasks of their own from the start, and stop at small buffers: what is made before
the gate opens is bounded. Nothing of a draft is to be seen anywhere until then.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from app.conversation.chunker import Chunker
from app.telemetry.latency import LatencyMetrics
from providers.base import (
    LanguageModel,
    ProviderSwitched,
    ReplyEvent,
    ReplyRequest,
    SpeechEvent,
    TextDelta,
    TextToSpeech,
)
from providers.errors import ProviderError
from telephony.audio import AudioFormat
from telephony.clock import Clock

_EVENTS_HELD = 64
"""Events of the model behind the gate: the beginning of a reply, after which it waits."""
_CHUNKS_HELD = 64
"""Chunks of speech behind the gate: the voice waits after some seconds."""

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Runs work in the call's `TaskGroup`."""


class Draft:
    """One reply in the making. As a model it replies to the confirmed request what it was asked before; the requests
    that follow (after tools) go to the model itself. `close` ends all of it, used or not."""

    def __init__(self, request: ReplyRequest, model: LanguageModel, clock: Clock, spawn: Spawn) -> None:
        self.name = model.name
        self.request = request
        self.tokens = 0
        """Pieces of text so far."""
        self.failed = False
        """The model let it down: there is nothing to wait for."""
        self._model = model
        self._clock = clock
        self._events: asyncio.Queue[ReplyEvent | ProviderError | None] = asyncio.Queue(_EVENTS_HELD)
        self._chunker = Chunker()
        self._asked = False
        self._speech: PreparedSpeech | None = None
        self._started = clock.now()
        self._first_token: float | None = None
        self._thinking = spawn(self._think())

    def prepare_speech(self, voice: TextToSpeech, audio: AudioFormat, spawn: Spawn) -> None:
        """Have the first piece spoken, in `audio` if the voice can."""
        source = audio if audio in voice.formats() else voice.formats()[0]
        self._speech = PreparedSpeech(voice, source, self._clock, spawn)

    @property
    def characters(self) -> int:
        """So many went to the voice before anybody asked."""
        return len(self._speech.piece) if self._speech is not None else 0

    def voice(self, voice: TextToSpeech) -> TextToSpeech:
        """Who speaks for it: the voice itself if it has prepared nothing."""
        prepared, self._speech = self._speech, None
        if prepared is None or not prepared.usable:
            if prepared is not None:
                prepared.close()
            return voice
        self._speech = prepared
        return prepared

    def stamp(self, metrics: LatencyMetrics) -> None:
        """When what was prepared happened."""
        metrics.llm_started, metrics.llm_first_token = self._started, self._first_token
        if self._speech is not None:
            metrics.tts_started, metrics.tts_first_chunk = self._speech.started, self._speech.first_chunk

    def close(self) -> None:
        """Stop all work for it. Idempotent."""
        self._thinking.cancel()
        if self._speech is not None:
            self._speech.close()

    # making it

    async def _think(self) -> None:
        try:
            async with aclosing(self._model.reply(self.request)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        self._take_text(event.text)
                    elif isinstance(event, ProviderSwitched):
                        self._chunker.withdraw(len(event.withdrawn))
                    await self._events.put(event)
            self._have_spoken(self._chunker.flush())
        except ProviderError as failure:
            self.failed = True
            await self._events.put(failure)
        await self._events.put(None)

    def _take_text(self, text: str) -> None:
        self.tokens += 1
        if self._first_token is None:
            self._first_token = self._clock.now()
        self._have_spoken(self._chunker.push(text))

    def _have_spoken(self, pieces: list[str]) -> None:
        """The first piece, as the turn will cut it."""
        if pieces and self._speech is not None and not self._speech.piece:
            self._speech.begin(pieces[0])

    # giving it away

    async def __aenter__(self) -> "Draft":
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """See `LanguageModel.reply`. The first request is the confirmed one."""
        if self._asked:
            async with aclosing(self._model.reply(request)) as events:
                async for event in events:
                    yield event
            return
        self._asked = True
        try:
            while (prepared := await self._events.get()) is not None:
                if isinstance(prepared, ProviderError):
                    raise prepared
                yield prepared
        finally:
            self._thinking.cancel()


class PreparedSpeech:
    """The speech of a draft's first piece, and of what follows it once somebody asks. A `TextToSpeech` for one
    utterance; the next ones are the voice's own."""

    def __init__(self, voice: TextToSpeech, source: AudioFormat, clock: Clock, spawn: Spawn) -> None:
        self.name = voice.name
        self.piece = ""
        """What went to the voice."""
        self.started: float | None = None
        self.first_chunk: float | None = None
        self._voice = voice
        self._source = source
        self._clock = clock
        self._spawn = spawn
        self._failed = self._asked = False
        self._chunks: asyncio.Queue[SpeechEvent | ProviderError | None] = asyncio.Queue(_CHUNKS_HELD)
        self._rest: asyncio.Future[AsyncIterator[str]] = asyncio.get_running_loop().create_future()
        self._speaking: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        """Something is being spoken."""
        return bool(self.piece) and not self._failed

    def begin(self, piece: str) -> None:
        """Speak this."""
        self.piece = piece
        self.started = self._clock.now()
        self._speaking = self._spawn(self._speak())

    def close(self) -> None:
        """Speak no more. Idempotent."""
        if self._speaking is not None:
            self._speaking.cancel()
        self._rest.cancel()

    async def _speak(self) -> None:
        try:
            async with aclosing(self._voice.speak(self._text(), self._source)) as speech:
                async for chunk in speech:
                    if self.first_chunk is None:
                        self.first_chunk = self._clock.now()
                    await self._chunks.put(chunk)
        except ProviderError as failure:
            self._failed = True
            await self._chunks.put(failure)
        await self._chunks.put(None)

    async def _text(self) -> AsyncIterator[str]:
        yield self.piece
        async for piece in await self._rest:
            yield piece

    # as a voice

    async def __aenter__(self) -> "PreparedSpeech":
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def formats(self) -> tuple[AudioFormat, ...]:
        return self._voice.formats()

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechEvent, None]:
        """See `TextToSpeech.speak`. The text begins with the piece that is spoken already, else that was in vain."""
        first = None if self._asked else await anext(text, None)
        fits = first == self.piece and audio == self._source and not self._failed
        if self._asked or not fits:
            self.close()
            async with aclosing(self._voice.speak(_led_by(first, text), audio)) as speech:
                async for chunk in speech:
                    yield chunk
            return
        self._asked = True
        self._rest.set_result(text)
        try:
            while (prepared := await self._chunks.get()) is not None:
                if isinstance(prepared, ProviderError):
                    raise prepared
                yield prepared
        finally:
            self.close()


async def _led_by(first: str | None, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece
