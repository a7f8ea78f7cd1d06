"""Whole calls in virtual time: who hears what, and what is remembered of it."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import pytest

from app.calls.journal import (
    AnomalyHeard,
    AudioLost,
    CallEnded,
    CallerSaid,
    LegAttached,
    ProviderFailed,
    ProviderReplaced,
    ReplyEnded,
    TurnMeasured,
)
from app.conversation.state import Floor, Phase
from app.conversation.tools import Toolbox, tool
from providers.base import (
    AgentMessage,
    CallerMessage,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    TextDelta,
    ToolCall,
    ToolResult,
)
from providers.errors import ProviderUnavailable
from providers.scripted import Fault, ScriptedTextToSpeech
from telephony.audio import AudioFormat
from tests.calls.world import Call, World
from tests.doubles import NOISE, SILENCE, SPEECH
from tests.virtual import run

LONG = (
    "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon, "
    "and never on Sunday."
)


def long_answers(request: ReplyRequest) -> str:
    return LONG if request.messages else "Hello."


def test_a_call_is_greeted_answered_and_ended_by_the_caller() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            assert call.said == ["what are your opening hours"]
            assert [reason for reason, _ in call.replies] == ["completed", "completed"]
            assert "what are your opening hours" in call.replies[1][1]
        assert call.session.state.phase is Phase.ENDED
        assert call.events(CallEnded)[0].reason == "carrier: completed"

    run(scene())


def test_the_sound_at_the_callers_ear_has_no_gap() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            before = len(call.line.heard)
            await call.until_heard_out()
            times = [at for at, _ in call.line.heard[before:]]
            assert max(b - a for a, b in itertools.pairwise(times)) < 0.021

    run(scene())


def test_a_barge_in_stops_the_sound_and_only_what_was_heard_is_remembered() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(2.0)
            began = world.clock.now()
            call.line.speak(1.0)
            await call.until(lambda: bool(call.line.clears) and call.line.clears[-1] > began)
            assert call.line.clears[-1] - began < 0.15
            await call.wait(0.1)
            assert not call.line.sounding()
            await call.until(lambda: len(call.replies) == 2)
            reason, heard = call.replies[1]
            assert reason == "interrupted"
            assert heard and LONG.startswith(heard) and len(heard) < len(LONG)
            await call.until_heard_out()
            message = world.llm.requests[-1].messages[-2]
            assert message == AgentMessage(heard, interrupted=True)

    run(scene())


def test_marks_echoed_by_the_clear_do_not_count_as_heard() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            call.line.delay_s = 0.1
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            frames = len(call.line.heard)
            call.line.speak(1.0)
            await call.until(lambda: len(call.replies) == 2)
            heard_s = (len(call.line.heard) - frames) * 0.02 + 1.0
            spoken_s = len(call.replies[1][1].replace(" ", "")) * 0.06 + len(call.replies[1][1].split()) * 0.06
            assert spoken_s < heard_s + 0.6

    run(scene())


def test_a_false_interruption_is_resumed_from_the_heard_word() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", ""))
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.5)
            call.line.speak(0.2, NOISE)  # a cough
            await call.until(lambda: call.session.state.floor is Floor.INTERRUPTED)
            cough_ended = world.clock.now() + 0.2
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            assert world.clock.now() - cough_ended < 1.0
            await call.until_heard_out()
            assert call.replies[1] == ("completed", LONG)
            assert len(call.said) == 1

    run(scene())


QUESTION = "Shall I book you for Monday at ten?"
QUESTION_S = sum(len(word) + 1 for word in QUESTION.split()) * 0.06


@dataclass
class TrailingOff(ScriptedTextToSpeech):
    """A voice whose sound goes on in silence behind the words, as many do."""

    silence_s: float = 0.5

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        async for chunk in super().speak(text, audio):
            yield chunk
        yield SpeechChunk(SILENCE * round(self.silence_s / 0.02))


async def said_into_a_question(word: str, after_s: float, frame: bytes = SPEECH) -> Call:
    """A question is asked, into which something is said so long after its first sound."""
    world = World(texts=(word, "thank you"))
    world.tts = TrailingOff(world.clock)
    world.llm.answer = lambda request: "Booked." if request.messages else QUESTION
    async with world.call() as call:
        await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
        await call.wait(after_s)
        call.line.speak(0.4, frame)
        await call.wait(6.0)
    return call


@pytest.mark.parametrize("word", ["yeah", "okay, sure"])
@pytest.mark.parametrize("too_early_s", [0.3, 0.1, -0.1, -0.3])
def test_a_word_on_the_last_syllable_or_in_the_silence_behind_it_is_an_answer(word: str, too_early_s: float) -> None:
    call = run(said_into_a_question(word, QUESTION_S - too_early_s))
    assert call.said == [word]
    assert [heard for _, heard in call.replies[1:]] == ["Booked."]
    assert call.world.llm.requests[-1].messages[-1] == CallerMessage(word)


def test_a_backchannel_in_the_middle_of_a_question_answers_nothing() -> None:
    call = run(said_into_a_question("yeah", QUESTION_S - 1.0))
    assert (call.said, call.replies) == ([], [("completed", QUESTION)])


def test_a_cough_on_the_last_syllable_answers_nothing_and_loses_no_word() -> None:
    call = run(said_into_a_question("", QUESTION_S - 0.2, NOISE))
    assert (call.said, call.replies) == ([], [("completed", QUESTION)])


def test_a_backchannel_on_the_last_syllable_of_a_goodbye_does_not_keep_the_call() -> None:
    async def scene() -> None:
        world = World(texts=("what are your opening hours", "okay"))
        world.tts = TrailingOff(world.clock)
        world.llm.answer = lambda request: (
            [TextDelta("Goodbye then."), ToolCall("1", "end_call", {})] if request.messages else "Hello."
        )
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(0.7)
            call.line.speak(0.4)
            await call.until(call.running.done)
            assert call.replies[-1] == ("completed", "Goodbye then.")
            assert call.said == ["what are your opening hours"]

    run(scene())


def test_a_caller_who_goes_on_while_the_agent_thinks_is_answered_once_to_all_of_it() -> None:
    async def scene() -> None:
        world = World(texts=("i would like to book", "an appointment tomorrow"))
        world.llm.first_token_s = 1.0
        async with world.call() as call:
            await call.greeting()
            call.line.speak(0.8)
            await call.until(lambda: call.session.state.floor is Floor.THINKING)
            call.line.speak(0.9)
            await call.until_heard_out()
            await call.until_heard_out()
            assert [reason for reason, _ in call.replies] == ["completed", "cancelled", "completed"]
            assert world.llm.requests[-1].messages[-1] == CallerMessage("i would like to book an appointment tomorrow")

    run(scene())


def test_a_dropped_socket_suspends_and_the_reply_goes_on_over_the_next() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(2.0)
            call.line.drop()
            await call.detached.wait()
            assert call.session.state.phase is Phase.SUSPENDED
            await call.wait(3.0)
            line = call.connect()
            assert call.session.state.phase is Phase.LIVE
            await call.until_heard_out()
            assert call.replies[-1] == ("completed", LONG)
            assert line.heard
            assert len(call.events(LegAttached)) == 2

    run(scene())


def test_a_call_whose_media_never_comes_back_ends() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            call.line.drop()
            await call.until(lambda: call.running.done(), within_s=60)
            assert call.events(CallEnded)[0].reason == "no media"

    run(scene())


def test_a_model_that_dies_in_mid_reply_is_heard_as_far_as_it_came_and_apologised_for() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = lambda request: "First sentence here. Second sentence is much longer than that. Third one."
        world.llm.faults[2] = Fault(5, ProviderUnavailable("scripted", "gone"))
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: len(call.replies) == 3)
            assert call.replies[1][0] == "failed"
            assert call.replies[1][1] == "First sentence here."
            assert call.replies[2] == ("completed", world.manners.apology)
            assert call.events(ProviderFailed)

    run(scene())


def test_a_voice_that_fails_for_good_ends_the_call_instead_of_silence() -> None:
    async def scene() -> None:
        world = World()
        world.tts.faults = {n: Fault(0, ProviderUnavailable("scripted", "gone")) for n in range(1, 99)}
        async with world.call() as call:
            await call.until(lambda: call.running.done(), within_s=60)
            assert call.events(CallEnded)[0].reason == "providers failed"

    run(scene())


def test_silence_is_asked_about_and_then_said_goodbye_to() -> None:
    async def scene() -> None:
        world = World()
        async with world.call() as call:
            await call.until(lambda: call.running.done(), within_s=120)
            heard = [heard for _, heard in call.replies]
            assert heard[1:] == [world.manners.reprompt] * world.manners.reprompts + [world.manners.goodbye]
            assert call.events(CallEnded)[0].reason == "caller silent"
            assert call.line.closed

    run(scene())


def test_noise_does_not_reset_the_silence() -> None:
    async def scene() -> None:
        world = World(texts=("",))
        async with world.call() as call:
            await call.greeting()
            began = world.clock.now()
            for _ in range(8):
                call.line.speak(0.2, NOISE)
                await call.wait(1.5)
            await call.until(lambda: len(call.replies) >= 2)
            asked_at = [event.at for event in call.events(ReplyEnded)][1]
            assert asked_at - (began - call.session.record.began) < world.manners.silence_s + 4.0

    run(scene())


def test_digits_are_collected_and_offered_as_input() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = long_answers
        async with world.call() as call:
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            for digit in "42":
                call.line.press(digit)
                await call.wait(0.3)
            await call.until(lambda: bool(call.said))
            assert call.events(CallerSaid)[0].text == "42"
            assert call.events(CallerSaid)[0].digits

    run(scene())


def test_a_lost_recogniser_is_opened_again_and_the_call_goes_on() -> None:
    async def scene() -> None:
        world = World()
        world.stt.fault = Fault(0, ProviderUnavailable("scripted", "gone"))
        async with world.call() as call:
            await call.greeting()
            await call.wait(1.0)
            call.line.speak(1.0)
            await call.until_heard_out()
            assert world.stt.opened == 2
            assert call.said
            assert [event.lost_ms for event in call.events(AudioLost)] == [0.0]
            assert [event.successor for event in call.events(ProviderReplaced)] == ["scripted"]

    run(scene())


def test_the_call_ends_at_its_limit_with_a_goodbye() -> None:
    async def scene() -> None:
        world = World().with_manners(limit_s=20.0, silence_s=60.0)
        async with world.call() as call:
            await call.until(lambda: call.running.done(), within_s=60)
            assert call.replies[-1] == ("completed", world.manners.time_up)
            assert call.events(CallEnded)[0].reason == "time is up"

    run(scene())


def test_two_calls_do_not_mix() -> None:
    async def scene() -> None:
        world = World()
        async with world.call("CA1") as one, world.call("CA2") as two:
            await one.greeting()
            one.line.speak(1.0)
            await one.until_heard_out()
            assert one.said and not two.said
            assert [r for r, _ in two.replies] == ["completed"]
            two.line.speak(0.6)
            await two.until_heard_out()
            assert len(one.said) == len(two.said) == 1

    run(scene())


def test_every_turn_is_measured_and_a_breach_names_its_stage() -> None:
    async def scene() -> None:
        world = World()
        world.llm.first_token_s = 0.7
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.6)
            await call.until_heard_out()
            measured = call.events(TurnMeasured)[1]
            assert [breach.split()[0] for breach in measured.breaches] == ["llm_first_token"]
            stamps = measured.stamps
            assert stamps["asr_complete"] <= stamps["llm_started"] <= stamps["llm_first_token"]
            assert stamps["llm_first_token"] <= stamps["tts_started"] <= stamps["tts_first_chunk"]
            assert stamps["tts_first_chunk"] <= stamps["tts_complete"]
            assert measured.onset_s is not None
            assert 1.0 < measured.onset_s < 1.9

    run(scene())


def test_a_bug_ends_one_call_and_is_raised() -> None:
    async def scene() -> None:
        world = World()

        def broken(request: ReplyRequest) -> str:
            raise ZeroDivisionError

        world.llm.answer = broken
        crashed = False
        try:
            async with world.call() as call:
                await asyncio.wait([call.running])
        except* ZeroDivisionError:
            crashed = True
        assert crashed
        assert call.events(CallEnded)[0].reason == "crashed"
        assert call.line.closed

    run(scene())


def test_a_notice_is_finished_first_and_what_the_caller_said_meanwhile_is_kept() -> None:
    async def scene() -> None:
        world = World().with_manners(notice="This call is recorded for quality and training purposes.")
        async with world.call() as call:
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            call.line.speak(1.0)
            await call.until_heard_out()
            assert call.replies == [("completed", world.manners.notice)]
            await call.until_heard_out()
            assert call.said == ["what are your opening hours"]
            assert call.replies[1][0] == "completed"
            assert not call.line.clears

    run(scene())


def test_a_notice_is_followed_by_the_greeting() -> None:
    async def scene() -> None:
        world = World().with_manners(notice="This call is recorded.", greeting="Good morning.")
        async with world.call() as call:
            await call.until_heard_out()
            await call.until_heard_out()
            assert [heard for _, heard in call.replies] == ["This call is recorded.", "Good morning."]

    run(scene())


def test_a_slow_tool_is_bridged_and_its_result_is_spoken() -> None:
    async def scene() -> None:
        @tool
        async def look_up(number: int) -> str:
            """Look something up."""
            await asyncio.sleep(3.0)
            return f"entry {number}"

        def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
            match request.messages[-1:]:
                case (ToolResult(content=content),):
                    return f"It is {content} that I found."
                case (CallerMessage(),):
                    return [TextDelta("Let me see."), ToolCall("t1", "look_up", {"number": 7})]
                case _:
                    return "Hello."

        world = World(toolbox=Toolbox([look_up]))
        world.llm.answer = answer
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until_heard_out()
            reason, heard = call.replies[1]
            assert reason == "completed"
            assert heard == 'Let me see. One moment, please. It is "entry 7" that I found.'
            call.line.speak(1.0)
            await call.until_heard_out()
            context = world.llm.requests[3].messages
            calls = [m for m in context if isinstance(m, AgentMessage) and m.tool_calls]
            results = [m for m in context if isinstance(m, ToolResult)]
            assert [m.text for m in calls] == ["Let me see."]
            assert [m.call_id for m in results] == ["t1"]

    run(scene())


def test_an_interrupted_reply_keeps_one_result_for_each_tool_call() -> None:
    async def scene() -> None:
        @tool
        async def never() -> str:
            """Never returns in time."""
            await asyncio.sleep(6.0)
            return "late"

        def answer(request: ReplyRequest) -> str | list[ReplyEvent]:
            if len(request.messages) == 2:
                return [
                    TextDelta("One second while I look that up for you in all of our books."),
                    ToolCall("t1", "never", {}),
                ]
            return "Hello there."

        world = World(toolbox=Toolbox([never]))
        world.llm.answer = answer
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            call.line.speak(1.2)
            await call.until_heard_out()
            assert call.replies[1][0] == "interrupted"
            await call.until_heard_out()
            messages = world.llm.requests[-1].messages
            results = [m for m in messages if isinstance(m, ToolResult)]
            assert [(m.call_id, m.failed) for m in results] == [("t1", True)]

    run(scene())


def test_a_slow_caller_is_given_more_time_the_next_time() -> None:
    async def scene() -> None:
        world = World(texts=("my name is", "john"))
        async with world.call() as call:
            await call.greeting()
            ear = call.session._caller.ear
            before = ear.patience_ms()
            for _ in range(4):
                call.line.speak(0.5)
                call.line.speak(0.44, SILENCE)
            await call.wait(3.0)
            assert ear.patience_ms() > before

    run(scene())


def test_two_deadlines_at_the_same_moment_make_one_reply() -> None:
    async def scene() -> None:
        world = World().with_manners(turn_limit_s=1.5, digit_gap_s=1.5)
        async with world.call() as call:
            await call.greeting()
            call.line.press("4")
            await call.until_heard_out()
            assert call.said == ["4"]
            assert [reason for reason, _ in call.replies] == ["completed", "completed"]

    run(scene())


def test_one_way_audio_is_reported_once() -> None:
    async def scene() -> None:
        async with World().with_manners(silence_s=60.0).call() as call:
            await call.wait(25.0)
            assert [event.anomaly for event in call.events(AnomalyHeard)] == ["OneWayAudio"]

    run(scene())
