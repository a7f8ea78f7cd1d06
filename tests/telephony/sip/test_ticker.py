"""The one tick of all legs."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from telephony.carrier import AudioReceived, MarkReached, PlaceMark, PlayAudio
from telephony.clock import LoopClock
from telephony.sip.leg import SipLeg
from telephony.sip.ticker import MediaTicker, next_tick
from tests.app.web.doubles import ScriptedPlayout
from tests.legs import listening
from tests.telephony.sip.doubles import ToyRing
from tests.virtual import run


class Rings:
    """All rings of a process, as `pjsua2.AudioRing.read_all` reads them; each brings one byte per tick."""

    def __init__(self) -> None:
        self.rings: dict[int, ToyRing] = {}
        self.reads: list[float] = []

    def read_all(self) -> list[tuple[int, bytes, int]]:
        self.reads.append(LoopClock().now())
        for ring in self.rings.values():
            ring.play_frame()
        return [(key, bytes([key]), ring.played) for key, ring in self.rings.items()]

    def open(self, key: int) -> SipLeg:
        self.rings[key] = ToyRing()
        return SipLeg(self.rings[key], LoopClock())


@given(st.floats(0, 1e6), st.floats(0, 1e5))
def test_the_next_tick_is_the_next_multiple_of_20_ms(start: float, passed: float) -> None:
    now = start + passed
    tick = start + next_tick(start, now) * 0.02
    assert -1e-6 < tick - now <= 0.02 + 1e-6


def test_each_leg_gets_its_own_ring_and_what_is_due_leaves() -> None:
    async def main() -> None:
        rings = Rings()
        ticker = MediaTicker(rings.read_all, LoopClock())
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(ticker.run())
            legs = {key: rings.open(key) for key in (1, 2)}
            for key, leg in legs.items():
                ticker.add(key, leg)
                now = LoopClock().now()
                playout = ScriptedPlayout((now, PlayAudio(bytes(160))), (now, PlaceMark(f"m{key}")))
                group.create_task(leg.play(playout))
            rings.open(3)  # a ring whose leg was closed already
            for key, leg in legs.items():
                async with listening(leg) as heard:
                    assert await heard.next(2) == [AudioReceived(bytes([key]), 0), MarkReached(f"m{key}")]
            for leg in legs.values():
                leg.close()
            ticking.cancel()

    run(main())


def test_it_sleeps_while_there_is_no_leg_and_wakes_for_the_first() -> None:
    async def main() -> None:
        rings = Rings()
        ticker = MediaTicker(rings.read_all, LoopClock())
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(ticker.run())
            await asyncio.sleep(3600)
            assert rings.reads == []
            leg = rings.open(1)
            ticker.add(1, leg)
            await asyncio.sleep(1.001)
            assert len(rings.reads) == 50 and ticker.late_ticks == 0
            leg.close()
            await asyncio.sleep(3600)
            assert len(rings.reads) == 51 and len(ticker) == 0
            ticking.cancel()

    run(main())


def test_ticks_that_were_missed_are_not_made_up_for() -> None:
    class Stalling(LoopClock):
        """A clock whose process stood still once, for a tenth of a second."""

        stalled_s = 0.0

        def now(self) -> float:
            return super().now() + self.stalled_s

    async def main() -> None:
        rings, clock = Rings(), Stalling()
        ticker = MediaTicker(rings.read_all, clock)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(ticker.run())
            leg = rings.open(1)
            ticker.add(1, leg)
            await asyncio.sleep(0.101)
            clock.stalled_s = 0.1
            await asyncio.sleep(0.1)
            assert len(rings.reads) == 10
            assert ticker.late_ticks == 1
            leg.close()
            ticking.cancel()

    run(main())


class Conference(Rings):
    """Rings that are filled at a time of their own: each brings a byte when it was, and nothing before."""

    def __init__(self, offset_s: float) -> None:
        super().__init__()
        self._offset_s = offset_s
        self._filled = 0
        self.waited_s: list[float] = []
        """How long what was read had been there."""

    def read_all(self) -> list[tuple[int, bytes, int]]:
        now = LoopClock().now()
        self.reads.append(now)
        filled = int((now - self._offset_s) / 0.02)
        fresh, self._filled = filled > self._filled, filled
        if fresh:
            self.waited_s.append(now - self._offset_s - filled * 0.02)
        return [(key, b"x" if fresh else b"", 0) for key in self.rings]


@given(st.floats(0, 0.0199))
def test_it_reads_soon_after_the_rings_are_filled_whenever_that_is(offset_s: float) -> None:
    async def main() -> None:
        conference = Conference(offset_s)
        ticker = MediaTicker(conference.read_all, LoopClock())
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(ticker.run())
            leg = conference.open(1)
            ticker.add(1, leg)
            await asyncio.sleep(8.0)
            settled = conference.waited_s[250:]
            assert len(settled) > 140 and max(settled) < 0.0035
            assert len(conference.reads) < 425  # hardly more than one for each 20 ms
            leg.close()
            ticking.cancel()

    run(main())
