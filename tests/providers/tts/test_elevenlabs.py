"""ElevenLabs' adapter against the vendor on loopback: what it sends, what it makes of each answer and each fault."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from providers import registry
from providers.base import Progress, ProviderContext, SpeechChunk, UsageReported
from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.tts import elevenlabs, elevenlabs_sockets
from providers.tts.elevenlabs import ElevenLabs, create
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.clock import LoopClock
from tests.fakes.elevenlabs import (
    CHARACTER_SAMPLES,
    KEY,
    VOICE,
    FakeElevenLabs,
    Fault,
    audio_of,
    detail,
    spelled,
)
from tests.streams import results

HOURS = "We are open from Monday to Friday."
OFFER = "Shall I book it?"
Scene = Callable[[FakeElevenLabs, ElevenLabs], Awaitable[None]]


def voice(**environment: str) -> ElevenLabs:
    return create(
        ProviderContext({"ELEVENLABS_API_KEY": KEY, "ELEVENLABS_VOICE_ID": VOICE, **environment}, LoopClock())
    )


@asynccontextmanager
async def house(**environment: str) -> AsyncIterator[tuple[FakeElevenLabs, ElevenLabs]]:
    """A vendor and its adapter. Afterwards no rule of the vendor was broken, and no task is left."""
    async with asyncio.timeout(20):
        async with FakeElevenLabs() as vendor:
            async with voice(**{"ELEVENLABS_BASE_URL": vendor.url, **environment}) as tts:
                yield vendor, tts
            await vendor.until(lambda: all(line.connection.state.name == "CLOSED" for line in vendor.lines))
        assert vendor.violations == []
        assert vendor.most_open <= vendor.most_contexts


def play(scene: Scene, **environment: str) -> None:
    async def run() -> None:
        async with house(**environment) as (vendor, tts):
            await scene(vendor, tts)

    asyncio.run(run())


async def pieces(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def speech(tts: ElevenLabs, *texts: str) -> list[SpeechChunk]:
    return [chunk async for chunk in results(tts.speak(pieces(*texts), TELEPHONE))]


async def said(tts: ElevenLabs, *texts: str) -> str:
    """The text that can be read back from the speech; its words must be reported too."""
    chunks = await speech(tts, *texts)
    assert words(chunks) == " ".join(texts).split()
    return spelled(audio_of(chunks))


def words(chunks: list[SpeechChunk]) -> list[str]:
    return [word.text for chunk in chunks for word in chunk.words]


# What is sent


def test_a_connection_is_opened_for_the_telephone_with_the_key_in_its_header() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        await said(tts, HOURS)
        assert vendor.queries == [
            {
                "model_id": ["eleven_flash_v2_5"],
                "output_format": ["ulaw_8000"],
                "inactivity_timeout": ["180"],
                "auto_mode": ["true"],
                "sync_alignment": ["true"],
            }
        ]
        assert "voice_settings" not in vendor.spoken[0].first

    play(scene)


def test_the_settings_of_the_voice_open_each_context() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        await said(tts, HOURS)
        await said(tts, OFFER)
        wanted = {"stability": 0.0, "similarity_boost": 0.8, "speed": 1.1}
        assert [spoken.first["voice_settings"] for spoken in vendor.spoken] == [wanted, wanted]
        assert vendor.queries[0]["model_id"] == ["eleven_turbo_v2_5"]

    play(
        scene,
        ELEVENLABS_STABILITY="0",
        ELEVENLABS_SIMILARITY="0.8",
        ELEVENLABS_SPEED="1.1",
        ELEVENLABS_MODEL="eleven_turbo_v2_5",
    )


def test_the_address_may_be_that_of_a_websocket() -> None:
    async def run() -> None:
        async with FakeElevenLabs() as vendor, voice(ELEVENLABS_BASE_URL=vendor.url.replace("http", "ws")) as tts:
            assert await said(tts, OFFER) == f"{OFFER} "

    asyncio.run(run())


def test_text_is_spoken_once_piece_by_piece_in_a_context_that_is_closed_at_its_end() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert await said(tts, HOURS, " ", " and on\n Saturday;", OFFER) == f"{HOURS} and on Saturday; {OFFER} "
        (spoken,) = vendor.spoken
        assert spoken.closed and spoken.finished

    play(scene)


@pytest.mark.parametrize(
    ("texts", "sent"),
    [
        ((HOURS, "\N{SLIGHTLY SMILING FACE}"), f"{HOURS} "),
        (("...", HOURS), f"... {HOURS} "),
        ((HOURS, "-", "\u2026 ", OFFER), f"{HOURS} - \u2026 {OFFER} "),
        (("\N{SLIGHTLY SMILING FACE}", "!"), None),
    ],
    ids=["last", "first", "between", "all"],
)
@pytest.mark.parametrize("alignment", ["exact", "none"])
def test_what_cannot_be_pronounced_is_never_sent_alone(
    texts: tuple[str, ...], sent: str | None, alignment: str
) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.alignment = alignment
        async with asyncio.timeout(5):
            await said(tts, *texts)
        assert [spoken.text for spoken in vendor.spoken] == ([] if sent is None else [sent])

    play(scene)


def test_utterances_share_a_connection_and_never_an_id() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        for _ in range(12):
            assert await said(tts, OFFER) == f"{OFFER} "
        assert len(vendor.lines) == 1
        assert len({spoken.context_id for spoken in vendor.spoken}) == 12

    play(scene)


def test_half_a_character_pair_is_spoken_around() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert words(await speech(tts, "Well \ud83d done.", OFFER)) == f"Well \ud83d done. {OFFER}".split()
        assert vendor.spoken[0].text == f"Well ? done. {OFFER} "

    play(scene)


def test_no_text_needs_no_vendor() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert await speech(tts, "", " \n") == []
        assert vendor.lines == []

    play(scene)


def test_only_the_format_of_the_telephone_is_spoken() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert tts.formats() == (TELEPHONE,)
        with pytest.raises(ValueError, match="not AudioFormat"):
            await anext(tts.speak(pieces(OFFER), AudioFormat(Encoding.PCM16, 8000)))

    play(scene)


def test_the_next_piece_is_asked_for_when_the_one_before_begins_to_be_heard() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        asked: list[str] = []

        async def text() -> AsyncIterator[str]:
            for piece in (HOURS, OFFER, OFFER):
                asked.append(piece)
                yield piece

        async with aclosing(results(tts.speak(text(), TELEPHONE))) as chunks:
            await anext(chunks)
            await vendor.until(lambda: vendor.spoken[0].text)
            assert asked == [HOURS]
            await anext(chunks)
            await vendor.until(lambda: vendor.spoken[0].text == f"{HOURS} {OFFER} ")
            assert asked == [HOURS, OFFER]

    play(scene)


def test_the_characters_that_were_ordered_are_told_at_once_heard_or_not() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        async with aclosing(tts.speak(pieces(HOURS, OFFER), TELEPHONE)) as speech:
            assert await anext(speech) == Progress("connected")
            assert await anext(speech) == UsageReported("elevenlabs", {"characters": len(HOURS) + 1})

    play(scene)


# Words


@pytest.mark.parametrize("alignment", ["exact", "specified", "normalized"])
@pytest.mark.parametrize("sizes", [(1, 159, 1000, 333), (160,), (100_000,), (7, 4000)])
def test_words_are_placed_to_the_sample_across_chunks_and_pieces(alignment: str, sizes: tuple[int, ...]) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.alignment, vendor.chunks = alignment, sizes
        chunks = await speech(tts, HOURS, OFFER)
        text, at, starts = f"{HOURS} {OFFER} ", 0, []
        for chunk in chunks:
            starts += [at + word.start for word in chunk.words]
            at += len(chunk.audio)
        assert words(chunks) == text.split()
        assert starts == [n * CHARACTER_SAMPLES for n in range(len(text)) if text[n] != " " and f" {text}"[n] == " "]

    play(scene)


def test_words_survive_without_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs, "_QUIET_S", 0.2)

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.alignment = "none"
        assert await said(tts, HOURS, OFFER) == f"{HOURS} {OFFER} "
        vendor.flush_done = False
        assert await said(tts, HOURS) == f"{HOURS} "

    play(scene)


def test_words_survive_a_normalised_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs, "_QUIET_S", 0.2)

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.normalize = {"10:30": "half past ten", "$5.": "five dollars."}
        vendor.flush_done = False
        assert await said(tts, "It is at 10:30", "$5.") == "It is at half past ten five dollars. "

    play(scene)


# Cancellation and concurrency


def test_closing_the_speech_closes_its_context_and_late_audio_reaches_nobody() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.late_audio = b"X" * 800
        vendor.faults = [Fault(2, wait=(held := asyncio.Event()))]
        cut = results(tts.speak(pieces(HOURS, OFFER), TELEPHONE))
        await anext(cut)
        await cut.aclose()
        await vendor.until(lambda: vendor.spoken[0].closed)
        held.set()
        assert OFFER not in vendor.spoken[0].text
        assert "X" not in (await speech(tts, OFFER))[0].audio.decode("latin-1")
        await vendor.until(lambda: all(spoken.finished for spoken in vendor.spoken))

    play(scene)


def test_a_cancelled_speaker_closes_its_context() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.faults = [Fault(0, stall=True)]
        async with asyncio.TaskGroup() as group:
            speaker = group.create_task(speech(tts, HOURS))
            await vendor.until(lambda: vendor.spoken and vendor.spoken[0].text)
            speaker.cancel()
        await vendor.until(lambda: vendor.spoken[0].closed)
        assert await said(tts, OFFER) == f"{OFFER} "

    play(scene)


def test_speakers_at_once_do_not_mix_and_take_as_many_connections_as_they_need() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        texts = [f"Caller {number} is told this, and nothing else." for number in range(12)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(said(tts, text, OFFER)) for text in texts]
        assert [task.result() for task in tasks] == [f"{text} {OFFER} " for text in texts]
        assert len(vendor.lines) == 3
        assert vendor.most_open == 5

    play(scene)


@pytest.mark.parametrize("most", [1, 2])
def test_a_context_counts_until_the_vendor_has_ended_it(most: int) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.most_contexts = most
        vendor.linger.clear()  # closed contexts stay
        for _ in range(most):
            cut = results(tts.speak(pieces(HOURS), TELEPHONE))
            await anext(cut)
            await cut.aclose()
        other = results(tts.speak(pieces(OFFER), TELEPHONE))
        await anext(other)
        assert vendor.most_open == most
        assert len(vendor.lines) == 2
        await vendor.until(lambda: vendor.lines[0].connection.state.name == "CLOSED")  # nobody needs it any more
        await other.aclose()

    play(scene, ELEVENLABS_CONTEXTS=str(most))


def test_leaving_ends_speech_that_is_under_way() -> None:
    async def run() -> None:
        async with FakeElevenLabs() as vendor:
            vendor.faults = [Fault(1, stall=True)]
            async with voice(ELEVENLABS_BASE_URL=vendor.url) as tts:
                chunks = results(tts.speak(pieces(HOURS), TELEPHONE))
                await anext(chunks)
            with pytest.raises(ProviderUnavailable):
                await anext(chunks)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_what_the_text_raises_is_raised_to_its_speaker_alone() -> None:
    async def broken() -> AsyncIterator[str]:
        yield HOURS
        raise KeyError("ours")

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        with pytest.raises(KeyError, match="ours"):
            async for _ in results(tts.speak(broken(), TELEPHONE)):
                pass
        assert await said(tts, OFFER) == f"{OFFER} "

    play(scene)


# Idle contexts and connections


@pytest.mark.parametrize("silently", [True, False])
def test_a_connection_closed_for_inactivity_is_replaced(silently: bool) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert await said(tts, HOURS) == f"{HOURS} "
        await vendor.close_idle(silently=silently)
        assert await said(tts, OFFER) == f"{OFFER} "
        assert len(vendor.lines) == 2

    play(scene)


@pytest.mark.parametrize("fault", [Fault(0, close=(1008, "Input timeout exceeded")), Fault(0, reset=True)])
def test_a_connection_that_closes_as_we_speak_costs_no_word(fault: Fault) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        assert await said(tts, HOURS) == f"{HOURS} "
        vendor.faults = [fault]
        assert await said(tts, OFFER, HOURS) == f"{OFFER} {HOURS} "
        assert len(vendor.lines) == 2

    play(scene)


def test_a_context_is_kept_alive_while_the_text_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs, "_PATIENCE_S", 0.02)

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        async def pausing() -> AsyncIterator[str]:
            yield HOURS
            await vendor.until(lambda: vendor.spoken[0].keepalives >= 2)
            yield OFFER

        chunks = [chunk async for chunk in results(tts.speak(pausing(), TELEPHONE))]
        assert spelled(audio_of(chunks)) == f"{HOURS} {OFFER} "
        assert len(vendor.spoken) == 1

    play(scene)


def test_a_context_that_ended_while_the_text_paused_is_replaced() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        heard = asyncio.Event()

        async def pausing() -> AsyncIterator[str]:
            yield HOURS
            await heard.wait()
            await vendor.finish_idle_contexts()
            yield OFFER

        chunks = []
        async for chunk in results(tts.speak(pausing(), TELEPHONE)):
            chunks.append(chunk)
            if len(audio_of(chunks)) == len(f"{HOURS} ") * CHARACTER_SAMPLES:
                heard.set()
        assert spelled(audio_of(chunks)) == f"{HOURS} {OFFER} "
        assert words(chunks) == f"{HOURS} {OFFER}".split()
        assert len({spoken.context_id for spoken in vendor.spoken}) == 2
        await vendor.until(lambda: all(spoken.finished for spoken in vendor.spoken))

    play(scene)


# Faults


def fails(error: type[ProviderError], *faults: Fault, first: bool = True) -> ProviderError:
    """The error of an utterance under these faults, which harm nobody afterwards. `first`: nothing was heard."""
    raised: list[ProviderError] = []

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.faults = list(faults)
        heard: list[SpeechChunk] = []
        with pytest.raises(error) as failure:
            await listen(tts, heard)
        assert (not audio_of(heard)) == first
        assert " ".join((HOURS, OFFER)).split()[: len(words(heard))] == words(heard)
        raised.append(failure.value)
        vendor.faults = []
        assert await said(tts, OFFER) == f"{OFFER} "

    play(scene)
    assert type(raised[0]) is error
    return raised[0]


async def listen(tts: ElevenLabs, heard: list[SpeechChunk]) -> None:
    async for chunk in results(tts.speak(pieces(HOURS, OFFER), TELEPHONE)):
        heard.append(chunk)


def error_message(word: str, sentence: str = "No.") -> str:
    return json.dumps({"message": sentence, "error": word, "code": 1008})


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("input_timeout_exceeded", ProviderUnavailable),
        ("max_active_conversations", ProviderRateLimited),
        ("quota_exceeded", ProviderRateLimited),
        ("detected_unusual_activity", ProviderRejected),
        ("invalid_api_key", ProviderRejected),
        ("something_new", ProviderRejected),
    ],
)
def test_an_error_message_ends_the_speech_after_what_was_spoken(
    word: str, error: type[ProviderError], chunk: int
) -> None:
    assert word in fails(error, Fault(chunk, send=error_message(word), close=(1008, "")), first=chunk == 0).detail


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1000, "", ProviderUnavailable),
        (1001, "", ProviderUnavailable),
        (1002, "", ProviderMalformed),
        (1008, "You have exceeded your quo", ProviderRateLimited),
        (1008, "A policy was violated", ProviderRejected),
        (1011, "internal error", ProviderUnavailable),
        (1013, "", ProviderRateLimited),
    ],
)
def test_a_close_code_tells_what_to_do(code: int, reason: str, error: type[ProviderError]) -> None:
    fails(error, Fault(2, close=(code, reason)), first=False)


def test_a_connection_that_breaks_in_mid_speech_is_told_and_nothing_is_said_twice() -> None:
    fails(ProviderUnavailable, Fault(2, reset=True), first=False)


@pytest.mark.parametrize(
    "garbage",
    ["hello", "[1, 2]", '{"audio": 7, "contextId": "u1"}', '{"audio": "***", "contextId": "u1"}', b"\x00\xff", ""],
)
@pytest.mark.parametrize("chunk", [0, 2])
def test_garbage_is_called_that(garbage: str | bytes, chunk: int) -> None:
    fails(ProviderMalformed, Fault(chunk, send=garbage), first=chunk == 0)


@pytest.mark.parametrize(
    "message",
    [
        {"audio": "", "contextId": "u1", "alignment": None},
        {"audio": None, "contextId": "u1"},
        {"audio": "AAAA", "contextId": "nobody"},
        {"audio": "AAAA"},
        {"type": "something_new", "contextId": "u1", "more": {"of": "it"}},
        {"isFinal": True, "contextId": "nobody"},
        {"is_final": False, "context_id": "u1"},
    ],
)
def test_a_message_that_says_nothing_to_us_changes_nothing(message: dict[str, object]) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.faults = [Fault(1, send=json.dumps(message))]
        assert await said(tts, HOURS) == f"{HOURS} "

    play(scene)


@pytest.mark.parametrize(
    "lie",
    [
        {"chars": ["W", "e"], "charStartTimesMs": [0], "charDurationsMs": [1, 2, 3]},
        {"chars": ["W"], "charStartTimesMs": [1e308], "charDurationsMs": [1]},
        {"chars": [], "charStartTimesMs": []},
        {},
    ],
)
def test_an_alignment_that_cannot_be_is_not_believed(lie: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs, "_QUIET_S", 0.2)

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.faults = [Fault(0, send=json.dumps({"audio": "VVVV", "contextId": "u1", "alignment": lie}))]
        chunks = await speech(tts, HOURS)
        assert words(chunks) == HOURS.split()
        assert audio_of(chunks)[:3] == b"UUU"

    play(scene)


def test_speech_that_starts_late_is_waited_for() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.faults = [Fault(0, wait=(slow := asyncio.Event()))]
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(said(tts, HOURS))
            await vendor.until(lambda: vendor.spoken and vendor.spoken[0].text)
            assert not speaking.done()
            slow.set()
        assert speaking.result() == f"{HOURS} "

    play(scene)


@pytest.mark.parametrize(("chunk", "stage"), [(0, "first_result"), (2, "gap")])
def test_a_vendor_that_stalls_is_given_up(chunk: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs, "_PATIENCE_S", 0.2)
    failure = fails(ProviderTimedOut, Fault(chunk, stall=True), first=chunk == 0)
    assert isinstance(failure, ProviderTimedOut)
    assert failure.stage == stage


def test_a_context_that_ends_before_its_text_is_told() -> None:
    final = json.dumps({"isFinal": True, "contextId": "u1"})
    fails(ProviderMalformed, Fault(2, send=final, stall=True), first=False)


def test_a_vendor_that_floods_us_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elevenlabs_sockets, "MOST_WAITING", 8)

    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.chunks = (160,)
        chunks = results(tts.speak(pieces(HOURS), TELEPHONE))
        await anext(chunks)
        await vendor.until(lambda: vendor.lines)
        assert await said(tts, "Hi.") == "Hi. "  # a listener beside it, who hears while the first one does not
        with pytest.raises(ProviderMalformed, match="ahead of the listener"):
            async for _ in chunks:
                pass

    play(scene)


# Connecting


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "retry_after_s"),
    [
        (401, {}, detail("invalid_api_key"), ProviderRejected, None),
        (403, {}, detail("output_format_not_allowed"), ProviderRejected, None),
        (400, {}, detail("voice_not_found"), ProviderRejected, None),
        (401, {}, detail("quota_exceeded"), ProviderRateLimited, None),
        (429, {"Retry-After": "7"}, detail("too_many_concurrent_requests"), ProviderRateLimited, 7.0),
        (503, {}, b"<html>down</html>", ProviderUnavailable, None),
        (200, {}, b"hello", ProviderMalformed, None),
    ],
)
def test_a_refused_connection_tells_why(
    status: int, headers: dict[str, str], body: bytes, error: type[ProviderError], retry_after_s: float | None
) -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.refusals = [(status, headers, body)]
        with pytest.raises(error) as refused:
            await speech(tts, HOURS)
        assert getattr(refused.value, "retry_after_s", None) == retry_after_s
        assert await said(tts, OFFER) == f"{OFFER} "

    play(scene)


def test_a_wrong_key_and_a_wrong_voice_are_rejected() -> None:
    async def run() -> None:
        async with FakeElevenLabs() as vendor:
            for wrong in ({"ELEVENLABS_API_KEY": "sk_wrong"}, {"ELEVENLABS_VOICE_ID": "no/such voice"}):
                async with voice(ELEVENLABS_BASE_URL=vendor.url, **wrong) as tts:
                    with pytest.raises(ProviderRejected):
                        await speech(tts, HOURS)

    asyncio.run(run())


def test_a_vendor_that_does_not_answer_is_given_up_in_time() -> None:
    async def scene(vendor: FakeElevenLabs, tts: ElevenLabs) -> None:
        vendor.mute.clear()
        with pytest.raises(ProviderTimedOut) as failure:
            await speech(tts, HOURS)
        assert (failure.value.stage, failure.value.deadline_s) == ("connect", 0.2)
        vendor.mute.set()

    play(scene, ELEVENLABS_CONNECT_TIMEOUT_S="0.2")


def test_nobody_there_is_unavailable() -> None:
    async def run() -> None:
        async with FakeElevenLabs() as vendor:
            url = vendor.url
        async with voice(ELEVENLABS_BASE_URL=url) as tts:
            with pytest.raises(ProviderUnavailable):
                await speech(tts, HOURS)

    asyncio.run(run())


def test_what_does_not_speak_http_is_malformed() -> None:
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(mumble, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, voice(ELEVENLABS_BASE_URL=f"ws://127.0.0.1:{port}") as tts:
            with pytest.raises(ProviderMalformed):
                await speech(tts, HOURS)

    asyncio.run(run())


# Settings


@pytest.mark.parametrize("key", ["", " ", "sk_ü", "sk_a\nb"])
def test_a_key_that_is_none_is_named(key: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        voice(ELEVENLABS_API_KEY=key)
    assert refused.value.variable == "ELEVENLABS_API_KEY"
    assert key.strip() == "" or key not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ELEVENLABS_STABILITY", "1.1"),
        ("ELEVENLABS_SIMILARITY", "much"),
        ("ELEVENLABS_SPEED", "3"),
        ("ELEVENLABS_SPEED", "nan"),
        ("ELEVENLABS_CONTEXTS", "0"),
        ("ELEVENLABS_CONTEXTS", "2.5"),
        ("ELEVENLABS_CONNECT_TIMEOUT_S", "-1"),
        ("ELEVENLABS_MODEL", "eleven_v3"),
        ("ELEVENLABS_BASE_URL", "api.elevenlabs.io"),
        ("ELEVENLABS_BASE_URL", "ftp://api.elevenlabs.io"),
        ("ELEVENLABS_BASE_URL", "https://[nonsense"),
        ("ELEVENLABS_BASE_URL", "https://host:port"),
    ],
)
def test_a_setting_of_no_use_is_named(variable: str, value: str) -> None:
    with pytest.raises(ProviderMisconfigured) as refused:
        voice(**{variable: value})
    assert refused.value.variable == variable


def test_its_key_chooses_it() -> None:
    context = ProviderContext({"ELEVENLABS_API_KEY": KEY}, LoopClock())
    name, why = registry.choose("tts", "", context)
    assert (name, why) == ("elevenlabs", "ELEVENLABS_API_KEY is set")
    assert isinstance(registry.build("tts", name, context), ElevenLabs)
