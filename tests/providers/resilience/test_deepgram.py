"""Deepgram behind a chain, through the vendor's SDK: whatever happens to its connections, the words stay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.base import (
    FinalTranscript,
    ProviderContext,
    ProviderSwitched,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
    RecognitionLost,
)
from providers.errors import ProviderError, ProviderMalformed, ProviderRateLimited, ProviderRejected
from providers.resilience.recognisers import RecogniserChain
from providers.stt.deepgram import create
from providers.stt.deepgram.outgoing import Pace
from telephony.audio import TELEPHONE
from telephony.clock import MonotonicClock
from tests.fakes.deepgram import (
    FakeDeepgram,
    Fault,
    Line,
    Refusal,
    close_without_status,
    frames,
    mute,
    reset,
    say,
    silence,
)

LIVE, FLUX = "nova-3", "flux-general-en"
both = pytest.mark.parametrize("model", [LIVE, FLUX])
DEAD = Refusal(503)


@asynccontextmanager
async def call(*vendors: FakeDeepgram, model: str = LIVE, **environment: str) -> AsyncIterator[Recognition]:
    """A call that is heard by the vendors, in this order."""
    clock = MonotonicClock()
    recognisers = [
        create(ProviderContext({**vendor.environment, "DEEPGRAM_MODEL": model, **environment}, clock))
        for vendor in vendors
    ]
    for place, recogniser in enumerate(recognisers):
        recogniser.name = f"deepgram{place}"
    async with (
        RecogniserChain(recognisers, ProviderContext(environment, clock)) as chain,
        chain.open(TELEPHONE) as recognition,
    ):
        yield recognition


def play(scene: Callable[[FakeDeepgram], Awaitable[None]]) -> FakeDeepgram:
    """Play a scene with a vendor; nothing of it may be left."""

    async def whole() -> FakeDeepgram:
        async with asyncio.timeout(30), FakeDeepgram() as running:
            await scene(running)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        return running

    return asyncio.run(whole())


def speak(recognition: Recognition, sound: bytes) -> None:
    for frame in frames(sound):
        recognition.send(frame)


async def answered(events: AsyncIterator[RecognitionEvent]) -> list[Any]:
    """All events up to the next answer."""
    seen: list[Any] = []
    async for event in events:
        seen.append(event)
        if isinstance(event, FinalTranscript) and event.finalized:
            return seen
    raise AssertionError("recognition ended by itself")


def text_of(events: list[Any]) -> str:
    return " ".join(event.text for event in events if isinstance(event, FinalTranscript) and event.text)


async def turn(recognition: Recognition, events: AsyncIterator[RecognitionEvent], words: str) -> list[Any]:
    """Say it, ask what it was: all that is told."""
    speak(recognition, say(words))
    recognition.finalize()
    return await answered(events)


def close(code: int, reason: str = "") -> Callable[[Line], Awaitable[None]]:
    return lambda line: line.socket.close(code, reason)


def tell(**message: Any) -> Callable[[Line], Awaitable[None]]:
    return lambda line: line.say(message)


LOSSES: dict[str, Callable[[Line], Any]] = {
    "reset": reset,
    "1000": close(1000),
    "no status": close_without_status,
    "1008": close(1008, "DATA-0000"),
    "1011 service": close(1011, "NET-0000"),
    "1011 idle": close(1011, "NET-0001"),
    "1012": close(1012),
    "error": tell(type="Error", sequence_id=3, code="INTERNAL_SERVER_ERROR", description="oh dear"),
    "no json": lambda line: line.raw("{this is no JSON"),
    "binary": lambda line: line.raw(b"\x00\x01"),
    "no websocket": lambda line: line.socket.transport.write(b"\xff\xff\xff\xff"),
    "stall": mute,
}


@both
@pytest.mark.parametrize("loss", LOSSES)
def test_a_connection_that_is_lost_costs_no_word_and_doubles_none(model: str, loss: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(LOSSES[loss], 0.7))
        async with call(vendor, model=model, DEEPGRAM_GAP_TIMEOUT_S="0.3") as recognition:
            events = aiter(recognition)
            told = await turn(recognition, events, "one two three four five six")
            assert text_of(told) == "one two three four five six"
            assert [event.lost_ms for event in told if isinstance(event, RecognitionGap)] == [0]
            assert [event.successor for event in told if isinstance(event, ProviderSwitched)] == ["deepgram0"]
            assert text_of(await turn(recognition, events, "seven")) == "seven"

    assert len(play(scene).lines) == 2


WORDS = "one two three four five six seven eight nine ten eleven twelve red green blue".split()


@settings(max_examples=12, deadline=None)
@given(
    model=st.sampled_from([LIVE, FLUX]),
    losses=st.lists(st.tuples(st.sampled_from([reset, close(1011)]), st.floats(0.02, 2.5)), max_size=4),
    pauses=st.lists(st.sampled_from([0, 100, 400, 900]), min_size=8, max_size=8),
    asked_after=st.lists(st.integers(1, 8), max_size=2, unique=True),
)
def test_no_word_is_lost_and_none_is_doubled_at_whatever_moment_it_drops(
    model: str, losses: list[tuple[Any, float]], pauses: list[int], asked_after: list[int]
) -> None:
    spoken = WORDS[:8]

    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.extend(Fault(what, after_s) for what, after_s in losses)
        async with call(vendor, model=model) as recognition:
            for place, (word, pause) in enumerate(zip(spoken, pauses, strict=True), 1):
                speak(recognition, say(word) + silence(pause))
                if place in asked_after:
                    recognition.finalize()
                await asyncio.sleep(0.001)
            recognition.finalize()
            told: list[Any] = []
            for _ in range(len(asked_after) + 1):
                told += await answered(aiter(recognition))
            assert text_of(told).split() == spoken

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pace, "_BURST_S", 60.0)  # the vendor's wish, which the fake does not have, takes its time
        play(scene)


@both
def test_a_vendor_that_stays_away_leaves_the_call_to_the_next(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(reset, 0.5))
        vendor.refusals.extend([None, *[DEAD] * 50])
        async with FakeDeepgram() as other, call(vendor, other, model=model) as recognition:
            told = await turn(recognition, aiter(recognition), "one two three")
            assert text_of(told) == "one two three"
            assert [event.successor for event in told if isinstance(event, ProviderSwitched)] == ["deepgram1"]
            assert not vendor.posts

    play(scene)


def test_a_vendor_that_does_not_answer_the_upgrade_is_joined_by_the_next() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.admitted.clear()
        async with FakeDeepgram() as other, call(vendor, other, STT_CONNECT_S="0.1") as recognition:
            assert text_of(await turn(recognition, aiter(recognition), "one two three")) == "one two three"
            vendor.admitted.set()
            assert not vendor.lines

    play(scene)


# A whole utterance at once


@both
def test_a_stream_that_stays_away_leaves_the_utterance_to_batch_recognition(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(reset, 1.3))
        vendor.refusals.extend([None, *[DEAD] * 50])
        settings = {"DEEPGRAM_KEYTERMS": "Acme, New York"}
        async with call(vendor, model=model, **settings) as recognition:
            events = aiter(recognition)
            for words in ("one two three four five", "red seven"):
                assert text_of(await turn(recognition, events, words)) == words

    vendor = play(scene)
    query = vendor.posts[0].query
    assert query["model"] == ["nova-3"]
    assert query["keyterm"] == ["Acme", "New York"]
    assert query["punctuate"] == query["numerals"] == ["true"]


@pytest.mark.parametrize(
    ("model", "language", "asked_for"),
    [
        ("nova-3", "", None),
        ("nova-3", "de", "de"),
        ("nova-3", "multi", "multi"),
        ("flux-general-en", "", None),
        ("flux-general-en", "en-GB", None),
        ("flux-general-multi", "", "multi"),
        ("flux-general-multi", "es", "es"),
        ("flux-general-multi", " es,", "es"),
        ("flux-general-multi", "en, es", "multi"),
    ],
)
def test_a_batch_is_in_the_languages_that_the_stream_would_hear(
    model: str, language: str, asked_for: str | None
) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.refusals.extend([DEAD] * 50)
        async with call(vendor, model=model, DEEPGRAM_LANGUAGE=language) as recognition:
            await turn(recognition, aiter(recognition), "one")

    (post,) = play(scene).posts
    assert post.query.get("language") == (None if asked_for is None else [asked_for])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Refusal(429, {"retry-after": "7"}), ProviderRateLimited),
        (Refusal(402), ProviderRejected),
        (b"no json", ProviderMalformed),
        (b'{"results": {"channels": "none"}}', ProviderMalformed),
        (b"[]", ProviderMalformed),
    ],
)
def test_a_batch_that_is_refused_is_told_and_the_stream_is_waited_for(
    answer: Refusal | bytes, kind: type[ProviderError]
) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(reset, 0.3))
        vendor.refusals.extend([None, *[DEAD] * 3])
        vendor.batch_refusals.append(answer)
        async with call(vendor) as recognition:
            told = await turn(recognition, aiter(recognition), "one two three")
            assert text_of(told) == "one two three"
            failures = [event.failure for event in told if isinstance(event, RecognitionLost)]
            assert any(type(failure) is kind for failure in failures)

    play(scene)


@pytest.mark.parametrize("answer", [b'{"results": {"channels": []}}', b'{"results": {"channels": [{}]}}'])
def test_a_batch_without_words_is_a_turn_without_words(answer: bytes) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.refusals.extend([DEAD] * 50)
        vendor.batch_refusals.append(answer)
        async with call(vendor) as recognition:
            assert text_of(await turn(recognition, aiter(recognition), "one")) == ""

    play(scene)


def test_batches_share_a_connection() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.refusals.extend([DEAD] * 50)
        async with call(vendor) as recognition:
            events = aiter(recognition)
            for words in ("one", "two", "three"):
                assert text_of(await turn(recognition, events, words)) == words

    vendor = play(scene)
    assert len(vendor.posts) == 3
    assert len({post.headers.get("user-agent") for post in vendor.posts}) == 1
