"""Chat completions through the real SDK, against a server on loopback: what it says, and each way it can fail."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from providers.llm.openai import OpenAI, create
from providers.llm.openai import request as layout
from telephony.clock import LoopClock
from tests.contracts.registered import leaving_nothing
from tests.fakes.http import CUT, Answer
from tests.fakes.openai import (
    DONE,
    KEY,
    START,
    FakeOpenAI,
    chunk,
    end,
    objection,
    refused,
    said,
    text,
    tool_piece,
)
from tests.streams import results

HELLO = ReplyRequest((CallerMessage("hello"),))
BOOK = ToolSpec("book", "Book a day.", {"type": "object", "properties": {"day": {"type": "string"}}})
Scene = Callable[[FakeOpenAI, OpenAI], Awaitable[None]]


def model_with(environment: dict[str, str]) -> OpenAI:
    return create(ProviderContext(environment, LoopClock()))


def play(scene: Scene, *answers: Answer, **settings: str) -> None:
    """Run a scene with a server that gives these answers and an adapter that was entered."""

    async def whole() -> None:
        async with FakeOpenAI(*answers) as vendor, model_with({**vendor.environment, **settings}) as model:
            await scene(vendor, model)

    leaving_nothing(whole())


async def reply(model: OpenAI, request: ReplyRequest = HELLO) -> list[ReplyEvent]:
    return [event async for event in results(model.reply(request))]


def heard(answer: Answer) -> list[ReplyEvent]:
    """The whole reply that an answer makes."""
    events: list[ReplyEvent] = []

    async def scene(_: FakeOpenAI, model: OpenAI) -> None:
        events.extend(await reply(model))

    play(scene, answer)
    return events


def sent(request: ReplyRequest, **settings: str) -> dict[str, Any]:
    """The body that the server receives for a request."""
    bodies = []

    async def scene(vendor: FakeOpenAI, model: OpenAI) -> None:
        await reply(model, request)
        bodies.append(vendor.requests[0].body)

    play(scene, **settings)
    return bodies[0]


def failure(*steps: Any, answer: Answer | None = None) -> ProviderError:
    """The error that an answer ends in."""
    errors: list[ProviderError] = []

    async def scene(vendor: FakeOpenAI, model: OpenAI) -> None:
        with pytest.raises(ProviderError) as failed:
            await reply(model)
        errors.append(failed.value)
        assert len(vendor.requests) == 1
        assert failed.value.provider == "openai"
        assert KEY not in str(failed.value)
        assert await reply(model), "the next reply is not harmed"

    play(scene, answer or Answer(steps))
    return errors[0]


def test_text_comes_as_it_is_written_and_the_tokens_are_counted() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 12}
    assert heard(said("Sure, ", "one moment.")) == [
        TextDelta("Sure, "),
        TextDelta("one moment."),
        ReplyCompleted("end", usage),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_cuts_of_the_network_do_not_matter(size: int) -> None:
    call = tool_piece("", 0, "c1", "book") + tool_piece('{"day": "fr', 0) + tool_piece('i"}', 0)
    answer = Answer((b": hello\n\n", START, text("Grüß\u2028 ", "☎\x85"), call, end("tool_calls")), chunk_bytes=size)
    assert heard(answer)[:-1] == [TextDelta("Grüß\u2028 "), TextDelta("☎\x85"), ToolCall("c1", "book", {"day": "fri"})]


@pytest.mark.parametrize("indices", [(0, 1), (None, None), (0, 0)], ids=["by index", "without", "all the same"])
def test_parallel_tools_are_calls_of_their_own_however_a_server_numbers_them(indices: tuple[int | None, ...]) -> None:
    first, second = indices
    pieces = (
        tool_piece('{"day"', first, "c1", "book"),
        tool_piece(': "mon"}', first),
        tool_piece("", second, "c2", "find"),
    )
    assert heard(Answer((START, *pieces, end("tool_calls"))))[:-1] == [
        ToolCall("c1", "book", {"day": "mon"}),
        ToolCall("c2", "find", {}),
    ]


@pytest.mark.parametrize(("arguments", "reason"), [("", "tool_calls"), ("{}", "length")])
def test_a_tool_without_arguments_is_called_if_its_call_was_not_cut_short(arguments: str, reason: str) -> None:
    assert heard(Answer((START, tool_piece(arguments, 0, "c1", "find"), end(reason))))[0] == ToolCall("c1", "find", {})


def test_a_model_that_refuses_is_heard_in_its_own_words() -> None:
    events = heard(Answer((START, chunk({"refusal": "I cannot "}), chunk({"refusal": "say."}), end())))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["I cannot ", "say."]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_a_model_thinks_is_a_sign_of_life_and_nothing_that_is_said(field: str) -> None:
    told: list[ReplyEvent] = []

    async def scene(_: FakeOpenAI, model: OpenAI) -> None:
        told.extend([event async for event in model.reply(HELLO)])

    thoughts = [chunk({field: thought}) for thought in ("They greet me. ", "I greet them.")]
    play(scene, Answer((START, *thoughts, text("Hello."), end())))
    said = [event for event in told if isinstance(event, Progress | TextDelta)]
    assert said == [Progress("connected"), Progress("working"), Progress("working"), TextDelta("Hello.")]


def test_a_server_that_forgets_to_say_done_has_replied_all_the_same() -> None:
    assert heard(Answer((START, text("Hi."), chunk({}, "stop")))) == [TextDelta("Hi."), ReplyCompleted("end", {})]


def test_the_whole_request() -> None:
    request = ReplyRequest(
        (
            AgentMessage("Hello, how can I help?", interrupted=True),
            CallerMessage("book me a day"),
            AgentMessage("One moment.", tool_calls=(ToolCall("t1", "book", {"day": "fri"}),)),
            ToolResult("t1", "no day left", failed=True),
            AgentMessage("Friday is gone."),
            AgentMessage("Are you there?"),
            CallerMessage("1", digits=True),
        ),
        "You are a desk.",
        (BOOK,),
        {"now": "09:00", "caller": "+15550100"},
    )
    body = sent(request, OPENAI_TEMPERATURE="0.3", OPENAI_MAX_TOKENS="300")
    system, *turns = body.pop("messages")
    assert system["role"] == "system"
    assert system["content"].startswith("You are a desk.\n\n")
    assert system["content"].endswith("Facts of this call:\ncaller: +15550100")
    function = {"name": "book", "arguments": '{"day": "fri"}'}
    calls = [{"id": "t1", "type": "function", "function": function}]
    assert turns == [
        {"role": "user", "content": "(The call was just answered. Greet the caller.)"},
        {"role": "assistant", "content": "Hello, how can I help? (interrupted by the caller)"},
        {"role": "user", "content": "book me a day"},
        {"role": "assistant", "content": "One moment.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t1", "content": "failed: no day left"},
        {"role": "assistant", "content": "Friday is gone.\nAre you there?"},
        {"role": "user", "content": "(keyed) 1\n(now: 09:00)"},
    ]
    described = {"name": "book", "description": "Book a day.", "parameters": dict(BOOK.parameters)}
    assert body == {
        "model": "small",
        "max_tokens": 300,
        "temperature": 0.3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": described}],
    }


@given(
    st.lists(
        st.sampled_from(
            (
                (CallerMessage(""),),
                (CallerMessage("yes"),),
                (AgentMessage("Hello."),),
                (AgentMessage("", interrupted=True),),
                (AgentMessage("", tool_calls=(ToolCall("t1", "book", {}),)), ToolResult("t1", "")),
            )
        ),
        max_size=8,
    )
)
def test_no_conversation_makes_a_request_that_a_strict_server_objects_to(parts: list[tuple[Message, ...]]) -> None:
    messages = tuple(message for part in parts for message in part)
    if messages and isinstance(messages[-1], AgentMessage):
        messages += (CallerMessage("bye"),)
    assert objection({"messages": layout.messages(ReplyRequest(messages))}) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_MODEL", ""),
        ("OPENAI_API_KEY", "schlüssel"),
        ("OPENAI_BASE_URL", "localhost:11434"),
        ("OPENAI_MAX_TOKENS", "0"),
        ("OPENAI_TEMPERATURE", "3"),
        ("OPENAI_TEMPERATURE", "-1"),
        ("OPENAI_CONNECT_TIMEOUT_S", "soon"),
    ],
)
def test_a_setting_that_cannot_be_is_named(variable: str, value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refusal:
        model_with({"OPENAI_API_KEY": KEY, "OPENAI_MODEL": "m", variable: value})
    assert refusal.value.variable == variable
    assert "schlüssel" not in str(refusal.value)


def test_openai_wants_a_key_and_a_server_of_ones_own_does_not() -> None:
    with pytest.raises(ProviderMisconfigured, match="OPENAI_API_KEY"):
        model_with({"OPENAI_MODEL": "m"})
    assert model_with({"OPENAI_MODEL": "m", "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}).name == "openai"


def test_one_warm_connection_serves_all_replies() -> None:
    async def scene(vendor: FakeOpenAI, model: OpenAI) -> None:
        await model.warm()
        assert len(vendor.asked_for_models) == 1
        for _ in range(3):
            await reply(model)
        assert vendor.connections == 1

    play(scene)


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async def scene(vendor: FakeOpenAI, model: OpenAI) -> None:
        for times in (1, 2, 3):
            await reply(model)
            assert vendor.connections == times
            await vendor.hang_up()
            await asyncio.sleep(0.01)  # for the news to arrive

    play(scene)


def test_a_key_that_the_server_refuses_is_named_when_it_is_tried() -> None:
    async def scene() -> None:
        async with (
            FakeOpenAI() as vendor,
            model_with({**vendor.environment, "OPENAI_API_KEY": "sk-wrong"}) as model,
        ):
            with pytest.raises(ProviderMisconfigured, match="OPENAI_API_KEY"):
                await model.warm()

    leaving_nothing(scene())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(refused(503, "server_error"), ProviderUnavailable), (Answer((asyncio.Event(),)), ProviderTimedOut)],
    ids=["503", "silence"],
)
def test_a_server_that_cannot_be_reached_is_told(answer: Answer, kind: type[ProviderError]) -> None:
    async def scene() -> None:
        async with FakeOpenAI() as vendor:
            vendor.model_answer = answer
            async with model_with({**vendor.environment, "OPENAI_CONNECT_TIMEOUT_S": "0.2"}) as model:
                with pytest.raises(kind):
                    await model.warm()
                assert await reply(model)

    leaving_nothing(scene())


def test_a_prompt_is_estimated_before_its_reply_begins_for_the_server_counts_at_the_end() -> None:
    async def scene(_: FakeOpenAI, model: OpenAI) -> None:
        first, second, *_ = [event async for event in model.reply(HELLO)]
        assert first == Progress("connected")
        assert isinstance(second, UsageReported)
        assert 10 < second.usage["input_tokens_estimated"] < 100

    play(scene)


def test_closing_a_stalled_reply_hangs_up_at_once_and_harms_no_other() -> None:
    async def scene(vendor: FakeOpenAI, model: OpenAI) -> None:
        events = results(model.reply(HELLO))
        assert await anext(events) == TextDelta("Well, ")
        await events.aclose()
        await vendor.requests[0].hung_up.wait()
        assert await reply(model)

    play(scene, Answer((START, text("Well, "), asyncio.Event())))


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", ProviderRejected),
        (401, "invalid_request_error", ProviderRejected),
        (403, "permission_error", ProviderRejected),
        (404, "invalid_request_error", ProviderRejected),
        (409, "conflict", ProviderUnavailable),
        (422, "odd", ProviderRejected),
        (429, "insufficient_quota", ProviderRejected),
        (429, "requests", ProviderRateLimited),
        (500, "server_error", ProviderUnavailable),
        (503, "server_error", ProviderUnavailable),
    ],
)
def test_every_status_has_its_error(status: int, kind: str, expected: type[ProviderError]) -> None:
    error = failure(answer=refused(status, kind, "so it is", retry_after="7"))
    assert type(error) is expected
    assert "so it is" in error.detail
    if isinstance(error, ProviderRateLimited):
        assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("answer", "of_request"),
    [
        (refused(400, "invalid_request_error"), True),
        (refused(400, "context_length_exceeded"), True),
        (refused(413, "odd"), True),
        (refused(422, "odd"), True),
        (Answer((START, chunk({}, error={"message": "no", "code": "content_filter"}))), True),
        (Answer((START, chunk({}, error={"message": "no", "type": "invalid_request_error"}))), True),
        (Answer((START, chunk({}, "content_filter"), DONE)), True),
        (refused(400, "invalid_api_key"), False),
        (refused(400, "model_not_found"), False),
        (refused(401, "invalid_request_error"), False),
        (refused(402, "invalid_request_error"), False),
        (refused(404, "invalid_request_error"), False),
        (refused(429, "insufficient_quota"), False),
        (Answer((START, chunk({}, error={"message": "no", "code": "insufficient_quota"}))), False),
    ],
)
def test_it_is_told_whether_others_would_be_refused_as_well(answer: Answer, of_request: bool) -> None:
    error = failure(answer=answer)
    assert isinstance(error, ProviderRejected)
    assert error.of_request == of_request


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), ProviderUnavailable),
        ((START, text("Well, ")), ProviderUnavailable),
        ((START, text("Well, "), DONE), ProviderUnavailable),
        ((CUT,), ProviderUnavailable),
        ((START, text("Well, "), CUT), ProviderUnavailable),
        ((START, chunk({}, error={"message": "broken", "type": "server_error"})), ProviderUnavailable),
        ((START, chunk({}, error={"message": "full", "code": "rate_limit_exceeded"})), ProviderRateLimited),
        ((START, chunk({}, error={"message": "long", "code": "context_length_exceeded"})), ProviderRejected),
        ((START, chunk({}, error="broken")), ProviderUnavailable),
        ((START, chunk({}, "content_filter"), DONE), ProviderRejected),
        ((b"data: {oops\n\n",), ProviderMalformed),
        ((b"data: 7\n\n",), ProviderMalformed),
        ((b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',), ProviderMalformed),
        ((START, tool_piece("{", 0, "c1", "book"), end("length")), ProviderMalformed),
        ((START, tool_piece("", 0, "c1", "book"), end("length")), ProviderMalformed),
        ((START, tool_piece("{}", 0, "c1", "book"), tool_piece("", 1, "c2", "book"), end("length")), ProviderMalformed),
        ((START, tool_piece("[]", 0, "c1", "book"), end("tool_calls")), ProviderMalformed),
        ((START, tool_piece("{}", 0, None, "book"), end("tool_calls")), ProviderMalformed),
        ((START, tool_piece("{}", 0, "c1"), end("tool_calls")), ProviderMalformed),
    ],
)
def test_a_stream_that_goes_wrong_has_its_error(steps: tuple[Any, ...], expected: type[ProviderError]) -> None:
    assert type(failure(*steps)) is expected


def test_an_answer_that_is_no_event_stream_is_malformed() -> None:
    page = Answer((json.dumps({"choices": []}).encode(),), 200, {"content-type": "application/json"})
    assert isinstance(failure(answer=page), ProviderMalformed)


@pytest.mark.parametrize(("steps", "stage"), [((), "first_result"), ((START, text("Well, ")), "gap")])
def test_silence_beyond_all_patience_ends_by_itself(
    steps: tuple[bytes, ...], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.llm.openai.model.SILENCE_S", 0.1)
    error = failure(*steps, asyncio.Event())
    assert isinstance(error, ProviderTimedOut)
    assert error.stage == stage
