"""A queue for one reader, filled from the event loop, that costs next to nothing when nobody waits."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """What was put in comes out in order; after `close` the rest is still read, then iteration ends.

    The owner bounds it by what it puts in; `len` tells how much waits.
    """

    __slots__ = ("_closed", "_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Append; nothing after `close`."""
        if not self._closed:
            self._items.append(item)
            self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def __aiter__(self) -> "Inbox[T]":
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
