"""Of a call that is over nothing is left in memory, and no garbage collector is needed for that: its full passes are
rare, and stop all other calls meanwhile. (Of one that crashed the exception keeps something until the next.)"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.conversation.ear import Hint
from app.conversation.services import Providers, Services
from app.conversation.session import CallSession
from app.conversation.speculation import Depth, SpeculationSettings
from app.conversation.state import Floor
from app.conversation.tools import Toolbox, tool
from app.sip.dialler import Order
from providers.base import CallerMessage, ProviderContext, ReplyEvent, ReplyRequest, TextDelta, ToolCall
from providers.errors import ProviderUnavailable
from providers.resilience.models import ModelChain
from providers.resilience.voices import VoiceChain
from providers.scripted import Fault
from telephony.sip.events import CallEnded, Cause, MediaStatistics
from telephony.vad import VoiceActivity
from tests.app.sip.board import board, line_of
from tests.calls.world import Call, World
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def listens(call: Call) -> None:
    await call.greeting()
    call.line.speak(1.0)
    await call.until_heard_out()


async def interrupts(call: Call) -> None:
    call.world.llm.answer = lambda request: LONG
    await call.greeting()
    call.line.speak(1.0)
    await call.wait(4.0)
    call.line.speak(1.0)
    await call.wait(2.0)


@tool
async def wait_for_it() -> str:
    """Take some time."""
    await asyncio.sleep(0.5)
    return "done"


async def has_something_done(call: Call) -> None:
    def asks(request: ReplyRequest) -> str | list[ReplyEvent]:
        if request.messages and isinstance(request.messages[-1], CallerMessage):
            return [TextDelta("One moment. "), ToolCall("1", "wait_for_it", {})]
        return LONG

    call.world.llm.answer = asks
    await listens(call)


async def hangs_up_on_a_tool(call: Call) -> None:
    await has_something_done(call)
    call.line.speak(1.0)
    await call.until(lambda: call.session.state.floor is Floor.THINKING)
    await call.wait(0.3)


async def meets_a_dead_model(call: Call) -> None:
    await call.greeting()
    call.world.llm.faults.update(dict.fromkeys(range(1, 9), Fault(0, ProviderUnavailable("model", "nobody there"))))
    call.line.speak(1.0)
    await call.until_heard_out()


async def loses_his_line(call: Call) -> None:
    await call.greeting()
    call.line.close()
    await call.wait(0.5)
    call.connect()
    await call.until_heard_out()


async def hangs_up_over_the_greeting(call: Call) -> None:
    await call.wait(0.5)


@pytest.mark.parametrize(
    "caller",
    [
        listens,
        interrupts,
        has_something_done,
        hangs_up_on_a_tool,
        meets_a_dead_model,
        loses_his_line,
        hangs_up_over_the_greeting,
    ],
)
@pytest.mark.parametrize("depth", [Depth.OFF, Depth.SPEECH])
def test_a_call_that_is_over_is_gone(caller: Callable[[Call], Awaitable[None]], depth: Depth) -> None:
    async def live(world: World) -> weakref.ref[CallSession]:
        async with world.call() as call:
            await caller(call)
            return weakref.ref(call.session)

    async def scene() -> None:
        early = SpeculationSettings(depth=depth, least=Hint.STABLE)
        world = World(toolbox=Toolbox([wait_for_it])).with_manners(greeting="Hello.", speculation=early)
        session = await live(world)
        await asyncio.sleep(1.0)
        assert session() is None

    run(scene())


def test_a_call_over_sip_that_is_over_is_gone() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            session = weakref.ref(at.session())
            await asyncio.sleep(5.0)
            line_of(call).speak(1.0)
            await asyncio.sleep(4.0)
            call.peer_ends(Cause(q850=16))
            del call
            await asyncio.sleep(1.0)
            assert session() is None

    run(scene())


class ChainedWorld(World):
    """With model and voice as the registry gives them to the bridge."""

    @asynccontextmanager
    async def chained(self) -> AsyncIterator[None]:
        async with (
            ModelChain([self.llm], ProviderContext({}, self.clock)) as model,
            VoiceChain([self.tts], ProviderContext({}, self.clock)) as voice,
        ):
            self.providers = Providers(self.recogniser(), model, voice)
            yield

    def services(self) -> Services:
        return replace(super().services(), providers=self.providers)


@pytest.mark.parametrize("depth", [Depth.OFF, Depth.SPEECH])
@pytest.mark.parametrize("caller", [listens, interrupts, has_something_done, hangs_up_on_a_tool])
def test_of_a_call_with_whole_chains_of_providers_the_collector_finds_nothing(
    caller: Callable[[Call], Awaitable[None]], depth: Depth
) -> None:
    async def live(world: World) -> None:
        async with world.call() as call:
            await caller(call)

    async def scene() -> list[object]:
        early = SpeculationSettings(depth=depth, least=Hint.STABLE)
        world = ChainedWorld(toolbox=Toolbox([wait_for_it]))
        world.with_manners(greeting="Hello.", speculation=early)
        async with world.chained():
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await live(world)
                await asyncio.sleep(1.0)
                gc.collect()
            finally:
                gc.set_debug(0)
            left, gc.garbage[:] = list(gc.garbage), []
        return [thing for thing in left if type(thing).__module__.startswith(("app.", "providers.", "telephony."))]

    assert run(scene()) == []


class DetectingWorld(World):
    """With the voice detector that all calls share."""

    def services(self) -> Services:
        return replace(super().services(), activity=VoiceActivity())


def test_a_call_that_nobody_answers_leaves_no_ear_behind() -> None:
    async def scene() -> None:
        async with board(DetectingWorld()) as at:
            session = weakref.ref(at.sip_calls.dial(Order("+1 555-010 0003")))
            at.endpoint.placed.pop().tell(CallEnded(Cause(486), by_peer=True, statistics=MediaStatistics()))
            await asyncio.sleep(1.0)
            assert session() is None

    run(scene())
