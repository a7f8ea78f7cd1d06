"""Threads for tools that are plain functions: one for each run, so that no run waits for another.

A thread cannot be ended from outside. A run that outlives its deadline is left behind, and nobody waits for it, not
even the process at its end; how many a tool has left behind tells whether it is of any use to ask it once more.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from telephony.clock import LoopClock

P = ParamSpec("P")
T = TypeVar("T")


class ToolThreads:
    """The threads of one tool. For the event loop's thread alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._clock = LoopClock()
        self._runs: list[_Run] = []

    def left_behind(self) -> int:
        """How many runs have outlived their deadline and still hang."""
        self._runs = [run for run in self._runs if not run.over]
        now = self._clock.now()
        return sum(run.due_at <= now for run in self._runs)

    async def run(self, function: Callable[[], T], due_at: float) -> T:
        """What the function returns or raises. Cancellation, of which there should be one at `due_at` (of the loop's
        clock), keeps it from beginning, or leaves it behind."""
        run = _Run(self._name, due_at)
        self.left_behind()
        self._runs.append(run)
        in_context = partial(contextvars.copy_context().run, function)
        return await asyncio.get_running_loop().run_in_executor(run, in_context)


class _Run(Executor):
    """One thread for one function, which ends with the process if not before."""

    def __init__(self, name: str, due_at: float) -> None:
        self.due_at = due_at
        self._name = name
        self._future: Future[Any] | None = None

    @property
    def over(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        work = partial(fn, *args, **kwargs)
        threading.Thread(target=_work, args=(future, work), name=f"tool {self._name}", daemon=True).start()
        self._future = future
        return future


def _work(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except (StopIteration, CancelledError) as error:  # asyncio would take them for something else
        future.set_exception(RuntimeError(repr(error)))
    except Exception as error:  # noqa: BLE001 - foreign code: who waits for it raises it
        future.set_exception(error)
    except BaseException as error:  # noqa: BLE001 - a function's `sys.exit` must not end the process
        future.set_exception(RuntimeError(repr(error)))
