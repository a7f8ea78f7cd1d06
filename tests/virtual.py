"""Virtual time: an event loop whose clock jumps to the next timer, so that a call of an hour takes milliseconds."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_DEADLOCK_S = 60.0
"""A disk that others keep busy may take its time over an `fsync`; a real deadlock is no worse for being told late."""

_STUCK_S = 2.0
"""Work in a thread that takes longer than this is taken for work that a test lets hang, and time goes on without it."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for time, only for threads: what should have been waited for is added to the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.in_threads: set[asyncio.Future[Any]] = set()

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is not None and self.in_threads:
            events = super().select(_STUCK_S)
            if events:
                return events
            self.in_threads.clear()
        if timeout is None:  # only a thread can wake us now
            events = super().select(_DEADLOCK_S)
            if not events:
                raise RuntimeError("deadlock: no timer, no ready task, no thread")
            return events
        self.elapsed += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; `time()` starts at 1000."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return 1000.0 + self._jumping.elapsed

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Time stands still while a thread works: on a busy machine it would be far ahead of it."""
        work = super().run_in_executor(executor, func, *args)
        self._jumping.in_threads.add(work)
        work.add_done_callback(self._jumping.in_threads.discard)
        return work

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Threads end in real time: virtual time would be up before they had the chance."""
        await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
