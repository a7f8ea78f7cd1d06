"""A call's events as the API tells them, wherever the call is carried and whatever becomes of the store."""

import asyncio
import json

import httpx
from fastapi import FastAPI

from app.calls.archive import CallArchive
from app.web.api import api_router
from app.web.security import ApiGate
from tests.app.calls.town import Process, town
from tests.calls.world import World
from tests.virtual import run


async def told_by(process: Process) -> list[str]:
    """The kinds of all events of CA1, until the stream ends."""
    archive = CallArchive(process.wire)  # type: ignore[arg-type]  # a store, by another's name
    app = FastAPI()
    app.include_router(api_router(process.switchboard, archive, ApiGate(None), process.world.clock))
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client, asyncio.timeout(120.0):
        answer = await client.get("/api/calls/CA1/events")
    lines = answer.text.splitlines()
    return [json.loads(line.removeprefix("data: "))["kind"] for line in lines if line.startswith("data: ")]


def test_events_told_live_end_when_another_process_has_the_call() -> None:
    async def scene() -> None:
        async with town() as here, asyncio.TaskGroup() as tasks:
            first, second = await here.start("first", World()), await here.start("second", World())
            line = await here.ring(first)
            telling = tasks.create_task(told_by(first))
            await asyncio.sleep(2.0)
            line.drop()
            await here.after(first, second)
            kinds = await telling
            assert kinds[0] == "call_answered" and "call_ended" not in kinds

    run(scene())


def test_events_of_a_call_elsewhere_are_told_to_their_end_though_the_store_is_away_for_a_while() -> None:
    async def scene() -> None:
        async with town() as here, asyncio.TaskGroup() as tasks:
            first, second = await here.start("first", World()), await here.start("second", World())
            await here.ring(first)
            await asyncio.sleep(1.0)
            telling = tasks.create_task(told_by(second))
            await asyncio.sleep(1.0)
            second.wire.cut = True
            await asyncio.sleep(3.0)
            second.wire.cut = False
            session = first.session()
            assert session is not None
            session.end("enough")
            assert (await telling)[-1] == "call_ended"

    run(scene())
