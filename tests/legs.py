"""What a leg tells, for tests that want it one event after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from telephony.carrier import CarrierEvent
from telephony.leg import Leg


async def all_events(leg: Leg) -> list[CarrierEvent]:
    """Everything, up to the end of the path."""
    events: list[CarrierEvent] = []
    await leg.listen(events.append)
    return events


class Listening:
    """What was told and is not asked for yet."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[CarrierEvent | None] = asyncio.Queue()

    async def next(self, count: int = 1) -> list[CarrierEvent]:
        """So many more events; fewer when the path is gone."""
        events: list[CarrierEvent] = []
        while len(events) < count and (event := await self.events.get()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def listening(leg: Leg) -> AsyncIterator[Listening]:
    """Listen to a leg within the block."""
    heard = Listening()

    async def listen() -> None:
        await leg.listen(heard.events.put_nowait)
        heard.events.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        yield heard
        task.cancel()
