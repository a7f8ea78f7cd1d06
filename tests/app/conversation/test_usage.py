"""What a call costs: counted for whoever bills it, whatever became of the work."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from app.calls.journal import CallEnded, UsageCounted
from app.conversation.memory import fold
from app.conversation.record import CallRecord
from app.conversation.usage import CallUsage, MeteredModel, MeteredVoice
from providers.base import (
    CallerMessage,
    ProviderSwitched,
    ReplyCompleted,
    ReplyRequest,
    SpeechChunk,
    TextDelta,
    UsageReported,
)
from providers.errors import ProviderUnavailable
from telephony.audio import TELEPHONE
from tests.calls.world import World
from tests.virtual import run

REQUEST = ReplyRequest((CallerMessage("hello"),))
GONE = ProviderUnavailable("a", "gone")


class Stream:
    """A model and voice that yields what it is told; the voice takes all of the text first."""

    name = "a,b"

    def __init__(self, *events: Any) -> None:
        self._events = events

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[Any, None]:
        for event in self._events:
            yield event

    async def speak(self, text: AsyncIterator[str], audio: object) -> AsyncGenerator[Any, None]:
        async for _ in text:
            pass
        for event in self._events:
            yield event


def replied(*events: Any, heard: int = 99) -> dict[str, dict[str, int]]:
    """The cost of a reply that is closed after so many events were passed on."""

    async def scene() -> dict[str, dict[str, int]]:
        usage = CallUsage()
        async with aclosing(MeteredModel(Stream(*events), usage).reply(REQUEST)) as stream:  # type: ignore[arg-type]
            for _ in range(heard):
                event = await anext(stream, None)
                assert not isinstance(event, UsageReported)
                if event is None:
                    break
        return usage.totals()

    return asyncio.run(scene())


def spoken(*events: Any) -> dict[str, dict[str, int]]:
    async def text() -> AsyncIterator[str]:
        yield "Hello "
        yield "there."

    async def scene() -> dict[str, dict[str, int]]:
        usage = CallUsage()
        voice = MeteredVoice(Stream(*events), usage)  # type: ignore[arg-type]
        assert [event async for event in voice.speak(text(), TELEPHONE) if isinstance(event, UsageReported)] == []
        return usage.totals()

    return asyncio.run(scene())


def test_a_whole_reply_costs_what_its_end_says_in_our_units() -> None:
    tokens = {"input_tokens": 20, "output_tokens": 12, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5}
    expected = {"input_tokens": 20, "output_tokens": 12, "cache_read_tokens": 7, "cache_write_tokens": 5}
    begun = UsageReported("a", {"input_tokens": 20, "cache_read_input_tokens": 7})
    assert replied(begun, TextDelta("hi"), ReplyCompleted(usage=tokens, provider="a")) == {"a": expected}
    openai = {"prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32}
    assert replied(ReplyCompleted(usage=openai, provider="b")) == {"b": {"input_tokens": 20, "output_tokens": 12}}


def test_a_cancelled_reply_costs_its_prompt_and_about_what_it_said() -> None:
    begun = UsageReported("b", {"input_tokens": 20})
    cost = replied(begun, TextDelta("four"), TextDelta("five!"), TextDelta("unread"), heard=2)
    assert cost == {"b": {"input_tokens": 20, "output_tokens_estimated": 3}}


def test_a_reply_that_another_one_finished_costs_both() -> None:
    cost = replied(
        UsageReported("a", {"input_tokens": 20}),
        TextDelta("Well, "),
        ProviderSwitched(GONE, "b"),
        UsageReported("b", {"input_tokens": 30}),
        TextDelta("yes."),
        ReplyCompleted(usage={"input_tokens": 30, "output_tokens": 2}, provider="b"),
    )
    assert cost == {
        "a": {"input_tokens": 20, "output_tokens_estimated": 2},
        "b": {"input_tokens": 30, "output_tokens": 2},
    }


def test_who_lost_a_race_is_paid_for_what_he_read() -> None:
    cost = replied(
        UsageReported("a", {"input_tokens": 20}),
        UsageReported("b", {"input_tokens": 30}),
        TextDelta("yes."),
        ReplyCompleted(usage={"input_tokens": 20, "output_tokens": 2}, provider="a"),
    )
    assert cost == {"a": {"input_tokens": 20, "output_tokens": 2}, "b": {"input_tokens": 30}}


def test_a_model_that_reports_nothing_bills_nothing() -> None:
    assert replied(TextDelta("hello"), TextDelta("there"), heard=1) == {}
    assert replied(TextDelta("hello"), ReplyCompleted()) == {}


def test_speech_costs_what_its_voice_says_else_the_text_that_it_took() -> None:
    chunk = SpeechChunk(b"\xff" * 160)
    assert spoken(UsageReported("b", {"characters": 7}), chunk, UsageReported("b", {"characters": 6})) == {
        "b": {"characters": 13}
    }
    assert spoken(chunk) == {"a": {"characters": 12}}


def test_a_call_ends_with_its_account_which_can_be_asked_for_before() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours",))
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            live = call.session.usage()["scripted"]
            assert live["audio_ms"] >= 1_000
            assert live["characters"] == sum(len(heard) for _, heard in call.replies)
            call.session.end("enough")
            await call.until(call.running.done)
            *_, counted = call.events(UsageCounted)
            kept = fold(call.session.record.journal.events).usage
            assert kept == call.session.usage()
            assert kept["scripted"]["audio_ms"] >= live["audio_ms"]
            assert kept["scripted"]["characters"] == live["characters"]
            assert isinstance(call.session.record.journal.events[-1], CallEnded)
            world.metrics.observe(counted)
            told = world.metrics.exposition().decode()
            assert 'sidetone_usage_total{provider="scripted",unit="audio_ms"}' in told

    run(scene())


def test_the_account_goes_on_where_another_process_left_it() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours",))
        async with world.call() as call:
            await call.greeting()
            call.session.leave()
            await call.until(call.running.done)
        past = call.session.record.journal.events
        record = CallRecord(world.clock, world.metrics, past)
        before = record.usage.totals()["scripted"]
        assert before["characters"] > 0
        record.usage.add("scripted", {"characters": 5})
        record.count_usage()
        assert record.journal.events[-1].usage == {"scripted": {"characters": 5}}  # type: ignore[union-attr]
        assert record.memory.usage["scripted"]["characters"] == before["characters"] + 5

    run(scene())
