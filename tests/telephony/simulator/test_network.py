import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.clock import LoopClock
from telephony.simulator.faults import Network, Stall
from telephony.simulator.network import HELD_LIMIT, Link, Passage
from tests.telephony.simulator.virtual_time import run_virtually

TIMES = st.lists(st.floats(0, 30), max_size=50).map(sorted)


@given(TIMES, st.floats(0, 200), st.floats(0, 200))
def test_messages_keep_their_order_and_take_at_least_the_delay(times: list[float], delay: float, jitter: float) -> None:
    passage = Passage(Network(delay_ms=delay, jitter_ms=jitter), 0.0, "seed")
    leaving = [passage.leaves(now) for now in times]
    assert leaving == sorted(leaving)
    assert all(left >= now + delay / 1000 for now, left in zip(times, leaving, strict=True))


def test_without_jitter_the_delay_is_exact() -> None:
    passage = Passage(Network(delay_ms=40), 0.0, "seed")
    assert passage.leaves(1.0) == 1.04


def test_nothing_leaves_during_a_stall_and_everything_at_its_end() -> None:
    passage = Passage(Network(delay_ms=10, stalls=(Stall(at_s=1.0, for_ms=500),)), 100.0, "seed")
    assert passage.leaves(100.5) == pytest.approx(100.51)
    assert passage.leaves(100.995) == 101.5
    assert passage.leaves(101.2) == 101.5
    assert passage.leaves(101.495) == pytest.approx(101.505)


def test_a_link_delivers_in_order_and_in_time() -> None:
    async def scenario() -> list[tuple[str, float]]:
        clock = LoopClock()
        delivered: list[tuple[str, float]] = []
        link = Link(Passage(Network(delay_ms=100), 0.0, "seed"), clock, lost=lambda: None)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(link.run())
            for name, at in (("a", 0.0), ("b", 0.05), ("c", 1.0)):
                await clock.sleep_until(at)
                link.enter(lambda name=name: delivered.append((name, round(clock.now(), 3))))
            await clock.sleep_until(2.0)
            running.cancel()
        return delivered

    assert run_virtually(scenario()) == [("a", 0.1), ("b", 0.15), ("c", 1.1)]


def test_a_link_that_holds_too_much_loses_the_connection() -> None:
    async def scenario() -> int:
        lost: list[bool] = []
        link = Link(Passage(Network(delay_ms=1000), 0.0, "seed"), LoopClock(), lost=lambda: lost.append(True))
        for _ in range(HELD_LIMIT + 2):
            link.enter(lambda: None)
        return len(lost)

    assert run_virtually(scenario()) == 2


def test_stalls_and_drops_happen_once() -> None:
    network = Network(delay_ms=5, stalls=(Stall(1, 100),), drop_at_s=2)
    assert network.afterwards() == Network(delay_ms=5)
    assert not Network(drop_at_s=2).delays
