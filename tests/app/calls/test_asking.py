"""Who asks the store gets an answer, whatever becomes of the question."""

import asyncio

import pytest

from app.calls.asking import ask
from app.calls.store.errors import StoreUnavailable
from tests.virtual import run


def test_a_question_that_is_given_up_is_answered_as_one_that_the_store_did_not_take() -> None:
    answers: list[asyncio.Future[None]] = []

    async def process() -> None:
        async with asyncio.TaskGroup() as group:
            answers.append(ask(group, asyncio.sleep(60.0)))
            await asyncio.sleep(1.0)
            raise ValueError("something else is broken")

    with pytest.raises(ExceptionGroup):
        run(process())
    with pytest.raises(StoreUnavailable):
        answers[0].result()
