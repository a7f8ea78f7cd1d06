"""Deepgram through the vendor's own SDK, against a vendor on loopback that hears what it is really sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.base import (
    AudioReached,
    AudioSettled,
    FinalTranscript,
    PartialTranscript,
    ProviderContext,
    Recognition,
    RecognitionEvent,
)
from providers.base import RecognitionGap as Gap
from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.stt.deepgram import create, recognition
from providers.stt.deepgram.flux import Flux
from providers.stt.deepgram.live import Live
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.clock import MonotonicClock
from tests.fakes.deepgram import (
    KEY,
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


@asynccontextmanager
async def call(vendor: FakeDeepgram, model: str = LIVE, **environment: str) -> AsyncIterator[Recognition]:
    """A call that is heard by a vendor's model."""
    variables = {**vendor.environment, "DEEPGRAM_MODEL": model, **environment}
    async with (
        create(ProviderContext(variables, MonotonicClock())) as recogniser,
        recogniser.open(TELEPHONE) as recognition,
    ):
        yield recognition


def play(scene: Callable[[FakeDeepgram], Awaitable[None]], vendor: FakeDeepgram | None = None) -> FakeDeepgram:
    """Play a scene with a vendor; nothing of it may be left."""

    async def whole() -> FakeDeepgram:
        async with asyncio.timeout(30), vendor or FakeDeepgram() as running:
            await scene(running)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        return running

    return asyncio.run(whole())


def speak(recognition: Recognition, sound: bytes) -> None:
    for frame in frames(sound):
        recognition.send(frame)


async def heard(events: AsyncIterator[RecognitionEvent], until: Callable[[RecognitionEvent], bool]) -> list[Any]:
    """All events up to the first that is waited for, but for mere signs of life."""
    seen = []
    async for event in events:
        if not isinstance(event, AudioReached):
            seen.append(event)
        if until(event):
            return seen
    raise AssertionError("recognition ended by itself")


def answers(event: RecognitionEvent) -> bool:
    return isinstance(event, FinalTranscript) and event.finalized


def ends_turn(event: RecognitionEvent) -> bool:
    return isinstance(event, FinalTranscript) and event.ends_turn


def text_of(events: Iterable[RecognitionEvent]) -> str:
    return " ".join(event.text for event in events if isinstance(event, FinalTranscript) and event.text)


async def turn(recognition: Recognition, words: str) -> str:
    """Say it, ask what it was."""
    speak(recognition, say(words))
    recognition.finalize()
    return text_of(await heard(aiter(recognition), answers))


# What is heard


@both
def test_words_are_heard_as_they_come_and_settled_when_asked(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            speak(recognition, silence(200) + say("one two three four"))
            recognition.finalize()
            events = await heard(aiter(recognition), answers)
            partials = [event.text for event in events if isinstance(event, PartialTranscript)]
            assert partials[0] == "one"
            assert partials == sorted(set(partials), key=len)
            assert text_of(events) == "one two three four"
            assert events[-1].confidence == pytest.approx(0.95, abs=0.05)

    play(scene)


@both
def test_the_vendor_ends_a_turn_by_itself(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            speak(recognition, say("one two") + silence(900) + say("three") + silence(900))
            events = aiter(recognition)
            for words in ("one two", "three"):
                turn = await heard(events, ends_turn)
                assert text_of(turn) == words
                assert not turn[-1].finalized

    play(scene)


@both
def test_audio_goes_to_the_vendor_as_it_is_in_chunks_of_its_liking(model: str) -> None:
    sound = silence(130) + say("one two") + bytes(range(256)) + b"\x12"

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            speak(recognition, sound)
            recognition.send(b"")
            recognition.finalize()
            await heard(aiter(recognition), answers)

    (line,) = play(scene).lines
    assert line.audio == sound
    assert set(line.chunks[:-1]) == {800 if model == LIVE else 640}


def test_live_recognition_is_asked_for_with_the_settings() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        settings = {"KEYTERMS": "Acme, New York", "ENDPOINTING_MS": "250", "LANGUAGE": "en-GB"}
        async with call(vendor, LIVE, **{f"DEEPGRAM_{name}": value for name, value in settings.items()}):
            pass

    vendor = play(scene)
    assert vendor.upgrades[0].headers["Authorization"] == f"Token {KEY}"
    assert "Sec-WebSocket-Extensions" not in vendor.upgrades[0].headers  # speech does not deflate
    parts = urlsplit(vendor.upgrades[0].path)
    assert parts.path == "/v1/listen"
    assert parse_qs(parts.query) == {
        "model": ["nova-3"],
        "language": ["en-GB"],
        "encoding": ["mulaw"],
        "sample_rate": ["8000"],
        "interim_results": ["true"],
        "endpointing": ["250"],
        "utterance_end_ms": ["1000"],
        "punctuate": ["true"],
        "numerals": ["true"],
        "keyterm": ["Acme", "New York"],
    }


def test_flux_is_asked_for_with_the_settings() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        thresholds = {"EOT_THRESHOLD": "0.8", "EAGER_EOT_THRESHOLD": "0.4", "EOT_TIMEOUT_MS": "6000"}
        settings = {**thresholds, "KEYTERMS": "Acme", "LANGUAGE": "en, es"}
        async with call(
            vendor, "flux-general-multi", **{f"DEEPGRAM_{name}": value for name, value in settings.items()}
        ):
            pass

    parts = urlsplit(play(scene).upgrades[0].path)
    assert parts.path == "/v2/listen"
    assert parse_qs(parts.query) == {
        "model": ["flux-general-multi"],
        "encoding": ["mulaw"],
        "sample_rate": ["8000"],
        "eot_threshold": ["0.8"],
        "eager_eot_threshold": ["0.4"],
        "eot_timeout_ms": ["6000"],
        "keyterm": ["Acme"],
        "language_hint": ["en", "es"],
    }


def test_in_noise_the_end_of_an_utterance_stands_in_for_the_end_of_speech() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor) as recognition:
            speak(recognition, say("one two") + silence(1_200))
            events = await heard(aiter(recognition), ends_turn)
            finals = [event for event in events if isinstance(event, FinalTranscript)]
            assert [(final.text, final.ends_turn) for final in finals] == [("one two", False), ("", True)]

    play(scene, FakeDeepgram(noisy=True))


def test_an_eager_end_of_turn_is_a_complete_partial_and_a_resumed_turn_takes_it_back() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, FLUX, DEEPGRAM_EAGER_EOT_THRESHOLD="0.5") as recognition:
            speak(recognition, say("one") + silence(250) + say("two") + silence(900))
            told = await heard(aiter(recognition), ends_turn)
            partials = [event for event in told if isinstance(event, PartialTranscript)]
            assert [(partial.text, partial.complete) for partial in partials] == [
                ("one", False),
                ("one", True),
                ("one", False),
                ("one two", False),
                ("one two", True),
            ]
            assert all(partial.stable for partial in partials)

    play(scene)


@both
def test_a_question_about_nothing_is_answered_with_nothing(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            events = aiter(recognition)
            speak(recognition, silence(300))
            recognition.finalize()
            told = [event for event in await heard(events, answers) if not isinstance(event, AudioSettled)]
            assert [event.text for event in told] == [""]
            assert await turn(recognition, "five") == "five"

    play(scene)


@both
def test_a_question_that_the_vendor_does_not_answer_is_answered_with_the_last_partial(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(mute, after_s=1.2))
        async with call(vendor, model) as recognition:
            speak(recognition, say("one two three") + silence(160))
            assert await turn(recognition, "") == "one two three"

    play(scene)


@both
def test_the_vendor_is_told_when_the_call_is_over(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            assert await turn(recognition, "one") == "one"

    (line,) = play(scene).lines
    assert line.types()[-1] == "CloseStream"


@both
def test_audio_beyond_what_is_kept_is_dropped_and_reported(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "_KEEP_BYTES", 8_000)
    monkeypatch.setattr(recognition, "takes_at_once", lambda socket: False)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            speak(recognition, say("one two three four five"))
            recognition.finalize()
            events = await heard(aiter(recognition), answers)
            assert next(event for event in events if isinstance(event, Gap)).lost_ms == 500
            assert text_of(events).split()[-3:] == ["three", "four", "five"]

    play(scene)


# While nothing is said


def test_live_recognition_is_kept_alive_while_there_is_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Live, "idle_s", 0.05)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor) as recognition:
            while len(vendor.lines) == 0 or len(vendor.lines[0].texts) < 20:
                await asyncio.sleep(0.01)
            assert await turn(recognition, "one") == "one"

    (line,) = play(scene, FakeDeepgram(quiet_s=0.5)).lines
    assert line.types()[:20] == ["KeepAlive"] * 20
    assert line.chunks[0] == 800  # before it, the vendor wants audio
    assert line.audio.startswith(silence(40))


def test_flux_gets_silence_in_real_time_while_there_is_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flux, "idle_s", 0.05)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, FLUX) as recognition:
            while len(vendor.lines) == 0 or len(vendor.lines[0].chunks) < 10:
                await asyncio.sleep(0.01)
            assert await turn(recognition, "one") == "one"

    (line,) = play(scene, FakeDeepgram(quiet_s=0.5)).lines
    assert line.audio.startswith(silence(800))
    assert line.types() == ["ForceEndTurn", "CloseStream"]


# Refused


@both
@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (400, ProviderRejected, "the request"),
        (402, ProviderRejected, "balance"),
        (403, ProviderRejected, "rights"),
        (404, ProviderRejected, "the request"),
        (429, ProviderRateLimited, "TOO_MANY"),
        (500, ProviderUnavailable, "500"),
        (503, ProviderUnavailable, "503"),
    ],
)
def test_a_refusal_says_whose_fault_it_is(model: str, status: int, kind: type[ProviderError], says: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.refusals.append(Refusal(status, {"dg-error": "TOO_MANY_REQUESTS", "retry-after": "7"}))
        with pytest.raises(kind, match=says) as refused:
            async with call(vendor, model):
                pass
        assert getattr(refused.value, "retry_after_s", 7.0) == 7.0
        assert type(refused.value) is kind

    play(scene)


def test_a_rate_limit_without_a_number_leaves_the_wait_to_us() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.refusals.append(Refusal(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}))
        with pytest.raises(ProviderRateLimited) as refused:
            async with call(vendor):
                pass
        assert refused.value.retry_after_s is None

    play(scene)


@both
def test_a_wrong_key_is_blamed_on_its_variable_and_never_printed(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        with pytest.raises(ProviderRejected, match="DEEPGRAM_API_KEY") as refused:
            async with call(vendor, model, DEEPGRAM_API_KEY="s3cr3t"):
                pass
        assert "s3cr3t" not in str(refused.value) + repr(refused.value)

    play(scene)


@both
def test_a_vendor_that_does_not_answer_the_upgrade_is_given_up(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.admitted.clear()
        with pytest.raises(ProviderTimedOut) as late:
            async with call(vendor, model, DEEPGRAM_CONNECT_TIMEOUT_S="0.1"):
                pass
        assert (late.value.stage, late.value.deadline_s) == ("connect", 0.1)
        vendor.admitted.set()

    play(scene)


def test_flux_that_does_not_greet_is_not_connected() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(mute))
        with pytest.raises(ProviderTimedOut, match="connect"):
            async with call(vendor, FLUX, DEEPGRAM_CONNECT_TIMEOUT_S="0.1"):
                pass

    play(scene)


@both
def test_a_vendor_that_is_slow_to_start_loses_no_word(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.admitted.clear()
        asyncio.get_running_loop().call_later(0.2, vendor.admitted.set)
        async with call(vendor, model) as recognition:
            assert await turn(recognition, "one two") == "one two"

    play(scene)


def test_a_call_that_ends_while_it_is_being_connected_leaves_nothing() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.admitted.clear()

        async def caller() -> None:
            async with call(vendor):
                raise AssertionError("nobody answered")

        async with asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(caller())
            while not vendor.upgrades:
                await asyncio.sleep(0.01)
            calling.cancel()
        vendor.admitted.set()

    play(scene)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", ProviderUnavailable),
        (b"SSH-2.0-nobody\r\n\r\n", ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ProviderUnavailable),
    ],
)
def test_a_server_that_is_no_deepgram(answer: bytes, kind: type[ProviderError]) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(impostor, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(kind):
                async with call(vendor, DEEPGRAM_BASE_URL=f"http://127.0.0.1:{port}"):
                    pass
        with pytest.raises(ProviderUnavailable):  # and now nobody is there
            async with call(vendor, DEEPGRAM_BASE_URL=f"http://127.0.0.1:{port}"):
                pass

    play(scene)


# Lost in mid-call


def close(code: int, reason: str = "") -> Callable[[Line], Awaitable[None]]:
    return lambda line: line.socket.close(code, reason)


def tell(**message: Any) -> Callable[[Line], Awaitable[None]]:
    return lambda line: line.say(message)


LOSSES = {
    "reset": reset,
    "1000": close(1000),
    "no status": close_without_status,
    "1011": close(1011, "NET-0000"),
    "1012": close(1012),
    "error": tell(type="Error", sequence_id=3, code="INTERNAL_SERVER_ERROR", description="oh dear"),
    "stall": mute,
}


@both
@pytest.mark.parametrize("loss", LOSSES)
def test_a_connection_that_is_lost_ends_the_recognition_and_is_not_made_anew(model: str, loss: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(LOSSES[loss], 0.7))
        async with call(vendor, model, DEEPGRAM_GAP_TIMEOUT_S="0.3") as recognition:
            speak(recognition, say("one two three four five six"))
            recognition.finalize()
            kind = ProviderTimedOut if loss == "stall" else ProviderUnavailable
            with pytest.raises(kind):
                await heard(aiter(recognition), answers)
            recognition.send(silence(20))  # whoever has not noticed yet does no harm
            recognition.finalize()

    assert len(play(scene).lines) == 1


@both
def test_a_vendor_that_says_nothing_at_all_is_late_with_its_first_result(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(mute, 0.02))
        async with call(vendor, model, DEEPGRAM_GAP_TIMEOUT_S="0.3") as recognition:
            speak(recognition, say("one two three"))
            recognition.finalize()
            with pytest.raises(ProviderTimedOut) as late:
                await heard(aiter(recognition), answers)
            assert late.value.stage == "first_result"

    play(scene)


@both
def test_finals_say_how_much_of_the_calls_audio_they_settle(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            events = aiter(recognition)
            for sound in (say("one two") + silence(1_000), say("three")):
                speak(recognition, sound)
                recognition.finalize()
                finals = [event for event in await heard(events, answers) if isinstance(event, FinalTranscript)]
            settled = [final.settled_ms or 0.0 for final in finals]
            assert settled == sorted(settled)
            assert settled[-1] == 1_900.0

    play(scene)


def test_our_own_silence_is_no_part_of_the_calls_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flux, "idle_s", 0.01)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, FLUX) as recognition:
            while len(vendor.lines) == 0 or len(vendor.lines[0].chunks) < 5:
                await asyncio.sleep(0.01)
            speak(recognition, say("one"))
            recognition.finalize()
            events = await heard(aiter(recognition), answers)
            assert events[-1].settled_ms == 300.0
            assert len(vendor.lines[0].audio) > 5 * 640

    play(scene)


def test_silence_is_settled_now_and_then() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor) as recognition:
            speak(recognition, silence(5_000) + say("one"))
            recognition.finalize()
            events = await heard(aiter(recognition), answers)
            settled = [event.settled_ms for event in events if isinstance(event, AudioSettled)]
            assert len(settled) >= 3
            assert settled == sorted(settled)
            assert settled[-1] <= 5_000

    play(scene)


@both
def test_it_is_told_how_far_the_vendor_has_come(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            speak(recognition, silence(1_000) + say("one two three"))
            recognition.finalize()
            reached = []
            async for event in recognition:
                if isinstance(event, AudioReached):
                    reached.append(event.reached_ms)
                if answers(event):
                    break
            assert len(reached) >= 4
            assert reached == sorted(reached)
            assert reached[-1] <= 1_900.0

    play(scene)


# What a vendor should not say


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (close(1008, "DATA-0000"), ProviderRejected),
        (lambda line: line.raw("{this is no JSON"), ProviderMalformed),
        (lambda line: line.raw(b"\x00\x01"), ProviderMalformed),
        (lambda line: line.socket.transport.write(b"\xff\xff\xff\xff"), ProviderMalformed),
    ],
    ids=["1008", "no json", "binary", "no websocket"],
)
def test_nonsense_ends_the_recognition_and_is_blamed_on_the_vendor(
    model: str, fault: Callable[[Line], Any], kind: type[ProviderError]
) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(fault, 0.3))
        async with call(vendor, model) as recognition:
            speak(recognition, say("one two three"))
            recognition.finalize()
            with pytest.raises(kind):
                await heard(aiter(recognition), answers)

    assert len(play(scene).lines) == 1


GOOD_RESULT = {"start": 0.0, "duration": 0.1, "channel": {"alternatives": [{"transcript": ""}]}}
GOOD_TURN = {"event": "Update", "turn_index": 0, "transcript": "", "audio_window_end": 0.1, "words": []}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LIVE, {"type": "Results"}),
        (LIVE, {"type": "Results", **GOOD_RESULT, "start": "soon"}),
        (LIVE, {"type": "Results", **GOOD_RESULT, "duration": -1.0}),
        (LIVE, {"type": "Results", **GOOD_RESULT, "start": float("nan")}),
        (LIVE, {"type": "Results", **GOOD_RESULT, "channel": {"alternatives": "none"}}),
        (FLUX, {"type": "TurnInfo"}),
        (FLUX, {"type": "TurnInfo", **GOOD_TURN, "transcript": None}),
        (FLUX, {"type": "TurnInfo", **GOOD_TURN, "audio_window_end": 1e9}),
        (FLUX, {"type": "TurnInfo", **GOOD_TURN, "words": [{"confidence": "high"}]}),
    ],
)
def test_a_message_without_what_it_is_to_have_is_malformed(model: str, message: dict[str, Any]) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(tell(**message), 0.3))
        async with call(vendor, model) as recognition:
            speak(recognition, say("one two three"))
            with pytest.raises(ProviderMalformed):
                await heard(aiter(recognition), answers)

    play(scene)


@both
@pytest.mark.parametrize(
    "message",
    [
        {"type": "Tomorrow", "field": 1},
        {"type": "ConfigureSuccess", "request_id": "7c1f", "sequence_id": 9, "thresholds": {"eot_threshold": 0.8}},
        {"type": "ConfigureFailure", "request_id": "7c1f", "code": "CONFIGURE_INTERNAL_ERROR", "description": "no"},
        {"type": "Warning", "request_id": "7c1f", "sequence_id": 9, "code": "SLOW", "description": "slow"},
        {"type": "Metadata", "request_id": "7c1f", "duration": 1.0, "channels": 1},
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.1},
        {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 0.0},
        {"type": "Connected", "request_id": "7c1f", "sequence_id": 9},
        {},
        [],
    ],
    ids=lambda message: str(dict(message).get("type")),
)
def test_messages_that_say_nothing_to_a_call_change_nothing(model: str, message: Any) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(lambda line: line.say(message), 0.3))
        async with call(vendor, model) as recognition:
            assert await turn(recognition, "one two three") == "one two three"

    assert len(play(scene).lines) == 1


def test_a_message_of_ours_that_the_vendor_does_not_understand_is_our_fault() -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(tell(type="Error", variant="SchemaError", description="unknown"), 0.3))
        async with call(vendor) as recognition:
            speak(recognition, say("one two three"))
            with pytest.raises(ProviderRejected, match="SchemaError"):
                await heard(aiter(recognition), answers)

    play(scene)


def test_a_format_that_was_not_offered_is_a_bug_of_the_caller() -> None:
    recogniser = create(ProviderContext({"DEEPGRAM_API_KEY": KEY}, MonotonicClock()))
    with pytest.raises(ValueError, match="pcm16"):
        recogniser.open(AudioFormat(Encoding.PCM16, 16_000))
