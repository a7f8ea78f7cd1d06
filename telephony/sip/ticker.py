"""The one clock tick of all SIP legs: every 20 ms each ring is read, and each leg gives what is due.

The deadlines are absolute. A loop that comes late finds in the rings what it missed, so a tick is never made up for:
the next one is the next multiple of 20 ms. The wire does not wait for it; it has the pacer's lead in the ring.

The conference fills the rings at a tick of its own. To read soon after it, ours comes a little earlier each time, until
it finds most of the rings empty: then it comes again 3 ms later, and goes on from there. So what callers say waits for
2 ms, where two clocks that do not know of each other would keep it for 10 on average.
"""

from collections.abc import Callable, Iterable

from telephony.audio import FRAME_MS
from telephony.clock import Alarm, Clock
from telephony.sip.leg import SipLeg

ReadAll = Callable[[], Iterable[tuple[int, bytes, int]]]
"""`pjsua2.AudioRing.read_all`: for each open ring its key, the caller's new audio, and the samples played so far."""

_FRAME_S = FRAME_MS / 1000
_LATE_S = 0.030
_EARLIER_S = 0.000_1
_LATER_S = 0.003
"""Longer than a conference of two hundred takes for its tick."""


def next_tick(start: float, now: float) -> int:
    """Number of the first tick after `now`; tick `n` is at `start + n * 20 ms`."""
    return int((now - start) / _FRAME_S + 1e-6) + 1


class MediaTicker:
    """Drives the legs of a process. `run` is its life; it sleeps while there is no leg."""

    def __init__(self, read_all: ReadAll, clock: Clock) -> None:
        self._read_all = read_all
        self._clock = clock
        self._legs: dict[int, SipLeg] = {}
        self._alarm = Alarm(clock)
        self.late_ticks = 0
        """Ticks that came more than 30 ms after their time: the process is overloaded, or was stopped."""

    def add(self, key: int, leg: SipLeg) -> None:
        """Drive the leg whose ring has that key, until it is closed."""
        self._legs[key] = leg
        self._alarm.ring()

    def __len__(self) -> int:
        return len(self._legs)

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            if not self._legs:
                await self._alarm.wait_until(None)
            await self._tick_while_needed()

    async def _tick_while_needed(self) -> None:
        start = self._clock.now()
        while self._legs:
            deadline = start + next_tick(start, self._clock.now()) * _FRAME_S
            await self._clock.sleep_until(deadline)
            now = self._clock.now()
            if now - deadline > _LATE_S:
                self.late_ticks += 1
            start += -_EARLIER_S if self._tick(now) else _LATER_S

    def _tick(self, now: float) -> bool:
        """Whether there was something in most of the rings."""
        legs = self._legs
        full = empty = 0
        for key, audio, played in self._read_all():
            if audio:
                full += 1
            else:
                empty += 1
            leg = legs.get(key)
            if leg is not None:
                leg.tick(now, audio, played)
        for key in [key for key, leg in legs.items() if leg.closed]:
            del legs[key]
        return full >= empty
