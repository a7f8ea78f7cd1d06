"""A recogniser that is late, slow to open or gone does not put words into the wrong turn, or lose them silently."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.calls.journal import AudioLost, ProviderFailed
from app.conversation.state import Floor
from providers.base import Recognition
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedSpeechToText
from telephony.audio import AudioFormat
from tests.calls.world import World
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."


def test_an_answer_that_comes_too_late_is_not_taken_for_the_answer_to_the_next_question() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", "no tell me about saturday please"))
        world.stt.finalize_s = 2.9
        world.llm.answer = lambda request: LONG
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            call.line.speak(0.9)
            await call.until(lambda: len(call.said) == 2)
            assert call.said[0].startswith("what are")
            assert "opening" not in call.said[1]
            assert call.said[1].startswith("no tell")

    run(scene())


def test_an_answer_that_comes_while_the_caller_talks_on_leaves_him_the_floor() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", "on monday please"))
        world.stt.finalize_s = 0.3
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.wait(1.6 + 0.6)
            call.line.speak(1.0)
            await call.until(lambda: bool(call.said))
            assert call.said == ["what are your opening hours on monday please"]

    run(scene())


def test_a_recogniser_that_ends_turns_by_itself_takes_the_floor_from_the_agent_too() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", "stop it please"))
        world.stt.ends_turn = True
        world.stt.partial_every_s = 1000.0
        world.llm.answer = lambda request: LONG
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            call.line.speak(0.4)
            await call.until(lambda: len(call.said) == 2, within_s=3.0)
            assert call.said == ["what are your opening hours", "stop it please"]

    run(scene())


@dataclass
class SlowSpeechToText(ScriptedSpeechToText):
    """Takes its time to open, with a fault the first time only, and until `there_at` nobody is there at all."""

    open_s: float = 4.0
    there_at: float = 0.0

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        if self.clock.now() < self.there_at:
            raise ProviderUnavailable(self.name, "nobody there")
        if self.fault is None or self.opened:
            await self.clock.sleep_until(self.clock.now() + self.open_s)
        async with super().open(audio) as recognition:
            yield recognition


def test_what_is_said_while_the_recogniser_is_slow_to_open_is_understood() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours",)).with_manners(greeting="Hi.")
        world.stt = SlowSpeechToText(world.clock, world.texts, ends_turn=False)
        async with world.call() as call:
            await call.greeting()
            await call.wait(2.0)
            call.line.speak(1.0)
            await call.until(lambda: bool(call.said))
            assert call.said == ["what are your opening hours"]
            assert not call.events(AudioLost)

    run(scene())


def test_audio_that_nobody_could_recognise_is_recorded_as_lost() -> None:
    async def scene() -> None:
        world = World().with_manners(failures=1000, silence_s=60.0)
        world.stt = SlowSpeechToText(world.clock, ends_turn=False, there_at=world.clock.now() + 20.0)
        async with world.call() as call:
            await call.wait(29.0)
            (lost,) = call.events(AudioLost)
            assert lost.replayed_ms == 500  # of the silence, which is all that there was
            assert 4_000 <= lost.lost_ms < 6_100

    run(scene())


def test_a_turn_that_ends_while_the_recogniser_is_replaced_waits_for_its_words() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours",)).with_manners(greeting="Hi.")
        gone = Fault(1, ProviderUnavailable("scripted", "gone"))
        world.stt = SlowSpeechToText(world.clock, world.texts, ends_turn=False, fault=gone, open_s=2.0)
        async with world.call() as call:
            await call.greeting()
            await call.wait(0.5)
            call.line.speak(1.0)
            await call.until(lambda: bool(call.said))
            assert call.said == ["what are your opening hours"]
            assert [failed.error for failed in call.events(ProviderFailed)] == ["ProviderUnavailable"]

    run(scene())
