"""Lost and replaced streams: the call goes on where it was, whoever had the floor."""

import pytest

from app.calls.journal import CallEnded, ReplyStarted
from app.conversation.state import Floor, Phase
from providers.base import ReplyRequest
from providers.errors import ProviderUnavailable
from providers.scripted import Fault
from tests.calls.world import World
from tests.doubles import NOISE
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."


def long_answers(request: ReplyRequest) -> str:
    return LONG if request.messages else "Hello."


def test_what_was_being_understood_when_the_line_broke_is_answered_over_the_next() -> None:
    async def scene() -> None:
        world = World(texts=("cancel everything today",))
        world.stt.finalize_s = 0.4
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.wait(1.7)  # his turn has ended, the recogniser has been asked and has not answered yet
            assert not call.said
            call.line.drop()
            await call.wait(3.0)
            call.connect()
            await call.until(lambda: bool(call.said), within_s=2.0)
            await call.until_heard_out()
            assert call.said == ["cancel everything today"]
            assert call.replies[-1][0] == "completed"

    run(scene())


def test_a_caller_cut_off_in_mid_sentence_is_answered_to_what_was_heard_of_it() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.speak(2.0)
            await call.wait(1.0)
            call.line.drop()
            await call.wait(3.0)
            call.connect()
            await call.until(lambda: bool(call.said), within_s=2.0)
            assert call.said == ["what are your opening hours"]

    run(scene())


def test_digits_keyed_before_the_line_broke_are_taken_over_the_next() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.press("7")
            await call.wait(0.1)
            call.line.drop()
            await call.wait(5.0)
            call.connect()
            await call.until(lambda: call.said == ["7"], within_s=3.0)

    run(scene())


def test_a_reply_that_failed_while_the_line_was_lost_is_apologised_for_at_once() -> None:
    async def scene() -> None:
        world = World()
        world.llm.first_token_s = 2.0
        world.llm.faults[2] = Fault(1, ProviderUnavailable("scripted", "gone"))
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            call.line.drop()
            await call.wait(4.0)
            assert call.replies[-1][0] == "failed"
            started = len(call.events(ReplyStarted))
            call.connect()
            await call.until(lambda: len(call.events(ReplyStarted)) > started, within_s=1.0)
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", world.manners.apology)

    run(scene())


def test_a_newer_stream_takes_over_and_no_sound_is_lost_between() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.greeting()
            older = call.line
            before = len(older.heard)
            older.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(2.0)
            newer = call.connect()
            assert older.closed
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", LONG)
            speech_s = sum((len(word) + 1) * 0.06 for word in LONG.split())
            assert (len(older.heard) - before + len(newer.heard)) * 0.02 >= speech_s

    run(scene())


def test_a_stream_that_comes_while_we_hang_up_is_closed() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.session.end("ended by the API")
            assert call.session.state.phase is Phase.ENDING
            assert call.connect().closed
            await call.until(call.running.done)
            assert call.events(CallEnded)[0].reason == "ended by the API"

    run(scene())


def test_a_notice_that_was_about_to_start_is_said_over_the_next_stream_whoever_talks() -> None:
    async def scene() -> None:
        world = World(texts=("",)).with_manners(notice="This call is recorded.")
        world.tts.first_chunk_s = 2.0
        async with world.call() as call:
            call.line.speak(0.4, NOISE)
            await call.wait(0.5)
            call.connect()
            await call.until_heard_out()
            assert call.replies == [("completed", "This call is recorded.")]

    run(scene())


def test_after_a_line_was_gone_for_a_while_the_caller_is_asked_what_he_said() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.drop()
            await call.wait(2.0)
            call.connect()
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", call.world.manners.ask_again)

    run(scene())


@pytest.mark.parametrize("bridge", ["Here I am again.", ""])
def test_a_caller_who_is_never_asked_again_hears_what_bridges_a_moment_or_nothing(bridge: str) -> None:
    async def scene() -> None:
        async with World().with_manners(bridge=bridge, ask_again="").call() as call:
            await call.greeting()
            call.line.drop()
            await call.wait(2.0)
            call.connect()
            await call.wait(5.0)
            assert call.replies[1:] == ([("completed", bridge)] if bridge else [])

    run(scene())


def test_a_moment_without_a_line_is_bridged_by_what_the_settings_say_or_by_nothing() -> None:
    async def scene(bridge: str) -> list[tuple[str, str]]:
        async with World().with_manners(bridge=bridge).call() as call:
            await call.greeting()
            call.line.drop()
            await call.wait(0.2)
            call.connect()
            await call.wait(5.0)
            return call.replies[1:]

    assert run(scene("Here I am again.")) == [("completed", "Here I am again.")]
    assert run(scene("")) == []


def test_a_stream_that_replaces_a_living_one_is_no_loss() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.drop()
            await call.wait(0.2)
            call.connect()
            await call.wait(3.0)
            call.connect()
            await call.wait(3.0)
            assert len(call.replies) == 1

    run(scene())
