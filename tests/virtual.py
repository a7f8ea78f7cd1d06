"""Virtual time: an event loop whose clock jumps to the next timer, so that a call of an hour takes milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_DEADLOCK_S = 10.0


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for time: what should have been waited for is added to the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if events or timeout == 0:
            return events
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

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Threads end in real time: virtual time would be up before they had the chance."""
        await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
