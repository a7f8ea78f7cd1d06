"""Tasks that leave nothing behind."""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class TaskGroup(asyncio.TaskGroup):
    """A `TaskGroup` whose cancelled tasks are gone once nobody holds them.

    A cancelled task keeps its `CancelledError`, whose traceback keeps the frames that it passed, whose variables lead
    back to the task as a rule: a ring with everything that the task has worked with, until a full pass of the cyclic
    garbage collector finds it. Such passes are rare, and stop all calls meanwhile. So whatever belongs to a call
    runs in these. The message of a `cancel` is lost to who awaits the task.
    """

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        task = super().create_task(coro, name=name, context=context)
        task.add_done_callback(_forget_cancellation)
        return task


def _forget_cancellation(task: "asyncio.Task[Any]") -> None:
    if task.cancelled():
        try:
            task.result()  # raises what the task keeps, which it has forgotten then
        except asyncio.CancelledError as kept:
            kept.__traceback__ = kept.__context__ = None
