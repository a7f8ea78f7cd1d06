"""Tools in a whole call: what the model is told of those that are cut off, and how long they may take."""

import asyncio
import threading
from itertools import takewhile

import pytest

from app.calls.journal import ReplyEnded, ToolCalled, ToolReturned, decode, encode
from app.conversation.memory import fold
from app.conversation.results import CANCELLED_RESULT, UNKNOWN_RESULT
from app.conversation.state import Floor
from app.conversation.tools import MAX_LEFT_BEHIND, CallContext, Tool, Toolbox, tool
from providers.base import CallerMessage, ReplyEvent, ReplyRequest, TextDelta, ToolCall, ToolResult
from tests.calls.world import Call, World
from tests.virtual import run


def results(request: ReplyRequest) -> list[ToolResult]:
    return [message for message in request.messages if isinstance(message, ToolResult)]


def asking(name: str, said: str = "") -> World:
    """A world whose model asks for the tool at each turn of the caller's, and tells what it says."""

    def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
        match request.messages[-1:]:
            case (ToolResult(content=content),):
                return f"It says {content}."
            case (CallerMessage(),):
                call = ToolCall(f"t{len(request.messages)}", name, {})
                return [TextDelta(said), call] if said else [call]
            case _:
                return "Hello."

    world = World(texts=("book Monday please", "hello are you there")).with_manners(filler="")
    world.llm.answer = answer
    return world


# cut off


class Bookings:
    """A tool of which the deed is done long before its answer comes."""

    def __init__(self, *, idempotent: bool) -> None:
        self.keys: list[str] = []
        self.takes_s = 3.0
        bookings = self

        @tool(idempotent=idempotent)
        async def book(context: CallContext) -> str:
            """Book an appointment."""
            bookings.keys.append(context.idempotency_key)
            await asyncio.sleep(bookings.takes_s)
            return "booked"

        self.tool: Tool = book


async def interrupt(call: Call) -> None:
    """The caller asks for the tool, and says more while it works."""
    await call.greeting()
    call.line.speak(1.0)
    await call.until(lambda: bool(call.events(ToolCalled)))
    await call.wait(0.5)
    call.line.speak(1.0)
    await call.until(lambda: len(call.events(ToolCalled)) == 2)


@pytest.mark.parametrize(("idempotent", "told"), [(False, UNKNOWN_RESULT), (True, CANCELLED_RESULT)])
def test_a_tool_that_the_caller_interrupted_is_not_claimed_to_be_undone(idempotent: bool, told: str) -> None:
    async def scene() -> None:
        bookings = Bookings(idempotent=idempotent)
        world = asking("book", "Let me book that for you.")
        world.toolbox = Toolbox([bookings.tool])
        async with world.call() as call:
            await interrupt(call)
            assert results(world.llm.requests[-1]) == [ToolResult("t2", told, failed=True)]
            events = [decode(encode(event)) for event in call.session.record.journal.events]
            before = takewhile(lambda event: not (isinstance(event, ToolCalled) and event.turn == 3), events)
            assert fold(before).transcript.messages() == world.llm.requests[-1].messages
            memory, folded = call.session.record.memory, fold(events)
            assert (folded.tools, folded.cut_off) == (memory.tools, memory.cut_off)

    run(scene())


def test_an_idempotent_tool_that_is_called_again_does_its_work_under_the_key_it_had() -> None:
    async def scene() -> None:
        bookings = Bookings(idempotent=True)
        world = asking("book", "Let me book that for you.")
        world.toolbox = Toolbox([bookings.tool])
        async with world.call() as call:
            await interrupt(call)
            await call.until(lambda: bool(call.events(ToolReturned)))
            assert bookings.keys == ["CA1/2/t2"] * 2
            await call.until(lambda: len(call.events(ReplyEnded)) == 3)
            call.line.speak(1.0)
            await call.until(lambda: len(bookings.keys) == 3)
            assert bookings.keys[2].startswith("CA1/4/")

    run(scene())


def test_a_tool_that_may_not_be_run_twice_has_a_key_for_each_call() -> None:
    async def scene() -> None:
        bookings = Bookings(idempotent=False)
        world = asking("book", "Let me book that for you.")
        world.toolbox = Toolbox([bookings.tool])
        async with world.call() as call:
            await interrupt(call)
            await call.until(lambda: len(bookings.keys) == 2)
            assert len(set(bookings.keys)) == 2

    run(scene())


# how long


def working(takes_s: float, deadline_s: float) -> Tool:
    @tool(deadline_s=deadline_s)
    async def search() -> str:
        """Search."""
        await asyncio.sleep(takes_s)
        return "found"

    made: Tool = search
    return made


@pytest.mark.parametrize("said", ["", "Let me see."])
@pytest.mark.parametrize("takes_s", [7.0, 7.9, 15.0, 19.5])
def test_a_slow_tool_may_take_its_time_and_the_model_has_its_own_after_it(takes_s: float, said: str) -> None:
    async def scene() -> None:
        world = asking("search", said)
        world.toolbox = Toolbox([working(takes_s, 20.0)])
        async with world.call() as call:
            await call.greeting()
            world.llm.first_token_s = 2.0
            call.line.speak(1.0)
            await call.until_heard_out()
            assert call.replies[1:] == [("completed", f'{said} It says "found".'.strip())]
            assert len(call.events(ToolCalled)) == 1

    run(scene())


def test_a_tool_that_takes_too_long_is_over_at_its_deadline() -> None:
    async def scene() -> None:
        world = asking("search")
        world.toolbox = Toolbox([working(60.0, 20.0)])
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: bool(call.events(ToolReturned)))
            called, returned = call.events(ToolCalled)[0], call.events(ToolReturned)[0]
            assert returned.failed and returned.at - called.at == pytest.approx(20.0, abs=0.1)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING, within_s=3.0)
            assert len(call.replies) == 1

    run(scene())


@pytest.mark.parametrize("said", ["", "Let me see."])
def test_a_tool_that_ignores_its_deadline_does_not_keep_the_caller_waiting(said: str) -> None:
    async def scene() -> None:
        @tool(deadline_s=12.0)
        async def stubborn() -> str:
            """Take no notice of anything."""
            until = world.clock.now() + 60.0
            while world.clock.now() < until:
                try:
                    await asyncio.sleep(until - world.clock.now())
                except asyncio.CancelledError:
                    continue
            return "late"

        world = asking("stubborn", said)
        world.toolbox = Toolbox([stubborn])
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: len(call.events(ReplyEnded)) == 3)
            waited_s = call.events(ReplyEnded)[1].at - call.events(ToolCalled)[0].at
            assert waited_s == pytest.approx(12.0 + (world.manners.stall_s if said else world.manners.think_s), abs=0.1)
            assert call.replies[-1] == ("completed", world.manners.apology)

    run(scene())


def test_a_model_that_hangs_over_what_a_tool_returned_is_apologised_for() -> None:
    async def scene() -> None:
        world = asking("search")
        world.toolbox = Toolbox([working(7.0, 20.0)])
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: bool(call.events(ToolCalled)))
            world.llm.first_token_s = 60.0
            await call.until_heard_out()
            waited_s = call.events(ReplyEnded)[1].at - call.events(ToolReturned)[0].at
            assert waited_s == pytest.approx(world.manners.think_s, abs=0.1)
            await call.until(lambda: call.session.state.floor is Floor.LISTENING)
            assert call.replies[-1] == ("completed", world.manners.apology)

    run(scene())


def test_a_tool_of_which_too_many_runs_hang_is_refused_and_counted() -> None:
    async def scene() -> None:
        free = threading.Event()

        @tool(deadline_s=0.05)
        def hanging() -> None:
            """Hang."""
            free.wait()

        world = asking("hanging")
        world.toolbox = Toolbox([hanging])
        context = CallContext("CA0", "", "")
        for n in range(MAX_LEFT_BEHIND):
            await world.toolbox.run(ToolCall(str(n), "hanging", {}), context)
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            (returned,) = call.events(ToolReturned)
            assert returned.failed and "not available right now" in returned.content
            assert b'sidetone_tool_unavailable_total{tool="hanging"} 1.0' in world.metrics.exposition()
        free.set()

    run(scene())
