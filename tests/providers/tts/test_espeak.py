"""The embedded voice as a call uses it, with the real eSpeak NG behind it."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("espeakng_loader", reason="the extra `speak` is not installed")

from providers.base import ProviderContext, SpeechChunk, SpokenWord
from providers.errors import ProviderMisconfigured
from providers.tts.espeak import Espeak, create
from providers.tts.espeak_library import Synthesis, Voice, load
from telephony.audio import TELEPHONE
from telephony.clock import MonotonicClock

RATE = 22050


def voice(**environment: str) -> Espeak:
    return create(ProviderContext(environment, MonotonicClock()))


async def pieces(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def speak(tts: Espeak, *texts: str) -> list[SpeechChunk]:
    return [chunk async for chunk in tts.speak(pieces(*texts), tts.formats()[0])]


def say(*texts: str, **environment: str) -> list[SpeechChunk]:
    async def once() -> list[SpeechChunk]:
        async with voice(**environment) as tts:
            return await speak(tts, *texts)

    return asyncio.run(once())


def samples(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.frombuffer(b"".join(chunk.audio for chunk in chunks), "<i2").astype(int)


def words(chunks: list[SpeechChunk]) -> list[str]:
    return [word.text for chunk in chunks for word in chunk.words]


def timed(chunks: list[SpeechChunk]) -> list[SpokenWord]:
    """The words, with times from the start of the utterance."""
    out, offset = [], 0
    for chunk in chunks:
        out += [SpokenWord(word.text, word.start + offset, word.end + offset) for word in chunk.words]
        offset += len(chunk.audio) // 2
    return out


def silences_ms(chunks: list[SpeechChunk]) -> tuple[float, list[float], float]:
    """Silence before the first sound, the pauses over 30 ms within, and silence after the last sound."""
    audio = samples(chunks)
    loud = np.flatnonzero(np.abs(audio) > 100)
    gaps = np.diff(loud) * 1000 / RATE
    return loud[0] * 1000 / RATE, [float(gap) for gap in gaps if gap > 30], (len(audio) - loud[-1]) * 1000 / RATE


def test_a_sentence_is_spoken_with_all_its_words() -> None:
    chunks = say("Hello there, Dr. Smith. It is 10:30 on the 5th.")
    assert words(chunks) == ["Hello", "there,", "Dr.", "Smith.", "It", "is", "10:30", "on", "the", "5th."]
    assert 2.5 < len(samples(chunks)) / RATE < 4.5


def test_chunks_are_whole_samples_of_at_most_200_ms_and_hold_the_words_that_begin_in_them() -> None:
    chunks = say("We are open from nine to five, and until noon on Saturdays. Would you like to come?")
    for chunk in chunks:
        assert len(chunk.audio) % 2 == 0
        assert len(chunk.audio) / 2 <= RATE / 5
        assert all(0 <= word.start < len(chunk.audio) / 2 for word in chunk.words)


def test_words_begin_where_they_sound() -> None:
    chunks = say("Stop, papa, taxi, today.")
    audio, spoken = np.abs(samples(chunks)), timed(chunks)
    for before, word in pairwise(spoken):
        assert before.end <= word.start
        assert audio[word.start - RATE // 20 : word.start].max() < 1000  # the comma before it
        assert audio[word.start : word.start + RATE // 5].max() > 3000


def test_pieces_make_one_utterance() -> None:
    chunks = say("Hello there,", " I am", " the desk.", "", " ", "Goodbye!")
    assert words(chunks) == ["Hello", "there,", "I", "am", "the", "desk.", "Goodbye!"]
    times = [time for word in timed(chunks) for time in (word.start, word.end)]
    assert times == sorted(times)


def test_speech_begins_before_the_second_piece_is_there() -> None:
    async def call() -> None:
        more = asyncio.Event()

        async def text() -> AsyncIterator[str]:
            yield "Let me see."
            await more.wait()
            yield "It is noon."

        async with voice() as tts:
            speech = tts.speak(text(), tts.formats()[0])
            first = await anext(speech)
            assert first.words[0].text == "Let"
            more.set()
            assert [word.text async for chunk in speech for word in chunk.words][-1] == "noon."

    asyncio.run(call())


def test_silence_is_trimmed() -> None:
    before, pauses, after = silences_ms(say("Twelve. Well, then. Two; three: four - five? Six!", "Seven."))
    assert before <= 20
    assert after <= 50.1
    assert 50 < max(pauses) <= 200.1
    assert len([pause for pause in pauses if pause > 90]) >= 6


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_no_words_are_no_speech(text: str) -> None:
    assert say(text) == []
    assert say() == []


@pytest.mark.parametrize(
    "text",
    ["...", "— !", "*", "?!", "🙂", "👍🏽 ok", "…and so on", "\0a", "\ud800 b", "<b>x</b> & y", "e\u0301 a\u200db"],
)
def test_odd_words_are_reported_as_they_were_written(text: str) -> None:
    assert words(say(text)) == text.split()


def test_words_without_a_sound_between_others_keep_their_place() -> None:
    assert words(say("Well", "...", "yes", "—")) == ["Well", "...", "yes", "—"]


def test_a_very_long_clause_is_spoken_to_its_end() -> None:
    text = " ".join(f"word{number}" for number in range(400))
    chunks = say(text)
    assert words(chunks) == text.split()
    assert len(samples(chunks)) / RATE > 200


READABLE = st.text(
    st.sampled_from("abcdeiou AEST 0123456789 .,;:!?'\"-—()/&%$€ éüñß 🙂\n") | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)


@pytest.fixture(scope="module")
def running():
    """One voice for many examples, on a loop of its own."""
    with asyncio.Runner() as runner:
        tts = voice()
        runner.run(tts.__aenter__())
        yield lambda *texts: runner.run(speak(tts, *texts))
        runner.run(tts.__aexit__())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(READABLE, max_size=3))
def test_whatever_the_text_every_word_is_reported_once_and_in_order(running, texts: list[str]) -> None:
    chunks = running(*texts)
    assert words(chunks) == [word for text in texts for word in text.split()]
    times = [time for word in timed(chunks) for time in (word.start, word.end)]
    assert times == sorted(times)
    assert not times or times[-1] <= len(samples(chunks))


def test_a_closed_utterance_leaves_the_voice_free_for_others() -> None:
    async def call() -> list[str]:
        async with voice() as tts:
            speech = tts.speak(pieces(*["This is a rather long story. "] * 100), tts.formats()[0])
            await anext(speech)
            await speech.aclose()
            return words(await speak(tts, "And now?"))

    assert asyncio.run(call()) == ["And", "now?"]


class SlowLibrary:
    """The library, but a synthesis begins only when released; notes how many samples each one came to."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()
        self.lengths: list[int] = []

    def select(self, voice: Voice) -> None:
        load().select(voice)

    def synthesise(self, text: str, voice: Voice, cancelled: Callable[[], bool]) -> Synthesis:
        self.begun.set()
        self.released.wait()
        synthesis = load().synthesise(text, voice, cancelled)
        self.lengths.append(len(synthesis.samples))
        return synthesis


def test_a_cancelled_task_ends_at_once_and_its_synthesis_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SlowLibrary()
    monkeypatch.setattr("providers.tts.espeak.load", lambda: library)

    async def call() -> list[str]:
        async with voice() as tts:
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(speak(tts, "one two three four five six seven eight nine ten " * 5))
                await asyncio.to_thread(library.begun.wait)
                speaking.cancel()
            assert speaking.cancelled()
            assert library.lengths == []
            library.released.set()
            return words(await speak(tts, "And now?"))

    assert asyncio.run(call()) == ["And", "now?"]
    cancelled, whole = library.lengths
    assert cancelled <= RATE / 5 + 1
    assert whole > RATE / 2


def test_the_event_loop_runs_on_while_speech_is_made() -> None:
    async def call() -> int:
        async with voice() as tts:
            turns = 0
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(speak(tts, "1234567890 " * 20))
                while not speaking.done():
                    await asyncio.sleep(0)
                    turns += 1
            return turns

    assert asyncio.run(call()) > 10


def test_four_speakers_with_twenty_utterances_each() -> None:
    async def call() -> None:
        async with voice() as first, voice(ESPEAK_VOICE="en-gb", ESPEAK_WORDS_PER_MINUTE="220") as second:

            async def speaker(tts: Espeak, name: str) -> None:
                for number in range(20):
                    text = f"This is {name}, utterance {number}, of many."
                    assert words(await speak(tts, text)) == text.split()

            async with asyncio.TaskGroup() as tasks:
                for number, tts in enumerate((first, second, first, second)):
                    tasks.create_task(speaker(tts, f"speaker {number}"))

    asyncio.run(call())


def test_a_short_answer_does_not_wait_for_another_calls_long_story() -> None:
    async def call() -> list[str]:
        finished = []

        async def tell(name: str, text: str) -> None:
            await speak(tts, text)
            finished.append(name)

        async with voice() as tts, asyncio.TaskGroup() as tasks:
            tasks.create_task(tell("story", "Once upon a time there was a telephone. " * 60))
            tasks.create_task(tell("answer", "Yes."))
        return finished

    assert asyncio.run(call()) == ["answer", "story"]


def test_settings_change_the_voice() -> None:
    text = "We are open from nine to five on all days of the week."
    usual = len(samples(say(text)))
    assert len(samples(say(text, ESPEAK_WORDS_PER_MINUTE="300"))) < 0.7 * usual
    assert words(say("Guten Tag", ESPEAK_VOICE="de", ESPEAK_PITCH="20")) == ["Guten", "Tag"]


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("ESPEAK_WORDS_PER_MINUTE", "fast", "from 80 to 450"),
        ("ESPEAK_WORDS_PER_MINUTE", "12", "from 80 to 450"),
        ("ESPEAK_WORDS_PER_MINUTE", "²", "from 80 to 450"),
        ("ESPEAK_PITCH", "100", "from 0 to 99"),
        ("ESPEAK_PITCH", "-1", "from 0 to 99"),
        ("ESPEAK_VOICE", "klingon-operatic", "en-us"),
    ],
)
def test_a_bad_setting_is_named_with_its_remedy(variable: str, value: str, remedy: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        say("Hello.", **{variable: value})
    assert refused.value.variable == variable
    assert remedy in refused.value.remedy
    assert value in refused.value.remedy


def test_blank_settings_are_defaults() -> None:
    assert words(say("Hello.", ESPEAK_VOICE="", ESPEAK_PITCH="", ESPEAK_WORDS_PER_MINUTE="")) == ["Hello."]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ProviderMisconfigured, match="extra `speak`"):
        voice()


def test_another_format_is_the_callers_mistake() -> None:
    async def call() -> None:
        async with voice() as tts:
            await anext(tts.speak(pieces("Hello."), TELEPHONE))

    with pytest.raises(ValueError, match="mulaw"):
        asyncio.run(call())
