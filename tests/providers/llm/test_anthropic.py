"""Claude through the real SDK, against the vendor's protocol on loopback: what it says, and each way it can fail."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import registry
from providers.base import (
    AgentMessage,
    CallerMessage,
    Message,
    Progress,
    ProviderContext,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
    UsageReported,
)
from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.llm.anthropic import Anthropic, create
from providers.llm.anthropic import request as layout
from telephony.clock import LoopClock
from tests.contracts.registered import leaving_nothing
from tests.fakes.anthropic import (
    KEY,
    PING,
    FakeAnthropic,
    arguments,
    end,
    error_body,
    event,
    finished,
    objection,
    refused,
    said,
    start,
    text,
    tool,
    tool_opened,
)
from tests.fakes.http import CUT, Answer
from tests.streams import results

HELLO = ReplyRequest((CallerMessage("hello"),))
BOOK = ToolSpec("book", "Book a day.", {"type": "object", "properties": {"day": {"type": "string"}}})
CACHED = {"type": "ephemeral"}
Scene = Callable[[FakeAnthropic, Anthropic], Awaitable[None]]


def model_at(url: str, **settings: str) -> Anthropic:
    environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url, **settings}
    return create(ProviderContext(environment, LoopClock()))


def play(scene: Scene, *answers: Answer, **settings: str) -> None:
    """Run a scene with a vendor who gives these answers and an adapter that was entered."""

    async def whole() -> None:
        async with FakeAnthropic(*answers) as vendor, model_at(vendor.url, **settings) as model:
            await scene(vendor, model)

    leaving_nothing(whole())


async def reply(model: Anthropic, request: ReplyRequest = HELLO) -> list[ReplyEvent]:
    return [event async for event in results(model.reply(request))]


def heard(*answers: Answer, request: ReplyRequest = HELLO) -> list[ReplyEvent]:
    """The whole reply that these answers make."""
    events: list[ReplyEvent] = []

    async def scene(_: FakeAnthropic, model: Anthropic) -> None:
        events.extend(await reply(model, request))

    play(scene, *answers)
    return events


def sent(request: ReplyRequest, **settings: str) -> dict[str, Any]:
    """The body that the vendor receives for a request."""
    bodies = []

    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        await reply(model, request)
        bodies.append(vendor.requests[0].body)

    play(scene, **settings)
    return bodies[0]


def failure(*steps: Any, status: int = 200, answer: Answer | None = None) -> tuple[ProviderError, list[ReplyEvent]]:
    """The error that an answer ends in, and what was said before."""
    events: list[ReplyEvent] = []
    errors: list[ProviderError] = []

    async def scene(_: FakeAnthropic, model: Anthropic) -> None:
        with pytest.raises(ProviderError) as failed:
            await _collect(model, events)
        errors.append(failed.value)
        assert failed.value.provider == "anthropic"
        assert KEY not in str(failed.value)
        assert await reply(model), "the next reply is not harmed"

    play(scene, answer or Answer(steps, status))
    return errors[0], events


async def _collect(model: Anthropic, events: list[ReplyEvent]) -> None:
    async for said_so_far in results(model.reply(HELLO)):
        if not isinstance(said_so_far, Progress):
            events.append(said_so_far)


# A healthy stream


def test_text_comes_as_it_is_written_and_the_tokens_are_counted() -> None:
    assert heard(said("Sure, ", "one moment.")) == [
        TextDelta("Sure, "),
        TextDelta("one moment."),
        ReplyCompleted(
            "end",
            {
                "input_tokens": 20,
                "output_tokens": 12,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
            },
        ),
    ]


def test_later_counts_replace_earlier_ones_and_those_that_are_none_are_left_out() -> None:
    answer = Answer(
        (
            start(cache_read_input_tokens=4000),
            text("Hi."),
            event(
                "message_delta",
                delta={"stop_reason": "end_turn"},
                usage={"output_tokens": 7, "input_tokens": None, "cache_read_input_tokens": 4096},
            ),
            event("message_stop"),
        )
    )
    *_, completed = heard(answer)
    assert isinstance(completed, ReplyCompleted)
    assert completed.usage == {
        "input_tokens": 20,
        "output_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4096,
    }


@pytest.mark.parametrize(
    ("vendors", "ours"),
    [("end_turn", "end"), ("stop_sequence", "end"), ("tool_use", "tool_use"), ("max_tokens", "max_tokens")],
)
def test_says_why_it_stopped(vendors: str, ours: str) -> None:
    *_, completed = heard(Answer((start(), text("Hi."), end(vendors))))
    assert isinstance(completed, ReplyCompleted)
    assert completed.stop_reason == ours


def test_pings_thoughts_citations_and_events_yet_to_be_invented_are_passed_over() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": ""}
    answer = Answer(
        (
            PING,
            event("weather_report", delta="sunny", usage=[1]),
            b": a comment\n\n",
            start(),
            event("content_block_start", index=0, content_block=thought),
            event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}),
            event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
            event("content_block_stop", index=0),
            PING,
            event("content_block_start", index=1, content_block={"type": "text", "text": "He"}),
            event("content_block_delta", index=1, delta={"type": "text_delta", "text": "llo"}),
            event("content_block_delta", index=1, delta={"type": "text_delta", "text": ""}),
            event("content_block_delta", index=1, delta={"type": "citations_delta", "citation": {"type": "x"}}),
            event("content_block_delta", index=1, delta={"type": "dance_delta", "step": 3}),
            event("content_block_stop", index=1),
            event("content_block_start", index=2, content_block={"type": "hologram", "size": 3}),
            event("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": "{"}),
            event("content_block_stop", index=2),
            end(),
        )
    )
    assert heard(answer)[:-1] == [TextDelta("He"), TextDelta("llo")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_cuts_of_the_network_do_not_matter(size: int) -> None:
    answer = Answer(
        (
            start(),
            text("Grüß Gott – ", "☎ Müller"),
            tool("t1", "book", '{"day": "fr', "i \\", 'u00fc"}'),
            end("tool_use"),
        ),
        chunk_bytes=size,
    )
    assert heard(answer)[:-1] == [
        TextDelta("Grüß Gott – "),
        TextDelta("☎ Müller"),
        ToolCall("t1", "book", {"day": "fri ü"}),
    ]


# Tools


def test_a_tool_call_comes_once_its_arguments_are_complete() -> None:
    held = asyncio.Event()
    answer = Answer(
        (
            start(),
            text("One moment."),
            tool_opened("toolu_1", "book", 1),
            arguments("", 1),
            arguments('{"day": "fri', 1),
            held,
            arguments('day"}', 1),
            event("content_block_stop", index=1),
            end("tool_use"),
        )
    )

    async def scene(_: FakeAnthropic, model: Anthropic) -> None:
        events = results(model.reply(HELLO))
        assert await anext(events) == TextDelta("One moment.")
        async with asyncio.TaskGroup() as group:
            call = group.create_task(_next(events))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not call.done()
            held.set()
        assert call.result() == ToolCall("toolu_1", "book", {"day": "friday"})
        assert isinstance(await anext(events), ReplyCompleted)

    play(scene, answer)


async def _next(events: AsyncGenerator[ReplyEvent, None]) -> ReplyEvent:
    while isinstance(event := await anext(events), Progress):
        pass
    return event


def test_parallel_tools_are_calls_of_their_own_also_when_their_pieces_are_mixed() -> None:
    answer = Answer(
        (
            start(),
            tool_opened("t1", "book", 0),
            tool_opened("t2", "book", 1),
            arguments('{"day":', 0),
            arguments('{"day": "tue"', 1),
            arguments('"mon"}', 0),
            arguments("}", 1),
            event("content_block_stop", index=1),
            event("content_block_stop", index=0),
            tool("t3", "find", index=2),
            end("tool_use"),
        )
    )
    assert heard(answer)[:-1] == [
        ToolCall("t2", "book", {"day": "tue"}),
        ToolCall("t1", "book", {"day": "mon"}),
        ToolCall("t3", "find", {}),
    ]


def test_arguments_that_come_at_once_with_the_call_are_taken() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "book", "input": {"day": "mon"}}
    opened = event("content_block_start", index=0, content_block=block)
    answer = Answer((start(), opened, event("content_block_stop", index=0), end("tool_use")))
    assert heard(answer)[0] == ToolCall("t1", "book", {"day": "mon"})


@pytest.mark.parametrize(
    ("steps", "detail"),
    [
        ((tool("t1", "book", '{"day": "fri'), end("max_tokens")), "ANTHROPIC_MAX_TOKENS"),
        ((tool("t1", "book", ""), end("max_tokens")), "ANTHROPIC_MAX_TOKENS"),
        ((tool("t1", "book"), end("max_tokens")), "ANTHROPIC_MAX_TOKENS"),
        ((tool("t1", "book", "[1]"), end("tool_use")), "no JSON object"),
        ((tool("t1", "book", "{'day'}"), end("tool_use")), "no JSON object"),
        ((tool("", "book"), end("tool_use")), "without id or name"),
        ((tool_opened("t1", "book", 0), end("tool_use")), "within a tool call"),
    ],
)
def test_a_tool_call_that_cannot_be_run_is_malformed(steps: tuple[bytes, ...], detail: str) -> None:
    error, events = failure(start(), *steps)
    assert isinstance(error, ProviderMalformed)
    assert detail in error.detail
    assert events == []


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((tool("t1", "hours"),), "tool_use"),
        ((tool("t1", "hours", ""),), "tool_use"),
        ((tool("t1", "hours", "{}"),), "max_tokens"),
        ((tool("t1", "hours"), text("Well", index=2)), "max_tokens"),
    ],
    ids=["without", "empty", "none", "words behind it"],
)
def test_a_tool_without_arguments_is_called_if_its_call_was_not_cut_short(
    steps: tuple[bytes, ...], reason: str
) -> None:
    assert heard(Answer((start(), *steps, end(reason))))[0] == ToolCall("t1", "hours", {})


def test_of_tools_without_arguments_all_but_the_one_that_was_cut_short_are_called_in_order() -> None:
    called = (tool("t1", "hours"), tool("t2", "book", "{}", index=2), tool("t3", "hours", index=3))
    calls = [ToolCall("t1", "hours", {}), ToolCall("t2", "book", {}), ToolCall("t3", "hours", {})]
    assert heard(Answer((start(), *called, end("tool_use"))))[:-1] == calls
    assert failure(start(), *called, end("max_tokens"))[1] == calls[:-1]


# What the model is told


def test_the_whole_request_is_laid_out_from_what_never_changes_to_what_always_does() -> None:
    request = ReplyRequest(
        (
            AgentMessage("Hello, how can I help?", interrupted=True),
            CallerMessage("book me a day"),
            AgentMessage(
                "One moment.", tool_calls=(ToolCall("t1", "book", {"day": "fri"}), ToolCall("t2", "book", {}))
            ),
            ToolResult("t1", '{"status": "booked"}'),
            ToolResult("t2", "no day given", failed=True),
            AgentMessage("Friday is yours."),
            CallerMessage("1", digits=True),
        ),
        "You are a desk.",
        (ToolSpec("find", "Find.", {"type": "object"}), BOOK),
        {"now": "2026-03-02T09:00:00+00:00", "today": "2026-03-02", "caller": "+15550100"},
    )
    body = sent(request)
    assert body == {
        "model": "claude-haiku-5-5",
        "max_tokens": 1024,
        "stream": True,
        "thinking": {"type": "disabled"},
        "tools": [
            {"name": "find", "description": "Find.", "input_schema": {"type": "object"}},
            {
                "name": "book",
                "description": "Book a day.",
                "input_schema": dict(BOOK.parameters),
                "cache_control": CACHED,
            },
        ],
        "system": [
            {"type": "text", "text": body["system"][0]["text"], "cache_control": CACHED},
            {"type": "text", "text": "Facts of this call:\ntoday: 2026-03-02\ncaller: +15550100"},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "(The call was just answered. Greet the caller.)"}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Hello, how can I help? (interrupted by the caller)"}],
            },
            {"role": "user", "content": [{"type": "text", "text": "book me a day"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "One moment."},
                    {"type": "tool_use", "id": "t1", "name": "book", "input": {"day": "fri"}},
                    {"type": "tool_use", "id": "t2", "name": "book", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": '{"status": "booked"}',
                        "is_error": False,
                    },
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no day given", "is_error": True},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Friday is yours."}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "(keyed) 1", "cache_control": CACHED},
                    {"type": "text", "text": "(now: 2026-03-02T09:00:00+00:00)"},
                ],
            },
        ],
    }
    assert body["system"][0]["text"].startswith("You are a desk.\n\n")
    assert "2026" not in body["system"][0]["text"]


def test_a_call_that_was_just_answered_asks_for_a_greeting() -> None:
    body = sent(ReplyRequest(()))
    words = {"type": "text", "text": "(The call was just answered. Greet the caller.)", "cache_control": CACHED}
    assert body["messages"] == [{"role": "user", "content": [words]}]
    assert "tools" not in body
    assert len(body["system"]) == 1


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (CallerMessage(""), "(unintelligible)"),
        (CallerMessage("  \n"), "(unintelligible)"),
        (CallerMessage("42", digits=True), "(keyed) 42"),
        (CallerMessage(" yes "), "yes"),
    ],
)
def test_the_caller_is_written_down(message: CallerMessage, content: str) -> None:
    assert sent(ReplyRequest((message,)))["messages"][0]["content"][0]["text"] == content


def test_a_reply_of_which_nothing_was_heard_is_not_mentioned() -> None:
    body = sent(ReplyRequest((CallerMessage("hello"), AgentMessage("", interrupted=True), CallerMessage("well?"))))
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert [block["text"] for block in body["messages"][0]["content"]] == ["hello", "well?"]


def test_while_tools_return_the_cached_part_ends_at_the_callers_words() -> None:
    call = ToolCall("t1", "book", {})
    before = (CallerMessage("book me a day"),)
    first = ReplyRequest(before, variables={"now": "09:00:00"})
    then = ReplyRequest(
        (*before, AgentMessage("", tool_calls=(call,)), ToolResult("t1", "")), variables={"now": "09:01"}
    )
    one, two = layout.messages(first), layout.messages(then)
    words = [next(iter(turns[0]["content"])) for turns in (one, two)]
    assert words[0] == words[1]  # what was written to the cache is found again
    assert [len(list(message["content"])) for message in two] == [2, 1, 1]
    assert json.dumps(two).count("cache_control") == 1


def test_what_was_sent_before_stays_a_prefix_of_what_is_sent_later() -> None:
    """Without its breakpoints and the time, each turn's request begins as the one before ended."""
    said_so_far: list[Message] = [AgentMessage("Hello."), CallerMessage("hi")]
    shorter = _unmarked(ReplyRequest(tuple(said_so_far), "x", (BOOK,), {"caller": "+1", "now": "1"}))
    said_so_far += [AgentMessage("Yes?"), CallerMessage("book")]
    longer = _unmarked(ReplyRequest(tuple(said_so_far), "x", (BOOK,), {"caller": "+1", "now": "2"}))
    assert longer[: len(shorter)] == shorter


def _unmarked(request: ReplyRequest) -> str:
    parts = (layout.tools(request.tools), layout.system(request), layout.messages(request))
    blocks = [block for part in parts[:2] for block in part]
    blocks += [block for message in parts[2] for block in message["content"]]  # type: ignore[misc]
    kept = [
        {key: value for key, value in block.items() if key != "cache_control"}  # type: ignore[attr-defined]
        for block in blocks
        if not str(block.get("text", "")).startswith("(now")  # type: ignore[attr-defined]
    ]
    return json.dumps(kept).removesuffix("]")


FOREIGN_IDS = st.sampled_from(("", "call_1", "call_2", "functions.book:0", "functions.book:1", "ключ", "t1"))


def _of_another_model(messages: list[Message], ids: list[str]) -> list[Message]:
    """The same with its own ids for the calls, in their order."""
    asked, answered = iter(ids), iter(ids)
    return [
        replace(message, tool_calls=tuple(replace(call, call_id=next(asked)) for call in message.tool_calls))
        if isinstance(message, AgentMessage)
        else replace(message, call_id=next(answered))
        if isinstance(message, ToolResult)
        else message
        for message in messages
    ]


def _round(*ids: str) -> tuple[Message, ...]:
    """Tools that were called with these ids, each of which returned its place."""
    calls = tuple(ToolCall(call_id, "book", {"place": place}) for place, call_id in enumerate(ids))
    return AgentMessage("", tool_calls=calls), *(ToolResult(call_id, str(place)) for place, call_id in enumerate(ids))


@pytest.mark.parametrize(
    "rounds",
    [
        (("functions.book:0",),),
        (("functions.book:0",), ("functions.book:0",)),
        (("functions.book:0", "functions.book:0", "functions.book:1"),),
        (("call_1", "call_1"), ("call_1",)),
        (("functions.book:0",), ("call_1",), ("call_2", "functions.book:0")),
        (("",), ("", "")),
    ],
)
def test_calls_of_another_model_get_ids_that_the_vendor_takes(rounds: tuple[tuple[str, ...], ...]) -> None:
    told: list[Message] = [CallerMessage("book me a day")]
    before: list[Any] = []
    for ids in rounds:
        told += _round(*ids)
        turns: list[Any] = layout.messages(ReplyRequest(tuple(told)))
        assert objection({"model": "m", "max_tokens": 1, "messages": turns}) is None
        places = {
            block["id"]: block["input"]["place"]
            for turn in turns[-2:]
            for block in turn["content"][: len(ids)]
            if block["type"] == "tool_use"
        }
        returned = [(block["tool_use_id"], int(block["content"])) for block in turns[-1]["content"]]
        assert returned == list(places.items())
        assert turns[: len(before)] == before, "what was cached is found again"
        before = turns


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Whatever a transcript can hold: anybody first, replies in a row, tools, silence, the caller last or results."""
    messages: list[Message] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(("caller", "agent", "tools")), max_size=8)):
        words = draw(st.sampled_from(("", " ", "yes", "hello there")))
        if kind == "caller":
            messages.append(CallerMessage(words, draw(st.booleans())))
        elif kind == "agent":
            messages.append(AgentMessage(words, draw(st.booleans())))
        else:
            count = draw(st.integers(1, 3))
            asked = tuple(ToolCall(f"t{calls + number}", "book", {}) for number in range(count))
            calls += count
            messages.append(AgentMessage(words, draw(st.booleans()), asked))
            messages += [ToolResult(call.call_id, words, draw(st.booleans())) for call in asked]
    if draw(st.booleans()):
        messages = _of_another_model(messages, draw(st.lists(FOREIGN_IDS, min_size=calls, max_size=calls)))
    if messages and isinstance(messages[-1], AgentMessage):
        messages.append(CallerMessage(draw(st.sampled_from(("", "bye")))))
    return tuple(messages)


@given(conversations(), st.sampled_from(("", "Be kind.")), st.booleans())
def test_no_conversation_makes_a_request_that_the_vendor_objects_to(
    messages: tuple[Message, ...], instructions: str, timed: bool
) -> None:
    request = ReplyRequest(messages, instructions, (BOOK,), {"now": "9"} if timed else {})
    body = {"model": "m", "max_tokens": 1, "messages": layout.messages(request), "system": layout.system(request)}
    assert objection({**body, "tools": layout.tools(request.tools)}) is None


def test_model_limits_and_temperature_are_settings() -> None:
    body = sent(HELLO, ANTHROPIC_MODEL="claude-haiku-4-5", ANTHROPIC_MAX_TOKENS="300", ANTHROPIC_TEMPERATURE="0.3")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("claude-haiku-4-5", 300, 0.3)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANTHROPIC_API_KEY", ""),
        ("ANTHROPIC_API_KEY", "  "),
        ("ANTHROPIC_API_KEY", "sk-ant\nx"),
        ("ANTHROPIC_API_KEY", "schlüssel"),
        ("ANTHROPIC_BASE_URL", "api.anthropic.com"),
        ("ANTHROPIC_BASE_URL", "ftp://api.anthropic.com"),
        ("ANTHROPIC_BASE_URL", "https://host:port"),
        ("ANTHROPIC_MAX_TOKENS", "0"),
        ("ANTHROPIC_MAX_TOKENS", "1.5"),
        ("ANTHROPIC_MAX_TOKENS", "many"),
        ("ANTHROPIC_TEMPERATURE", "2"),
        ("ANTHROPIC_TEMPERATURE", "nan"),
        ("ANTHROPIC_CONNECT_TIMEOUT_S", "0"),
        ("ANTHROPIC_CONNECT_TIMEOUT_S", "inf"),
    ],
)
def test_a_setting_that_cannot_be_is_named(variable: str, value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refusal:
        model_at("http://127.0.0.1:1", **{variable: value})
    assert refusal.value.variable == variable
    assert "schlüssel" not in str(refusal.value)


def test_a_key_chooses_it_and_its_absence_names_the_variable() -> None:
    context = ProviderContext({"ANTHROPIC_API_KEY": KEY}, LoopClock())
    assert registry.choose("llm", "", context) == ("anthropic", "ANTHROPIC_API_KEY is set")
    assert isinstance(registry.build("llm", "anthropic", context), Anthropic)
    with pytest.raises(ProviderMisconfigured, match="ANTHROPIC_API_KEY"):
        registry.build("llm", "anthropic", ProviderContext({}, LoopClock()))


# Connections


def test_a_connection_is_warm_before_the_first_reply_and_serves_them_all() -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        await model.warm()
        assert [received.path for received in vendor.asked_for_models] == ["/v1/models/claude-haiku-5-5"]
        for _ in range(3):
            await reply(model)
        events = results(model.reply(HELLO))
        async for said_so_far in events:  # as a turn reads it: nothing is asked for after the last event
            if isinstance(said_so_far, ReplyCompleted):
                break
        await events.aclose()
        await reply(model)
        assert vendor.connections == 1

    play(scene)


def test_a_connection_that_the_vendor_closed_meanwhile_is_not_used_again() -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        for times in (1, 2, 3):
            await reply(model)
            assert vendor.connections == times
            await vendor.hang_up()
            await asyncio.sleep(0.01)  # for the news to arrive

    play(scene)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_a_vendor_that_reads_nothing_holds_up_nobody_who_gives_up() -> None:
    async def scene() -> None:
        async def take_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await over.wait()
            writer.transport.abort()

        over = asyncio.Event()
        server = await asyncio.start_server(take_nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        request = ReplyRequest((CallerMessage("word " * 3_000_000),))  # more than the kernel takes for it
        async with server, model_at(f"http://127.0.0.1:{port}") as model:
            asking = asyncio.create_task(anext(model.reply(request)))
            await asyncio.sleep(0.5)
            asking.cancel()
            async with asyncio.timeout(1.0):
                await asyncio.wait({asking})
            assert asking.cancelled()
            over.set()

    leaving_nothing(scene())


def test_a_key_that_the_vendor_refuses_is_named_when_it_is_tried() -> None:
    async def scene() -> None:
        async with FakeAnthropic() as vendor, model_at(vendor.url, ANTHROPIC_API_KEY="sk-ant-wrong") as model:
            with pytest.raises(ProviderMisconfigured) as refusal:
                await model.warm()
        assert refusal.value.variable == "ANTHROPIC_API_KEY"
        assert "sk-ant-wrong" not in str(refusal.value)

    leaving_nothing(scene())


@pytest.mark.parametrize(
    "answer", [refused(404, "not_found_error"), Answer((b"<html>",), 200, {"content-type": "text/html"})]
)
def test_a_gateway_that_does_not_know_models_is_warm_all_the_same(answer: Answer) -> None:
    async def scene() -> None:
        async with FakeAnthropic() as vendor:
            vendor.model_answer = answer
            async with model_at(vendor.url) as model:
                await model.warm()
                assert await reply(model)
                assert vendor.connections == 1

    leaving_nothing(scene())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(500, "api_error"), ProviderUnavailable),
        (refused(529, "overloaded_error"), ProviderRateLimited),
        (Answer((CUT,)), ProviderUnavailable),
        (Answer((asyncio.Event(),)), ProviderTimedOut),
    ],
    ids=["500", "529", "cut", "silence"],
)
def test_a_vendor_who_cannot_be_reached_is_told_and_asked_again_by_the_first_reply(
    answer: Answer, kind: type[ProviderError]
) -> None:
    async def scene() -> None:
        async with FakeAnthropic() as vendor:
            vendor.model_answer = answer
            async with model_at(vendor.url, ANTHROPIC_CONNECT_TIMEOUT_S="0.2") as model:
                with pytest.raises(kind):
                    await model.warm()
                assert await reply(model)

    leaving_nothing(scene())


def test_what_is_billed_in_any_case_is_told_before_the_first_word() -> None:
    async def scene(_: FakeAnthropic, model: Anthropic) -> None:
        events = [event async for event in model.reply(HELLO)]
        assert events[:2] == [Progress("connected"), UsageReported("anthropic", {"input_tokens": 20})]
        assert sum(isinstance(event, UsageReported) for event in events) == 1

    play(scene)


def test_closing_a_reply_hangs_up_at_once_and_harms_no_other() -> None:
    """The vendor has stalled in mid-stream; the turn's deadline has passed, or the caller spoke."""
    stalled = Answer((start(), text("Well, "), asyncio.Event()))

    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        events = results(model.reply(HELLO))
        assert await anext(events) == TextDelta("Well, ")
        await events.aclose()
        await vendor.requests[0].hung_up.wait()
        assert await reply(model)
        assert vendor.connections == 2

    play(scene, stalled)


@pytest.mark.parametrize("steps", [(), (start(), PING)], ids=["no answer at all", "an answer that does not begin"])
def test_a_reply_that_is_cancelled_while_it_waits_hangs_up_at_once(steps: tuple[bytes, ...]) -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(reply(model))
            await vendor.arrived.wait()
            waiting.cancel()
        await vendor.requests[0].hung_up.wait()
        assert await reply(model)

    play(scene, Answer((*steps, asyncio.Event())))


def test_a_deadline_from_outside_ends_a_stall() -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reply(model)
        await vendor.requests[0].hung_up.wait()

    play(scene, Answer((start(), asyncio.Event())))


def test_a_slow_start_is_waited_for() -> None:
    held = asyncio.Event()

    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(reply(model))
            await vendor.arrived.wait()
            held.set()
        assert waiting.result()[0] == TextDelta("Hi.")

    play(scene, Answer((held, start(), held, text("Hi."), end())))


def test_bytes_behind_the_end_are_not_waited_for() -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        async with asyncio.timeout(10):  # the connection's own patience is longer
            assert isinstance((await reply(model))[-1], ReplyCompleted)
        await vendor.requests[0].hung_up.wait()

    play(scene, Answer((start(), text("Hi."), end(), asyncio.Event())))


def test_whatever_follows_the_end_spoils_nothing() -> None:
    for rest in (event("error", **_inner("api_error")), b"\xff\n\n", CUT):
        assert isinstance(heard(Answer((start(), text("Hi."), end(), rest)))[-1], ReplyCompleted)


def _inner(kind: str) -> dict[str, Any]:
    return {"error": error_body(kind, "no")["error"]}


# Failures


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", ProviderRejected),
        (401, "authentication_error", ProviderRejected),
        (402, "billing_error", ProviderRejected),
        (403, "permission_error", ProviderRejected),
        (404, "not_found_error", ProviderRejected),
        (408, "timeout_error", ProviderUnavailable),
        (409, "conflict_error", ProviderUnavailable),
        (412, "invalid_request_error", ProviderRejected),
        (413, "request_too_large", ProviderRejected),
        (418, "teapot_error", ProviderRejected),
        (422, "invalid_request_error", ProviderRejected),
        (429, "rate_limit_error", ProviderRateLimited),
        (499, "cancelled", ProviderUnavailable),
        (500, "api_error", ProviderUnavailable),
        (503, "api_error", ProviderUnavailable),
        (504, "timeout_error", ProviderUnavailable),
        (529, "overloaded_error", ProviderRateLimited),
    ],
)
def test_every_status_has_its_error_with_and_without_the_vendors_own_words(
    status: int, kind: str, expected: type[ProviderError]
) -> None:
    error, events = failure(answer=refused(status, kind, "so it is"))
    assert (type(error), events) == (expected, [])
    assert f"{kind}: so it is (request req_1)" in error.detail
    error, _ = failure(answer=Answer((b"<html>nginx</html>",), status, {"content-type": "text/html"}))
    assert type(error) is expected
    assert str(status) in error.detail


@pytest.mark.parametrize(
    ("status", "kind", "variable"),
    [
        (401, "authentication_error", "ANTHROPIC_API_KEY"),
        (403, "permission_error", "ANTHROPIC_API_KEY"),
        (404, "not_found_error", "ANTHROPIC_MODEL"),
    ],
)
def test_a_refusal_names_the_variable_to_check(status: int, kind: str, variable: str) -> None:
    assert variable in failure(answer=refused(status, kind))[0].detail


@pytest.mark.parametrize(
    ("status", "kind", "message", "of_request"),
    [
        (400, "invalid_request_error", "prompt is too long", True),
        (413, "request_too_large", "no", True),
        (422, "odd", "no", True),
        (400, "invalid_request_error", "Your credit balance is too low to access the API.", False),
        (400, "invalid_request_error", "You have reached your specified API usage limits.", False),
        (401, "authentication_error", "no", False),
        (402, "billing_error", "no", False),
        (404, "not_found_error", "no", False),
        (418, "teapot_error", "no", False),
    ],
)
def test_it_is_told_whether_others_would_be_refused_as_well(
    status: int, kind: str, message: str, of_request: bool
) -> None:
    error, _ = failure(answer=refused(status, kind, message))
    assert isinstance(error, ProviderRejected)
    assert error.of_request == of_request


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ProviderRateLimited),
        ("rate_limit_error", ProviderRateLimited),
        ("api_error", ProviderUnavailable),
        ("timeout_error", ProviderUnavailable),
        ("conflict_error", ProviderUnavailable),
        ("invalid_request_error", ProviderRejected),
        ("authentication_error", ProviderRejected),
        ("billing_error", ProviderRejected),
        ("permission_error", ProviderRejected),
        ("not_found_error", ProviderRejected),
        ("request_too_large", ProviderRejected),
        ("teapot_error", ProviderUnavailable),
    ],
)
def test_an_error_in_mid_stream_is_told_by_its_type(kind: str, expected: type[ProviderError]) -> None:
    wrong = event("error", **_inner(kind))
    error, events = failure(start(), text("Well, "), wrong)
    assert (type(error), events) == (expected, [TextDelta("Well, ")])
    assert kind in error.detail
    error, events = failure(wrong)
    assert (type(error), events) == (expected, [])


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "7", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": format_datetime(LoopClock().today() + timedelta(seconds=90))}, 90.0),
        ({"retry_after": format_datetime(LoopClock().today() - timedelta(days=1))}, 0.0),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "inf"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error")])
def test_a_full_vendor_says_when_to_come_back(
    status: int, kind: str, headers: dict[str, str], seconds: float | None
) -> None:
    error, _ = failure(answer=refused(status, kind, **headers))
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after_s == seconds


def test_nothing_is_retried_behind_the_callers_back() -> None:
    async def scene(vendor: FakeAnthropic, model: Anthropic) -> None:
        with pytest.raises(ProviderUnavailable):
            await reply(model)
        assert len(vendor.requests) == 1

    play(scene, refused(503, "api_error", x_should_retry="true"))


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (PING,),
        (start(),),
        (start(), text("Well, ")),
        (start(), tool("t1", "book", "{}")),
        (start(), text("Well, "), finished()),
        (start(), text("Well, "), finished(), b'event: message_stop\ndata: {"type": "message_st'),
    ],
)
def test_a_stream_that_just_ends_is_no_reply(steps: tuple[bytes, ...]) -> None:
    error, events = failure(*steps)
    assert isinstance(error, ProviderUnavailable)
    assert not any(isinstance(said_so_far, ReplyCompleted) for said_so_far in events)


@pytest.mark.parametrize("steps", [(CUT,), (start(), CUT), (start(), text("Well, "), CUT)])
def test_a_connection_that_breaks_is_unavailable(steps: tuple[Any, ...]) -> None:
    error, _ = failure(*steps)
    assert isinstance(error, ProviderUnavailable)


@pytest.mark.parametrize(
    "garbage",
    [
        b"event: message_start\ndata: {oops\n\n",
        b"event: message_start\ndata: 7\n\n",
        b"event: message_start\ndata: {}\n\n",
        b'event: message_delta\ndata: {"type": "message_delta", "delta": [1]}\n\n',
        b'event: content_block_start\ndata: {"type": "content_block_start", "index": 0}\n\n',
        b"event: message_start\ndata: \xff\xfe\n\n",
        finished(None) + event("message_stop"),
        event("message_stop"),
    ],
)
def test_garbage_is_malformed(garbage: bytes) -> None:
    error, _ = failure(garbage)
    assert isinstance(error, ProviderMalformed)


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/html"}, {}, {"content-type": "text/event-stream", "content-encoding": "gzip"}],
)
def test_an_answer_that_is_no_event_stream_is_malformed(headers: dict[str, str]) -> None:
    error, _ = failure(answer=Answer((b"<html>hello</html>",), 200, headers))
    assert isinstance(error, ProviderMalformed)


@pytest.mark.parametrize("reason", ["refusal", "model_context_window_exceeded"])
def test_a_model_that_gives_up_is_not_asked_the_same_again(reason: str) -> None:
    error, _ = failure(start(), text("Well, "), end(reason))
    assert isinstance(error, ProviderRejected)
    assert error.of_request
    assert reason in error.detail


def test_nobody_there_is_unavailable() -> None:
    async def scene() -> None:
        with socket.socket() as taken:  # bound, not listening
            taken.bind(("127.0.0.1", 0))
            async with model_at(f"http://127.0.0.1:{taken.getsockname()[1]}") as model:
                with pytest.raises(ProviderUnavailable):
                    await reply(model)

    leaving_nothing(scene())


@asynccontextmanager
async def _deaf() -> AsyncGenerator[str, None]:
    """An address that takes no more connections: its backlog is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for caller in (first, second):
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_connection_that_does_not_come_about_in_time_is_said_so() -> None:
    async def scene() -> None:
        async with _deaf() as url, model_at(url, ANTHROPIC_CONNECT_TIMEOUT_S="0.1") as model:
            with pytest.raises(ProviderTimedOut) as failed:
                await reply(model)
        assert (failed.value.stage, failed.value.deadline_s) == ("connect", 0.1)

    leaving_nothing(scene())


@pytest.mark.parametrize(("steps", "stage"), [((), "first_result"), ((start(), text("Well, ")), "gap")])
def test_silence_beyond_all_patience_ends_by_itself(
    steps: tuple[bytes, ...], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.llm.anthropic.model.SILENCE_S", 0.1)
    error, _ = failure(*steps, asyncio.Event())
    assert isinstance(error, ProviderTimedOut)
    assert error.stage == stage
