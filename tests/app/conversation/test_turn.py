"""One reply: model, voice and pacer overlap, wait for each other, and end in order whatever fails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.calls.journal import JournalEvent, ToolCalled, ToolReturned
from app.conversation.reply import Phrase, Then
from app.conversation.transcript import Transcript
from app.conversation.turn import Deadlines, Turn
from app.telemetry.latency import LatencyMetrics
from providers.base import (
    CallerMessage,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    SpokenWord,
    TextDelta,
    ToolCall,
    ToolResult,
)
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedLanguageModel, ScriptedTextToSpeech
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.clock import LoopClock
from telephony.pacing import Pacer
from telephony.playout import PlayoutLedger
from tests.virtual import run

TEXT = "We are open on Monday. On Tuesday we are open as well, from nine in the morning. Never on Sunday."


@dataclass
class Scene:
    """A turn's surroundings, and what it reported."""

    capacity_ms: int = 60_000
    deadlines: Deadlines = field(default_factory=lambda: Deadlines(speech_ahead_s=60.0))  # nobody plays
    tool: Callable[[ToolCall], Coroutine[Any, Any, ToolResult]] | None = None

    def __post_init__(self) -> None:
        self.clock = LoopClock()
        self.model = ScriptedLanguageModel(self.clock, answer=lambda request: TEXT)
        self.voice = ScriptedTextToSpeech(self.clock)
        self.pacer = Pacer(TELEPHONE, PlayoutLedger(8000), capacity_ms=self.capacity_ms, on_room=self.make_room)
        self.pacer.begin(0.0)
        self.events: list[JournalEvent] = []
        self.queued_at: list[float] = []
        self.done: list[Turn] = []
        self.turn = self.next_turn(1)

    def next_turn(self, number: int) -> Turn:
        self.turn = Turn(
            number,
            pacer=self.pacer,
            observer=self,
            metrics=LatencyMetrics(),
            clock=self.clock,
            deadlines=self.deadlines,
        )
        return self.turn

    async def reply(self) -> Turn:
        await self.turn.run(self.model, self.voice, TELEPHONE)
        return self.turn

    def make_room(self) -> None:
        self.turn.room()

    # the session's side

    def request(self) -> ReplyRequest:
        said = CallerMessage("when?")
        return ReplyRequest((said, *Transcript.fold(self.events).messages()))

    def tool_called(self, event: ToolCalled) -> None:
        self.events.append(event)

    def tool_returned(self, event: ToolReturned) -> None:
        self.events.append(event)

    async def run_tool(self, call: ToolCall) -> ToolResult:
        assert self.tool is not None
        return await self.tool(call)

    def sound_queued(self) -> None:
        self.queued_at.append(self.clock.now())

    def generated(self, turn: Turn) -> None:
        self.done.append(turn)

    @property
    def words(self) -> list[str]:
        return [word.text for word in self.pacer.ledger.words]


class ReadsAhead(ScriptedTextToSpeech):
    """Takes all text as it comes, in a task of its own, as a vendor's socket does."""

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        taken: asyncio.Queue[str | None] = asyncio.Queue()

        async def take() -> None:
            async for piece in text:
                taken.put_nowait(piece)
            taken.put_nowait(None)

        async def pieces() -> AsyncIterator[str]:
            while (piece := await taken.get()) is not None:
                yield piece

        async with asyncio.TaskGroup() as group:
            group.create_task(take())
            async for chunk in super().speak(pieces(), audio):
                yield chunk


def test_a_reply_is_spoken_word_for_word_and_reported_once() -> None:
    async def scene() -> None:
        at = Scene()
        turn = await at.reply()
        assert turn.said == TEXT
        assert at.words == TEXT.split()
        assert at.done == [turn]
        assert turn.failure is None and not turn.generating
        assert at.pacer.finished

    run(scene())


def test_speech_starts_long_before_the_text_is_complete() -> None:
    async def scene() -> None:
        at = Scene()
        at.model.tokens_per_s = 2.0
        metrics = (await at.reply()).metrics
        assert metrics.llm_complete is not None and metrics.tts_first_chunk is not None
        assert metrics.llm_complete - metrics.tts_first_chunk > 5.0

    run(scene())


def test_each_stage_is_stamped_in_order() -> None:
    async def scene() -> None:
        at = Scene()
        began = at.clock.now()
        metrics = (await at.reply()).metrics
        assert metrics.llm_started == began
        assert metrics.llm_first_token == pytest.approx(began + 0.3)
        assert metrics.tts_started is not None and metrics.tts_first_chunk is not None
        assert metrics.tts_first_chunk == pytest.approx(metrics.tts_started + 0.12)
        assert metrics.tts_complete is not None and metrics.llm_complete is not None
        assert metrics.llm_tokens == len(TEXT.split())
        assert metrics.tts_chunks > len(at.queued_at) >= 1  # only a dry pacer is told of
        assert metrics.tts_complete >= metrics.llm_complete

    run(scene())


def test_words_are_placed_where_they_sound_in_a_voice_of_another_rate() -> None:
    class WidebandVoice(ScriptedTextToSpeech):
        def formats(self) -> tuple[AudioFormat, ...]:
            return (AudioFormat(Encoding.PCM16, 24000),)

        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
            assert audio == self.formats()[0]
            async for _ in text:
                for word in ("one", "two"):
                    yield SpeechChunk(b"\0\0" * 24000, (SpokenWord(word, 0, 24000),))

    async def scene() -> None:
        at = Scene()
        at.model.answer = lambda request: "one two"
        at.voice = WidebandVoice(at.clock)
        await at.reply()
        assert [(w.text, w.start, w.end) for w in at.pacer.ledger.words] == [("one", 0, 8000), ("two", 8000, 16000)]
        assert at.pacer.ledger.queued == 16000

    run(scene())


def test_a_full_pacer_makes_the_voice_wait_and_the_voice_the_model() -> None:
    async def scene() -> None:
        at = Scene(capacity_ms=1000)
        at.model.answer = lambda request: "This is a sentence that is spoken for a few seconds. " * 40
        async with asyncio.TaskGroup() as group:
            task = group.create_task(at.reply())
            await asyncio.sleep(120)
            assert not task.done()
            assert at.pacer.unsent_samples <= 8000 + 800
            assert at.turn.metrics.llm_complete is None
            assert at.turn.metrics.llm_tokens < 40 * 11 / 2
            while not task.done():
                at.pacer.due(at.clock.now())
                await asyncio.sleep(0.04)
        assert at.words == at.turn.said.split()
        assert at.turn.failure is None

    run(scene())


def test_a_model_that_dies_leaves_what_was_speakable() -> None:
    async def scene() -> None:
        at = Scene()
        at.model.faults[1] = Fault(7, ProviderUnavailable("scripted", "gone"))
        turn = await at.reply()
        assert isinstance(turn.failure, ProviderUnavailable)
        assert at.words == "We are open on Monday.".split()

    run(scene())


def test_a_voice_that_dies_stops_the_model() -> None:
    async def scene() -> None:
        at = Scene()
        at.model.tokens_per_s = 1.0
        at.voice.faults[1] = Fault(1, ProviderUnavailable("scripted", "gone"))
        began = at.clock.now()
        turn = await at.reply()
        assert isinstance(turn.failure, ProviderUnavailable)
        assert at.clock.now() - began < 10 < len(TEXT.split())

    run(scene())


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.31, 0.5, 0.8, 1.5])
def test_a_cancelled_turn_closes_its_providers_and_says_nothing_any_more(after_s: float) -> None:
    closed: list[str] = []

    class Model(ScriptedLanguageModel):
        async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
            try:
                async for event in super().reply(request):
                    yield event
            finally:
                closed.append("model")

    class Voice(ScriptedTextToSpeech):
        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
            try:
                async for chunk in super().speak(text, audio):
                    yield chunk
            finally:
                closed.append("voice")

    async def scene() -> None:
        at = Scene()
        at.model, at.voice = Model(at.clock, answer=lambda request: TEXT, tokens_per_s=10.0), Voice(at.clock)
        opened = []
        async with asyncio.TaskGroup() as group:
            task = group.create_task(at.reply())
            await asyncio.sleep(after_s)
            opened = ["model"] * (at.model.asked > 0) + ["voice"] * (at.voice.spoken > 0)
            at.turn.silence()
            task.cancel()
            at.pacer.flush()
        assert sorted(closed) == opened
        assert at.pacer.ledger.queued == 0
        assert at.done == []

    run(scene())


def test_a_silenced_turn_that_is_slow_to_die_puts_nothing_into_the_next_reply() -> None:
    async def scene() -> None:
        at = Scene()
        first = at.turn
        async with asyncio.TaskGroup() as group:
            task = group.create_task(first.run(at.model, at.voice, TELEPHONE))  # nobody cancels it
            await asyncio.sleep(0.6)
            assert at.words
            first.silence()
            at.pacer.begin(at.clock.now())
            at.next_turn(2)
            await at.turn.say(Phrase("Second."), at.voice, TELEPHONE)
            await task
        assert at.words == ["Second."]
        assert at.done == [at.turn]

    run(scene())


def test_a_phrase_with_speech_at_hand_needs_no_voice() -> None:
    async def scene() -> None:
        at = Scene()
        speech = (SpeechChunk(b"\x10" * 800, (SpokenWord("Hello.", 0, 800),)),)
        await at.turn.say(Phrase("Hello.", speech), at.voice, TELEPHONE)
        assert at.voice.spoken == 0
        assert at.words == ["Hello."]
        assert at.turn.said == "Hello."
        assert at.done == [at.turn]

    run(scene())


def test_a_phrase_without_speech_is_spoken_by_the_voice() -> None:
    async def scene() -> None:
        at = Scene()
        await at.turn.say(Phrase("Hello there."), at.voice, TELEPHONE)
        assert at.words == ["Hello", "there."]

    run(scene())


def look(name: str) -> ToolCall:
    return ToolCall(name, "look", {})


def test_tools_run_side_by_side_and_the_model_is_asked_again_with_their_results() -> None:
    async def slow(call: ToolCall) -> ToolResult:
        await asyncio.sleep(2.0)
        return ToolResult(call.call_id, "free")

    def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
        if any(isinstance(message, ToolResult) for message in request.messages):
            return "It is free."
        return [TextDelta("Let me see."), look("a"), look("b")]

    async def scene() -> None:
        at = Scene(tool=slow)
        at.model.answer = answer
        began = at.clock.now()
        await at.reply()
        assert at.turn.said == "Let me see. It is free."
        assert at.words == "Let me see. It is free.".split()
        assert [type(event) for event in at.events] == [ToolCalled, ToolCalled, ToolReturned, ToolReturned]
        assert [event.said for event in at.events if isinstance(event, ToolCalled)] == ["Let me see.", ""]
        assert at.queued_at[0] - began < 1.0  # spoken while the tools work
        assert at.clock.now() - began < 4.0
        results = [m for m in at.model.requests[-1].messages if isinstance(m, ToolResult)]
        assert {m.call_id for m in results} == {"a", "b"}

    run(scene())


def test_a_turn_cancelled_while_its_tool_works_reports_no_result() -> None:
    async def slow(call: ToolCall) -> ToolResult:
        await asyncio.sleep(2.0)
        return ToolResult(call.call_id, "free")

    async def scene() -> None:
        at = Scene(tool=slow)
        at.model.answer = lambda request: [look("a")]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(at.reply())
            await asyncio.sleep(1.0)
            at.turn.silence()
            task.cancel()
        await asyncio.sleep(5.0)
        assert [type(event) for event in at.events] == [ToolCalled]

    run(scene())


def test_a_model_that_asks_for_tools_for_ever_is_stopped() -> None:
    async def quick(call: ToolCall) -> ToolResult:
        return ToolResult(call.call_id, "again")

    async def scene() -> None:
        at = Scene(tool=quick)
        at.model.answer = lambda request: [look(f"call {at.model.asked}")]
        await at.reply()
        assert at.model.asked == 8
        assert at.done == [at.turn]

    run(scene())


@pytest.mark.parametrize(
    ("call", "then", "reason"),
    [
        (ToolCall("1", "end_call", {}), Then.END, ""),
        (ToolCall("1", "transfer_call", {"reason": "billing"}), Then.TRANSFER, "billing"),
    ],
)
def test_the_calls_own_tools_are_kept_for_after_the_last_word(call: ToolCall, then: Then, reason: str) -> None:
    async def scene() -> None:
        at = Scene()
        at.model.answer = lambda request: [TextDelta("Goodbye."), call]
        turn = await at.reply()
        assert (turn.then, turn.then_reason) == (then, reason)
        assert at.words == ["Goodbye."]
        assert at.model.asked == 1
        assert at.events == []

    run(scene())


def test_a_bug_of_a_provider_is_raised() -> None:
    def broken(request: ReplyRequest) -> str:
        raise ZeroDivisionError

    async def scene() -> None:
        at = Scene()
        at.model.answer = broken
        with pytest.raises(ExceptionGroup) as raised:
            await at.reply()
        assert raised.group_contains(ZeroDivisionError)
        assert at.done == []

    run(scene())
