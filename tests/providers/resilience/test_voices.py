"""Several voices as one: whatever fails, the words are those of the text, each once, and the sound goes on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base import SpeechChunk, SpokenWord
from providers.errors import ProviderError, ProviderMalformed, ProviderTimedOut, ProviderUnavailable
from providers.resilience.script import Reader, Script
from providers.resilience.voices import VoiceChain
from providers.scripted import Fault, ScriptedTextToSpeech
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from tests.providers.resilience.scripts import CLOCK, Gauges, Speech, pieces, speak, voices
from tests.virtual import run

TEXTS = ("We are open on Monday.", "On Tuesday we are open as well,", "from nine in the morning.")
WORDS = " ".join(TEXTS).split()
HANGS = None
WIDE = AudioFormat(Encoding.PCM16, 22_050)


def gone(name: str = "one") -> ProviderError:
    return ProviderUnavailable(name, "gone")


@dataclass
class Voice(ScriptedTextToSpeech):
    """Remembers what it was asked to say, and whether it was closed."""

    name: str = "one"
    reads_ahead: bool = False
    closed: int = 0

    def __post_init__(self) -> None:
        self.texts: list[str] = []

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        async def heard() -> AsyncIterator[str]:
            async for piece in text:
                self.texts.append(piece)
                yield piece

        try:
            async for chunk in super().speak(heard(), audio):
                yield chunk
        finally:
            self.closed += 1


@dataclass
class WideVoice(Voice):
    """Speaks another format."""

    name: str = "wide"

    def formats(self) -> tuple[AudioFormat, ...]:
        return (WIDE,)

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        assert audio == WIDE
        async for chunk in super().speak(text, TELEPHONE):
            words = tuple(SpokenWord(w.text, w.start * 22_050 // 8_000, w.end * 22_050 // 8_000) for w in chunk.words)
            yield SpeechChunk(b"\1\2" * (len(chunk.audio) * 22_050 // 8_000), words)


def voice(name: str = "one", fault: Fault | None = None, **knobs: Any) -> Voice:
    return Voice(CLOCK, name=name, faults={1: fault} if fault else {}, **knobs)


def spoken(*members: ScriptedTextToSpeech, gauges: Gauges | None = None, **knobs: Any) -> Speech:
    async def scene() -> Speech:
        async with voices(*members, gauges=gauges) as chain:
            return await speak(chain, *TEXTS, **knobs)

    return run(scene())


def whole(speech: Speech, audio: AudioFormat = TELEPHONE) -> bool:
    """Every word once, and where it should be: within its chunk."""
    for chunk in speech.chunks:
        length = audio.samples(len(chunk.audio))
        assert all(0 <= word.start <= length and word.start <= word.end for word in chunk.words)
    return speech.words == WORDS


def test_a_healthy_voice_is_heard_as_it_speaks() -> None:
    alone = voice()
    speech = spoken(alone)
    assert whole(speech)
    assert speech.times[0] == pytest.approx(0.12)
    assert alone.texts == list(TEXTS)
    assert not speech.switches


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("error", [gone(), ProviderMalformed("one", "garbage"), HANGS], ids=str)
@pytest.mark.parametrize("after", [0, 1, 7, 40, 49])
def test_speech_that_dies_or_stalls_goes_on(after: int, error: ProviderError | None, others: int) -> None:
    speech = spoken(voice(fault=Fault(after, error)), *[voice("two")][:others])
    assert whole(speech)
    assert len(speech.switches) == 1
    assert speech.longest_wait_s < 1.5


def test_it_goes_on_with_the_first_word_that_was_not_wholly_said() -> None:
    """A word of which only the beginning sounded is said again, and told once."""
    second = voice("two")
    speech = spoken(
        voice(fault=Fault(3, ProviderMalformed("one", "garbage"))), second
    )  # 300 ms: "We" and the beginning of "are"
    assert whole(speech)
    assert second.texts[0] == "are open on Monday."


@given(
    cuts=st.lists(st.integers(0, 30), max_size=4),
    hang=st.integers(0, 3),
    wide=st.booleans(),
    every_s=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_no_word_is_lost_or_doubled_wherever_it_breaks(cuts: list[int], hang: int, wide: bool, every_s: float) -> None:
    first, second = voice(), (WideVoice(CLOCK) if wide else voice("two"))
    for number, cut in enumerate(cuts):
        (first, second)[number % 2].faults[number // 2 + 1] = Fault(cut, HANGS if number == hang else gone())
    assert whole(spoken(first, second, every_s=every_s))


def test_voices_of_different_formats_sound_in_the_one_asked_for() -> None:
    speech = spoken(voice(fault=Fault(20, ProviderMalformed("one", "garbage"))), WideVoice(CLOCK))
    assert whole(speech)
    assert speech.switches[0].successor == "wide"
    samples = sum(len(chunk.audio) for chunk in speech.chunks)
    healthy = sum(len(chunk.audio) for chunk in spoken(voice()).chunks)
    assert healthy - 80 <= samples <= healthy + 4_800  # at most one word twice


def test_a_chain_offers_what_one_of_its_voices_speaks() -> None:
    assert voices(voice(), WideVoice(CLOCK)).formats() == (TELEPHONE, WIDE)


def test_waiting_for_text_is_no_fault_of_the_voice() -> None:
    gauges = Gauges()
    speech = spoken(voice(), voice("two"), gauges=gauges, every_s=20.0)
    assert whole(speech)
    assert not gauges.counted


def test_a_piece_that_cannot_be_pronounced_is_no_debt_of_the_voice_but_its_end_is() -> None:
    async def scene() -> None:
        script = Script(pieces(["Hello.", "\N{SLIGHTLY SMILING FACE}", "..."]))
        reading = asyncio.ensure_future(script.read())
        reader = Reader(script, 0, CLOCK, lambda: None)
        owed = []
        async for _ in reader.pieces():
            owed.append(reader.owed_since() is not None)
        assert owed == [True, False, False]
        assert reader.owed_since() is not None
        await reading

    run(scene())


def test_a_voice_that_never_ends_though_there_is_nothing_to_pronounce_is_given_up() -> None:
    class Endless(Voice):
        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
            async for _ in text:
                pass
            await asyncio.Event().wait()
            yield SpeechChunk(b"", ())

    async def scene() -> Speech:
        async with voices(Endless(CLOCK), voice("two")) as chain, asyncio.timeout(10):
            return await speak(chain, "Bye!", "\N{SLIGHTLY SMILING FACE}")

    assert run(scene()).words[-1] == "\N{SLIGHTLY SMILING FACE}"

    async def nothing_else() -> Speech:
        async with voices(Endless(CLOCK), voice("two")) as chain, asyncio.timeout(10):
            return await speak(chain, "\N{SLIGHTLY SMILING FACE}")

    assert run(nothing_else()).words == ["\N{SLIGHTLY SMILING FACE}"]


def test_a_voice_that_ends_before_the_text_is_gone_on_with() -> None:
    class Hasty(Voice):
        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
            self.spoken += 1
            async for piece in text:
                async for chunk in super().speak(pieces([piece]), audio):
                    yield chunk
                if self.spoken < 9:
                    return

    speech = spoken(Hasty(CLOCK), voice("two"))
    assert whole(speech)
    assert isinstance(speech.switches[0].error, ProviderMalformed)


def test_words_without_any_sound_were_not_spoken() -> None:
    class Mute(Voice):
        async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
            async for piece in text:
                yield SpeechChunk(b"", tuple(SpokenWord(word, 0, 0) for word in piece.split()))

    with pytest.raises(ProviderMalformed):
        spoken(Mute(CLOCK))


def test_what_nobody_can_say_fails_in_time() -> None:
    async def scene() -> None:
        first, second = voice(), voice("two")
        first.faults = second.faults = {n: Fault(0, HANGS) for n in range(1, 99)}
        async with voices(first, second) as chain:
            began = CLOCK.now()
            with pytest.raises(ProviderTimedOut):
                await speak(chain, *TEXTS)
            assert CLOCK.now() - began < 5.5
            assert (first.closed, second.closed) == (first.spoken, second.spoken)

    run(scene())


def test_what_the_text_raises_is_raised_behind_the_speech_before_it() -> None:
    async def text() -> AsyncIterator[str]:
        yield TEXTS[0]
        raise ZeroDivisionError

    async def scene() -> None:
        heard: list[str] = []

        async def listen(chain: VoiceChain) -> None:
            async for chunk in chain.speak(text(), TELEPHONE):
                assert isinstance(chunk, SpeechChunk)
                heard.extend(word.text for word in chunk.words)

        async with voices(voice()) as chain:
            with pytest.raises(ZeroDivisionError):
                await listen(chain)
        assert heard == TEXTS[0].split()

    run(scene())


def test_closed_speech_asks_for_no_more_text_and_closes_every_attempt() -> None:
    async def scene() -> None:
        first, given = voice(), []

        async def endless() -> AsyncIterator[str]:
            while True:
                given.append(TEXTS[0])
                yield TEXTS[0]

        async with voices(first, voice("two")) as chain:
            speech = chain.speak(endless(), TELEPHONE)
            await anext(speech)
            await speech.aclose()
            told = len(given)
            await asyncio.sleep(10)
            assert told == len(given) == 1
            assert first.closed == 1

    run(scene())


def test_a_format_nobody_speaks_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="speaks"):
        spoken(voice(), audio=WIDE)
