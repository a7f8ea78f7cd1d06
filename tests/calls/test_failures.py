"""What goes wrong in a reply is noticed, said, and put into the record once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from app.calls.journal import ProviderFailed, ReplyEnded
from app.conversation.state import Floor
from providers.base import ReplyRequest, SpeechChunk
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedTextToSpeech
from telephony.audio import AudioFormat
from tests.calls.world import World
from tests.doubles import NOISE
from tests.virtual import run


@dataclass
class MuteOnce(ScriptedTextToSpeech):
    """Swallows the second text without a sound or an error."""

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        async for chunk in super().speak(text, audio):
            if self.spoken != 2:
                yield chunk


def test_a_reply_that_made_no_sound_is_apologised_for_and_not_taken_for_heard() -> None:
    async def scene() -> None:
        world = World()
        world.tts = MuteOnce(world.clock)
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            await call.until_heard_out()
            assert call.replies[1:] == [("failed", ""), ("completed", world.manners.apology)]
            assert call.events(ProviderFailed)[0].error == "ProviderMalformed"

    run(scene())


def test_an_apology_does_not_start_on_top_of_the_caller() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", ""))
        world.llm.first_token_s = 1.0
        world.llm.faults[2] = Fault(1, ProviderUnavailable("scripted", "gone"))
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            await call.wait(0.85)
            began, heard = world.clock.now(), len(call.line.heard)
            call.line.speak(0.5, NOISE)
            await call.wait(0.5)
            assert call.replies[-1][0] == "failed"
            assert len(call.line.heard) == heard
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", world.manners.apology)
            assert call.line.heard[heard][0] - began > 0.5

    run(scene())


def test_a_crash_leaves_every_reply_with_its_one_outcome() -> None:
    async def scene() -> None:
        world = World()

        def broken(request: ReplyRequest) -> str:
            if request.messages:
                raise ZeroDivisionError
            return "Hello."

        world.llm.answer = broken
        try:
            async with world.call() as call:
                await call.greeting()
                call.line.speak(1.0)
                await asyncio.wait([call.running])
        except* ZeroDivisionError:
            pass
        assert [(event.turn, event.reason) for event in call.events(ReplyEnded)] == [(1, "completed"), (2, "lost")]

    run(scene())


def test_a_caller_over_whose_noise_an_apology_began_is_heard_afterwards() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", "", "yes")).with_manners(filler="")
        world.stt.partial_every_s = 99.0  # short answers have no partials
        await world.phrasebook.prepare(world.manners.phrases(), world.tts)
        async with world.call() as call:
            await call.greeting()
            world.llm.first_token_s = 30.0
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            await call.wait(world.manners.think_s - 0.25)
            call.line.speak(0.3, NOISE)  # until after the apology has begun
            await call.until_heard_out()
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", world.manners.apology)
            world.llm.first_token_s = 0.3
            await call.wait(1.0)
            call.line.speak(0.4)
            await call.until_heard_out()
            assert call.said[1:] == ["yes"]
            assert call.replies[-1][1].startswith("You said yes")

    run(scene())
