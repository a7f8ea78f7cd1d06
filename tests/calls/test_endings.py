"""How calls end: goodbyes are heard, limits hold, and the record says why."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from app.calls.journal import CallEnded, ReplyStarted, TransferRequested
from app.conversation.manners import Manners
from providers.base import Recognition, ReplyEvent, ReplyRequest, TextDelta, ToolCall
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedSpeechToText
from telephony.audio import AudioFormat
from tests.calls.world import World
from tests.virtual import run


@dataclass
class DeadSpeechToText(ScriptedSpeechToText):
    """A recogniser that can never be opened."""

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        self.opened += 1
        raise ProviderUnavailable(self.name, "nobody there")
        yield


def test_a_call_without_a_recogniser_is_ended_with_a_goodbye_that_is_heard_to_its_end() -> None:
    async def scene() -> None:
        world = World()
        world.stt = DeadSpeechToText(world.clock)
        async with world.call() as call:
            await call.until(call.running.done, within_s=60)
            assert call.replies[-1] == ("completed", world.manners.failed)
            assert call.events(CallEnded)[0].reason == "recognition failed"
            assert world.stt.opened > 3  # it went on failing while the goodbye was said

    run(scene())


def test_a_caller_who_talks_on_cannot_move_the_calls_limit() -> None:
    async def scene() -> None:
        world = World().with_manners(limit_s=20.0, grace_s=6.0, silence_s=60.0)
        async with world.call() as call:
            while not call.running.done():
                call.line.speak(0.8)
                await call.wait(2.0)
            ended = call.events(CallEnded)[0]
            assert ended.reason == "time is up"
            assert ended.at <= 26.1

    run(scene())


@pytest.mark.parametrize("talks_s", [0.9, 2.5])
def test_a_caller_who_is_told_over_his_own_words_that_time_is_up_hears_it_to_its_end(talks_s: float) -> None:
    async def scene() -> None:
        world = World().with_manners(limit_s=10.0, silence_s=60.0)
        async with world.call() as call:
            await call.wait(9.0)
            call.line.speak(talks_s)
            await call.until(call.running.done)
            assert call.replies[-1] == ("completed", world.manners.time_up)

    run(scene())


def hangs_up(request: ReplyRequest) -> str | list[ReplyEvent]:
    return [TextDelta("Goodbye then."), ToolCall("1", "end_call", {})] if request.messages else "Hello."


def test_the_model_hangs_up_after_its_goodbye_was_heard() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = hangs_up
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(call.running.done)
            assert call.replies[-1] == ("completed", "Goodbye then.")
            assert call.events(CallEnded)[0].reason == "agent ended the call"

    run(scene())


def test_a_goodbye_that_the_caller_stopped_is_not_why_the_call_ended() -> None:
    async def scene() -> None:
        world = World().with_manners(silence_s=2.0, reprompts=0)
        world.llm.answer = hangs_up
        async with world.call() as call:
            await call.greeting()
            await call.until(lambda: len(call.events(ReplyStarted)) == 2)
            await call.wait(0.5)
            call.line.speak(1.0)
            await call.until(call.running.done)
            assert [reason for reason, _ in call.replies] == ["completed", "interrupted", "completed"]
            assert call.events(CallEnded)[0].reason == "agent ended the call"

    run(scene())


def test_a_hand_over_is_recorded_as_one() -> None:
    async def scene() -> None:
        world = World().with_manners(transfer_to="+15550100009")
        world.llm.answer = lambda request: (
            [TextDelta("One moment."), ToolCall("1", "transfer_call", {"reason": "billing"})]
            if request.messages
            else "Hello."
        )
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(call.running.done)
            assert call.replies[-1] == ("completed", "One moment.")
            assert call.session.handover.reason == "billing"
            assert call.events(CallEnded)[0].reason == "transferred"

    run(scene())


def test_a_model_that_fails_every_time_is_given_up_after_the_apologies() -> None:
    async def scene() -> None:
        world = World()
        world.llm.faults = {n: Fault(0, ProviderUnavailable("scripted", "gone")) for n in range(2, 99)}
        async with world.call() as call:
            await call.greeting()
            for _ in range(10):
                if call.running.done():
                    break
                call.line.speak(1.0)
                await call.wait(8.0)
            heard = [heard for reason, heard in call.replies if reason == "completed"]
            assert heard[1:] == [world.manners.apology] * world.manners.failures + [world.manners.failed]
            assert call.events(CallEnded)[0].reason == "providers failed"

    run(scene())


def test_a_model_that_fails_every_time_hands_the_caller_on_where_somebody_can_take_over() -> None:
    async def scene() -> None:
        world = World().with_manners(transfer_to="+15550100009")
        world.llm.faults = {n: Fault(0, ProviderUnavailable("scripted", "gone")) for n in range(2, 99)}
        async with world.call() as call:
            await call.greeting()
            while not call.running.done():
                call.line.speak(1.0)
                await call.wait(8.0)
            assert call.replies[-1] == ("completed", world.manners.handed_on)
            assert [event.reason for event in call.events(TransferRequested)] == ["providers failed"]
            assert call.events(CallEnded)[0].reason == "transferred"

    run(scene())


def test_a_voice_that_is_gone_for_good_ends_the_call_after_a_few_tries() -> None:
    async def scene() -> None:
        world = World()
        world.tts.faults = {n: Fault(0, ProviderUnavailable("scripted", "gone")) for n in range(1, 10_000)}
        async with world.call() as call:
            await call.until(call.running.done, within_s=60)
            assert len(call.replies) == world.manners.failures + 2
            assert call.events(CallEnded)[0].reason == "providers failed"

    run(scene())


def test_providers_that_hang_without_any_deadline_of_their_own_are_given_up_by_the_floors() -> None:
    async def scene() -> None:
        world = World(manners=Manners(think_s=2.0))
        world.llm.faults = {n: Fault(0, None) for n in range(1, 99)}
        world.tts.faults = {n: Fault(0, None) for n in range(1, 99)}
        async with world.call() as call:
            await call.until(call.running.done, within_s=60)
            assert call.events(CallEnded)[0].reason == "providers failed"

    run(scene())
