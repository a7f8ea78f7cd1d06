"""Time. The only file that reads a clock or sleeps; everything else is handed a `Clock` or a `now`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The only way to learn or spend time."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Return at `deadline` (on the scale of `now`) or as soon after it as the event loop allows."""
        ...

    def today(self) -> datetime:
        """Wall time, with its zone; for people and records, never for measuring."""
        ...


class MonotonicClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    def today(self) -> datetime:
        return datetime.now(UTC).astimezone()


class LoopClock:
    """The running event loop's clock: under a virtual-time loop a whole call takes milliseconds."""

    def __init__(self, today: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self._today = today

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - self.now()))

    def today(self) -> datetime:
        return self._today


class Alarm:
    """A wait that ends at a time which may still change, or when somebody rings. One waiter; no task is needed.

    Works on any event loop: the deadline is armed relative to the clock, so virtual time moves it too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """End the present wait, or the next one if nobody waits."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_until(self, deadline: float | None) -> None:
        """Return at `deadline`, or earlier when rung; None waits for the ring alone."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if deadline is None else loop.call_later(max(0.0, deadline - self._clock.now()), self.ring)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False
