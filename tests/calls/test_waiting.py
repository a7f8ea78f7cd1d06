"""What the caller hears while he waits, and how far the voice is ahead of him."""

import asyncio
import itertools

import pytest

from app.calls.journal import ReplyStarted, ToolCalled, TurnMeasured
from app.conversation.state import Floor
from app.conversation.tools import Toolbox, tool
from app.conversation.turn import Deadlines
from providers.base import ReplyEvent, ReplyRequest, TextDelta, ToolCall, ToolResult
from tests.calls.world import Call, World
from tests.virtual import run

FILLER = "One moment, please."
LONG = " ".join(
    f"This is sentence number {name} of a long reply, and nobody has ever heard all of it to its very end."
    for name in "abcdefgh"
)
SENTENCE_CHARACTERS = len(LONG) // 8 + 1
CHARACTERS_PER_S = 1000 / 60


async def prepared(**manners: object) -> World:
    world = World().with_manners(greeting="Hello.", **manners)
    await world.phrasebook.prepare(world.manners.phrases(), world.tts)
    return world


async def answered_after(world: World, *waits_s: float) -> list[str]:
    """What is heard of each reply of a model that takes so long."""
    async with world.call() as call:
        await call.greeting()
        for wait_s in waits_s:
            world.llm.first_token_s = wait_s
            call.line.speak(1.0)
            await call.until_heard_out()
        return [heard for _, heard in call.replies[1:]]


def test_a_long_wait_for_the_model_is_bridged_and_a_short_one_is_not() -> None:
    async def scene() -> None:
        short, long = await answered_after(await prepared(), 0.6, 3.0)
        assert not short.startswith(FILLER)
        assert long.startswith(f"{FILLER} You said")

    run(scene())


def test_a_wait_that_can_be_foreseen_is_bridged_at_once() -> None:
    async def scene() -> None:
        world = await prepared()
        world.llm.first_token_s = 3.0
        async with world.call() as call:
            await call.greeting()
            for _ in range(4):
                call.line.speak(1.0)
                await call.until_heard_out()
            measured = [event.stamps for event in call.events(TurnMeasured)[1:]]
        waited = [round((at["playout_started"] or 0.0) - (at["asr_complete"] or 0.0), 1) for at in measured]
        assert waited == [1.0, 0.3, 0.3, 0.3]

    run(scene())


@pytest.mark.parametrize("voice_s", [0.8, 3.0])
def test_a_long_wait_for_the_voice_is_bridged_as_well(voice_s: float) -> None:
    async def scene() -> None:
        world = await prepared()
        world.tts.first_chunk_s = voice_s
        short, long = await answered_after(world, 0.2, 0.9)
        assert short.startswith(FILLER) is long.startswith(FILLER) is (voice_s > 1.0)
        assert short.removeprefix(f"{FILLER} ").startswith("You said")

    run(scene())


def test_what_waits_for_the_voice_is_bridged_once_and_is_no_part_of_what_a_tool_was_told() -> None:
    async def scene() -> None:
        world = await prepared()

        @tool
        async def look_up() -> str:
            """Look."""
            await asyncio.sleep(0.2)
            return "it is there"

        def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
            if isinstance(request.messages[-1], ToolResult):
                return "It is there."
            return [TextDelta("I look. "), ToolCall("1", "look_up", {})]

        world.toolbox, world.llm.answer, world.tts.first_chunk_s = Toolbox([look_up]), answer, 4.0
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            assert call.replies[-1][1] == f"{FILLER} I look. It is there."
            (called,) = call.events(ToolCalled)
            assert called.said == "I look."

    run(scene())


def test_a_filler_that_nobody_heard_yet_gives_way_to_the_reply() -> None:
    async def scene() -> None:
        world = await prepared()
        world.llm.first_token_s = 3.0
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            call.line.drop()  # from now on nothing is audible
            await call.wait(6.0)
            call.connect()
            await call.until_heard_out()
            assert call.replies[-1][1].startswith("You said")

    run(scene())


def test_without_a_filler_the_caller_waits_in_silence() -> None:
    async def scene() -> None:
        (heard,) = await answered_after(await prepared(filler=""), 3.0)
        assert heard.startswith("You said")

    run(scene())


def test_a_slow_tool_is_bridged_by_the_phrase_at_hand() -> None:
    async def scene() -> None:
        world = await prepared()

        @tool
        async def look_up() -> str:
            """Look."""
            await asyncio.sleep(2.5)
            return "it is there"

        def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
            if isinstance(request.messages[-1], ToolResult):
                return "It is there."
            return [ToolCall("1", "look_up", {})]

        world.toolbox, world.llm.answer = Toolbox([look_up]), answer
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            assert call.replies[-1][1] == f"{FILLER} It is there."

    run(scene())


def test_a_phrase_at_hand_begins_within_one_frame() -> None:
    async def scene() -> None:
        world = await prepared()
        async with world.call() as call:
            await call.greeting()
            assert call.events(ReplyStarted)[0].at <= 0.02

    run(scene())


@pytest.mark.parametrize("ahead_s", [1.0, 2.5])
def test_an_interruption_wastes_no_more_speech_than_is_made_ahead_and_one_piece(ahead_s: float) -> None:
    async def scene() -> None:
        world = World().with_manners(greeting="Hello.", deadlines=Deadlines(speech_ahead_s=ahead_s))
        world.llm.answer, world.tts.speed = lambda request: LONG, 50.0
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            before = len(call.line.heard)
            for _ in range(10):
                await call.wait(1.0)
                assert unheard_characters(call) <= ahead_s * CHARACTERS_PER_S + SENTENCE_CHARACTERS + 15  # a word
            sounded = [at for at, _ in call.line.heard[before:]]
            assert max(b - a for a, b in itertools.pairwise(sounded)) < 0.021  # and yet no gap
            call.line.speak(1.5)
            await call.until(lambda: call.replies[-1][0] == "interrupted")
        assert "sidetone_speech_wasted_characters_total" in world.metrics.exposition().decode()

    run(scene())


def test_however_fast_model_and_voice_are_their_buffers_are_full_and_no_more() -> None:
    async def scene() -> None:
        world = World().with_manners(greeting="Hello.", deadlines=Deadlines(speech_ahead_s=1e6))
        world.llm.answer, world.llm.tokens_per_s, world.tts.speed = lambda request: LONG, 1e6, 1e6
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            fills = call.session.fills()
            assert 0.9 < fills["playout"] <= 1.0
            assert fills["text"] > 0.5
            call.line.speak(1.5)
            await call.until(lambda: call.replies[-1][0] == "interrupted")
            assert call.session.fills() == {"playout": 0.0, "text": 0.0}

    run(scene())


def unheard_characters(call: Call) -> int:
    """What the voice was given and the caller has not heard yet."""
    turn = call.session._agent.turn
    assert turn is not None
    return turn.wasted_characters(call.session._agent.mouth.ledger.peek(call.world.clock.now()).text)
