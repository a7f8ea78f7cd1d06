"""What a SIP leg promises beyond every leg: marks by the ring's own count, and a clear that is done when it is said."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from telephony.audio import FRAME_BYTES, TELEPHONE
from telephony.carrier import AudioReceived, CarrierEvent, DigitPressed, MarkReached, PlaceMark, PlayAudio
from telephony.clock import LoopClock
from telephony.errors import OurFault
from telephony.pacing import Pacer
from telephony.playout import Certainty, PlacedWord, PlayoutLedger
from telephony.sip.leg import SipLeg
from tests.app.web.doubles import ScriptedPlayout
from tests.legs import all_events, listening
from tests.telephony.sip.doubles import FRAME_S, Conference, ToyRing
from tests.virtual import run

FRAME = b"\x11" * FRAME_BYTES


class Line:
    """A leg, its ring, and the conference that plays it."""

    def __init__(self) -> None:
        self.ring = ToyRing()
        self.leg = SipLeg(self.ring, LoopClock())
        self.conference = Conference(self.leg, self.ring)
        self.conference.run()


def act(scene: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        line = Line()
        await scene(line)
        line.leg.close()

    run(main())


async def taken(leg: SipLeg, count: int) -> list[CarrierEvent]:
    async with listening(leg) as heard:
        return await heard.next(count)


def test_what_the_caller_says_is_stamped_by_its_samples() -> None:
    async def scene(line: Line) -> None:
        line.conference.caller.extend((FRAME, FRAME * 2, FRAME))  # a late tick finds two frames
        assert await taken(line.leg, 3) == [
            AudioReceived(FRAME, 0),
            AudioReceived(FRAME * 2, 20),
            AudioReceived(FRAME, 60),
        ]

    act(scene)


def test_a_mark_comes_back_once_the_sound_before_it_was_played() -> None:
    async def scene(line: Line) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout((now, PlayAudio(FRAME * 5)), (now, PlaceMark("a")), (now, PlaceMark("b")))
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            assert await taken(line.leg, 2) == [MarkReached("a"), MarkReached("b")]
            assert LoopClock().now() - now == pytest.approx(5 * FRAME_S, abs=FRAME_S)
            line.leg.close()

    act(scene)


def test_a_clear_is_done_when_it_returns_and_takes_the_marks_with_it() -> None:
    async def scene(line: Line) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout(
            (now, PlayAudio(FRAME * 50)),
            (now, PlaceMark("cut")),
            (now + 1, PlayAudio(FRAME)),
            (now + 1, PlaceMark("after")),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await asyncio.sleep(0.1)
            line.leg.clear()
            assert line.ring.pending() == 0
            assert await taken(line.leg, 1) == [MarkReached("after")]
            assert LoopClock().now() - now == pytest.approx(1, abs=2 * FRAME_S)
            line.leg.close()

    act(scene)


def test_the_ledger_knows_the_heard_word_to_the_frame() -> None:
    """The whole way: a pacer feeds the leg, marks come back, and a cut in the middle of a word is placed exactly."""

    async def scene(line: Line) -> None:
        clock = LoopClock()
        ledger = PlayoutLedger(TELEPHONE.rate_hz)
        pacer = Pacer(TELEPHONE, ledger)
        pacer.begin(clock.now())
        words = tuple(PlacedWord(f"w{n}", n * 4000, (n + 1) * 4000) for n in range(6))  # half a second each
        pacer.queue(b"\x11" * 24_000, words)

        def follow(event: CarrierEvent) -> None:
            if isinstance(event, MarkReached):
                assert ledger.mark_reached(event.name, clock.now())

        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(pacer))
            group.create_task(line.leg.listen(follow))
            await asyncio.sleep(1.25)
            heard = pacer.hold(clock.now())
            line.leg.clear()
            assert abs(heard.samples - line.ring.played) <= FRAME_BYTES
            assert heard.words == ("w0", "w1", "w2") or heard.words == ("w0", "w1")
            assert heard.resume_at == 8000
            pacer.resume()
            line.leg.wake()
            await asyncio.sleep(3)
            pacer.finish()
            assert ledger.finished(clock.now())
            assert ledger.peek(clock.now()).certainty is Certainty.CONFIRMED
            line.leg.close()

    act(scene)


def test_a_full_ring_takes_no_more_and_marks_stay_where_the_sound_is() -> None:
    async def scene(line: Line) -> None:
        now = LoopClock().now()
        playout = ScriptedPlayout((now, PlayAudio(b"\x11" * 48_000)), (now, PlaceMark("end")))
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            assert await taken(line.leg, 1) == [MarkReached("end")]
            assert LoopClock().now() - now == pytest.approx(5, abs=2 * FRAME_S)
            line.leg.close()

    act(scene)


def test_a_session_that_does_not_listen_loses_the_newest_and_it_is_counted() -> None:
    async def scene(line: Line) -> None:
        line.conference.caller.extend([FRAME] * 150)
        await asyncio.sleep(3)
        for digit in "12":
            line.leg.press(digit)
        line.leg.close()
        events = await all_events(line.leg)
        assert len(events) == 102 and events[-2:] == [DigitPressed("1"), DigitPressed("2")]
        assert line.leg.dropped_frames == 50

    act(scene)


def test_a_second_writer_is_a_bug() -> None:
    async def scene(line: Line) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(ScriptedPlayout()))
            await asyncio.sleep(0)
            with pytest.raises(OurFault):
                await line.leg.play(ScriptedPlayout())
            line.leg.close()

    act(scene)


def test_a_wake_in_the_middle_of_feeding_asks_the_playout_when_that_is_done() -> None:
    async def scene(line: Line) -> None:
        playout = ScriptedPlayout()
        async with asyncio.TaskGroup() as group:
            group.create_task(line.leg.play(playout))
            await asyncio.sleep(0.1)
            asked = len(playout.asked)
            for _ in range(3):
                line.leg.wake()
            assert len(playout.asked) == asked
            await asyncio.sleep(0)
            assert len(playout.asked) == asked + 1
            line.leg.close()

    act(scene)
