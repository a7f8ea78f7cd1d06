"""One call in the bridge: bounded on both ways, and never left without an answer."""

import asyncio

import pytest

from providers.base import FinalTranscript, PartialTranscript, RecognitionEvent, RecognitionGap
from providers.errors import ProviderUnavailable
from providers.stt.pocketsphinx.recognition import CallRecognition
from providers.stt.pocketsphinx.wire import Audio, Final, Finalize, Lost, Partial
from telephony.audio import FRAME_BYTES

FRAME = b"\x7f" * FRAME_BYTES
DONE = FinalTranscript("", finalized=True)


def call(online: bool = True) -> CallRecognition:
    return CallRecognition(3, lambda: None, online)


def events(recognition: CallRecognition) -> list[RecognitionEvent]:
    """Everything that has arrived."""

    async def read() -> list[RecognitionEvent]:
        recognition.close()
        return [event async for event in recognition]

    return asyncio.run(read())


def test_frames_that_wait_together_go_together_in_order_with_finalizes() -> None:
    recognition = call()
    for audio in (b"a", b"b", None, b"c"):
        recognition.finalize() if audio is None else recognition.send(audio)
    assert recognition.orders(now=5.0) == [Audio(3, b"ab"), Finalize(3), Audio(3, b"c")]
    assert recognition.orders(now=6.0) == []
    assert list(recognition.asked) == [5.0]


def test_sending_never_blocks_and_drops_the_oldest_with_a_gap() -> None:
    recognition = call()
    for _ in range(1_550):
        recognition.send(FRAME)
    (audio,) = recognition.orders(now=0.0)
    assert isinstance(audio, Audio)
    assert len(audio.payload) == 1_500 * FRAME_BYTES  # 30 s
    assert events(recognition) == [RecognitionGap(1000.0, "the recogniser did not keep up")]


def test_how_much_waits_can_be_seen() -> None:
    recognition = call()
    for _ in range(750):
        recognition.send(FRAME)
    assert recognition.fills() == {"recogniser": 0.5}
    recognition.orders(now=0.0)
    assert recognition.fills() == {"recogniser": 0.0}


def test_a_finalize_is_not_dropped_with_the_audio_around_it() -> None:
    recognition = call()
    recognition.send(FRAME)
    recognition.finalize()
    for _ in range(1_550):
        recognition.send(FRAME)
    assert recognition.orders(now=0.0)[0] == Finalize(3)


def test_a_partial_replaces_one_that_was_not_read() -> None:
    recognition = call()
    recognition.report(Partial(3, "i", False, False))
    recognition.report(Partial(3, "i would", True, False))
    recognition.report(Final(3, "i would", 0.8, True))
    recognition.report(Partial(3, "like", True, True))
    assert events(recognition) == [
        PartialTranscript("i would", stable=True),
        FinalTranscript("i would", 0.8, finalized=True),
        PartialTranscript("like", stable=True, complete=True),
    ]


def test_events_that_nobody_reads_are_bounded() -> None:
    recognition = call()
    for number in range(1000):
        recognition.report(Final(3, str(number), 1.0, False))
    kept = events(recognition)
    assert len(kept) == 64
    assert kept[-1] == FinalTranscript("999", 1.0)


def test_what_a_worker_lost_is_reported() -> None:
    recognition = call()
    recognition.report(Lost(3, 40.0))
    assert events(recognition) == [RecognitionGap(40.0, "decoding fell behind")]


def test_a_lost_worker_is_a_gap_and_answers_what_it_was_asked() -> None:
    recognition = call()
    recognition.send(FRAME)
    recognition.finalize()
    recognition.orders(now=0.0)
    recognition.worker_lost("it ended")
    assert not recognition.asked
    assert events(recognition) == [RecognitionGap(20.0, "it ended"), DONE]


def test_a_gap_is_no_longer_than_an_utterance() -> None:
    recognition = call()
    for _ in range(20):
        recognition.send(FRAME * 50)
        recognition.orders(now=0.0)
    recognition.worker_lost("it ended")
    assert events(recognition) == [RecognitionGap(15_000, "it ended")]


def test_while_no_worker_listens_a_turn_is_answered_at_once_and_its_audio_is_a_gap() -> None:
    recognition = call(online=False)
    recognition.send(FRAME)
    recognition.finalize()
    assert recognition.orders(now=0.0) == []
    assert events(recognition) == [RecognitionGap(20.0, "the recogniser did not keep up"), DONE]


def test_what_arrived_before_a_failure_is_still_read() -> None:
    recognition = call()
    recognition.report(Final(3, "hello", 1.0, True))
    recognition.fail(ProviderUnavailable("pocketsphinx", "gone"))

    async def read() -> None:
        reader = aiter(recognition)
        assert await anext(reader) == FinalTranscript("hello", 1.0, finalized=True)
        with pytest.raises(ProviderUnavailable, match="gone"):
            await anext(reader)

    asyncio.run(read())


def test_a_reader_waits_for_what_comes_later() -> None:
    async def read() -> RecognitionEvent:
        recognition = call()
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(anext(aiter(recognition)))
            await asyncio.sleep(0)
            recognition.report(Final(3, "late", 1.0, False))
        return first.result()

    assert asyncio.run(read()) == FinalTranscript("late", 1.0)
