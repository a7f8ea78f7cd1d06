"""Which worker is given up: one that hangs, and not one that is busy. In virtual time, with a pipe and no process."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from providers.base import Grammar
from providers.stt.pocketsphinx import host, wire
from telephony.clock import LoopClock
from tests.virtual import run


def test_a_worker_that_tells_of_other_calls_is_busy_until_it_tells_nothing_any_more(tmp_path: Path) -> None:
    async def scene() -> None:
        clock, pipe = LoopClock(), asyncio.StreamReader()
        process = SimpleNamespace(stdout=pipe)
        worker = host.WorkerHost(Grammar("", ()), tmp_path, clock)
        call = worker.open(1)
        call.online = True
        call.finalize()
        call.orders(clock.now())
        worker._asked.set()
        began = clock.now()

        async def life() -> None:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(worker._watch())
                tasks.create_task(worker._listen(process))  # type: ignore[arg-type]
                for _ in range(8):
                    await asyncio.sleep(1.0)
                    assert not watching.done()
                    pipe.feed_data(wire.packed(wire.Partial(2, "hello", False, False)))
                await asyncio.sleep(5.0)

        with pytest.raises(ExceptionGroup) as raised:
            await life()
        assert raised.group_contains(host._WorkerLost, match="no answer within 2 s")
        assert clock.now() - began == pytest.approx(10.0, abs=0.1)

    run(scene())
