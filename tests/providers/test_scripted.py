"""The scripted providers do what the script says, at the time it says, and fail when it says."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from providers.base import (
    CallerMessage,
    FinalTranscript,
    PartialTranscript,
    ProviderContext,
    RecognitionEvent,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    TextDelta,
    ToolCall,
)
from providers.errors import ProviderMisconfigured, ProviderUnavailable
from providers.scripted import (
    Fault,
    ScriptedLanguageModel,
    ScriptedSpeechToText,
    ScriptedTextToSpeech,
    create_llm,
    create_stt,
    create_tts,
)
from telephony.audio import TELEPHONE
from telephony.clock import LoopClock
from tests.doubles import SILENCE, SPEECH
from tests.virtual import run

Told = list[tuple[float, RecognitionEvent]]


async def listen(stt: ScriptedSpeechToText, frames: list[bytes], finalize_after: int | None = None) -> Told:
    """What is recognised of these frames, sent in real time, and when (seconds)."""
    told: Told = []
    clock = stt.clock
    async with stt, stt.open(TELEPHONE) as recognition, asyncio.TaskGroup() as group:
        began = clock.now()

        async def read() -> None:
            async for event in recognition:
                told.append((round(clock.now() - began, 3), event))

        reading = group.create_task(read())
        for number, frame in enumerate(frames):
            if number == finalize_after:
                recognition.finalize()
            recognition.send(frame)
            await clock.sleep_until(began + (number + 1) * 0.02)
        await asyncio.sleep(5.0)
        reading.cancel()
    return told


def test_loud_sound_is_recognised_as_the_next_text_at_the_time_it_says() -> None:
    stt = ScriptedSpeechToText(LoopClock(), ("open the door", "thank you"), final_s=0.3)
    told = run(listen(stt, [SPEECH] * 40 + [SILENCE] * 30 + [SPEECH] * 20 + [SILENCE] * 30))
    finals = [(at, event.text) for at, event in told if isinstance(event, FinalTranscript)]
    assert finals == [(pytest.approx(1.1, abs=0.021), "open the door"), (pytest.approx(2.1, abs=0.021), "thank you")]
    partials = [event.text for _, event in told if isinstance(event, PartialTranscript)]
    assert partials[:3] == ["open", "open the", "open the door"]


def test_silence_is_recognised_as_nothing() -> None:
    assert run(listen(ScriptedSpeechToText(LoopClock()), [SILENCE] * 100)) == []


def test_an_empty_piece_of_audio_says_nothing() -> None:
    assert run(listen(ScriptedSpeechToText(LoopClock()), [b""] * 3)) == []


def test_without_endpointing_it_answers_when_asked() -> None:
    stt = ScriptedSpeechToText(LoopClock(), ("open the door",), ends_turn=False, finalize_s=0.25)
    told = run(listen(stt, [SPEECH] * 20 + [SILENCE] * 60, finalize_after=30))
    assert told[-1] == (0.85, FinalTranscript("open the door", confidence=1.0, finalized=True))


def test_asked_about_silence_it_answers_at_once_with_nothing() -> None:
    told = run(listen(ScriptedSpeechToText(LoopClock(), ends_turn=False), [SILENCE] * 20, finalize_after=10))
    assert told == [(0.2, FinalTranscript("", confidence=1.0, finalized=True))]


@pytest.mark.parametrize(("cycle", "texts"), [(True, ["a", "b", "a"]), (False, ["a", "b", ""])])
def test_a_script_that_is_over_begins_anew_or_falls_silent(cycle: bool, texts: list[str]) -> None:
    stt = ScriptedSpeechToText(LoopClock(), ("a", "b"), cycle=cycle)
    told = run(listen(stt, ([SPEECH] * 10 + [SILENCE] * 30) * 3))
    assert [event.text for _, event in told if isinstance(event, FinalTranscript)] == texts


def test_a_recogniser_with_a_fault_has_it_once() -> None:
    stt = ScriptedSpeechToText(LoopClock(), fault=Fault(0, ProviderUnavailable("scripted", "gone")))

    async def scene() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await listen(stt, [SPEECH] * 10)
        assert raised.group_contains(ProviderUnavailable)
        assert await listen(stt, [SPEECH] * 10 + [SILENCE] * 30)

    run(scene())


# the model


async def answer(model: ScriptedLanguageModel, *said: str) -> list[tuple[float, ReplyEvent]]:
    began = model.clock.now()
    request = ReplyRequest(tuple(CallerMessage(text) for text in said))
    async with model:
        return [(round(model.clock.now() - began, 4), event) async for event in model.reply(request)]


def test_a_reply_streams_word_by_word_at_its_rate() -> None:
    model = ScriptedLanguageModel(
        LoopClock(), answer=lambda request: "one two three", first_token_s=0.3, tokens_per_s=80
    )
    told = run(answer(model, "hello"))
    assert told[:3] == [(0.3, TextDelta("one")), (0.3125, TextDelta(" two")), (0.325, TextDelta(" three"))]
    assert told[3][1] == ReplyCompleted()


def test_it_echoes_the_caller_when_nothing_else_is_scripted() -> None:
    model = ScriptedLanguageModel(LoopClock())
    text = "".join(event.text for _, event in run(answer(model, "open the door")) if isinstance(event, TextDelta))
    assert "open the door" in text


def test_events_are_streamed_as_they_are_scripted() -> None:
    call = ToolCall("1", "look", {})
    model = ScriptedLanguageModel(LoopClock(), answer=lambda request: [TextDelta("Hm."), call])
    assert [event for _, event in run(answer(model))] == [TextDelta("Hm."), call, ReplyCompleted()]


def test_every_request_is_remembered_but_not_for_ever() -> None:
    async def scene() -> None:
        model = ScriptedLanguageModel(LoopClock())
        for number in range(120):
            await answer(model, str(number))
        assert model.asked == 120
        assert [request.messages[0] for request in model.requests] == [CallerMessage(str(n)) for n in range(20, 120)]

    run(scene())


@pytest.mark.parametrize("events", [0, 2, 3])
def test_a_fault_strikes_the_request_it_is_meant_for_after_so_many_events(events: int) -> None:
    async def scene() -> None:
        fault = Fault(events, ProviderUnavailable("scripted", "gone"))
        model = ScriptedLanguageModel(LoopClock(), answer=lambda request: "one two three", faults={2: fault})
        assert len(await answer(model)) == 4
        told = []

        async def listen_to_it() -> None:
            async for event in model.reply(ReplyRequest(())):
                told.append(event)

        with pytest.raises(ProviderUnavailable):
            await listen_to_it()
        assert len(told) == events
        assert len(await answer(model)) == 4

    run(scene())


def test_a_fault_without_an_error_hangs() -> None:
    async def scene() -> None:
        model = ScriptedLanguageModel(LoopClock(), faults={1: Fault(1)})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await answer(model)

    run(scene())


# the voice


async def speak(voice: ScriptedTextToSpeech, *pieces: str) -> list[tuple[float, SpeechChunk]]:
    async def text() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    began = voice.clock.now()
    async with voice:
        return [(round(voice.clock.now() - began, 4), chunk) async for chunk in voice.speak(text(), TELEPHONE)]


def test_speech_comes_in_chunks_at_its_speed() -> None:
    told = run(speak(ScriptedTextToSpeech(LoopClock(), first_chunk_s=0.12, speed=4.0), "Open the door."))
    assert [at for at, _ in told] == [pytest.approx(0.12 + n * 0.025) for n in range(len(told))]
    assert sum(len(chunk.audio) for _, chunk in told) == (5 + 4 + 6) * 60 * 8


def test_the_words_of_all_chunks_are_the_words_of_the_text_in_place() -> None:
    told = run(speak(ScriptedTextToSpeech(LoopClock()), "Open the ", "door now."))
    placed, position = [], 0
    for _, chunk in told:
        placed += [(word.text, position + word.start, position + word.end) for word in chunk.words]
        position += len(chunk.audio)
    assert [text for text, _, _ in placed] == "Open the door now.".split()
    assert all(end == start for (_, _, end), (_, start, _) in pairwise(placed))
    assert placed[-1][2] == position


def test_speech_of_the_first_piece_does_not_wait_for_the_second() -> None:
    async def scene() -> None:
        clock = LoopClock()

        async def text() -> AsyncIterator[str]:
            yield "First."
            await clock.sleep_until(clock.now() + 100)
            yield "Second."

        began = clock.now()
        async for _ in ScriptedTextToSpeech(clock).speak(text(), TELEPHONE):
            assert clock.now() - began < 1.0
            break

    run(scene())


def test_a_voice_with_a_fault_fails_in_that_speech_only() -> None:
    async def scene() -> None:
        voice = ScriptedTextToSpeech(LoopClock(), faults={1: Fault(2, ProviderUnavailable("scripted", "gone"))})
        with pytest.raises(ProviderUnavailable):
            await speak(voice, "Open the door.")
        assert await speak(voice, "Open the door.")

    run(scene())


# settings


def test_the_environment_scripts_them() -> None:
    context = ProviderContext(
        {
            "SCRIPTED_TEXTS": "one|two",
            "SCRIPTED_FINAL_S": "0.5",
            "SCRIPTED_FIRST_TOKEN_S": "0.6",
            "SCRIPTED_TOKENS_PER_S": "40",
            "SCRIPTED_FIRST_CHUNK_S": "0.7",
            "SCRIPTED_SPEED": "8",
        },
        LoopClock(),
    )
    stt, llm, tts = create_stt(context), create_llm(context), create_tts(context)
    assert (tuple(stt.texts), stt.final_s) == (("one", "two"), 0.5)
    assert (llm.first_token_s, llm.tokens_per_s) == (0.6, 40)
    assert (tts.first_chunk_s, tts.speed) == (0.7, 8)


@pytest.mark.parametrize("value", ["fast", "0", "-1"])
def test_a_setting_that_makes_no_sense_is_named(value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        create_tts(ProviderContext({"SCRIPTED_SPEED": value}, LoopClock()))
    assert refused.value.variable == "SCRIPTED_SPEED"
    assert repr(value) in refused.value.remedy
