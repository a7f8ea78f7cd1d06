"""Recognition over a list of recognisers: no word lost, none doubled, and every question answered once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.base import (
    AudioReached,
    FinalTranscript,
    PartialTranscript,
    ProviderContext,
    ProviderSwitched,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
    RecognitionLost,
    UsageReported,
)
from providers.errors import (
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.resilience.breaker import BreakerSettings
from providers.resilience.deadlines import DEFAULTS
from providers.resilience.recognisers import RecogniserChain
from providers.resilience.recognition import _MOST_QUESTIONS, KEEP_BYTES, ResilientRecognition
from telephony.audio import FRAME_BYTES, FRAME_MS, MULAW_SILENCE, TELEPHONE, AudioFormat, Encoding
from telephony.clock import LoopClock, MonotonicClock
from tests.virtual import run

FRAME_S = FRAME_MS / 1000


QUIET = bytes([MULAW_SILENCE]) * FRAME_BYTES


def frame(number: int) -> bytes:
    """A frame that says its number."""
    return number.to_bytes(4, "big") * (FRAME_BYTES // 4)


def numbers(audio: bytes) -> list[str]:
    return [str(int.from_bytes(audio[at : at + 4], "big")) for at in range(0, len(audio), FRAME_BYTES)]


@dataclass(frozen=True)
class Fate:
    """What becomes of one connection."""

    connect_s: float = 0.0
    refusal: ProviderError | None = None
    lives_frames: int = 1_000_000
    """Then it is lost ..."""
    mute: bool = False
    """... or says nothing any more, if this is set."""


@dataclass
class Ear:
    """One connection: a final for every so many frames, and for each question."""

    vendor: "Vendor"
    fate: Fate
    heard: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    events: asyncio.Queue[RecognitionEvent | ProviderError] = field(default_factory=asyncio.Queue)
    alive: bool = True

    def send(self, audio: bytes) -> None:
        assert audio
        if not self.alive:
            return
        for number in numbers(audio):
            self.heard.append(number)
            self.unsettled.append(number)
            if len(self.unsettled) == self.vendor.segment:
                self.settle()
            if self.vendor.signs and len(self.heard) % self.vendor.signs == 0:
                self.events.put_nowait(AudioReached(len(self.heard) * FRAME_MS))
        if self.alive and len(self.heard) >= self.fate.lives_frames:
            self.alive = False
            if not self.fate.mute:
                self.events.put_nowait(ProviderUnavailable(self.vendor.name, "gone"))

    def finalize(self) -> None:
        if self.alive:
            self.settle(finalized=True)

    def settle(self, **how: bool) -> None:
        text, self.unsettled = " ".join(self.unsettled), []
        settled_ms = len(self.heard) * FRAME_MS if self.vendor.tells_settled else None
        self.events.put_nowait(FinalTranscript(text, settled_ms=settled_ms, **how))

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            event = await self.events.get()
            await asyncio.sleep(self.vendor.delay_s)
            if isinstance(event, ProviderError):
                raise event
            yield event


@dataclass
class Vendor:
    """A streaming recogniser whose connections have the fates that are dealt to them."""

    name: str = "first"
    fates: list[Fate] = field(default_factory=list)
    segment: int = 1_000_000
    delay_s: float = 0.0
    tells_settled: bool = True
    signs: int = 0
    """It tells how far it is for every so many frames."""
    down: bool = False
    """It refuses whoever comes, as long as that is set."""
    ears: list[Ear] = field(default_factory=list)
    opened: int = 0
    entered: int = 0

    async def __aenter__(self) -> "Vendor":
        self.entered += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.entered -= 1

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        if self.down:
            raise ProviderUnavailable(self.name, "down")
        fate = self.fates[self.opened] if self.opened < len(self.fates) else Fate()
        self.opened += 1
        await asyncio.sleep(fate.connect_s)
        if fate.refusal is not None:
            raise fate.refusal
        self.ears.append(Ear(self, fate))
        yield self.ears[-1]


@dataclass
class BatchVendor(Vendor):
    """The same with batch recognition; `batches` holds what was asked, `refusals` of it fail."""

    batches: list[list[str]] = field(default_factory=list)
    batch_s: float = 0.1
    refusals: int = 0

    async def recognise(self, utterance: bytes, audio: AudioFormat) -> str:
        self.batches.append(numbers(utterance))
        await asyncio.sleep(self.batch_s)
        if self.refusals:
            self.refusals -= 1
            raise ProviderUnavailable(self.name, "no batches today")
        return " ".join(self.batches[-1])


class Told:
    """What a process is told of it."""

    def __init__(self) -> None:
        self.amounts: dict[str, float] = {}

    def count(self, name: str, **labels: str) -> None:
        self.add(name, 1)

    def add(self, name: str, amount: float, **labels: str) -> None:
        self.amounts[name] = self.amounts.get(name, 0) + amount

    def level(self, name: str, value: float, **labels: str) -> None: ...


@dataclass
class Call:
    """One call's recognition, and all that it told."""

    recognition: Any
    instruments: Told
    events: list[RecognitionEvent] = field(default_factory=list)
    said: int = 0

    async def speak(self, frames: int) -> None:
        """In real time."""
        for _ in range(frames):
            self.recognition.send(frame(self.said))
            self.said += 1
            await asyncio.sleep(FRAME_S)

    async def be_quiet(self, frames: int) -> None:
        for _ in range(frames):
            self.recognition.send(QUIET)
            await asyncio.sleep(FRAME_S)

    async def ask(self, within_s: float = 10.0) -> str:
        """The words of the turn, which ends now."""
        asked = len(self.answers)
        self.recognition.finalize()
        async with asyncio.timeout(within_s):
            while len(self.answers) == asked:
                await asyncio.sleep(0.01)
        return self.words

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def answers(self) -> list[FinalTranscript]:
        return [final for final in self.of(FinalTranscript) if final.finalized]

    @property
    def words(self) -> str:
        return " ".join(final.text for final in self.of(FinalTranscript) if final.text)

    @property
    def all_words(self) -> str:
        return " ".join(map(str, range(self.said)))


def play(scene: Callable[[Call], Awaitable[None]], *vendors: Vendor) -> Call:
    """A call over these vendors, in virtual time."""

    async def whole() -> Call:
        told = Told()
        context = ProviderContext({}, LoopClock(), instruments=told)
        async with (
            RecogniserChain(vendors, context) as recogniser,  # type: ignore[arg-type]
            recogniser.open(TELEPHONE) as recognition,
            asyncio.TaskGroup() as tasks,
        ):
            call = Call(recognition, told)

            async def read() -> None:
                async for event in recognition:
                    call.events.append(event)

            reading = tasks.create_task(read())
            await scene(call)
            reading.cancel()
        assert all(vendor.entered == 0 for vendor in vendors)
        return call

    return run(whole())


# Healthy


def test_a_healthy_recogniser_is_listened_to_and_nobody_else_is_asked() -> None:
    first, second = Vendor(segment=5), Vendor("second")

    async def scene(call: Call) -> None:
        await call.speak(12)
        assert await call.ask() == call.all_words
        await call.speak(3)
        assert await call.ask() == call.all_words

    call = play(scene, first, second)
    assert (first.opened, second.opened) == (1, 0)
    assert {type(event) for event in call.events} == {FinalTranscript}


def test_what_is_said_before_anybody_listens_is_heard_first() -> None:
    async def scene(call: Call) -> None:
        await call.speak(20)
        assert await call.ask() == call.all_words

    call = play(scene, Vendor(fates=[Fate(connect_s=0.9)]))
    assert {type(event) for event in call.events} == {FinalTranscript}


def test_a_format_that_is_not_offered_is_a_bug_of_the_caller() -> None:
    chain = RecogniserChain([Vendor()], ProviderContext({}, MonotonicClock()))  # type: ignore[list-item]
    with pytest.raises(ValueError, match="pcm16"):
        chain.open(AudioFormat(Encoding.PCM16, 16_000))


def test_what_the_call_raises_is_raised_as_it_is() -> None:
    async def scene(call: Call) -> None:
        raise LookupError("a bug")

    with pytest.raises(BaseExceptionGroup) as raised:  # the group of the scene
        play(scene, Vendor())
    assert raised.group_contains(LookupError, depth=1)


# Losses


def test_a_recogniser_that_drops_is_asked_again_at_once_and_hears_what_it_had_not_settled() -> None:
    vendor = Vendor(segment=5, fates=[Fate(lives_frames=12)])

    async def scene(call: Call) -> None:
        await call.speak(20)
        assert await call.ask() == call.all_words

    call = play(scene, vendor)
    first, second = vendor.ears
    assert first.heard[:12] == second.heard[:0] + [str(n) for n in range(12)]
    assert second.heard[0] == "10"
    (lost,) = call.of(RecognitionLost)
    assert lost.failures_in_a_row == 1
    assert call.of(ProviderSwitched) == [ProviderSwitched(lost.failure, "first")]
    (gap,) = call.of(RecognitionGap)
    assert (gap.lost_ms, gap.replayed_ms) == (0.0, 40.0)
    assert call.instruments.amounts["recognition_resumed"] == 1
    assert call.instruments.amounts["recognition_replayed_ms"] == 40.0


def test_one_that_is_away_is_replaced_by_the_next_of_the_list() -> None:
    gone = ProviderUnavailable("first", "down")
    first, second = Vendor(fates=[Fate(lives_frames=10), *[Fate(refusal=gone)] * 50]), Vendor("second")

    async def scene(call: Call) -> None:
        await call.speak(20)
        assert await call.ask(1.0) == call.all_words

    call = play(scene, first, second)
    assert [switched.successor for switched in call.of(ProviderSwitched)] == ["second"]
    assert second.ears[0].heard == [str(n) for n in range(20)]
    assert [lost.failures_in_a_row for lost in call.of(RecognitionLost)] == [0]


def test_one_that_is_slow_to_connect_is_joined_by_the_next_and_the_faster_one_wins() -> None:
    first, second = Vendor(fates=[Fate(connect_s=3.0)]), Vendor("second", fates=[Fate(connect_s=0.1)])

    async def scene(call: Call) -> None:
        await call.speak(60)
        assert await call.ask(0.2) == call.all_words
        await call.speak(200)
        assert await call.ask(0.2) == call.all_words

    play(scene, first, second)
    assert not first.ears
    assert len(second.ears) == 1


def test_one_that_owes_an_answer_is_replaced_and_the_question_is_answered_once() -> None:
    first, second = Vendor(segment=5, fates=[Fate(lives_frames=12, mute=True)]), Vendor("second")

    async def scene(call: Call) -> None:
        await call.speak(20)
        assert await call.ask(1.2) == call.all_words
        await asyncio.sleep(5)
        assert len(call.answers) == 1

    call = play(scene, first, second)
    (lost,) = call.of(RecognitionLost)
    assert isinstance(lost.failure, ProviderTimedOut)
    assert (lost.failure.stage, lost.failure.deadline_s) == ("gap", DEFAULTS["stt"].gap_s)


def test_one_that_is_alone_is_waited_for_longer() -> None:
    async def scene(call: Call) -> None:
        await call.speak(5)
        assert await call.ask() == call.all_words

    call = play(scene, Vendor(fates=[Fate(lives_frames=3, mute=True)]))
    (lost,) = call.of(RecognitionLost)
    assert lost.failure.deadline_s == DEFAULTS["stt"].give_up_s


def test_a_recogniser_that_ends_by_itself_is_lost() -> None:
    class Brief(Ear):
        async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
            yield PartialTranscript("hm")

    class Leaving(Vendor):
        @asynccontextmanager
        async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
            self.opened += 1
            yield Brief(self, Fate()) if self.opened == 1 else Ear(self, Fate())

    async def scene(call: Call) -> None:
        await call.speak(5)
        assert await call.ask() == call.all_words

    (lost,) = play(scene, Leaving()).of(RecognitionLost)
    assert "ended by itself" in lost.failure.detail


def test_without_anybody_it_is_told_how_often_even_the_best_has_failed() -> None:
    refused = Fate(refusal=ProviderRejected("first", "no"))

    async def scene(call: Call) -> None:
        await asyncio.sleep(3)

    call = play(scene, Vendor(fates=[refused] * 100), Vendor("second", fates=[refused] * 100))
    counts = [lost.failures_in_a_row for lost in call.of(RecognitionLost)]
    assert counts[:4] == [0, 1, 1, 2]
    assert counts[-1] >= 3


def test_audio_beyond_the_ring_is_told_as_lost() -> None:
    vendor, beyond = Vendor(down=True), 150

    async def scene(call: Call) -> None:
        await call.speak(KEEP_BYTES // FRAME_BYTES + beyond)
        vendor.down = False
        words = (await call.ask()).split()
        (gap,) = call.of(RecognitionGap)
        assert gap.lost_ms == call.instruments.amounts["recognition_lost_ms"] == beyond * FRAME_MS
        assert words == call.all_words.split()[beyond:]

    play(scene, vendor)


def test_how_full_the_fullest_ring_of_all_calls_is_can_be_seen() -> None:
    async def whole() -> None:
        context = ProviderContext({}, LoopClock(), instruments=Told())
        async with RecogniserChain([Vendor(down=True)], context) as chain:  # type: ignore[list-item]
            assert chain.fills() == {}
            async with chain.open(TELEPHONE) as first, chain.open(TELEPHONE) as second:
                first.send(frame(1) * (KEEP_BYTES // FRAME_BYTES // 4))
                second.send(frame(1) * (KEEP_BYTES // FRAME_BYTES // 2))
                assert chain.fills() == {"replay": 0.5}
                second.send(frame(1) * (KEEP_BYTES // FRAME_BYTES))
                assert chain.fills() == {"replay": 1.0}
            assert chain.fills() == {}

    run(whole())


def test_one_that_is_full_is_asked_before_it_said_if_there_is_nobody_else() -> None:
    full, second = ProviderRateLimited("first", "full", 60.0), Vendor("second", down=True)
    vendor = Vendor(fates=[Fate(refusal=full)])

    async def alone(call: Call) -> None:
        await call.speak(5)
        assert await call.ask(DEFAULTS["stt"].give_up_s + 0.5) == call.all_words

    async def with_another(call: Call) -> None:
        await asyncio.sleep(59.9)
        assert not vendor.ears
        await call.speak(5)
        assert await call.ask(0.5) == call.all_words

    play(alone, vendor)
    vendor = Vendor(fates=[Fate(refusal=full)])
    play(with_another, vendor, second)


def test_one_that_is_full_for_hours_is_left_alone_for_a_while() -> None:
    vendor = Vendor(fates=[Fate(refusal=ProviderRateLimited("first", "full", 9_999.0))])

    async def scene(call: Call) -> None:
        await asyncio.sleep(BreakerSettings().longest_rest_s + 0.5)
        assert vendor.ears

    play(scene, vendor, Vendor("second", down=True))


# Stalls


def test_one_that_stops_while_the_caller_speaks_is_replaced_before_he_ends() -> None:
    first, second = Vendor(signs=10, fates=[Fate(lives_frames=100, mute=True)]), Vendor("second")

    async def scene(call: Call) -> None:
        await call.speak(160)
        (lost,) = call.of(RecognitionLost)
        assert isinstance(lost.failure, ProviderTimedOut)
        assert await call.ask(0.1) == call.all_words

    play(scene, first, second)


def test_one_that_has_told_nothing_but_how_far_it_is_is_known_by_that_the_next_time() -> None:
    stalls = Fate(lives_frames=100, mute=True)
    vendor = Vendor(signs=10, fates=[stalls, Fate(lives_frames=1, mute=True)])

    async def scene(call: Call) -> None:
        await call.speak(300)
        assert len(call.of(RecognitionLost)) == 2
        assert await call.ask(0.1) == call.all_words

    play(scene, vendor)


def test_one_that_says_nothing_about_silence_is_trusted() -> None:
    vendor = Vendor(signs=10, fates=[Fate(lives_frames=100, mute=True)])

    async def scene(call: Call) -> None:
        await call.speak(100)
        await call.be_quiet(500)
        assert not call.of(RecognitionLost)

    play(scene, vendor)


def test_one_that_never_tells_how_far_it_is_need_not() -> None:
    async def scene(call: Call) -> None:
        await call.speak(500)
        assert await call.ask(0.1) == call.all_words

    assert not play(scene, Vendor()).of(RecognitionLost)


def test_of_the_silence_before_the_first_sound_half_a_second_is_heard_again() -> None:
    first, second = Vendor(fates=[Fate(lives_frames=110)]), Vendor("second")

    async def scene(call: Call) -> None:
        await call.be_quiet(100)
        await call.speak(20)
        assert (await call.ask(0.1)).split()[-20:] == call.all_words.split()

    (gap,) = play(scene, first, second).of(RecognitionGap)
    assert gap.replayed_ms <= 500 + 11 * FRAME_MS


def test_an_end_of_turn_that_the_caller_has_long_spoken_over_is_none() -> None:
    class Eager(Ear):
        def settle(self, **how: bool) -> None:
            super().settle(**{"ends_turn": True, **how})

    class Hasty(Vendor):
        @asynccontextmanager
        async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
            self.opened += 1
            yield Eager(self, Fate())

    first, second = Vendor(fates=[Fate(lives_frames=12)]), Hasty("second", segment=5)

    async def scene(call: Call) -> None:
        await call.speak(11)
        await asyncio.sleep(0.1)
        await call.speak(14)
        await asyncio.sleep(0.1)
        ends = [final.ends_turn for final in call.of(FinalTranscript)]
        assert ends == [False, False, True, True, True]
        assert call.words == call.all_words

    play(scene, first, second)


# A whole utterance at once


def test_an_utterance_is_recognised_as_a_whole_while_no_stream_holds() -> None:
    down = Fate(refusal=ProviderUnavailable("first", "down"))
    vendor = BatchVendor(fates=[Fate(lives_frames=4), *[down] * 1_000], segment=3)

    async def scene(call: Call) -> None:
        for frames in (10, 5):
            await call.speak(frames)
            assert await call.ask(0.6) == call.all_words
        assert len(call.answers) == 2

    call = play(scene, vendor)
    assert vendor.batches == [[str(n) for n in range(3, 10)], [str(n) for n in range(10, 15)]]
    assert {lost.failures_in_a_row for lost in call.of(RecognitionLost)} == {0}


def test_a_stream_that_comes_back_meanwhile_waits_for_the_batch_and_says_nothing_twice() -> None:
    vendor = BatchVendor(fates=[Fate(lives_frames=4), Fate(connect_s=0.9)], batch_s=0.8)

    async def scene(call: Call) -> None:
        await call.speak(5)
        assert await call.ask(1.2) == call.all_words
        await call.speak(5)
        assert await call.ask(0.1) == call.all_words

    play(scene, vendor)
    assert len(vendor.batches) == 1
    assert vendor.ears[-1].heard == [str(n) for n in range(5, 10)]


def test_a_question_that_no_batch_answers_waits_for_the_stream() -> None:
    vendor = BatchVendor(fates=[Fate(lives_frames=4), Fate(connect_s=2.0)], refusals=1)

    async def scene(call: Call) -> None:
        await call.speak(5)
        assert await call.ask(3.0) == call.all_words

    call = play(scene, vendor)
    assert len(vendor.batches) == 1
    assert len(call.of(RecognitionLost)) == 2


def test_a_batch_that_takes_too_long_is_given_up() -> None:
    vendor = BatchVendor(fates=[Fate(lives_frames=4), Fate(connect_s=1.0)], batch_s=100.0)

    async def scene(call: Call) -> None:
        await call.speak(5)
        assert await call.ask(3.0) == call.all_words

    assert isinstance(play(scene, vendor).of(RecognitionLost)[-1].failure, ProviderTimedOut)


def test_the_next_question_asks_a_batch_that_failed_for_all_that_was_said() -> None:
    vendor = BatchVendor(down=True, refusals=1)

    async def scene(call: Call) -> None:
        await call.speak(5)
        call.recognition.finalize()
        await asyncio.sleep(3)
        await call.speak(5)
        call.recognition.finalize()
        await asyncio.sleep(1)
        assert [answer.text for answer in call.answers] == ["", call.all_words]

    play(scene, vendor)
    assert vendor.batches == [[str(n) for n in range(5)], [str(n) for n in range(10)]]


def test_without_stream_and_batch_each_question_tells_more_failures() -> None:
    async def scene(call: Call) -> None:
        for _ in range(4):
            await call.speak(5)
            call.recognition.finalize()
            await asyncio.sleep(3)
        assert not call.answers

    counts = [lost.failures_in_a_row for lost in play(scene, BatchVendor(down=True, refusals=99)).of(RecognitionLost)]
    assert counts == sorted(counts)
    assert counts[-1] == 4


def test_a_batch_that_works_is_asked_before_one_that_failed() -> None:
    first, second = BatchVendor(fates=[Fate(connect_s=99.0)], refusals=99), BatchVendor("second", down=True)

    async def scene(call: Call) -> None:
        for _ in range(3):
            await call.speak(5)
            assert await call.ask(1.0) == call.all_words

    play(scene, first, second)
    assert (len(first.batches), len(second.batches)) == (1, 3)


# Too many questions

MORE = 4


async def ask_too_much(call: Call, questions: int = _MOST_QUESTIONS + MORE) -> None:
    """One question for each frame, all at once."""
    for _ in range(questions):
        call.recognition.send(frame(call.said))
        call.said += 1
        call.recognition.finalize()


def test_of_too_many_questions_the_oldest_get_an_empty_answer() -> None:
    vendor = Vendor(down=True)

    async def scene(call: Call) -> None:
        await ask_too_much(call)
        await asyncio.sleep(1)
        assert [answer.text for answer in call.answers] == [""] * MORE
        vendor.down = False
        await asyncio.sleep(5)
        assert len(call.answers) == len(call.of(FinalTranscript)) == _MOST_QUESTIONS + MORE
        assert call.words == call.all_words

    play(scene, vendor)


def test_a_recogniser_that_owes_too_many_answers_gives_none_to_another_question() -> None:
    async def scene(call: Call) -> None:
        await call.speak(1)
        await call.ask()
        await ask_too_much(call)
        await asyncio.sleep(60)
        assert len(call.answers) == len(call.of(FinalTranscript)) == 1 + _MOST_QUESTIONS + MORE
        assert [answer.text for answer in call.answers[1 : 1 + MORE]] == [""] * MORE
        assert call.words == call.all_words

    play(scene, Vendor(delay_s=0.2))


def test_the_words_of_a_batch_are_told_even_if_its_question_was_one_too_many() -> None:
    async def scene(call: Call) -> None:
        await ask_too_much(call, 1)
        await asyncio.sleep(1)
        await ask_too_much(call)
        await asyncio.sleep(10)
        assert len(call.answers) == 1 + _MOST_QUESTIONS + MORE
        assert call.words == call.all_words

    vendor = BatchVendor(down=True, batch_s=1.5)
    play(scene, vendor)
    assert [len(batch) for batch in vendor.batches] == [1, _MOST_QUESTIONS + MORE]


# What it costs


def test_each_provider_is_charged_for_what_it_was_sent() -> None:
    first, second = Vendor(fates=[Fate(lives_frames=10)]), Vendor("second")
    first.fates += [Fate(refusal=ProviderUnavailable("first", "down"))] * 50

    async def scene(call: Call) -> None:
        await call.speak(30)
        await call.ask()
        usage = call.recognition.take_usage()
        assert usage == (UsageReported("first", {"audio_ms": 200}), UsageReported("second", {"audio_ms": 600}))
        assert call.recognition.take_usage() == ()

    play(scene, first, second)


# Whatever happens

REFUSED = ProviderUnavailable("x", "refused")
Fates = st.lists(
    st.builds(
        Fate,
        connect_s=st.sampled_from([0.0, 0.05, 0.7, 1.3]),
        refusal=st.sampled_from([None, None, REFUSED]),
        lives_frames=st.integers(1, 80),
        mute=st.booleans(),
    ),
    max_size=6,
)
Vendors = st.builds(
    Vendor,
    name=st.just("first"),
    fates=Fates,
    segment=st.integers(3, 60),
    delay_s=st.sampled_from([0.0, 0.03, 0.2]),
    signs=st.sampled_from([0, 25]),
)
BatchVendors = st.builds(
    BatchVendor,
    name=st.just("second"),
    fates=Fates,
    segment=st.integers(3, 60),
    delay_s=st.sampled_from([0.0, 0.03]),
    batch_s=st.sampled_from([0.05, 0.6, 5.0]),
    refusals=st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(Vendors, st.none() | BatchVendors, st.lists(st.integers(0, 60), min_size=1, max_size=5))
def test_no_word_is_lost_and_none_is_doubled_whenever_it_drops(
    first: Vendor, second: Vendor | None, turns: list[int]
) -> None:
    async def scene(call: Call) -> None:
        assert isinstance(call.recognition, ResilientRecognition)
        for frames in turns:
            await call.speak(frames)
            call.recognition.finalize()
        await asyncio.sleep(60)
        assert call.words == call.all_words
        assert len(call.answers) == len(turns)
        assert not any(gap.lost_ms for gap in call.of(RecognitionGap))

    play(scene, *filter(None, (first, second)))
