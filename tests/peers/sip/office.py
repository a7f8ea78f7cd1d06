"""The bridge as it is served, seen from its API, and a telephone that can call it and be called."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.serving import bridge
from tests.telephony.sip.phones import Phone, free_ports

TOKEN = "a-token-of-the-tests"


class Office:
    """A bridge, and a telephone that can call it and be called."""

    def __init__(self, client: httpx.AsyncClient, phone: Phone, trunk: str) -> None:
        """`trunk`: over which the phone reaches the bridge."""
        self.client, self.phone, self.trunk = client, phone, trunk

    async def on_the_phone(self, act: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Phones wait in threads, the bridge lives in this one."""
        return await asyncio.to_thread(act, *arguments, **named)

    async def calls(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = (await self.client.get("/api/calls")).json()
        return listed

    async def events(self, call_id: str) -> list[dict[str, Any]]:
        """Its journal; empty for the moment in which a call that has ended is on its way to the store."""
        answer = await self.client.get(f"/api/calls/{call_id}")
        told: list[dict[str, Any]] = [] if answer.status_code == 404 else answer.json()["events"]
        return told

    async def event(self, call_id: str, kind: str, within_s: float = 15.0) -> dict[str, Any]:
        """The first event of this kind in the call's journal, waited for."""

        async def look() -> dict[str, Any] | None:
            return next((event for event in await self.events(call_id) if event["kind"] == kind), None)

        return await until(look, within_s)

    async def nth(self, call_id: str, kind: str, count: int, within_s: float = 30.0) -> dict[str, Any]:
        """The event of this kind that is the `count`-th, waited for."""

        async def look() -> dict[str, Any] | None:
            found = [event for event in await self.events(call_id) if event["kind"] == kind]
            return found[count - 1] if len(found) >= count else None

        return await until(look, within_s)

    async def hears_the_agent(self, number: int) -> None:
        """Return once half a second of what the call brings was mostly speech."""

        def listen() -> None:
            while self.phone.until("heard", call=number)["loud"] < 0.5:
                pass

        await asyncio.to_thread(listen)

    async def call_in(self) -> tuple[int, str]:
        """The phone calls the bridge, up to the answer: the phone's name for the call, and the bridge's."""
        number = await self.on_the_phone(self.phone.dial, trunk=self.trunk, target="5500")
        await self.on_the_phone(self.phone.until, "CallAnswered", call=number)
        return number, (await self.calls())[-1]["call_id"]


async def until(look: Callable[[], Awaitable[Any]], within_s: float = 15.0) -> Any:
    async with asyncio.timeout(within_s):
        while not (seen := await look()):
            await asyncio.sleep(0.05)
        return seen


@asynccontextmanager
async def open_office(state_dir: Path, phone: Phone, trunk: str, **environment: str) -> AsyncIterator[Office]:
    """The bridge, served with these settings and ports of its own."""
    first = free_ports(100)
    variables = {
        "API_TOKEN": TOKEN,
        "MAX_CALLS": "10",
        "SIP_PORT": str(free_ports(2)),
        "SIP_RTP_PORTS": f"{first}-{first + 99}",
        "SIP_OPTIONS_S": "0",
        "SIP_DESTINATIONS": "55",
        **environment,
    }
    async with bridge(state_dir, **variables) as url:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as client:
            yield Office(client, phone, trunk)
