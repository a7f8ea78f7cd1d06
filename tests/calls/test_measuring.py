"""What is measured of a turn belongs to that turn."""

from app.calls.journal import ReplyEnded, TurnMeasured
from app.conversation.state import Floor
from tests.calls.world import World
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."


def test_a_reply_that_was_never_audible_was_not_barged_in_on() -> None:
    async def scene() -> None:
        world = World(texts=("i would like to book", "an appointment tomorrow"))
        world.llm.first_token_s = 1.0
        async with world.call() as call:
            await call.greeting()
            call.line.speak(0.8)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            call.line.speak(0.9)
            await call.until_heard_out()
            assert call.events(ReplyEnded)[1].reason == "cancelled"
            assert call.events(TurnMeasured)[1].barge_in_stop_s is None

    run(scene())


def test_a_barge_in_is_measured_from_the_onset_of_the_callers_speech_to_the_clear() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = lambda request: LONG
        async with world.call() as call:
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            call.line.speak(1.0)
            await call.until_heard_out()
            stopped = call.events(TurnMeasured)[0].barge_in_stop_s
            assert stopped is not None
            assert 0.03 < stopped < 0.12

    run(scene())


def test_a_backchannel_leaves_no_stamp_on_the_next_turn() -> None:
    async def scene() -> None:
        world = World(texts=("yeah", "thank you"))
        world.llm.answer = lambda request: "Thank you." if request.messages else LONG
        async with world.call() as call:
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            call.line.speak(0.4)
            await call.until_heard_out()
            assert call.replies == [("completed", LONG)]
            await call.wait(1.0)
            call.line.speak(0.8)
            await call.until_heard_out()
            stamps = call.events(TurnMeasured)[1].stamps
            assert stamps["audio_chunk_received"] <= stamps["asr_partial"] <= stamps["turn_ended"]

    run(scene())
