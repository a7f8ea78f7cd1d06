"""One reply of the agent: model, voice and pacer as three overlapping streams, cancellable at any moment.

    LanguageModel ──text──► Chunker ──pieces──► TextToSpeech ──sound, words──► Pacer
           ▲                                                                     (full: the voice waits, and with it
           └──── tool results ◄──── tools                                         the model)

Nothing of a later stage waits for an earlier one to complete. Cancelling the task closes every iterator, and with it
the vendors' work. A turn reports to its session through `TurnObserver`; after `silence()` it reports nothing any more,
so that nothing stale can reach the state machine.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.calls.journal import ToolCalled, ToolReturned
from app.conversation.chunker import Chunker
from app.conversation.tools import END_CALL, TRANSFER_CALL
from app.telemetry.latency import LatencyMetrics
from providers.base import (
    LanguageModel,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    TextDelta,
    TextToSpeech,
    ToolCall,
    ToolResult,
)
from providers.errors import ProviderError, ProviderTimedOut
from telephony.audio import AudioFormat
from telephony.clock import Clock
from telephony.codecs.transcode import Transcoder
from telephony.pacing import Pacer
from telephony.playout import PlacedWord

_PIECES_AHEAD = 8
"""Pieces of text that may wait for the voice; the model waits beyond that."""
_MAX_TOOL_ROUNDS = 8
"""Requests of one reply; a model that asks for tools for ever is stopped here."""


class TurnReason(StrEnum):
    """Why a reply ended. Exactly one for each."""

    COMPLETED = "completed"  # heard to its end
    INTERRUPTED = "interrupted"  # the caller took the floor
    CANCELLED = "cancelled"  # never audible, and not wanted any more
    FAILED = "failed"  # a provider let us down
    LOST = "lost"  # the call ended under it


class Then(StrEnum):
    """What the call does once the reply was heard."""

    LISTEN = "listen"
    GREET = "greet"
    END = "end"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """How a reply ended: what it said, what of it the caller heard."""

    number: int
    said: str
    heard: str
    reason: TurnReason


@dataclass(frozen=True, slots=True)
class Phrase:
    """A reply that needs no model: its text, and its speech if that is at hand already (in `audio` of the leg)."""

    text: str
    speech: tuple[SpeechChunk, ...] = ()


class TurnObserver(Protocol):
    """What a turn needs of its session. All are synchronous but `run_tool`."""

    def request(self) -> ReplyRequest:
        """The context, including what this very turn's tools have returned."""
        ...

    def tool_called(self, event: ToolCalled) -> None: ...

    def tool_returned(self, event: ToolReturned) -> None: ...

    async def run_tool(self, call: ToolCall) -> ToolResult: ...

    def sound_queued(self) -> None:
        """The pacer, which had run dry, has something to send."""
        ...

    def generated(self, turn: "Turn") -> None:
        """No more will be queued; `turn.failure` tells whether that is as it should be."""
        ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a turn waits for its providers, in seconds."""

    filler_s: float = 1.0
    """Tools that take longer are bridged by a phrase."""
    filler_again_s: float = 5.0
    """And again, if they still work."""
    first_token_s: float = 4.0
    token_gap_s: float = 4.0
    first_speech_s: float = 3.0
    speech_gap_s: float = 3.0


class Turn:
    """One reply. `run` generates it; the session decides when it was heard, and ends it."""

    def __init__(
        self,
        number: int,
        *,
        pacer: Pacer,
        observer: TurnObserver,
        metrics: LatencyMetrics,
        clock: Clock,
        deadlines: Deadlines | None = None,
        filler: str = "",
    ) -> None:
        """`filler` is spoken while tools take their time."""
        self.number = number
        self.metrics = metrics
        self.then = Then.LISTEN
        self.then_reason = ""
        self.said = ""
        self.failure: ProviderError | None = None
        self.generating = True
        self.working = False
        """Tools are at work: silence is no stall, they have deadlines of their own."""
        self.interruptible = True
        """False: it is finished first, whatever the caller does (a legal notice)."""
        self._filler = filler
        self._said_before_tools = 0
        self._pacer = pacer
        self._observer: TurnObserver | None = observer
        self._clock = clock
        self._deadlines = deadlines or Deadlines()
        self._room = asyncio.Event()
        self._voice_limit: asyncio.Timeout | None = None
        self._speech_owed = False

    def silence(self) -> None:
        """Report nothing any more: the session has ended this turn."""
        self._observer = None

    def room(self) -> None:
        """The pacer has room again."""
        self._room.set()

    async def run(self, model: LanguageModel, voice: TextToSpeech, audio: AudioFormat) -> None:
        """Ask the model and speak its reply in `audio`. Providers' failures are kept in `failure`, not raised."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue(_PIECES_AHEAD)
        async with asyncio.TaskGroup() as group:
            thinking = group.create_task(self._think(model, pieces))
            if not await self._speak(voice, _until_none(pieces), audio):
                thinking.cancel()
        self._complete()

    async def say(self, phrase: Phrase, voice: TextToSpeech, audio: AudioFormat) -> None:
        """Speak a phrase, from its cached speech if there is any."""
        self.said = phrase.text
        if phrase.speech:
            self.metrics.tts_started = self._clock.now()
            await self._queue_all(_replay(phrase.speech), audio, audio)
        else:
            await self._speak(voice, once(phrase.text), audio)
        self._complete()

    def _complete(self) -> None:
        self.generating = False
        if self._observer is not None:
            self._pacer.finish()
            self._observer.generated(self)

    # thinking

    async def _think(self, model: LanguageModel, pieces: asyncio.Queue[str | None]) -> None:
        """The model's whole reply into `pieces`, None at its end. A model that dies leaves what it said so far."""
        self.metrics.llm_started = self._clock.now()
        chunker = Chunker()
        try:
            for _ in range(_MAX_TOOL_ROUNDS):
                calls = await self._read_reply(model, chunker, pieces)
                if not await self._run_tools(calls, pieces):
                    break
                self.said = f"{self.said.rstrip()} " if self.said else ""
            for piece in chunker.flush():
                await pieces.put(piece)
            self.metrics.llm_complete = self._clock.now()
        except ProviderError as failure:
            self.failure = failure
        await pieces.put(None)

    async def _read_reply(
        self, model: LanguageModel, chunker: Chunker, pieces: asyncio.Queue[str | None]
    ) -> list[ToolCall]:
        """One request's text into `pieces`; its tool calls."""
        calls: list[ToolCall] = []
        if self._observer is None:
            return calls
        reply = model.reply(self._observer.request())
        deadlines = self._deadlines
        async with aclosing(_timed(reply, model.name, deadlines.first_token_s, deadlines.token_gap_s)) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        if self.metrics.llm_first_token is None:
                            self.metrics.llm_first_token = self._clock.now()
                        self.metrics.llm_tokens += 1
                        self.said += text
                        for piece in chunker.push(text):
                            await pieces.put(piece)
                    case ToolCall():
                        calls.append(event)
                    case ReplyCompleted():
                        break
        if calls:  # what was said before a tool is spoken while it works
            for piece in chunker.flush():
                await pieces.put(piece)
        return calls

    async def _run_tools(self, calls: list[ToolCall], pieces: asyncio.Queue[str | None]) -> bool:
        """Run all tools of one request, side by side; True if the model is to be asked again."""
        working = []
        for call in calls:
            if call.name == END_CALL.name:
                self.then = Then.END
            elif call.name == TRANSFER_CALL.name:
                self.then, self.then_reason = Then.TRANSFER, str(call.arguments.get("reason", ""))
            else:
                working.append(call)
        if not working or self._observer is None:
            return False
        said = self.said[self._said_before_tools :].strip()
        self._said_before_tools = len(self.said)
        for index, call in enumerate(working):
            self._observer.tool_called(
                ToolCalled(
                    at=self._clock.now(),
                    turn=self.number,
                    tool_call_id=call.call_id,
                    name=call.name,
                    arguments=dict(call.arguments),
                    said="" if index else said,
                )
            )
        self.working = True
        async with asyncio.TaskGroup() as group:
            bridge = group.create_task(self._bridge(pieces))
            async with asyncio.TaskGroup() as tools:
                for call in working:
                    tools.create_task(self._run_tool(call))
            bridge.cancel()
        self.working = False
        return True

    async def _bridge(self, pieces: asyncio.Queue[str | None]) -> None:
        """Say something each time the tools have taken a while since anything was to be heard."""
        while self._filler:
            await self._clock.sleep_until(self._clock.now() + self._deadlines.filler_s)
            if not self._pacer.unsent_samples:
                self.said = f"{self.said.rstrip()} {self._filler} ".lstrip()
                await pieces.put(f"{self._filler} ")
                await self._clock.sleep_until(self._clock.now() + self._deadlines.filler_again_s)

    async def _run_tool(self, call: ToolCall) -> None:
        if self._observer is None:
            return
        result = await self._observer.run_tool(call)
        if self._observer is not None:
            self._observer.tool_returned(
                ToolReturned(
                    at=self._clock.now(),
                    turn=self.number,
                    tool_call_id=result.call_id,
                    content=result.content,
                    failed=result.failed,
                )
            )

    # speaking

    async def _speak(self, voice: TextToSpeech, pieces: AsyncIterator[str], audio: AudioFormat) -> bool:
        """Speak the pieces; False, with `failure` set, if the voice let us down."""
        source = audio if audio in voice.formats() else voice.formats()[0]
        try:
            async with asyncio.timeout(None) as limit:
                self._voice_limit = limit
                await self._queue_all(voice.speak(self._handed_over(pieces), source), source, audio)
        except TimeoutError:
            stage, allowed = "gap", self._deadlines.speech_gap_s
            if self.metrics.tts_first_chunk is None:
                stage, allowed = "first_result", self._deadlines.first_speech_s
            self.failure = ProviderTimedOut(voice.name, stage, allowed)
        except ProviderError as failure:
            self.failure = failure
        finally:
            self._voice_limit = None
        return self.failure is None

    async def _handed_over(self, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
        """The pieces as the voice takes them. It owes speech for a piece until it asks for the next, for the last until
        it ends. A voice that reads ahead owes nothing meanwhile: what it waits for may be more text."""
        async for piece in pieces:
            if self.metrics.tts_started is None:
                self.metrics.tts_started = self._clock.now()
                self._expect_speech(self._deadlines.first_speech_s)
            self._speech_owed = True
            yield piece
            self._speech_owed = False
            if self.metrics.tts_first_chunk is not None:
                self._expect_speech(None)
        self._speech_owed = True
        if self.metrics.tts_first_chunk is not None:
            self._expect_speech(self._deadlines.speech_gap_s)

    def _expect_speech(self, within_s: float | None) -> None:
        """The next chunk is owed within so many seconds; None: at no particular time."""
        if self._voice_limit is not None:
            now = asyncio.get_running_loop().time()
            self._voice_limit.reschedule(None if within_s is None else now + within_s)

    async def _queue_all(
        self, speech: AsyncGenerator[SpeechChunk, None], source: AudioFormat, audio: AudioFormat
    ) -> None:
        transcoder = Transcoder(source, audio)
        spoken = 0  # samples of the source so far
        asked_at = self._clock.now()
        async with aclosing(speech):
            async for chunk in speech:
                now = self._clock.now()
                self.metrics.tts_chunks += 1
                if self.metrics.tts_first_chunk is None:
                    self.metrics.tts_first_chunk = now
                else:
                    self.metrics.tts_busy_s += now - asked_at
                words = tuple(
                    PlacedWord(word.text, transcoder.scale(spoken + word.start), transcoder.scale(spoken + word.end))
                    for word in chunk.words
                )
                spoken += source.samples(len(chunk.audio))
                self._expect_speech(None)
                await self._queue(transcoder.feed(chunk.audio), words)
                asked_at = self._clock.now()
                if self._speech_owed:
                    self._expect_speech(self._deadlines.speech_gap_s)
        await self._queue(transcoder.flush(), ())
        self.metrics.tts_complete = self._clock.now()

    async def _queue(self, sound: bytes, words: tuple[PlacedWord, ...]) -> None:
        while not self._pacer.has_room():
            self._room.clear()
            await self._room.wait()
        if self._observer is not None and (sound or words) and self._pacer.queue(sound, words):
            self._observer.sound_queued()


async def _timed(
    events: AsyncGenerator[ReplyEvent, None], name: str, first_s: float, gap_s: float
) -> AsyncGenerator[ReplyEvent, None]:
    """The same events; raises `ProviderTimedOut` when one takes longer than allowed."""
    allowed, stage = first_s, "first_result"
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout(allowed):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProviderTimedOut(name, stage, allowed) from None
            yield event
            allowed, stage = gap_s, "gap"


async def _until_none(queue: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (piece := await queue.get()) is not None:
        yield piece


async def once(text: str) -> AsyncIterator[str]:
    """A reply's text, if it is complete from the start."""
    yield text


async def _replay(speech: tuple[SpeechChunk, ...]) -> AsyncGenerator[SpeechChunk, None]:
    for chunk in speech:
        yield chunk
