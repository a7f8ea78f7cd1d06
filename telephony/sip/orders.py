"""The commands of one call on their way to the library: one after the other, off the event loop.

A command may have to look up the name that the peer gave for itself, or wait for the library's lock: that takes up to
ten seconds where a resolver does not answer, and nobody else's call may wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from telephony.sip.errors import CommandFailed

T = TypeVar("T")

Command = Callable[[], None]
Refused = Callable[[CommandFailed], None]
CarryOut = Callable[[Command], "asyncio.Future[None]"]
"""Runs a command where it may take its time."""

_WAITING = 64


def when_done(future: "asyncio.Future[T]", told: Callable[["asyncio.Future[T]"], None]) -> None:
    """Call `told` with the finished future: now, if it is. Not for one that was cancelled."""
    if future.done():
        if not future.cancelled():
            told(future)
    else:
        future.add_done_callback(partial(when_done, told=told))


class Orders:
    """Commands in the order in which they were given. `refused` is called on the event loop, if one is."""

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._waiting: deque[tuple[Command, Refused]] = deque()
        self._busy = False

    def give(self, command: Command, refused: Refused, *, urgent: bool = False) -> None:
        """Carry it out as soon as those before it are done. More than 64 do not wait, but for an `urgent` one."""
        if len(self._waiting) >= _WAITING and not urgent:
            refused(CommandFailed("too many commands wait already"))
            return
        self._waiting.append((command, refused))
        self._next()

    def drop(self) -> None:
        """Forget what waits: the call is to end."""
        self._waiting.clear()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        command, refused = self._waiting.popleft()
        self._busy = True
        when_done(self._carry_out(command), partial(self._done, refused))

    def _done(self, refused: Refused, carried_out: "asyncio.Future[None]") -> None:
        self._busy = False
        try:
            carried_out.result()
        except CommandFailed as failure:
            refused(failure)
        finally:
            self._next()
