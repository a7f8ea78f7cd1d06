"""What every recogniser in the registry promises, whoever it is."""

import asyncio
from collections.abc import AsyncIterator
from itertools import zip_longest
from pathlib import Path

import telephony.simulator
from providers.base import (
    FinalTranscript,
    Recognition,
    RecognitionEvent,
    SpeechToText,
)
from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE
from telephony.simulator.sound import read_wav
from tests.contracts.registered import every, leaving_nothing, provider, registered_name

RECORDINGS = Path(telephony.simulator.__file__).parent / "recordings"
SILENCE = bytes([MULAW_SILENCE]) * FRAME_BYTES


def spoken(recording: str) -> list[bytes]:
    """A caller's sentence in frames, with silence around it."""
    sound = read_wav(RECORDINGS / f"{recording}.wav")
    frames = [sound[start : start + FRAME_BYTES] for start in range(0, len(sound), FRAME_BYTES)]
    return [SILENCE] * 25 + frames + [SILENCE] * 40


HOURS, TOMORROW = spoken("what-are-your-opening-hours"), spoken("tomorrow-at-ten")
QUIET = [SILENCE] * 50


async def answer(events: AsyncIterator[RecognitionEvent]) -> tuple[str, FinalTranscript]:
    """Everything said up to the answer to `finalize`, joined, and the answer itself."""
    texts = []
    async for event in events:
        assert isinstance(event, RecognitionEvent)
        if isinstance(event, FinalTranscript):
            assert event.confidence is None or 0.0 <= event.confidence <= 1.0
            texts.append(event.text)
            if event.finalized:
                return " ".join(filter(None, texts)), event
    raise AssertionError("recognition ended without an answer")


async def turn(recognition: Recognition, events: AsyncIterator[RecognitionEvent], frames: list[bytes]) -> str:
    """Say it, ask what it was."""
    for frame in frames:
        recognition.send(frame)
    recognition.finalize()
    return (await answer(events))[0]


async def alone(recogniser: SpeechToText, frames: list[bytes]) -> str:
    """What is understood of a sentence in a call of its own."""
    async with recogniser.open(TELEPHONE) as recognition:
        return await turn(recognition, aiter(recognition), frames)


@every("stt")
def test_takes_telephone_audio_and_bears_its_registered_name(name: str) -> None:
    recogniser = provider("stt", name)
    assert recogniser.name == registered_name("stt", name)
    assert TELEPHONE in recogniser.formats()


@every("stt")
def test_leaving_ends_all_that_entering_started_whatever_calls_did(name: str) -> None:
    async def scene() -> None:
        async with provider("stt", name) as recogniser:
            async with recogniser.open(TELEPHONE):
                pass  # a call that hangs up before a word
            async with recogniser.open(TELEPHONE) as recognition:
                for frame in HOURS:
                    recognition.send(frame)
                recognition.finalize()  # and one that does not wait for the answer

    leaving_nothing(scene())


@every("stt")
def test_a_call_that_is_cut_off_while_it_listens_harms_no_other(name: str) -> None:
    async def listen(recogniser: SpeechToText, opened: asyncio.Event) -> None:
        async with recogniser.open(TELEPHONE) as recognition:
            opened.set()
            async for _ in recognition:
                pass

    async def scene() -> None:
        async with provider("stt", name) as recogniser, asyncio.TaskGroup() as group:
            opened = asyncio.Event()
            listening = group.create_task(listen(recogniser, opened))
            await opened.wait()
            listening.cancel()
            assert await alone(recogniser, HOURS)

    leaving_nothing(scene())


@every("stt")
def test_any_amount_of_audio_is_taken_without_waiting_and_without_complaint(name: str) -> None:
    async def scene() -> None:
        async with provider("stt", name) as recogniser, recogniser.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            for size in (0, 1, 2, 3, 159, 160, 161, 255, 257, 8_001, 65_537, 0):
                recognition.send(bytes([MULAW_SILENCE]) * size)
            recognition.finalize()
            assert (await answer(events))[1].text == ""
            for code in (0x00, 0x7F, 0x80):
                recognition.send(bytes([code]) * 333)
            recognition.finalize()
            await answer(events)

    leaving_nothing(scene())


@every("stt")
def test_a_turn_without_words_is_answered_once_with_empty_text(name: str) -> None:
    """The next turn's answer being its own is what shows that no second answer was waiting."""

    async def scene() -> None:
        async with provider("stt", name) as recogniser, recogniser.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            recognition.finalize()
            assert (await answer(events))[1].text == ""
            assert await turn(recognition, events, QUIET) == ""
            assert await turn(recognition, events, HOURS)

    leaving_nothing(scene())


@every("stt")
def test_each_turn_is_answered_with_its_own_words(name: str) -> None:
    async def scene() -> None:
        async with provider("stt", name) as recogniser, recogniser.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            first = await turn(recognition, events, HOURS)
            assert first
            assert await turn(recognition, events, QUIET) == ""
            second = await turn(recognition, events, TOMORROW)
            assert second
            assert first != second

    leaving_nothing(scene())


@every("stt")
def test_two_questions_at_once_get_two_answers(name: str) -> None:
    async def scene() -> None:
        async with provider("stt", name) as recogniser, recogniser.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            recognition.finalize()
            recognition.finalize()
            assert [(await answer(events))[1].text for _ in range(2)] == ["", ""]
            assert await turn(recognition, events, HOURS)

    leaving_nothing(scene())


@every("stt")
def test_two_calls_do_not_mix(name: str) -> None:
    async def scene() -> None:
        async with provider("stt", name) as recogniser:
            by_itself = await alone(recogniser, HOURS)
            assert by_itself
            async with recogniser.open(TELEPHONE) as one, recogniser.open(TELEPHONE) as other:
                for frame, still in zip_longest(HOURS, QUIET, fillvalue=SILENCE):
                    one.send(frame)
                    other.send(still)
                other.finalize()
                one.finalize()
                assert (await answer(aiter(other)))[0] == ""
                assert (await answer(aiter(one)))[0] == by_itself

    leaving_nothing(scene())
