"""One reply of the agent: model, voice and pacer as three overlapping streams, cancellable at any moment.

    LanguageModel ──text──► Chunker ──pieces──► TextToSpeech ──sound, words──► Pacer
           ▲                                                                     (full: the voice waits, and with it
           └──── tool results ◄──── tools                                         the model)

Nothing of a later stage waits for an earlier one to complete. Cancelling the task closes every iterator, and with it
the vendors' work. A turn reports to its session through `TurnObserver`; after `silence()` it reports nothing any more,
so that nothing stale can reach the state machine. Here the model thinks; `Speaking` has the voice's half, `Waiting`
bridges what takes too long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from app.calls.journal import ToolCalled, ToolReturned
from app.conversation.chunker import Chunker
from app.conversation.filler import Filler
from app.conversation.reply import Phrase, Then, once
from app.conversation.speaking import Speaking, SpeakingObserver
from app.conversation.tools import END_CALL, TRANSFER_CALL
from app.conversation.waiting import Waiting
from app.conversation.wording import Wording
from app.telemetry.latency import LatencyMetrics
from providers.base import (
    LanguageModel,
    Progress,
    ProviderSwitched,
    ReplyCompleted,
    ReplyRequest,
    TextDelta,
    TextToSpeech,
    ToolCall,
    ToolResult,
    UsageReported,
)
from providers.errors import ProviderError
from telephony.audio import AudioFormat
from telephony.clock import Clock
from telephony.pacing import Pacer
from telephony.tasks import TaskGroup

_PIECES_AHEAD = 8
"""Pieces of text that may wait for the voice; the model waits beyond that."""
_MAX_TOOL_ROUNDS = 8
"""Requests of one reply; a model that asks for tools for ever is stopped here."""


class TurnObserver(SpeakingObserver, Protocol):
    """What a turn needs of its session. All are synchronous but `run_tool`."""

    def request(self) -> ReplyRequest:
        """The context, including what this very turn's tools have returned."""
        ...

    def tool_called(self, event: ToolCalled) -> None: ...

    def tool_returned(self, event: ToolReturned) -> None: ...

    async def run_tool(self, call: ToolCall) -> ToolResult: ...

    def generated(self, turn: "Turn") -> None:
        """No more will be queued; `turn.failure` tells whether that is as it should be."""
        ...


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a turn may be silent, in seconds. Providers have deadlines of their own."""

    filler_s: float = 1.0
    """A longer wait for model or tools is bridged by a phrase."""
    filler_again_s: float = 5.0
    """And again, if it lasts."""
    speech_ahead_s: float = 2.5
    """The voice is given the next piece when what it has made will be heard within so long."""


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
        filler: Filler | None = None,
    ) -> None:
        """`filler` is spoken while model or tools take their time."""
        self.number = number
        self.metrics = metrics
        self.then = Then.LISTEN
        self.then_reason = ""
        self.heard_before = ""
        """What was heard of this reply before another process carried it on; `said` begins with it."""
        self.heard_before_ms = 0
        self.failure: ProviderError | None = None
        self.generating = True
        self.interruptible = True
        """False: it is finished first, whatever the caller does (a legal notice)."""
        deadlines = deadlines or Deadlines()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue(_PIECES_AHEAD)
        self._pacer = pacer
        self._observer: TurnObserver | None = observer
        self._clock = clock
        self.wording = wording = Wording()
        self._speaking = Speaking(
            pacer, wording, observer=observer, metrics=metrics, clock=clock, ahead_s=deadlines.speech_ahead_s
        )
        self._waiting = Waiting(
            filler,
            self._speaking,
            wording,
            clock=clock,
            after_s=deadlines.filler_s,
            again_s=deadlines.filler_again_s,
        )

    @property
    def said(self) -> str:
        """What the reply says, as far as it is made."""
        return self.wording.text

    @property
    def text_fill(self) -> float:
        """How much of the room for text that waits for the voice is taken, from 0 to 1."""
        return self._pieces.qsize() / _PIECES_AHEAD

    @property
    def working(self) -> bool:
        """Tools are at work: silence is no stall, they have deadlines of their own."""
        return self._waiting.tools_at_work

    def carry_on(self, heard: str, heard_ms: int, before_tools: str) -> None:
        """This reply was begun by another process: so much was heard of it, and so much said before its tools."""
        self.heard_before, self.heard_before_ms = heard, heard_ms
        self.wording.carry_on(heard, before_tools)

    def silence(self) -> None:
        """Report nothing any more: the session has ended this turn."""
        self._observer = None
        self._speaking.silence()

    def room(self) -> None:
        """The pacer has room again."""
        self._speaking.room()

    def wasted_characters(self, heard: str) -> int:
        """Characters that the voice was given, of which nothing was heard."""
        return self._speaking.wasted_characters(heard)

    async def run(self, model: LanguageModel, voice: TextToSpeech, audio: AudioFormat) -> None:
        """Ask the model and speak its reply in `audio`. Providers' failures are kept in `failure`, not raised."""
        pieces = self._pieces
        async with TaskGroup() as group:
            thinking = group.create_task(self._think(model, pieces))
            bridging = group.create_task(self._waiting.bridge(pieces))
            try:
                await self._speaking.speak(voice, _until_none(pieces), audio)
            except ProviderError as failure:
                self.failure = failure
            if self.failure is not None:
                thinking.cancel()
            bridging.cancel()
        self._complete()

    async def say(self, phrase: Phrase, voice: TextToSpeech, audio: AudioFormat) -> None:
        """Speak a phrase, from its cached speech if there is any."""
        self.wording.add(phrase.text)
        try:
            if phrase.speech:
                await self._speaking.replay(phrase.speech, audio)
            else:
                await self._speaking.speak(voice, once(phrase.text), audio)
        except ProviderError as failure:
            self.failure = failure
        self._complete()

    def _complete(self) -> None:
        self.generating = False
        if self._observer is not None:
            self._pacer.finish()
            self._observer.generated(self)

    # thinking

    async def _think(self, model: LanguageModel, pieces: asyncio.Queue[str | None]) -> None:
        """The model's whole reply into `pieces`, None at its end. A model that dies leaves what it said so far."""
        self.metrics.llm_started = self.metrics.llm_started or self._clock.now()  # or earlier, by a draft
        self._waiting.begin(self.metrics.llm_started)
        chunker = Chunker()
        try:
            for _ in range(_MAX_TOOL_ROUNDS):
                calls = await self._read_reply(model, chunker, pieces)
                if not await self._run_tools(calls):
                    break
                self.wording.part()
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
        async with aclosing(model.reply(self._observer.request())) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        for piece in self._take_text(text, chunker):
                            await pieces.put(piece)
                    case ToolCall():
                        calls.append(event)
                    case ProviderSwitched() | UsageReported() | Progress():
                        self._provider_event(event, chunker)
                    case ReplyCompleted():
                        break
        if calls:  # what was said before a tool is spoken while it works
            for piece in chunker.flush():
                await pieces.put(piece)
        return calls

    def _take_text(self, text: str, chunker: Chunker) -> list[str]:
        if self.metrics.llm_first_token is None:
            self.metrics.llm_first_token = self._clock.now()
        self._waiting.end()
        self.metrics.llm_tokens += 1
        self.wording.add(text)
        return chunker.push(text)

    async def _run_tools(self, calls: list[ToolCall]) -> bool:
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
        said = self.wording.since_tools()
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
        self._waiting.begin(self._clock.now(), tuple(call.name for call in working))
        async with TaskGroup() as tools:
            for call in working:
                tools.create_task(self._run_tool(call))
        self._waiting.tools_returned()
        return True

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

    def _provider_event(self, event: ProviderSwitched | UsageReported | Progress, chunker: Chunker) -> None:
        if isinstance(event, ProviderSwitched):  # what is not on its way to the voice yet was never said
            self.wording.withdraw(chunker.withdraw(len(event.withdrawn)))
        if self._observer is not None and not isinstance(event, Progress):
            self._observer.provider_event(event)


async def _until_none(queue: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (piece := await queue.get()) is not None:
        yield piece
