"""What every leg promises to the session, be it a media websocket, a SIP call or the line that whole-call tests use.

A scene sees the leg from both ends: as its session, and as the far end, which counts what leaves.
"""

import asyncio
import json
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.websocket_leg import MediaLimits, WebsocketLeg
from telephony.audio import FRAME_BYTES, TELEPHONE
from telephony.carrier import CarrierCommand, CarrierEvent, DigitPressed, PlaceMark, PlayAudio
from telephony.carriers.twilio import TWILIO
from telephony.clock import LoopClock
from telephony.leg import Leg
from telephony.sip.leg import SipLeg
from tests.app.web.doubles import STREAM, ScriptedPlayout, ShortPeer, SocketPeer, TallyCounters, run_virtual, start
from tests.doubles import Line
from tests.legs import all_events, listening
from tests.telephony.sip.doubles import Conference, ToyRing

FRAME_S = 0.02


class FarEnd(Protocol):
    """A leg that is open, and the other end of it."""

    leg: Leg

    async def opened(self) -> None:
        """Return once the leg may be used."""
        ...

    def press(self, digit: str) -> None: ...

    def go(self) -> None:
        """Be gone, without a word."""
        ...

    def sent(self) -> list[str]:
        """What has left so far, in order: audio by the first byte of each message in hex, marks by name, `clear`."""
        ...


class WebsocketFarEnd:
    def __init__(self, peer: SocketPeer | None = None, short_way: ShortPeer | None = None) -> None:
        self.peer = peer or SocketPeer()
        patient = MediaLimits(silence_s=600)
        self.leg = WebsocketLeg(
            TWILIO, self.peer.receive, self.peer.send, LoopClock(), TallyCounters(), patient, short_way
        )

    async def opened(self) -> None:
        await self.peer.receive()  # websocket.connect, which the endpoint takes
        self.peer.says(start())
        assert await self.leg.started() is not None

    def press(self, digit: str) -> None:
        self.peer.says(json.dumps({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": digit}}))

    def go(self) -> None:
        self.peer.hangs_up()

    def sent(self) -> list[str]:
        return [self._told(json.loads(text)) for text in self.peer.texts]

    @staticmethod
    def _told(message: Any) -> str:
        match message["event"]:
            case "media":
                return b64decode(message["media"]["payload"])[:1].hex()
            case "mark":
                return str(message["mark"]["name"])
            case event:
                return str(event)


class ShortFarEnd(WebsocketFarEnd):
    def __init__(self) -> None:
        peer = ShortPeer()
        super().__init__(peer, peer)


class LineFarEnd:
    def __init__(self) -> None:
        self.leg = Line(LoopClock())

    async def opened(self) -> None:
        pass

    def press(self, digit: str) -> None:
        self.leg.press(digit)

    def go(self) -> None:
        self.leg.drop()

    def sent(self) -> list[str]:
        # The line is not run, so that what was sent stays on its way.
        return [item[:1].hex() if isinstance(item, bytes) else item.removeprefix("mark ") for _, item in self.leg._far]


class SipFarEnd:
    def __init__(self) -> None:
        self.ring = ToyRing()
        self.leg = SipLeg(self.ring, LoopClock())
        self.leg._marks = NotedMarks(self.ring.log)

    async def opened(self) -> None:
        Conference(self.leg, self.ring).run()

    def press(self, digit: str) -> None:
        self.leg.press(digit)

    def go(self) -> None:
        self.leg.close()

    def sent(self) -> list[str]:
        # Closing empties the ring, too: that is no clear of the session's.
        return self.ring.log[:-1] if self.leg.closed else list(self.ring.log)


class NotedMarks(deque[tuple[int, str]]):
    """Marks never leave a SIP leg: they are noted where they would."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self._log = log

    def append(self, mark: tuple[int, str]) -> None:
        self._log.append(mark[1])
        super().append(mark)


LEGS = {"websocket": WebsocketFarEnd, "short way": ShortFarEnd, "sip": SipFarEnd, "line": LineFarEnd}
legs = pytest.mark.parametrize("far_end", LEGS.values(), ids=LEGS)
MakeFarEnd = Callable[[], FarEnd]


def on(far_end: MakeFarEnd, scene: Callable[[FarEnd], Coroutine[Any, Any, None]]) -> None:
    """Act a scene with an open leg, in virtual time; no task may be left."""

    async def main() -> None:
        end = far_end()
        await end.opened()
        try:
            await scene(end)
        finally:
            end.leg.close()

    run_virtual(main())


def audio(byte: int) -> PlayAudio:
    return PlayAudio(bytes([byte]) * FRAME_BYTES)


def frames(byte: int, count: int, since: float) -> list[tuple[float, CarrierCommand]]:
    """So many frames, one each 20 ms."""
    return [(since + number * FRAME_S, audio(byte)) for number in range(count)]


async def settled() -> None:
    """Everything that can happen now has happened."""
    await asyncio.sleep(0.001)


@legs
def test_says_what_it_can_and_in_which_format(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        assert end.leg.capabilities.clear
        assert end.leg.audio == TELEPHONE

    on(far_end, scene)


@legs
def test_events_come_in_order_until_the_path_is_gone(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        for digit in "159":
            end.press(digit)
        async with listening(end.leg) as heard:
            assert await heard.next(3) == [DigitPressed(digit) for digit in "159"]
            end.press("0")
            assert await heard.next() == [DigitPressed("0")]
            end.go()
            assert await heard.next() == []
        assert await all_events(end.leg) == []

    on(far_end, scene)


@legs
def test_what_the_listener_raises_ends_the_listening_and_is_raised_there(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        def take(event: CarrierEvent) -> None:
            raise ValueError(event)

        async with asyncio.TaskGroup() as group:
            group.create_task(end.leg.play(ScriptedPlayout()))
            asyncio.get_running_loop().call_later(0.1, end.press, "7")
            with pytest.raises(ValueError, match="7"):
                await end.leg.listen(take)
            end.leg.close()

    on(far_end, scene)


@legs
def test_what_is_due_leaves_in_order_at_its_time(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout((now, audio(1)), (now, PlaceMark("a")), (now + 1, audio(2)), (now + 2, audio(3)))
        async with asyncio.TaskGroup() as group:
            group.create_task(end.leg.play(playout))
            await settled()
            assert end.sent() == ["01", "a"]
            await asyncio.sleep(0.99)
            assert end.sent() == ["01", "a"]
            await asyncio.sleep(0.02)
            assert end.sent() == ["01", "a", "02"]
            await asyncio.sleep(1)
            assert end.sent() == ["01", "a", "02", "03"]
            end.leg.close()

    on(far_end, scene)


@legs
def test_wake_sends_at_once_what_nobody_was_waiting_for(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout()
        end.leg.wake()  # before anybody plays: forgotten or not, it does no harm
        async with asyncio.TaskGroup() as group:
            group.create_task(end.leg.play(playout))
            await asyncio.sleep(5)
            playout.timed.append((now, audio(1)))
            end.leg.wake()
            await settled()
            assert end.sent() == ["01"]
            playout.timed.append((now + 3600, audio(3)))
            end.leg.wake()
            await settled()
            playout.timed.appendleft((now, audio(2)))
            end.leg.wake()
            await settled()
            assert end.sent() == ["01", "02"]
            end.leg.close()

    on(far_end, scene)


@legs
def test_a_clear_leaves_before_any_media(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout((now, audio(1)), (now, PlaceMark("a")))
        end.leg.clear()  # before the writer runs
        async with asyncio.TaskGroup() as group:
            group.create_task(end.leg.play(playout))
            await settled()
            assert end.sent() == ["clear", "01", "a"]
            playout.timed.append((now, audio(2)))
            end.leg.wake()
            end.leg.clear()  # while it waits, and after something became due
            await settled()
            assert end.sent() == ["clear", "01", "a", "clear", "02"]
            end.leg.close()

    on(far_end, scene)


@legs
@given(cut_after_s=st.floats(0, 0.5), pause_s=st.floats(0, 0.1))
def test_nothing_of_a_cleared_reply_leaves_after_its_clear(
    far_end: MakeFarEnd, cut_after_s: float, pause_s: float
) -> None:
    async def scene(end: FarEnd) -> None:
        clock = LoopClock()
        playout = ScriptedPlayout(*frames(1, 20, clock.now()))
        async with asyncio.TaskGroup() as group:
            group.create_task(end.leg.play(playout))
            await asyncio.sleep(cut_after_s)
            playout.timed.clear()
            before = len(end.sent())
            end.leg.clear()
            await asyncio.sleep(pause_s)
            playout.timed.extend(frames(2, 5, clock.now()))
            end.leg.wake()
            await asyncio.sleep(0.2)
            assert end.sent() == ["01"] * before + ["clear"] + ["02"] * 5
            end.leg.close()

    on(far_end, scene)


@legs
def test_close_ends_reading_and_playing_and_may_be_said_again(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout(*frames(1, 100, now + 1))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(all_events(end.leg))
            group.create_task(end.leg.play(playout))
            await settled()
            end.leg.close()
            end.leg.close()
        assert reading.result() == []
        assert LoopClock().now() < now + 1, "both ended at once"
        end.leg.close()

    on(far_end, scene)


@legs
def test_a_closed_leg_plays_nothing_and_takes_every_call(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        now = LoopClock().now()
        end.leg.close()
        end.leg.clear()
        end.leg.wake()
        await end.leg.play(ScriptedPlayout((now, audio(1))))
        assert end.sent() == []
        assert await all_events(end.leg) == []

    on(far_end, scene)


@legs
def test_a_far_end_that_goes_ends_reading_and_playing_without_an_error(far_end: MakeFarEnd) -> None:
    async def scene(end: FarEnd) -> None:
        playout = ScriptedPlayout(*frames(1, 100, LoopClock().now()))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(all_events(end.leg))
            group.create_task(end.leg.play(playout))
            await asyncio.sleep(0.05)
            end.go()
        assert reading.result() == []
        left = len(end.sent())
        assert 0 < left < 100
        await asyncio.sleep(1)
        assert len(end.sent()) == left

    on(far_end, scene)
