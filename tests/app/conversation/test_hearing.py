"""Hearing: who hears what, and answers matched with the questions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from app.conversation.hearing import FOR_GOOD, Hearing
from providers.base import (
    AudioSettled,
    FinalTranscript,
    PartialTranscript,
    ProviderSwitched,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
    RecognitionLost,
    UsageReported,
)
from providers.errors import ProviderError, ProviderUnavailable
from telephony.audio import FRAME_BYTES, TELEPHONE, AudioFormat
from telephony.clock import LoopClock
from telephony.loudness import LevelKeeper, gain_table
from telephony.vad import VoiceFrame
from tests.doubles import SILENCE, SPEECH, EnergyChannel, EnergyDetector
from tests.virtual import run


@dataclass
class Opened:
    """One recognition, played by hand."""

    audio: list[bytes] = field(default_factory=list)
    questions: int = 0
    events: asyncio.Queue[RecognitionEvent | ProviderError | None] = field(default_factory=asyncio.Queue)

    def send(self, audio: bytes) -> None:
        self.audio.append(audio)

    def finalize(self) -> None:
        self.questions += 1

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while (event := await self.events.get()) is not None:
            if isinstance(event, ProviderError):
                raise event
            yield event


@dataclass
class Recogniser:
    """Opens one `Opened` after another, each after `open_s`; `refusals` times it cannot."""

    clock: LoopClock
    open_s: float = 0.0
    refusals: int = 0
    name: str = "byhand"
    opened: list[Opened] = field(default_factory=list)
    opened_at: list[float] = field(default_factory=list)
    closed: int = 0

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        assert audio == TELEPHONE
        self.opened_at.append(self.clock.now())
        await self.clock.sleep_until(self.clock.now() + self.open_s)
        if self.refusals:
            self.refusals -= 1
            raise ProviderUnavailable(self.name, "nobody there")
        self.opened.append(Opened())
        try:
            yield self.opened[-1]
        finally:
            self.closed += 1


class Scene:
    """An observer of a hearing."""

    def __init__(self, open_s: float = 0.0, refusals: int = 0) -> None:
        self.clock = LoopClock()
        self.recogniser = Recogniser(self.clock, open_s, refusals)
        self.detector = EnergyDetector(self.clock)
        self.told: list[object] = []
        self.voices = 0
        self.loudest = 0.0
        self.failures: list[int] = []
        self.crash: Exception | None = None
        self.hearing = Hearing(self.recogniser, self.detector, self, self.clock)  # type: ignore[arg-type]

    def voice(self, frame: VoiceFrame) -> None:
        self.voices += 1
        self.loudest = max(self.loudest, frame.probability)

    def partial(self, transcript: PartialTranscript) -> None:
        self.told.append(transcript)

    def final(self, transcript: FinalTranscript) -> None:
        self.told.append(transcript)

    def late_final(self) -> None:
        self.told.append("late")

    def gap(self, gap: RecognitionGap) -> None:
        self.told.append(gap)

    def provider_event(self, event: ProviderSwitched | UsageReported) -> None:
        self.told.append(event)

    def hearing_crashed(self, error: Exception) -> None:
        self.crash = error

    def recognition_failed(self, failure: ProviderError, *, failures_in_a_row: int) -> None:
        self.failures.append(failures_in_a_row)

    @property
    def recognition(self) -> Opened:
        return self.recogniser.opened[-1]


@dataclass
class EchoingLine:
    """An echo guard whose verdicts are given."""

    sounding: bool = True
    echoes: bool = True
    lag_s: float | None = 0.2

    def heard(self, payload: bytes, now: float) -> None: ...

    def audible(self, now: float) -> bool:
        return self.sounding

    def is_echo(self, now: float) -> bool:
        return self.echoes


def on_a_line(line: EchoingLine, level: LevelKeeper | None = None) -> Callable[[], Scene]:
    def scene() -> Scene:
        at = Scene()
        at.hearing = Hearing(at.recogniser, at.detector, at, at.clock, line, level)  # type: ignore[arg-type]
        return at

    return scene


def play(scene_of: Callable[[Scene], object], scene: Callable[[], Scene] = Scene) -> Scene:
    """Run a scene with its hearing open, and close it."""

    async def main() -> Scene:
        at = scene()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(at.hearing.run())
            await asyncio.sleep(0.001)
            await scene_of(at)  # type: ignore[misc]
            task.cancel()
        return at

    return run(main())


def test_audio_goes_to_the_voice_detector_and_the_recogniser() -> None:
    async def scene(at: Scene) -> None:
        for _ in range(16):
            at.hearing.audio(SPEECH)
        assert at.recognition.audio == [SPEECH] * 16
        assert at.voices == 16 * FRAME_BYTES // 256

    play(scene)


def test_the_recogniser_hears_how_somebody_began_who_speaks_over_the_agent() -> None:
    async def scene(at: Scene) -> None:
        said = [bytes([n]) * FRAME_BYTES for n in range(30)]
        for frame in said:
            at.hearing.audio(frame)
            at.hearing.attend(False)  # every verdict but the one that makes speech likely
        at.hearing.attend(True)
        at.hearing.audio(SPEECH)
        assert at.recognition.audio == [SILENCE] * 30 + said[10:] + [SPEECH]

    play(scene, on_a_line(EchoingLine(echoes=False)))


def test_what_the_recogniser_has_heard_since_is_not_repeated_to_it() -> None:
    line = EchoingLine(echoes=False)

    async def scene(at: Scene) -> None:
        at.hearing.audio(SPEECH)
        line.sounding = False
        at.hearing.audio(SPEECH)
        line.sounding = True
        at.hearing.attend(True)
        assert at.recognition.audio == [SILENCE, SPEECH]

    play(scene, on_a_line(line))


def test_what_is_recognised_is_told_in_order() -> None:
    events = [PartialTranscript("he"), FinalTranscript("hello"), RecognitionGap(20, "overflow")]

    async def scene(at: Scene) -> None:
        for event in events:
            at.recognition.events.put_nowait(event)
        await asyncio.sleep(0.1)
        assert at.told == events

    play(scene)


@pytest.mark.parametrize("end", [None, ProviderUnavailable("byhand", "gone")])
def test_a_recognition_that_ends_although_nobody_ended_it_is_over_for_good(end: ProviderError | None) -> None:
    async def scene(at: Scene) -> None:
        at.recognition.events.put_nowait(end)
        await asyncio.sleep(0.05)
        at.hearing.audio(SPEECH)
        assert not at.hearing.finalize()
        assert at.failures == [FOR_GOOD]
        assert at.hearing.opened_at is None

    play(scene)


def test_the_loss_of_a_recogniser_is_told_until_somebody_has_heard_it_all() -> None:
    lost = RecognitionLost(ProviderUnavailable("byhand", "gone"), 2)
    replaced = ProviderSwitched(lost.failure, "other")

    async def scene(at: Scene) -> None:
        for event in (lost, replaced, PartialTranscript("hel"), AudioSettled(20.0)):
            at.recognition.events.put_nowait(event)
        await asyncio.sleep(0.1)
        assert at.failures == [2]
        assert at.told == [replaced, PartialTranscript("hel")]
        assert at.hearing.is_behind(None)
        at.recognition.events.put_nowait(FinalTranscript("hello"))
        await asyncio.sleep(0.1)
        assert not at.hearing.is_behind(None)

    play(scene)


def test_words_that_are_older_than_the_voice_are_not_all_that_was_said() -> None:
    async def scene(at: Scene) -> None:
        assert at.hearing.is_behind(None)
        at.recognition.events.put_nowait(PartialTranscript("hel"))
        await asyncio.sleep(0.1)
        told_at = at.clock.now()
        assert not at.hearing.is_behind(told_at + 0.3)
        assert at.hearing.is_behind(told_at + 0.7)

    play(scene)


def test_the_end_of_the_call_closes_recogniser_and_detector() -> None:
    async def scene(at: Scene) -> None:
        await asyncio.sleep(0)

    async def speak_after_the_end() -> None:
        at.hearing.audio(SPEECH * 4)

    at = play(scene)
    assert at.recogniser.closed == 1
    run(speak_after_the_end())
    assert at.voices == 0


def test_a_call_that_ends_before_anything_was_recognised_closes_the_detector() -> None:
    async def scene(at: Scene) -> None:
        at.hearing.close()
        at.hearing.audio(SPEECH * 4)

    assert play(scene).voices == 0


def answer(text: str) -> FinalTranscript:
    return FinalTranscript(text, finalized=True)


def test_an_answer_to_an_older_question_is_told_as_late() -> None:
    async def scene(at: Scene) -> None:
        at.hearing.finalize()
        await asyncio.sleep(1.0)
        at.hearing.finalize()
        at.recognition.events.put_nowait(answer("first"))
        at.recognition.events.put_nowait(answer("second"))
        await asyncio.sleep(0.1)
        assert at.told == ["late", answer("second")]

    play(scene)


def test_finals_that_nobody_asked_for_are_told_as_they_come() -> None:
    async def scene(at: Scene) -> None:
        at.hearing.finalize()
        at.recognition.events.put_nowait(FinalTranscript("hello"))
        at.recognition.events.put_nowait(answer("there"))
        await asyncio.sleep(0.1)
        assert at.told == [FinalTranscript("hello"), answer("there")]

    play(scene)


# The agent's echo, and the caller's level


def test_while_the_agent_echoes_the_recogniser_hears_silence_and_nobody_hears_a_voice() -> None:
    async def scene(at: Scene) -> None:
        await asyncio.sleep(0)
        for _ in range(10):
            at.hearing.audio(SPEECH)
        assert set(b"".join(at.recognition.audio)) == {0xFF}
        assert at.loudest == 0.0

    play(scene, on_a_line(EchoingLine()))


def test_who_speaks_over_the_echo_is_recognised_from_his_first_sound() -> None:
    async def scene(at: Scene) -> None:
        await asyncio.sleep(0)
        for _ in range(4):
            at.hearing.audio(SPEECH)
        at.hearing.attend(True)
        at.hearing.audio(SPEECH)
        assert at.recognition.audio[-5:] == [SPEECH] * 5
        at.hearing.attend(False)
        at.hearing.audio(SPEECH)
        assert set(at.recognition.audio[-1]) == {0xFF}

    play(scene, on_a_line(EchoingLine(echoes=False)))


@pytest.mark.parametrize("line", [EchoingLine(sounding=False), EchoingLine(lag_s=None, echoes=False)])
def test_without_an_echo_the_recogniser_hears_everything(line: EchoingLine) -> None:
    async def scene(at: Scene) -> None:
        await asyncio.sleep(0)
        at.hearing.audio(SPEECH)
        assert at.recognition.audio == [SPEECH]

    play(scene, on_a_line(line))


def test_a_faint_voice_is_brought_to_the_recognisers_level() -> None:
    class FaintDetector(EnergyDetector):
        """Hears every voice at -38 dBFS."""

        def open(
            self, on_voice: Callable[[VoiceFrame], None], on_failure: Callable[[Exception], None]
        ) -> EnergyChannel:
            faint = partial(replace_level, on_voice)
            return super().open(faint, on_failure)

    def replace_level(on_voice: Callable[[VoiceFrame], None], frame: VoiceFrame) -> None:
        on_voice(VoiceFrame(frame.probability, -38.0, frame.now))

    def scene_of() -> Scene:
        at = Scene()
        detector = FaintDetector(at.clock)
        line = EchoingLine(sounding=False)
        at.hearing = Hearing(at.recogniser, detector, at, at.clock, line, LevelKeeper())  # type: ignore[arg-type]
        return at

    async def scene(at: Scene) -> None:
        await asyncio.sleep(0)
        for _ in range(100):
            at.hearing.audio(SPEECH)
        assert at.recognition.audio[0] == SPEECH
        assert at.recognition.audio[-1] == SPEECH.translate(gain_table(15))

    play(scene, scene_of)
