"""What an operator's machines are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from app.siblings import Siblings
from app.sip.calls import SipCalls
from app.telemetry.metrics import Metrics
from app.web.probes import probes_router
from app.web.security import ApiGate
from telephony.sip.events import TrunkState, TrunkStatus
from tests.app.sip.board import board

PROVIDERS = {"stt": "a", "llm": "b", "tts": "c"}
BREAKERS = {"llm": {"b": "closed"}}


@asynccontextmanager
async def asked(calls: SipCalls | None, *, ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    told = Siblings(None, Metrics().exposition).exposition
    app.include_router(probes_router(lambda: ready, PROVIDERS, lambda: BREAKERS, calls, told, ApiGate(None)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        yield http


def test_a_process_that_takes_calls_is_ready_and_says_with_whom() -> None:
    async def scene() -> None:
        async with asked(None) as http:
            answer = await http.get("/readyz")
            told = {"ready": True, "providers": PROVIDERS, "breakers": BREAKERS}
            assert (answer.status_code, answer.json()) == (200, told)
            assert (await http.get("/healthz")).json() == {"status": "alive"}
            assert (await http.get("/metrics")).status_code == 200

    asyncio.run(scene())


def test_a_process_that_goes_down_is_not_ready() -> None:
    async def scene() -> None:
        async with asked(None, ready=False) as http:
            assert (await http.get("/readyz")).status_code == 503

    asyncio.run(scene())


def test_each_trunks_state_is_told_and_one_that_is_down_stops_nobody() -> None:
    async def scene() -> None:
        async with board() as at, asked(at.sip_calls) as http:
            at.endpoint.states["sip"] = TrunkStatus("sip", TrunkState.DOWN, 503)
            answer = await http.get("/readyz")
            assert (answer.status_code, answer.json()["trunks"]) == (200, {"sip": "down"})

    asyncio.run(scene())
