"""A wait that somebody else may end, without ending the task that waits."""

import asyncio
from types import TracebackType

from telephony.errors import LegClosed


class Interruptible:
    """Wrap an await in `with` it, and `interrupt()` makes that await raise `LegClosed`, as every later one.

    Like `asyncio.timeout`, but without a timer for each wait, which at fifty messages a second and call would cost as
    much as decoding them. One task at a time. A cancellation from elsewhere stays a cancellation.
    """

    __slots__ = ("_cancelled", "_cancelling", "_interrupted", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._cancelled = False
        self._interrupted = False

    @property
    def waiting(self) -> bool:
        """Somebody waits right now."""
        return self._task is not None

    def interrupt(self) -> None:
        """End the wait now, if there is one, and all to come. Idempotent; from the event loop's thread only."""
        if self._interrupted:
            return
        self._interrupted = True
        # A task that interrupts itself is not suspended: it will find the flag on its way out.
        if self._task is not None and self._task is not asyncio.current_task():
            self._cancelled = True
            self._task.cancel()

    def __enter__(self) -> None:
        if self._interrupted:
            raise LegClosed
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        self._task = task
        self._cancelling = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self._interrupted or task is None:
            return
        if self._cancelled and task.uncancel() > self._cancelling:
            return  # cancelled from elsewhere too: that wins, and goes on as it is
        if kind is None or kind is asyncio.CancelledError:
            raise LegClosed from None
