"""Time is learnt and spent through a clock; an alarm ends by time or by bell."""

import asyncio

import pytest

from telephony.clock import Alarm, LoopClock, MonotonicClock
from tests.virtual import run


def test_an_hour_of_virtual_time_passes_at_once_and_exactly() -> None:
    async def scene() -> None:
        clock = LoopClock()
        began = clock.now()
        await clock.sleep_until(began + 3600)
        assert clock.now() - began == pytest.approx(3600, abs=1e-6)

    run(scene())


@pytest.mark.parametrize("clock", [LoopClock(), MonotonicClock()])
def test_a_deadline_in_the_past_returns_without_waiting(clock: LoopClock | MonotonicClock) -> None:
    async def scene() -> None:
        began = clock.now()
        await clock.sleep_until(began - 1000)
        assert clock.now() - began < 500

    run(scene())


@pytest.mark.parametrize("clock", [LoopClock(), MonotonicClock()])
def test_wall_time_has_its_zone(clock: LoopClock | MonotonicClock) -> None:
    assert clock.today().tzinfo is not None


def test_the_machines_clock_never_goes_back() -> None:
    clock = MonotonicClock()
    times = [clock.now() for _ in range(1000)]
    assert times == sorted(times)


async def _waited(deadline_in: float | None, ring_after: float | None) -> float:
    """How long a wait took that may be rung."""
    clock = LoopClock()
    alarm = Alarm(clock)
    began = clock.now()
    async with asyncio.TaskGroup() as group:
        if ring_after is not None:

            async def ring() -> None:
                await clock.sleep_until(began + ring_after)
                alarm.ring()

            group.create_task(ring())
        await alarm.wait_until(None if deadline_in is None else began + deadline_in)
        return clock.now() - began


@pytest.mark.parametrize(
    ("deadline_in", "ring_after", "expected"),
    [(5.0, None, 5.0), (5.0, 2.0, 2.0), (2.0, 5.0, 2.0), (None, 7.0, 7.0), (-3.0, None, 0.0)],
)
def test_an_alarm_ends_at_its_deadline_or_when_rung(
    deadline_in: float | None, ring_after: float | None, expected: float
) -> None:
    assert run(_waited(deadline_in, ring_after)) == pytest.approx(expected, abs=1e-6)


def test_a_ring_that_nobody_waited_for_ends_the_next_wait_and_only_that() -> None:
    async def scene() -> None:
        clock = LoopClock()
        alarm = Alarm(clock)
        alarm.ring()
        alarm.ring()
        began = clock.now()
        await alarm.wait_until(None)
        assert clock.now() == began
        await alarm.wait_until(began + 1)
        assert clock.now() - began == pytest.approx(1, abs=1e-6)

    run(scene())


def test_a_deadline_that_passed_does_not_ring_the_wait_after_it() -> None:
    async def scene() -> None:
        clock = LoopClock()
        alarm = Alarm(clock)
        began = clock.now()
        alarm.ring()
        await alarm.wait_until(began + 1)  # rung: its deadline must not be left armed
        await alarm.wait_until(began + 3)
        assert clock.now() - began == pytest.approx(3, abs=1e-6)

    run(scene())


def test_a_cancelled_wait_leaves_no_timer_behind() -> None:
    async def scene() -> None:
        clock = LoopClock()
        alarm = Alarm(clock)
        began = clock.now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await alarm.wait_until(began + 2)
        await clock.sleep_until(began + 3)
        await alarm.wait_until(began + 5)
        assert clock.now() - began == pytest.approx(5, abs=1e-6)

    run(scene())
