"""A session is a fold over its journal: of any call, any part of its journal is a session that can go on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from itertools import pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.calls.journal import CallEnded, CallerSaid, Journal, JournalEvent, ReplyEnded, ReplyHeard, decode, encode
from app.conversation.memory import SessionMemory, fold
from app.conversation.reply import Purpose, Then
from app.conversation.state import Floor, Phase
from app.conversation.tools import Toolbox, tool
from providers.base import AgentMessage, CallerMessage, ReplyEvent, ReplyRequest, ToolCall, ToolResult
from providers.errors import ProviderUnavailable
from providers.scripted import Fault
from tests.calls.world import Call, World
from tests.doubles import NOISE
from tests.journals import EVENTS
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."


@tool
async def hours(day: str) -> str:
    """Opening hours."""
    return f"nine to five on {day}"


def answers(request: ReplyRequest) -> str | list[ReplyEvent]:
    if not request.messages:
        return "Hello."
    last = request.messages[-1]
    if isinstance(last, CallerMessage) and "open" in last.text:
        return [ToolCall("a", "hours", {"day": "Friday"})]
    return LONG


async def polite(call: Call) -> None:
    await call.greeting()
    call.line.speak(2.0)
    await call.until_heard_out()
    call.line.press("4")
    await call.wait(0.5)
    call.line.press("2")
    await call.until_heard_out()


async def interrupting(call: Call) -> None:
    await call.greeting()
    call.line.speak(1.0)
    await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
    await call.wait(1.5)
    call.line.speak(0.4, NOISE)
    await call.until(lambda: call.session.state.floor is Floor.INTERRUPTED)
    await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
    await call.wait(1.0)
    call.line.speak(1.5)
    await call.until_heard_out()
    await call.until_heard_out()


async def unlucky(call: Call) -> None:
    call.world.llm.faults[2] = Fault(1, ProviderUnavailable("scripted", "gone"))
    await call.greeting()
    call.line.speak(1.0)
    await call.until_heard_out()
    await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
    await call.wait(1.0)
    call.line.drop()
    await call.wait(3.0)
    call.connect()
    await call.until_heard_out()


async def silent(call: Call) -> None:
    await call.until(call.running.done, within_s=120.0)


Steps = Callable[[Call], Awaitable[None]]


def journal(steps: Steps) -> list[JournalEvent]:
    """All events of a real call in virtual time, with the reply's progress, as the store would have them."""
    told: list[JournalEvent] = []

    async def scene() -> None:
        world = World(toolbox=Toolbox([hours]), texts=("are you open on Friday", "wait a moment please", "thank you"))
        world.llm.answer = answers
        if steps is silent:
            world.with_manners(notice="This call is recorded.")
        async with world.call() as call:
            told.extend(call.session.record.journal.events)
            call.session.record.journal.listen(told.append)

            async def sample() -> None:
                while not call.running.done():
                    await call.wait(0.15)
                    call.session.progress()

            sampling = call.group.create_task(sample())
            await steps(call)
            sampling.cancel()

    run(scene())
    return [decode(encode(event)) for event in told]


@pytest.fixture(scope="module")
def journals() -> list[list[JournalEvent]]:
    return [journal(steps) for steps in (polite, interrupting, unlucky, silent)]


def check(memory: SessionMemory) -> None:
    """Nothing that a process could trip over when it carries on from here."""
    messages = memory.transcript.messages()
    assert not any(isinstance(a, CallerMessage) and isinstance(b, CallerMessage) for a, b in pairwise(messages))
    asked = [call.call_id for message in messages if isinstance(message, AgentMessage) for call in message.tool_calls]
    assert [message.call_id for message in messages if isinstance(message, ToolResult)] == asked
    reply = memory.reply
    if reply is not None:
        assert " ".join(filter(None, (reply.heard, reply.rest))) == " ".join(reply.said.split())
        assert reply.turn <= memory.turns
        assert reply.words == 0 or reply.audible
        ended = memory.lost_reply(memory.at)
        assert ended is not None and ended.said.startswith(ended.heard)
    else:
        assert not memory.tools
        assert memory.lost_reply(memory.at) is None
    if memory.end_reason:
        assert reply is None and memory.phase is Phase.ENDED
    assert memory.offered is None or memory.offered.call_id == "CA1"


def test_the_calls_hold_what_they_are_meant_to(journals: list[list[JournalEvent]]) -> None:
    kinds = {type(event).__name__ for events in journals for event in events}
    assert kinds >= {"ToolCalled", "ToolReturned", "DigitKeyed", "LegDetached", "ProviderFailed", "CallerPartial"}
    reasons = {event.reason for events in journals for event in events if isinstance(event, ReplyEnded)}
    assert reasons >= {"completed", "interrupted", "failed"}


def test_every_prefix_of_a_real_call_is_a_valid_session(journals: list[list[JournalEvent]]) -> None:
    for events in journals:
        memory = SessionMemory()
        check(memory)
        for event in events:
            memory.apply(event)
            check(memory)
        assert memory.end_reason


@given(st.data())
@settings(deadline=None)
def test_what_the_store_lost_of_a_call_leaves_a_valid_session(
    journals: list[list[JournalEvent]], data: st.DataObject
) -> None:
    events = data.draw(st.sampled_from(journals))
    first = data.draw(st.integers(0, len(events)))
    last = data.draw(st.integers(first, len(events)))
    end = data.draw(st.integers(last, len(events)))
    check_roughly(fold([*events[:first], *events[last:end]]))


@given(st.lists(EVENTS, max_size=30))
def test_any_events_in_any_order_fold(events: Sequence[JournalEvent]) -> None:
    check_roughly(fold(events))


@given(st.lists(EVENTS, max_size=30))
def test_the_kept_events_and_what_the_passing_ones_left_fold_to_the_same_session(
    events: Sequence[JournalEvent],
) -> None:
    memory = fold(events)
    kept = Journal(events).events
    assert told(fold([*kept, *memory.passing()])) == told(memory)


def test_so_do_those_of_a_real_call(journals: list[list[JournalEvent]]) -> None:
    for events in journals:
        for length in range(len(events)):
            memory = fold(events[:length])
            kept = Journal(events[:length]).events
            assert told(fold([*kept, *memory.passing()])) == told(memory)


def told(memory: SessionMemory) -> dict[str, object]:
    """All that the memory tells."""
    told = {field.name: getattr(memory, field.name) for field in fields(memory)}
    return told | {"transcript": memory.transcript.messages()}


def check_roughly(memory: SessionMemory) -> None:
    """What must hold even after a gap."""
    memory.transcript.messages()
    assert memory.offered is None or memory.offered.call_id == memory.answered.call_id  # type: ignore[union-attr]
    reply = memory.reply
    if reply is not None:
        assert " ".join(filter(None, (reply.heard, reply.rest))) == " ".join(reply.said.split())


def test_a_live_session_knows_what_its_folded_journal_knows(journals: list[list[JournalEvent]]) -> None:
    for events in journals:
        half = len(events) // 2
        live = SessionMemory()
        for event in events[:half]:
            live.apply(event)
        assert live.transcript.messages() == fold(events[:half]).transcript.messages()
        assert live.reply == fold(events[:half]).reply


def test_a_reply_is_known_to_the_word_and_to_two_hundred_milliseconds(journals: list[list[JournalEvent]]) -> None:
    events = journals[1]
    reply = [event for event in events if isinstance(event, ReplyHeard) and event.turn == 2 and event.heard_ms]
    spoken = list(takewhile(lambda event: not event.held, reply))
    assert len(spoken) > 5
    for before, after in pairwise(spoken):
        assert after.at - before.at <= 0.2
        assert after.heard_ms - before.heard_ms <= 200
    (ended,) = [event for event in events if isinstance(event, ReplyEnded) and event.turn == 2]
    memory = fold(events[: events.index(ended)])
    assert memory.reply is not None and memory.reply.said.strip() == ended.said == LONG
    assert len(ended.heard.split()) - memory.reply.words in (0, 1)
    assert memory.reply.rest.split()[-1] == "afternoon."


def test_what_is_half_said_and_half_keyed_is_known(journals: list[list[JournalEvent]]) -> None:
    memory, half_said, digits = SessionMemory(), set(), set()
    for event in journals[0]:
        memory.apply(event)
        half_said.add(memory.half_said)
        digits.add(memory.digits)
        if isinstance(event, CallerSaid):
            assert memory.half_said == ""
            assert memory.unanswered
    assert any("open" in words for words in half_said)
    assert digits == {"", "4", "42"}
    assert memory.digits == ""


def test_what_the_agent_did_so_far_is_known(journals: list[list[JournalEvent]]) -> None:
    memory, asked, floors, tools = SessionMemory(), 0, set(), set()
    for event in journals[3]:
        memory.apply(event)
        asked = max(asked, memory.asked_whether_there)
        floors.add(memory.floor)
        if memory.reply is not None and memory.reply.purpose == Purpose.GOODBYE:
            assert memory.reply.then is Then.END
    assert memory.noticed and asked == 2
    assert floors >= {Floor.LISTENING, Floor.SPEAKING}
    assert isinstance(journals[3][-1], CallEnded) and memory.end_reason == journals[3][-1].reason
    memory = SessionMemory()
    for event in journals[0]:
        memory.apply(event)
        tools |= {called.idempotency_key for called in memory.tools.values()}
    assert tools == {"CA1/2/a"}
