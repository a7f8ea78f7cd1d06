"""Tasks that leave nothing behind."""

import asyncio
import gc
import weakref

from telephony.tasks import TaskGroup
from tests.virtual import run


class Thing:
    """Something that a task works with."""


def test_a_cancelled_task_lets_go_of_what_it_has_worked_with() -> None:
    things: list[weakref.ref[Thing]] = []

    async def sleep_with_something() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        async with TaskGroup() as deeper:
            deeper.create_task(asyncio.sleep(60.0))
            await asyncio.sleep(60.0)

    async def scene() -> None:
        async with TaskGroup() as group:
            task = group.create_task(sleep_with_something())
            await asyncio.sleep(1.0)
            assert things[0]() is not None
            task.cancel()
        assert task.cancelled()
        assert things[0]() is None

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()


def test_a_failed_task_keeps_its_failure() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def scene() -> None:
        try:
            async with TaskGroup() as group:
                task = group.create_task(fail())
        except* ValueError:
            pass
        assert isinstance(task.exception(), ValueError)

    run(scene())
