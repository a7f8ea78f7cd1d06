"""What every language model in the registry promises, whoever it is."""

import asyncio
import json
from collections.abc import AsyncGenerator
from itertools import zip_longest

import pytest

from providers.base import (
    AgentMessage,
    CallerMessage,
    LanguageModel,
    Message,
    Progress,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from tests.contracts.registered import every, leaving_nothing, provider
from tests.streams import results

NOTHING = {"type": "object", "properties": {}}
WHEN = {"type": "object", "properties": {"day": {"type": "string"}, "time": {"type": "string"}}}
TOOLS = (
    ToolSpec("book_appointment", "Book an appointment.", WHEN),
    ToolSpec("find_appointment", "The caller's appointment.", NOTHING),
    ToolSpec("cancel_appointment", "Cancel the caller's appointment.", NOTHING),
    ToolSpec("end_call", "Hang up.", NOTHING),
)
RESULTS = {
    "book_appointment": {"status": "booked", "day": "2026-03-03", "time": "10:00"},
    "find_appointment": {"status": "found", "day": "2026-03-03", "time": "10:00"},
    "cancel_appointment": {"status": "cancelled"},
}
VARIABLES = {
    "now": "2026-03-02T09:00:00+00:00",
    "today": "2026-03-02",
    "caller": "+493012345",
    "called": "+493067890",
}

BOOKING = (
    CallerMessage("hello"),
    CallerMessage("what are your opening hours"),
    CallerMessage("i would like to book an appointment"),
    CallerMessage("tomorrow"),
    CallerMessage("1000", digits=True),
    CallerMessage("yes please"),
    CallerMessage("no thank you"),
)
CANCELLING = (
    CallerMessage("cancel my appointment"),
    CallerMessage("yes"),
    CallerMessage("what's the weather like"),
    CallerMessage(""),
    CallerMessage("goodbye"),
)


def asked(*messages: Message) -> ReplyRequest:
    return ReplyRequest(messages, "You answer the telephone of an appointment desk.", TOOLS, VARIABLES)


async def reply(model: LanguageModel, *messages: Message) -> tuple[ReplyEvent, ...]:
    return tuple([event async for event in results(model.reply(asked(*messages)))])


async def result_of(stream: AsyncGenerator[ReplyEvent, None]) -> ReplyEvent | None:
    """The next event that is more than a sign of life."""
    while isinstance(event := await anext(stream, None), Progress):
        pass
    return event


def as_message(events: tuple[ReplyEvent, ...]) -> AgentMessage:
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return AgentMessage(text, tool_calls=tuple(event for event in events if isinstance(event, ToolCall)))


def result(call: ToolCall) -> ToolResult:
    return ToolResult(call.call_id, json.dumps(RESULTS.get(call.name, {})))


async def converse(model: LanguageModel, turns: tuple[CallerMessage, ...]) -> list[tuple[ReplyEvent, ...]]:
    """A conversation from the greeting on, with tools that work; all replies, in order. Each prefix was a request."""
    said: list[Message] = []
    replies = [await reply(model)]
    said.append(as_message(replies[0]))
    for turn in turns:
        said.append(turn)
        for _ in range(5):  # a reply to the caller, and then one to each round of tool results
            replies.append(await reply(model, *said))
            message = as_message(replies[-1])
            said += [message, *map(result, message.tool_calls)]
            if not message.tool_calls or any(call.name == "end_call" for call in message.tool_calls):
                break
        else:
            raise AssertionError(f"it only ever calls tools: {said}")
    return replies


@every("llm")
def test_bears_its_registered_name(name: str) -> None:
    assert provider("llm", name).name == name


@every("llm")
def test_speaks_first_when_nothing_was_said_yet(name: str) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            assert as_message(await reply(model)).text.strip()

    leaving_nothing(scene())


@every("llm")
@pytest.mark.parametrize("turns", [BOOKING, CANCELLING], ids=["booking", "cancelling"])
def test_every_reply_of_a_conversation_says_or_does_something_and_is_completed_once(
    name: str, turns: tuple[CallerMessage, ...]
) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            replies = await converse(model, turns)
        for events in replies:
            *body, last = events
            assert isinstance(last, ReplyCompleted)
            assert body
            assert all(isinstance(event, TextDelta | ToolCall) for event in body)
            assert all(event.text for event in body if isinstance(event, TextDelta))
        calls = [event for events in replies for event in events if isinstance(event, ToolCall)]
        assert len({call.call_id for call in calls}) == len(calls)
        assert {call.name for call in calls} <= {tool.name for tool in TOOLS}

    leaving_nothing(scene())


@every("llm")
def test_keeps_nothing_between_replies(name: str) -> None:
    """The same conversation gives the same replies, after another one and out of order too."""

    async def scene() -> None:
        async with provider("llm", name) as model:
            once = await converse(model, BOOKING)
            await converse(model, CANCELLING)
            assert await converse(model, BOOKING) == once
        async with provider("llm", name) as elsewhere:
            later = (as_message(once[0]), BOOKING[0], as_message(once[1]), BOOKING[1])
            assert await reply(elsewhere, *later) == once[2]
            assert await reply(elsewhere, *later[:2]) == once[1]

    leaving_nothing(scene())


@every("llm")
def test_takes_up_a_conversation_that_was_interrupted_at_any_word(name: str) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            greeting = as_message(await reply(model)).text.split()
            for heard in range(len(greeting) + 1):
                cut = AgentMessage(" ".join(greeting[:heard]), interrupted=True)
                assert as_message(await reply(model, cut, BOOKING[1])).text

    leaving_nothing(scene())


@every("llm")
def test_apologises_or_goes_on_when_a_tool_failed(name: str) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            call = ToolCall("c1", "find_appointment", {})
            failed = ToolResult("c1", "find_appointment took longer than 8 s", failed=True)
            events = await reply(model, BOOKING[2], AgentMessage("", tool_calls=(call,)), failed)
            assert as_message(events).text
            assert isinstance(events[-1], ReplyCompleted)

    leaving_nothing(scene())


@every("llm")
def test_a_reply_that_is_closed_early_stops_and_harms_no_other(name: str) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            whole = await reply(model, BOOKING[1])
            for events_taken in range(3):
                stream = results(model.reply(asked(BOOKING[1])))
                for _ in range(events_taken):
                    await anext(stream)
                await stream.aclose()
                assert await anext(stream, None) is None
            assert await reply(model, BOOKING[1]) == whole

    leaving_nothing(scene())


@every("llm")
def test_a_reply_that_is_cancelled_while_it_waits_harms_no_other(name: str) -> None:
    async def scene() -> None:
        async with provider("llm", name) as model:
            whole = await reply(model, BOOKING[1])
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(reply(model, BOOKING[1]))
                await asyncio.sleep(0)
                waiting.cancel()
                assert await reply(model, BOOKING[1]) == whole

    leaving_nothing(scene())


@every("llm")
def test_replies_to_two_calls_at_once_do_not_mix(name: str) -> None:
    async def events_of(stream: AsyncGenerator[ReplyEvent, None]) -> tuple[ReplyEvent, ...]:
        return tuple([event async for event in results(stream)])

    async def scene() -> None:
        async with provider("llm", name) as model:
            alone = [await reply(model, BOOKING[1]), await reply(model, CANCELLING[2])]
            async with asyncio.TaskGroup() as group:
                both = [
                    group.create_task(events_of(model.reply(asked(message)))) for message in (BOOKING[1], CANCELLING[2])
                ]
            assert [task.result() for task in both] == alone
            one, other = results(model.reply(asked(BOOKING[1]))), results(model.reply(asked(CANCELLING[2])))
            mixed = [(await result_of(one), await result_of(other)) for _ in range(max(map(len, alone)))]
            assert mixed == list(zip_longest(*alone))

    leaving_nothing(scene())
