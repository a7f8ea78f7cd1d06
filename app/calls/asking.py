"""Asking the store while somebody waits: a caller, and a carrier's webhook, are not kept for long.

The store is usually asked in two milliseconds. One that takes longer (a disk that syncs, a server that fails over)
answers later, whoever still wants to know; until then it counts as one that cannot be reached.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

from app.calls.store.base import Lease
from app.calls.store.errors import StoreError, StoreUnavailable
from telephony.tasks import TaskGroup

T = TypeVar("T")

Claim: TypeAlias = Lease | asyncio.Future[Lease]
"""The lease of a new call, or one that is still on its way."""

WITHIN_S = 0.05


def ask(group: TaskGroup, question: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """The store's answer to come, which may be a `StoreError`; nobody need wait for it."""
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    group.create_task(_asked(question, answer))
    return answer


async def promptly(answer: asyncio.Future[T]) -> T:
    """The answer, if it comes within `WITHIN_S`. Raises `StoreUnavailable` if it does not, which leaves it on its
    way, or the `StoreError` that it is."""
    await asyncio.wait((answer,), timeout=WITHIN_S)
    if not answer.done():
        raise StoreUnavailable(f"the store did not answer within {WITHIN_S:g} s")
    return answer.result()


async def _asked(question: Coroutine[Any, Any, T], answer: asyncio.Future[T]) -> None:
    try:
        answer.set_result(await question)
    except StoreError as error:
        answer.set_exception(error)
        answer.exception()  # looked at: that nobody waits for it any more is no mistake
    finally:
        if not answer.done():
            answer.set_exception(StoreUnavailable("nobody asks any more"))
            answer.exception()
