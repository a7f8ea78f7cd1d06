"""Audio that is sent from where it comes in: the order, the pace and the watch over the vendor stay what they are."""

import asyncio

import pytest

from providers.base import Recognition
from providers.errors import ProviderTimedOut
from providers.stt.deepgram import recognition as adapter
from providers.stt.deepgram.flux import Flux
from providers.stt.deepgram.live import Live
from tests.fakes.deepgram import FakeDeepgram, Fault, Line, mute, say, silence
from tests.providers.stt.test_deepgram import FLUX, LIVE, both, call, play, speak

CHUNK_BYTES = {LIVE: 800, FLUX: 640}
ENDS_TURN = {LIVE: "Finalize", FLUX: "ForceEndTurn"}


async def came(vendor: FakeDeepgram, audio_bytes: int) -> Line:
    """The vendor's line, once it has had so much audio."""
    while not vendor.lines or len(vendor.lines[0].audio) < audio_bytes:
        await asyncio.sleep(0.001)
    return vendor.lines[0]


def look_only_when_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks after the connection just because it has been idle."""
    for dialect in (Live, Flux):
        monkeypatch.setattr(dialect, "idle_s", 60.0)


@both
def test_a_chunk_is_sent_from_where_its_last_byte_comes_in(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_by = []
    written = adapter.send_at_once

    def send_at_once(socket: adapter.Socket, audio: bytes) -> None:
        sent_by.append(asyncio.current_task())
        written(socket, audio)

    monkeypatch.setattr(adapter, "send_at_once", send_at_once)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            for at in range(1, 6):
                speak(recognition, silence(100))
                await came(vendor, at * 800 // CHUNK_BYTES[model] * CHUNK_BYTES[model])
            assert sent_by == [asyncio.current_task()] * len(vendor.lines[0].chunks)

    play(scene)


@both
def test_audio_behind_a_question_waits_until_it_is_asked(model: str) -> None:
    half, whole = CHUNK_BYTES[model] // 2, CHUNK_BYTES[model]

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            said = say("one") + silence(100)  # a whole number of either's chunks
            speak(recognition, said)
            line = await came(vendor, len(said))
            await known(recognition)
            begin = len(line.came)
            recognition.send(silence(1000)[:half])
            recognition.finalize()
            recognition.send(silence(1000)[:whole])
            await came(vendor, len(said) + half + whole)
            assert line.came[begin : begin + 3] == [half, ENDS_TURN[model], whole]

    async def known(recognition: Recognition) -> None:
        """Flux has no turn to end before it has told of one."""
        async for event in recognition:
            if getattr(event, "text", ""):
                return

    play(scene)


@both
def test_what_comes_in_at_once_leaves_whole(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_only_when_rung(monkeypatch)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            recognition.send(silence(400))
            await came(vendor, 3_200)
            recognition.send(silence(400))
            await came(vendor, 6_400)

    line = play(scene).lines[0]
    assert set(line.chunks) == {CHUNK_BYTES[model]}


@both
def test_a_link_that_would_have_to_wait_is_left_to_who_can_wait(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def send_at_once(*_: object) -> None:
        raise AssertionError("the link takes nothing at once")

    monkeypatch.setattr(adapter, "takes_at_once", lambda socket: False)
    monkeypatch.setattr(adapter, "send_at_once", send_at_once)

    async def scene(vendor: FakeDeepgram) -> None:
        async with call(vendor, model) as recognition:
            for at in range(1, 6):
                speak(recognition, silence(400))
                await came(vendor, at * 3_200)

    play(scene)


@both
def test_a_backlog_goes_at_the_vendors_pace_wherever_it_is_sent_from(model: str) -> None:
    async def scene(vendor: FakeDeepgram) -> None:
        loop = asyncio.get_running_loop()
        async with call(vendor, model) as recognition:
            speak(recognition, silence(100))
            line = await came(vendor, CHUNK_BYTES[model])
            begun_at = loop.time()
            for _ in range(40):  # five times as fast as a call
                speak(recognition, silence(100))
                await asyncio.sleep(0.02)
            sent_s = len(line.audio) / 8000
            assert sent_s <= 1.25 * (2.0 + loop.time() - begun_at) + 0.2
            assert sent_s > 2.4

    play(scene)


@both
def test_a_vendor_that_stalls_is_noticed_while_audio_flows(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look_only_when_rung(monkeypatch)

    async def scene(vendor: FakeDeepgram) -> None:
        vendor.faults.append(Fault(mute, 0.5))
        async with call(vendor, model, DEEPGRAM_GAP_TIMEOUT_S="0.3") as recognition:
            events = aiter(recognition)

            async def listen() -> None:
                async for _ in events:
                    pass

            listening = asyncio.create_task(listen())
            sound = say("one two three four five six seven eight nine ten")
            for at in range(0, len(sound), 160):
                recognition.send(sound[at : at + 160])
                await asyncio.sleep(0.02)
                if listening.done():
                    break
            with pytest.raises(ProviderTimedOut, match="gap"):
                await asyncio.wait_for(listening, 1.0)

    play(scene)
