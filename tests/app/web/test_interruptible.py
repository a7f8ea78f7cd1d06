import asyncio

import pytest

from app.web.interruptible import Interruptible
from telephony.errors import LegClosed
from tests.app.web.doubles import run_virtual


async def wait_forever(wait: Interruptible) -> None:
    with wait:
        await asyncio.Event().wait()


def test_an_interrupt_ends_the_wait_and_not_the_task() -> None:
    async def scenario() -> None:
        wait = Interruptible()
        asyncio.get_running_loop().call_later(1, wait.interrupt)
        with pytest.raises(LegClosed):
            await wait_forever(wait)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(1):  # the task can still await, and be timed out, as if nothing had been
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run_virtual(scenario())


def test_every_later_wait_ends_at_once() -> None:
    async def scenario() -> None:
        wait = Interruptible()
        wait.interrupt()
        wait.interrupt()
        for _ in range(2):
            with pytest.raises(LegClosed):
                await wait_forever(wait)

    run_virtual(scenario())


def test_what_arrived_in_the_same_moment_is_given_up() -> None:
    async def scenario() -> None:
        wait, arrived = Interruptible(), asyncio.Event()

        def both() -> None:
            arrived.set()
            wait.interrupt()

        asyncio.get_running_loop().call_later(1, both)
        with pytest.raises(LegClosed), wait:
            await arrived.wait()
        await asyncio.wait_for(arrived.wait(), 1)

    run_virtual(scenario())


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_a_cancellation_from_elsewhere_stays_one(cancelled_first: bool) -> None:
    async def scenario() -> None:
        wait = Interruptible()

        async def cancelled() -> None:
            with pytest.raises(asyncio.CancelledError):
                await wait_forever(wait)
            raise asyncio.CancelledError

        async with asyncio.TaskGroup() as group:
            task = group.create_task(cancelled())
            await asyncio.wait([task], timeout=1)
            first, second = (task.cancel, wait.interrupt) if cancelled_first else (wait.interrupt, task.cancel)
            first()
            second()
        assert task.cancelled()

    run_virtual(scenario())


def test_a_task_may_interrupt_its_own_wait() -> None:
    async def scenario() -> None:
        wait = Interruptible()

        async def hears_of_the_end() -> None:
            wait.interrupt()

        with pytest.raises(LegClosed), wait:
            await hears_of_the_end()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1)  # no cancellation is left behind

    run_virtual(scenario())


def test_another_error_passes_through() -> None:
    async def scenario() -> None:
        wait = Interruptible()

        async def fails() -> None:
            wait.interrupt()
            raise ValueError("ours")

        with pytest.raises(ValueError, match="ours"), wait:
            await fails()

    run_virtual(scenario())


def test_a_swallowed_interrupt_still_ends_the_wait() -> None:
    async def scenario() -> None:
        wait = Interruptible()

        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "as if nothing had been"
            return ""

        asyncio.get_running_loop().call_later(1, wait.interrupt)
        with pytest.raises(LegClosed), wait:
            await stubborn()

    run_virtual(scenario())
