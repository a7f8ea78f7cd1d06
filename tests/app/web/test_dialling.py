"""The REST API's way out: calls are placed, handed over and steered by who holds the token, and by nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from app.calls.archive import CallArchive
from app.calls.directory import Directory
from app.calls.journal import ReplyEnded, TransferRequested
from app.calls.messages import PressKeys, TransferCall
from app.calls.store.memory import MemoryStore
from app.conversation.session import CallSession
from app.conversation.state import Phase
from app.sip.calls import SipCalls
from app.web.dialling import Steering, dialling_router
from app.web.security import ApiGate, RequestRefused
from telephony.carrier import CallOffered
from telephony.sip.events import TrunkState, TrunkStatus
from tests.app.calls.town import Process, Town, town
from tests.app.sip.board import Board, board, events
from tests.calls.world import World
from tests.doubles import Line
from tests.virtual import run

TOKEN = "a-token-of-the-tests"
TO = "+15550100003"


class Alone:
    """A switchboard without other processes."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    async def steer(self, message: TransferCall | PressKeys) -> bool:
        return False


def client(at: Board, sip_calls: SipCalls | None, token: str | None) -> httpx.AsyncClient:
    return through(Alone(at.directory), CallArchive(MemoryStore(at.world.clock)), sip_calls, token)


def through(
    switchboard: Steering, archive: CallArchive, sip_calls: SipCalls | None, token: str | None
) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(dialling_router(switchboard, archive, sip_calls, ApiGate(token)))

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> Response:
        return PlainTextResponse(error.text, error.status, error.headers)

    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=headers)


@asynccontextmanager
async def api(world: World | None = None, *, token: str | None = TOKEN, **variables: str) -> AsyncIterator[Any]:
    async with board(world, **variables) as at, client(at, at.sip_calls, token) as http:
        yield at, http


def test_a_call_is_placed_and_can_be_found() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            order = {"to": "+1 555 010 0003", "from": "+15550100002", "variables": {"order": "17"}}
            placed = await http.post("/api/calls", json={**order, "headers": {"X-Account": "7"}})
            assert placed.status_code == 201
            told = placed.json()
            assert told == {
                "call_id": at.session().call_id,
                "phase": "ringing",
                "trunk": "sip",
                "from": "+15550100002",
                "to": TO,
            }
            assert placed.headers["location"] == f"/api/calls/{told['call_id']}"
            (call,) = at.endpoint.placed
            assert call.request is not None
            assert (call.request.target, call.request.caller, call.request.headers) == (
                TO,
                "+15550100002",
                {"X-Account": "7"},
            )

    run(scene())


@pytest.mark.parametrize(
    ("order", "status", "error"),
    [
        ({"to": "+33123456"}, 403, "destination"),
        ({"to": TO, "trunk": "other"}, 404, "trunk"),
        ({"to": TO, "from": "1\r\nX: y"}, 422, "malformed"),
    ],
)
def test_what_may_not_be_called_is_refused_with_its_reason(order: dict[str, str], status: int, error: str) -> None:
    async def scene() -> None:
        async with api() as (at, http):
            refused = await http.post("/api/calls", json=order)
            assert (refused.status_code, refused.json()["error"]) == (status, error)
            assert refused.json()["detail"]
            assert at.endpoint.placed == []

    run(scene())


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"to": ""},
        {"to": TO, "too": "much"},
        {"to": TO, "headers": {"Route": "x"}},
        {"to": TO, "headers": {"X-A": "\r"}},
    ],
)
def test_an_order_that_is_none_is_refused(order: dict[str, Any]) -> None:
    async def scene() -> None:
        async with api() as (at, http):
            assert (await http.post("/api/calls", json=order)).status_code == 422
            assert at.endpoint.placed == []

    run(scene())


def test_too_fast_and_not_now_are_told_apart() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            assert (await http.post("/api/calls", json={"to": TO})).status_code == 201
            fast = await http.post("/api/calls", json={"to": TO})
            assert (fast.status_code, fast.json()["error"], fast.headers["retry-after"]) == (429, "rate", "1")
            await asyncio.sleep(1.0)
            at.endpoint.states["sip"] = TrunkStatus("sip", TrunkState.DOWN, 503)
            down = await http.post("/api/calls", json={"to": TO})
            assert (down.status_code, down.json()["error"]) == (503, "trunk_down")

    run(scene())


def test_without_a_token_not_even_this_machine_may_place_calls() -> None:
    async def scene() -> None:
        async with api(token=None) as (at, http):
            refused = await http.post("/api/calls", json={"to": TO})
            assert refused.status_code == 403
            assert "API_TOKEN" in refused.text
            assert at.endpoint.placed == []

    run(scene())


def test_a_wrong_token_places_no_call() -> None:
    async def scene() -> None:
        async with api(token="another") as (at, http):
            assert (await http.post("/api/calls", json={"to": TO})).status_code == 401
            assert at.endpoint.placed == []

    run(scene())


def test_without_sip_the_answer_names_what_to_set() -> None:
    async def scene() -> None:
        async with board() as at, client(at, None, TOKEN) as http:
            refused = await http.post("/api/calls", json={"to": TO})
            assert (refused.status_code, refused.json()["error"]) == (501, "no_sip")
            assert "SIP_SERVER" in refused.json()["detail"]

    run(scene())


def test_a_live_call_is_handed_over_and_its_keys_are_pressed() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            call = at.endpoint.offer()
            session = at.session()
            path = f"/api/calls/{session.call_id}"
            await at.until(lambda: events(session, ReplyEnded))
            assert (await http.post(f"{path}/digits", json={"digits": "12#a"})).status_code == 202
            assert call.done[-1] == "press 12#A"
            wanted = {"to": "+1 555 0100009", "reason": "angry"}
            assert (await http.post(f"{path}/transfer", json=wanted)).status_code == 202
            assert session.state.phase is Phase.TRANSFERRING
            await asyncio.sleep(0.1)
            assert call.done[-1] == "refer +15550100009"
            assert events(session, TransferRequested)[0].reason == "angry"
            again = await http.post(f"{path}/transfer", json=wanted)
            assert (again.status_code, again.json()["error"]) == (409, "not_live")
            assert (await http.post(f"{path}/digits", json={"digits": "1"})).status_code == 409

    run(scene())


def test_a_transfer_can_be_attended_by_wish() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            at.endpoint.offer()
            session = at.session()
            await at.until(lambda: events(session, ReplyEnded))
            wanted = {"to": "+15550100009", "attended": True}
            assert (await http.post(f"/api/calls/{session.call_id}/transfer", json=wanted)).status_code == 202
            await asyncio.sleep(0.1)
            assert [call.peer.user for call in at.endpoint.placed] == ["+15550100009"]

    run(scene())


def test_a_call_cannot_be_handed_to_just_anybody() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            call = at.endpoint.offer()
            session = at.session()
            await at.until(lambda: events(session, ReplyEnded))
            refused = await http.post(f"/api/calls/{session.call_id}/transfer", json={"to": "+19005550100"})
            assert (refused.status_code, refused.json()["error"]) == (403, "destination")
            assert call.done == ["answer"]

    run(scene())


def test_calls_that_are_unknown_or_of_another_kind_cannot_be_steered() -> None:
    async def scene() -> None:
        async with api() as (at, http):
            wanted = {"to": "+15550100009"}
            assert (await http.post("/api/calls/nobody/transfer", json=wanted)).status_code == 404
            at.directory.begin("twilio", CallOffered("CA1", "+1", "+2", "inbound"))
            refused = await http.post("/api/calls/CA1/transfer", json=wanted)
            assert refused.status_code == 409
            assert "twilio" in refused.text

    run(scene())


class FarEnd:
    """A far end that does nothing but remember what it was asked for."""

    cause = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def hang_up(self, reason: str) -> None:
        pass

    async def transfer(self, target: str, progress: Any, *, attended: bool | None = None) -> None:
        self.asked.append(f"transfer to {target}, attended: {attended}")

    def call_off(self) -> None:
        pass

    def press(self, digits: str) -> None:
        self.asked.append(f"press {digits}")

    def measured(self) -> dict[str, float | str]:
        return {}


async def sip_call(here: Town, process: Process, far_end: FarEnd, carrier: str = "sip") -> CallSession:
    """A live call whose line is at that process, and on record."""
    offered = CallOffered("SIP1", "+15550100001", "+15550100002", "inbound", {"trunk": "sip"})
    session = process.directory.begin(carrier, offered, far_end)
    await session.running.wait()
    line = Line(here.clock)
    process.lines.append(line)
    here.group.create_task(line.run())
    session.attach(line, "MZ1")
    await here.until(lambda: events(session, ReplyEnded))
    await here.journal("SIP1")
    return session


@asynccontextmanager
async def two_processes() -> AsyncIterator[Any]:
    async with town() as here, board() as at:
        first, second = await here.start("first", World()), await here.start("second", World())
        archive = CallArchive(second.wire)  # type: ignore[arg-type]  # a store, by another's name
        async with through(second.switchboard, archive, at.sip_calls, TOKEN) as http:
            yield here, first, http


def test_a_call_of_another_process_is_steered_through_this_one() -> None:
    async def scene() -> None:
        async with two_processes() as (here, first, http):
            far_end = FarEnd()
            session = await sip_call(here, first, far_end)
            assert (await http.post("/api/calls/SIP1/digits", json={"digits": "12#a"})).status_code == 202
            await here.until(lambda: far_end.asked == ["press 12#A"])
            elsewhere = await http.post("/api/calls/SIP1/transfer", json={"to": "+19005550100"})
            assert (elsewhere.status_code, elsewhere.json()["error"]) == (403, "destination")
            wanted = {"to": "+15550100009", "reason": "angry", "attended": True}
            assert (await http.post("/api/calls/SIP1/transfer", json=wanted)).status_code == 202
            await here.until(lambda: far_end.asked[1:] == ["transfer to +15550100009, attended: True"])
            assert events(session, TransferRequested)[0].reason == "angry"
            await here.until(lambda: first.directory.find("SIP1") is None)
            await here.journal("SIP1")
            over = await http.post("/api/calls/SIP1/transfer", json=wanted)
            assert (over.status_code, over.json()["error"]) == (409, "not_live")

    run(scene())


def test_a_call_whose_process_is_dead_is_not_steered_into_nothing() -> None:
    async def scene() -> None:
        async with two_processes() as (here, first, http):
            await sip_call(here, first, FarEnd())
            first.kill()
            refused = await http.post("/api/calls/SIP1/digits", json={"digits": "1"})
            assert (refused.status_code, refused.json()["error"]) == (503, "out_of_reach")

    run(scene())


def test_a_call_of_another_process_that_has_no_such_line_cannot_be_steered() -> None:
    async def scene() -> None:
        async with two_processes() as (here, first, http):
            await sip_call(here, first, FarEnd(), "twilio")
            refused = await http.post("/api/calls/SIP1/transfer", json={"to": "+15550100009"})
            assert refused.status_code == 409
            assert "twilio" in refused.text

    run(scene())
