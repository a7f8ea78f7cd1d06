"""What every voice in the registry promises, whoever it is."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from providers.base import SpeechChunk, TextToSpeech
from tests.contracts.registered import every, leaving_nothing, provider
from tests.streams import results

HOURS = "We are open from Monday to Friday, from nine o'clock in the morning until five in the afternoon."
OFFER = "Shall I book it?"
TEXTS = {
    "a word": ["Hello."],
    "sentences": [HOURS, OFFER],
    "clauses": ["I am sorry, we are closed on Saturday;", "we are open", "on Monday."],
    "numbers": ["You are booked on 3 March 2026 at 10:30.", "Please call +49 30 12345-67, or press 0."],
    "punctuation": ["Well ... yes - no? (Perhaps!)", "e.g. Mr. O'Neill's \"desk\" & co. pay 50% or $3.50."],
    "layout": ["  two  spaces,\ta tab,\na line. ", " "],
    "another script": ["Grüße aus Köln, naïve Привет."],
    "markup": ["a < b & c > d <break/>"],
}


async def pieces(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def speech(voice: TextToSpeech, *texts: str) -> list[SpeechChunk]:
    return [chunk async for chunk in results(voice.speak(pieces(*texts), voice.formats()[0]))]


def words(chunks: Sequence[SpeechChunk]) -> list[str]:
    return [word.text for chunk in chunks for word in chunk.words]


def sound(chunks: Sequence[SpeechChunk]) -> bytes:
    return b"".join(chunk.audio for chunk in chunks)


@every("tts")
def test_bears_its_registered_name_and_offers_a_format(name: str) -> None:
    voice = provider("tts", name)
    assert voice.name == name
    assert voice.formats()


@every("tts")
@pytest.mark.parametrize("texts", TEXTS.values(), ids=list(TEXTS))
def test_its_words_are_the_words_of_the_text_in_order(name: str, texts: list[str]) -> None:
    async def scene() -> None:
        async with provider("tts", name) as voice:
            chunks = await speech(voice, *texts)
        assert words(chunks) == " ".join(texts).split()

    leaving_nothing(scene())


@every("tts")
def test_yields_whole_samples_with_words_placed_where_they_sound_in_any_format_it_offers(name: str) -> None:
    async def scene() -> None:
        async with provider("tts", name) as voice:
            for audio in voice.formats():
                at, word_starts, ends = 0, [], []
                async for chunk in results(voice.speak(pieces(HOURS, OFFER), audio)):
                    length = audio.samples(len(chunk.audio))  # raises on a partial sample
                    for word in chunk.words:
                        assert 0 <= word.start <= length
                        assert word.start <= word.end
                        word_starts.append(at + word.start)
                        ends.append(at + word.end)
                    at += length
                assert word_starts == sorted(word_starts)
                assert max(ends) <= at
                assert 2_000 < audio.ms(audio.bytes_of_samples(at)) < 20_000  # 22 words

    leaving_nothing(scene())


@every("tts")
def test_speaks_the_first_piece_before_it_gets_the_second(name: str) -> None:
    async def scene() -> None:
        heard = asyncio.Event()

        async def slowly() -> AsyncIterator[str]:
            yield HOURS
            await heard.wait()  # for ever, if nothing is spoken before
            yield OFFER

        async with provider("tts", name) as voice:
            chunks = []
            async for chunk in results(voice.speak(slowly(), voice.formats()[0])):
                chunks.append(chunk)
                if len(words(chunks)) == len(HOURS.split()):
                    heard.set()
        assert words(chunks) == f"{HOURS} {OFFER}".split()

    leaving_nothing(scene())


@every("tts")
@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]], ids=["no piece", "an empty one", "blank ones"])
def test_says_nothing_for_no_text(name: str, texts: list[str]) -> None:
    async def scene() -> None:
        async with provider("tts", name) as voice:
            assert await speech(voice, *texts) == []

    leaving_nothing(scene())


@every("tts")
def test_speech_that_is_closed_early_asks_for_no_more_text_and_harms_no_other(name: str) -> None:
    async def scene() -> None:
        given = []

        async def endless() -> AsyncIterator[str]:
            while True:
                given.append(OFFER)
                yield OFFER

        async with provider("tts", name) as voice:
            unheard = results(voice.speak(endless(), voice.formats()[0]))
            await unheard.aclose()
            assert given == []
            cut = results(voice.speak(endless(), voice.formats()[0]))
            await anext(cut)
            before = len(given)
            await cut.aclose()
            assert words(await speech(voice, HOURS)) == HOURS.split()
            assert len(given) == before
            assert await anext(cut, None) is None

    leaving_nothing(scene())


@every("tts")
def test_speech_that_is_cancelled_while_it_is_made_harms_no_other(name: str) -> None:
    async def scene() -> None:
        async with provider("tts", name) as voice, asyncio.TaskGroup() as group:
            dropped = group.create_task(speech(voice, HOURS * 20))
            await asyncio.sleep(0)
            dropped.cancel()
            assert words(await speech(voice, OFFER)) == OFFER.split()

    leaving_nothing(scene())


@every("tts")
def test_two_speakers_at_once_do_not_mix(name: str) -> None:
    """Samples may differ from one time to the next (voices have noise in them); words and their times do not."""

    async def scene() -> None:
        async with provider("tts", name) as voice:
            ms = voice.formats()[0].ms
            alone = [await speech(voice, HOURS), await speech(voice, OFFER)]
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(speech(voice, text)) for text in (HOURS, OFFER)]
            for task, by_itself in zip(both, alone, strict=True):
                assert words(task.result()) == words(by_itself)
                assert ms(len(sound(task.result()))) == pytest.approx(ms(len(sound(by_itself))), rel=0.05)

    leaving_nothing(scene())
