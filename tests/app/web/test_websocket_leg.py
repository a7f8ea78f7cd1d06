import asyncio
import dataclasses
import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.websocket_leg import LegEnd, MediaLimits, WebsocketLeg
from telephony.audio import TELEPHONE
from telephony.carrier import (
    AudioReceived,
    Carrier,
    CarrierEvent,
    DigitPressed,
    PlaceMark,
    PlayAudio,
)
from telephony.carriers.twilio import TWILIO
from telephony.clock import LoopClock
from telephony.errors import OurFault
from telephony.leg import Leg
from tests.app.web.doubles import (
    STREAM,
    ScriptedPlayout,
    SocketPeer,
    TallyCounters,
    VirtualTimeLoop,
    media,
    run_virtual,
    start,
)
from tests.legs import all_events

LIMITS = MediaLimits()


class Line:
    """A leg whose stream has started, and its far end."""

    def __init__(self, carrier: Carrier = TWILIO, limits: MediaLimits = LIMITS) -> None:
        self.peer = SocketPeer()
        self.counters = TallyCounters()
        self.leg = WebsocketLeg(carrier, self.peer.receive, self.peer.send, LoopClock(), self.counters, limits)

    async def started(self) -> "Line":
        await self.peer.receive()  # websocket.connect, which the endpoint takes
        self.peer.says(start())
        assert await self.leg.started() is not None
        return self

    async def read(self) -> list[CarrierEvent]:
        return await all_events(self.leg)

    @property
    def heard(self) -> list[str]:
        """What the far end was told: audio as its first byte in hex, marks by name, `clear`."""
        told = []
        for text in self.peer.texts:
            message = json.loads(text)
            match message["event"]:
                case "media":
                    told.append(b64decode(message["media"]["payload"])[:1].hex())
                case "mark":
                    told.append(message["mark"]["name"])
                case event:
                    told.append(event)
        return told


async def pass_time(seconds: float) -> None:
    await asyncio.sleep(seconds)


def audio(byte: int) -> PlayAudio:
    return PlayAudio(bytes([byte]) * 160)


# Reading


def test_events_come_in_order_until_the_peer_hangs_up() -> None:
    async def scenario() -> None:
        line = await Line().started()
        digit = f'{{"event":"dtmf","streamSid":"{STREAM}","dtmf":{{"digit":"5"}}}}'
        line.peer.says('{"event":"connected"}', media(1), "nonsense", digit, media(2))
        line.peer.hangs_up()
        assert await line.read() == [
            AudioReceived(b"\xff" * 4, 20),
            DigitPressed("5"),
            AudioReceived(b"\xff" * 4, 40),
        ]
        assert line.leg.end is LegEnd.DISCONNECTED
        assert await line.read() == []
        assert line.counters.of("media_messages_malformed", carrier="twilio", reason="not_json") == 1
        assert line.counters.of("media_legs_ended", carrier="twilio", reason="disconnected") == 1

    run_virtual(scenario())


def test_a_leg_is_a_leg() -> None:
    async def scenario() -> None:
        leg: Leg = (await Line().started()).leg
        assert (leg.capabilities, leg.audio) == (TWILIO.capabilities, TELEPHONE)
        leg.close()

    run_virtual(scenario())


def test_malformed_messages_end_the_stream_only_when_nothing_else_comes() -> None:
    async def scenario() -> None:
        line = await Line(limits=MediaLimits(malformed_in_a_row=5)).started()
        line.peer.says(*["?"] * 4, media(1), *["?"] * 4, b"binary", media(2))
        assert await line.read() == [AudioReceived(b"\xff" * 4, 20)]
        assert line.leg.end is LegEnd.UNUSABLE
        assert line.counters.of("media_messages_malformed", carrier="twilio", reason="binary") == 1

    run_virtual(scenario())


def test_a_silent_peer_is_taken_for_gone() -> None:
    async def scenario() -> None:
        line = await Line().started()
        loop = asyncio.get_running_loop()
        for number in range(1, 11):
            loop.call_later(number * 0.5, line.peer.says, media(number))
        began = loop.time()
        assert len(await line.read()) == 10
        assert line.leg.end is LegEnd.SILENT
        assert loop.time() - began == pytest.approx(5.0 + LIMITS.silence_s, abs=0.01)

    run_virtual(scenario())


def test_a_process_that_was_held_up_does_not_blame_the_peer() -> None:
    async def scenario() -> None:
        line = await Line().started()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)

        def stall() -> None:
            loop.stall(30)
            loop.call_soon(line.peer.says, media(1))  # it waited in the socket; it is read after the watch has come

        loop.call_later(LIMITS.silence_s / 2, stall)
        assert await line.read() == [AudioReceived(b"\xff" * 4, 20)]  # and then it is silent in earnest
        assert line.leg.end is LegEnd.SILENT
        assert loop.time() == pytest.approx(LIMITS.silence_s / 2 + 30 + LIMITS.silence_s, abs=0.01)

    run_virtual(scenario())


def test_a_process_that_was_held_up_does_not_blame_the_socket() -> None:
    async def scenario() -> None:
        line = await Line().started()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        line.peer.writable.clear()

        def stall() -> None:
            loop.stall(30)
            loop.call_soon(line.peer.writable.set)

        loop.call_later(1, stall)
        loop.call_later(31.5, line.leg.close)
        await line.leg.play(ScriptedPlayout((0.0, audio(1))))
        assert line.heard == ["01"]
        assert line.leg.end is LegEnd.CLOSED

    run_virtual(scenario())


def test_close_lets_the_reader_and_the_writer_go() -> None:
    async def scenario() -> None:
        line = await Line().started()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(line.read())
            playing = group.create_task(line.leg.play(ScriptedPlayout((99.0, audio(1)))))
            await pass_time(1)
            assert not reading.done()
            assert not playing.done()
            line.leg.close()
            line.leg.close()
        assert reading.result() == []
        assert line.heard == []
        assert line.leg.end is LegEnd.CLOSED
        assert line.counters.of("media_legs_ended", carrier="twilio", reason="closed") == 1

    run_virtual(scenario())


def test_a_listener_that_closes_the_leg_is_told_no_more() -> None:
    async def scenario() -> None:
        line = await Line().started()
        line.peer.says(media(1), media(2))
        seen = []

        def take(event: CarrierEvent) -> None:
            line.leg.close()
            seen.append(event)

        await line.leg.listen(take)
        assert len(seen) == 1

    run_virtual(scenario())


@pytest.mark.parametrize("which", ["read", "play"])
def test_a_cancelled_user_is_cancelled(which: str) -> None:
    async def scenario() -> None:
        line = await Line().started()
        user: Any = line.read() if which == "read" else line.leg.play(ScriptedPlayout())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(user)
            await pass_time(0.1)
            task.cancel()
        assert task.cancelled()
        assert line.leg.end is None
        await line.leg.shut(1000)
        assert line.peer.close_code == 1000

    run_virtual(scenario())


# Playing


def test_commands_leave_when_they_are_due() -> None:
    async def scenario() -> None:
        line = await Line().started()
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent_at: list[float] = []
        send = line.peer.send

        async def stamped(message: Any) -> None:
            sent_at.append(round(loop.time() - began, 3))
            await send(message)

        line.leg._send = stamped
        playout = ScriptedPlayout((0.0, audio(1)), (0.02, audio(2)), (0.02, PlaceMark("m")), (0.5, audio(3)))
        loop.call_later(1, line.leg.close)
        await line.leg.play(playout)
        assert line.heard == ["01", "02", "m", "03"]
        assert sent_at == [0.0, 0.02, 0.02, 0.5]
        assert len(playout.asked) == 3, "it is asked when something is due, not all the time"

    run_virtual(scenario())


def test_nothing_due_waits_for_a_wake() -> None:
    async def scenario() -> None:
        line = await Line(limits=MediaLimits(silence_s=100)).started()
        playout = ScriptedPlayout()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await pass_time(60)
            assert len(playout.asked) == 1
            playout.timed.append((0.0, audio(1)))
            line.leg.wake()
            await pass_time(0)
            await pass_time(0)
            assert line.heard == ["01"]
            line.leg.close()

    run_virtual(scenario())


def test_a_wake_while_sending_is_not_lost() -> None:
    async def scenario() -> None:
        line = await Line().started()
        playout = ScriptedPlayout((0.0, audio(1)))
        line.peer.writable.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await line.peer.blocked.wait()
            playout.timed.append((0.0, audio(2)))
            line.leg.wake()
            line.peer.writable.set()
            await pass_time(0.01)
            assert line.heard == ["01", "02"]
            line.leg.close()

    run_virtual(scenario())


def test_a_playout_that_is_always_behind_does_not_take_the_loop() -> None:
    class Behind(ScriptedPlayout):
        def next_due(self, now: float) -> float | None:
            return now - 1

    async def scenario() -> None:
        line = await Line().started()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(Behind()))
            for _ in range(5):
                await asyncio.sleep(0)
            line.leg.close()

    run_virtual(scenario())


def test_a_clear_leaves_before_any_media() -> None:
    async def scenario() -> None:
        line = await Line().started()
        playout = ScriptedPlayout((0.0, audio(1)), (0.5, audio(2)))
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await pass_time(0.1)
            line.leg.clear()
            line.leg.clear()
            playout.timed.appendleft((0.0, audio(3)))
            await pass_time(0)
            await pass_time(0)
            assert line.heard == ["01", "clear", "03"]
            await pass_time(1)
            line.leg.close()
        assert line.heard == ["01", "clear", "03", "02"]

    run_virtual(scenario())


def test_what_waits_behind_a_blocked_socket_is_overtaken_by_a_clear() -> None:
    async def scenario() -> None:
        line = await Line().started()
        playout = ScriptedPlayout((0.0, audio(1)), (0.0, PlaceMark("stale")), (0.0, audio(2)))
        line.peer.writable.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await line.peer.blocked.wait()
            line.leg.clear()
            playout.timed.append((0.0, audio(3)))
            line.peer.writable.set()
            await pass_time(0.01)
            line.leg.close()
        assert line.heard == ["01", "clear", "03"]

    run_virtual(scenario())


def test_a_clear_before_the_writer_starts_is_kept() -> None:
    async def scenario() -> None:
        line = await Line().started()
        line.leg.clear()
        asyncio.get_running_loop().call_later(0.1, line.leg.close)
        await line.leg.play(ScriptedPlayout((0.0, audio(1))))
        assert line.heard == ["clear", "01"]

    run_virtual(scenario())


def test_a_carrier_that_cannot_clear_is_not_asked_to() -> None:
    deaf = dataclasses.replace(TWILIO, capabilities=dataclasses.replace(TWILIO.capabilities, clear=False))

    async def scenario() -> None:
        line = await Line(deaf).started()
        line.leg.clear()
        asyncio.get_running_loop().call_later(0.1, line.leg.close)
        await line.leg.play(ScriptedPlayout())
        assert line.heard == []

    run_virtual(scenario())


def test_a_socket_that_takes_no_more_is_given_up() -> None:
    async def scenario() -> None:
        line = await Line(limits=MediaLimits(silence_s=1000)).started()
        loop = asyncio.get_running_loop()
        line.peer.writable.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(ScriptedPlayout((3.0, audio(1)))))
            reading = group.create_task(line.read())
        assert line.leg.end is LegEnd.STUCK
        assert reading.result() == []
        assert loop.time() == pytest.approx(3.0 + LIMITS.send_within_s, abs=0.01)
        await line.leg.shut(1000)
        assert loop.time() == pytest.approx(3.0 + 2 * LIMITS.send_within_s, abs=0.01)
        assert line.peer.sent == []

    run_virtual(scenario())


def test_a_slow_socket_within_its_deadline_is_not_given_up() -> None:
    async def scenario() -> None:
        line = await Line(limits=MediaLimits(silence_s=1000)).started()
        line.peer.writable.clear()
        loop = asyncio.get_running_loop()
        loop.call_later(LIMITS.send_within_s - 0.1, line.peer.writable.set)
        loop.call_later(20, line.leg.close)
        await line.leg.play(ScriptedPlayout((0.0, audio(1)), (0.0, audio(2))))
        assert line.heard == ["01", "02"]
        assert line.leg.end is LegEnd.CLOSED

    run_virtual(scenario())


@pytest.mark.parametrize("blocked", [True, False])
def test_a_peer_that_vanishes_ends_the_writer_and_the_reader(blocked: bool) -> None:
    async def scenario() -> None:
        line = await Line().started()
        if blocked:
            line.peer.writable.clear()
        else:
            line.peer.disconnected = True  # nobody has told the reader yet
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(ScriptedPlayout((0.0, audio(1)))))
            group.create_task(line.read())
            if blocked:
                await line.peer.blocked.wait()
                line.peer.hangs_up()
        assert line.leg.end is LegEnd.DISCONNECTED
        await line.leg.shut(1000)
        assert line.peer.sent == []

    run_virtual(scenario())


def test_a_leg_that_has_ended_plays_nothing() -> None:
    async def scenario() -> None:
        line = await Line().started()
        line.leg.close()
        line.leg.clear()
        await line.leg.play(ScriptedPlayout((0.0, audio(1))))
        assert line.heard == []

    run_virtual(scenario())


def test_a_second_writer_is_our_fault() -> None:
    async def scenario() -> None:
        line = await Line().started()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(ScriptedPlayout()))
            await pass_time(0.1)
            with pytest.raises(OurFault):
                await line.leg.play(ScriptedPlayout())
            line.leg.close()
        await line.leg.play(ScriptedPlayout())  # one after the other is fine

    run_virtual(scenario())


def test_an_error_of_the_playout_reaches_the_session() -> None:
    class Broken(ScriptedPlayout):
        def due(self, now: float) -> Any:
            raise ZeroDivisionError

    async def scenario() -> None:
        line = await Line().started()
        with pytest.raises(ZeroDivisionError):
            await line.leg.play(Broken())
        await line.leg.shut(1011)
        assert line.peer.close_code == 1011

    run_virtual(scenario())


# The end


def test_the_close_frame_is_the_last_message() -> None:
    async def scenario() -> None:
        line = await Line().started()
        line.peer.writable.clear()
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(line.leg.play(ScriptedPlayout((0.0, audio(1)), (0.0, audio(2)))))
            await line.peer.blocked.wait()
            shutting = group.create_task(line.leg.shut(1000))
            await playing
            line.peer.writable.set()
            await shutting
        assert line.peer.sent == [{"type": "websocket.close", "code": 1000}]

    run_virtual(scenario())


actions = st.lists(
    st.sampled_from(
        ["media", "nonsense", "wake", "clear", "block", "unblock", "close", "hang up", "play more", "wait"]
    ),
    max_size=30,
)


@given(actions=actions, cancelled=st.booleans())
def test_whatever_happens_nothing_hangs_and_nothing_follows_the_close(actions: list[str], cancelled: bool) -> None:
    async def scenario() -> None:
        line = await Line().started()
        loop = asyncio.get_running_loop()
        playout = ScriptedPlayout((0.1, audio(1)), (0.1, PlaceMark("m")), (0.2, audio(2)))
        acts = {
            "media": lambda: line.peer.says(media(int(loop.time() * 50) + 1)),
            "nonsense": lambda: line.peer.says("?"),
            "wake": line.leg.wake,
            "clear": line.leg.clear,
            "block": line.peer.writable.clear,
            "unblock": line.peer.writable.set,
            "close": line.leg.close,
            "hang up": line.peer.hangs_up,
            "play more": lambda: playout.timed.append((loop.time(), audio(3))),
            "wait": lambda: None,
        }
        async with asyncio.TaskGroup() as group:
            users = [group.create_task(line.leg.play(playout)), group.create_task(line.read())]
            for action in actions:
                acts[action]()
                await pass_time(0.05)
            if cancelled:
                for user in users:
                    user.cancel()
            # Nothing more comes: the leg ends by itself, at the latest when the silence is noticed.
        assert cancelled or line.leg.end is not None
        await line.leg.shut(1000)
        closes = [message for message in line.peer.sent if message["type"] == "websocket.close"]
        assert len(closes) <= 1
        assert not closes or line.peer.sent[-1] is closes[0]
        assert loop.time() < 30

    run_virtual(scenario())
