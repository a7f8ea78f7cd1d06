"""The carrier's REST API: a live call does what it is updated to, and nothing else gets in."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.faults import Network, Stall
from telephony.simulator.line import Line
from telephony.simulator.report import CallReport, EndedBy
from telephony.simulator.rest import CallUpdate, Exchange, RestApi, read_update
from tests.telephony.simulator.fake_bridge import STREAM, FakeBridge, MediaSession
from tests.telephony.simulator.placing import AWAIT, listen_only, script

ACCOUNT, TOKEN = "AC00000000000000000000000000000001", "secret"
STREAM_ONLY = STREAM.replace("{then}", "")
Update = Callable[..., Awaitable[httpx.Response]]


def updated(
    documents: dict[str, list[str | int]],
    act: Callable[[FakeBridge, Update], Awaitable[None]],
    steps: str = AWAIT,
    network: Network | None = None,
) -> tuple[CallReport, FakeBridge]:
    """One call whose bridge updates it as soon as its stream is open."""
    bridge = FakeBridge(listen_only, documents)
    exchange = Exchange()

    async def scenario() -> CallReport:
        async with bridge.serve(), RestApi(exchange, ACCOUNT, TOKEN) as api:
            line = Line(bridge.url, allow_plain_ws=True, exchange=exchange)
            line = replace(line, network=network or Network())

            async def post(**form: str) -> httpx.Response:
                (sid,) = exchange.calls
                url = f"{api.url}/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json"
                async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN)) as client:
                    return await client.post(url, data=form)

            async with asyncio.TaskGroup() as tasks:
                call = tasks.create_task(place_call(line, script(steps), MonotonicClock()))
                while not bridge.sessions or not bridge.sessions[0].start:
                    await asyncio.sleep(0.01)
                await act(bridge, post)
            return call.result()

    return asyncio.run(asyncio.wait_for(scenario(), 30)), bridge


def test_an_update_by_url_ends_the_stream_and_opens_the_next_one() -> None:
    async def act(bridge: FakeBridge, post: Update) -> None:
        assert (await post(Url=bridge.url + "/again")).status_code == 200
        while len(bridge.sessions) < 2 or not bridge.sessions[1].start:
            await asyncio.sleep(0.01)
        await post(Status="completed")

    report, bridge = updated({"/twilio/voice": [STREAM_ONLY], "/again": [STREAM_ONLY]}, act)
    assert [stream.closed_by for stream in report.streams] == ["carrier", "carrier"]
    assert bridge.sessions[0].messages[-1]["event"] == "stop"
    assert report.ended_by is EndedBy.AGENT
    assert not bridge.forms("/twilio/after"), "an update replaces the document: what followed in it is not asked"


def test_an_update_by_twiml_is_followed_where_it_stands() -> None:
    async def act(bridge: FakeBridge, post: Update) -> None:
        await post(Twiml="<Response><Say>Hi.</Say></Response>")

    report, _ = updated({"/twilio/voice": [STREAM_ONLY]}, act)
    assert [verb for _, verb in report.verbs][-3:] == ["Update: TwiML", "Say 'Hi.'", "end of the document"]


def test_an_update_does_not_wait_for_a_socket_that_is_half_open() -> None:
    async def act(bridge: FakeBridge, post: Update) -> None:
        await asyncio.sleep(0.3)
        await post(Url=bridge.url + "/again")

    report, _ = updated(
        {"/twilio/voice": [STREAM_ONLY], "/again": ["<Response><Hangup/></Response>"]},
        act,
        network=Network(stalls=(Stall(0.2, 3_600_000),)),
    )
    assert report.duration_s < 2.0
    assert report.ended_by is EndedBy.AGENT


@pytest.mark.parametrize(
    ("form", "update"),
    [
        ({"Url": "https://b.example/x"}, CallUpdate(url="https://b.example/x")),
        ({"Url": "https://b.example/x", "Method": "GET"}, CallUpdate(url="https://b.example/x", method="GET")),
        ({"Twiml": "<Response/>"}, CallUpdate(twiml="<Response/>")),
        ({"Status": "completed"}, CallUpdate(ends=True)),
        ({"Status": "ringing"}, None),
        ({"Url": "https://b.example/x", "Twiml": "<Response/>"}, None),
        ({"Twiml": "x" * 4001}, None),
        ({}, None),
    ],
)
def test_an_update_names_one_thing(form: dict[str, str], update: CallUpdate | None) -> None:
    assert read_update(form) == update


@pytest.mark.parametrize(
    ("method", "path", "auth", "status"),
    [
        ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json", (ACCOUNT, TOKEN), 404),
        ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json", (ACCOUNT, "wrong"), 401),
        ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json", None, 401),
        ("GET", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/CA1.json", (ACCOUNT, TOKEN), 404),
        ("POST", "/2010-04-01/Accounts/AC2/Calls/CA1.json", (ACCOUNT, TOKEN), 404),
    ],
)
def test_others_are_refused(method: str, path: str, auth: Any, status: int) -> None:
    async def scenario() -> int:
        async with RestApi(Exchange(), ACCOUNT, TOKEN) as api, httpx.AsyncClient(auth=auth) as client:
            response = await client.request(method, api.url + path, data={"Status": "completed"})
            assert isinstance(response.json()["code"], int)
            return response.status_code

    assert asyncio.run(scenario()) == status


def test_nonsense_on_the_api_harms_nobody() -> None:
    async def scenario() -> None:
        async with RestApi(Exchange(), ACCOUNT, TOKEN) as api:
            host, port = api.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"nonsense\r\n\r\n")
            assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


async def leave(session: MediaSession) -> None:
    """An agent that closes the stream at once."""


def test_a_refused_after_is_tried_again_and_then_the_call_is_dropped() -> None:
    """The bridge is gone when the carrier asks what to do next: two tries, then the call is over."""
    bridge = FakeBridge(
        leave, {"/twilio/voice": [STREAM.replace("{then}", "<Redirect>http://127.0.0.1:9/after</Redirect>")]}
    )

    async def scenario() -> CallReport:
        async with bridge.serve():
            return await place_call(Line(bridge.url, allow_plain_ws=True), script(AWAIT), MonotonicClock())

    report = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert report.ended_by is EndedBy.CARRIER
    assert [warning.code for warning in report.warnings] == [11205]
