"""The web front behind the real server, called by a real websocket client over loopback."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.web.media import MediaEndpoint
from app.web.security import CarrierGate
from app.web.short_way import ShortWayProtocol
from app.web.webhooks import CarrierWebhooks
from app.web.websocket_leg import LegEnd, MediaLimits, WebsocketLeg
from telephony.carrier import AudioReceived, PlaceMark, PlayAudio
from telephony.carriers.twilio import TWILIO
from telephony.clock import MonotonicClock
from telephony.leg import Leg
from tests.app.web.doubles import CALL, STREAM, ScriptedPlayout, TallyCounters, TokenBook, media, start
from tests.legs import listening

SECRET = "0123456789abcdef0123456789abcdef"
OTHER_CALL = "CA22222222222222222222222222222222"


class Bridge:
    """The running bridge: a token book behind webhooks and media of one carrier."""

    def __init__(self, port: int, secret: str, limits: MediaLimits) -> None:
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"
        self.calls = TokenBook(self.ws)
        self.counters = TallyCounters()
        self.secret = secret
        gate = CarrierGate(TWILIO, self.http, (secret,))
        webhooks = CarrierWebhooks(TWILIO, gate, self.calls, self.counters)
        media_endpoint = MediaEndpoint(TWILIO, gate, self.calls, MonotonicClock(), self.counters, limits)
        self.app = Starlette(routes=[*webhooks.routes(), media_endpoint.route()])

    def signed(self, text: str) -> dict[str, str]:
        digest = hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).digest()
        return {"X-Twilio-Signature": base64.b64encode(digest).decode()} if self.secret else {}

    async def rings(self, call: str = CALL) -> tuple[str, str]:
        """The voice webhook of a call; answers the stream's URL and token."""
        url = f"{self.http}/twilio/voice"
        async with httpx.AsyncClient() as client:
            answer = await client.post(url, data={"CallSid": call}, headers=self.signed(f"{url}CallSid{call}"))
        assert answer.status_code == 200, answer.text
        stream = ElementTree.fromstring(answer.text).find("Connect/Stream")
        assert stream is not None
        return stream.attrib["url"], stream[0].attrib["value"]

    @asynccontextmanager
    async def stream(self, call: str = CALL, **options: Any) -> AsyncIterator[ClientConnection]:
        """A started stream of a call."""
        url, token = await self.rings(call)
        async with connect(url, additional_headers=self.signed(url), compression=None, **options) as websocket:
            await websocket.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
            await websocket.send(start(token, call))
            yield websocket


def on_a_bridge(
    scenario: Callable[[Bridge], Coroutine[Any, Any, None]], secret: str = "", limits: MediaLimits | None = None
) -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        bridge = Bridge(listening.getsockname()[1], secret, limits or MediaLimits())
        server = uvicorn.Server(
            uvicorn.Config(bridge.app, log_config=None, ws=ShortWayProtocol, ws_per_message_deflate=False)
        )
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listening]))
            try:
                async with asyncio.timeout(30):
                    await scenario(bridge)
            finally:
                server.should_exit = True
            await serving
        assert bridge.calls.serving == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_a_call_is_answered_heard_spoken_to_and_closed(secret: str) -> None:
    async def scenario(bridge: Bridge) -> None:
        async def answer_back(call_id: str, leg: Leg) -> None:
            """Plays what it hears, once; then clears and hangs up."""
            async with listening(leg) as told, asyncio.TaskGroup() as group:
                (heard,) = await told.next()
                assert isinstance(heard, AudioReceived)
                playout = ScriptedPlayout((0.0, PlayAudio(heard.payload)), (0.0, PlaceMark("said")))
                group.create_task(leg.play(playout))
                await told.next()
                leg.clear()
                await told.next()
                leg.close()

        bridge.calls.conversation = answer_back
        async with bridge.stream() as websocket:
            await websocket.send(media(1, "AQID"))
            assert json.loads(await websocket.recv()) == {
                "event": "media",
                "streamSid": STREAM,
                "media": {"payload": "AQID"},
            }
            mark = await websocket.recv()
            assert json.loads(mark) == {"event": "mark", "streamSid": STREAM, "mark": {"name": "said"}}
            await websocket.send(mark)
            assert json.loads(await websocket.recv()) == {"event": "clear", "streamSid": STREAM}
            await websocket.send(media(2))
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == 1000

    on_a_bridge(scenario, secret)


def test_an_unsigned_upgrade_is_refused_before_it_is_a_websocket() -> None:
    async def scenario(bridge: Bridge) -> None:
        url, _ = await bridge.rings()
        for headers in ({}, bridge.signed(url + "/"), bridge.signed(url.replace("ws", "http", 1))):
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers=headers)
            assert refused.value.response.status_code == 403
        assert bridge.counters.of("media_sockets_refused", carrier="twilio", reason="signature") == 3
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{bridge.http}/twilio/voice", data={"CallSid": CALL})
        assert answer.status_code == 403

    on_a_bridge(scenario, SECRET)


def test_a_page_of_another_site_cannot_open_a_stream_here() -> None:
    async def scenario(bridge: Bridge) -> None:
        url, _ = await bridge.rings()
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin="https://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        assert b"TWILIO_AUTH_TOKEN" in refused.value.response.body
        async with httpx.AsyncClient() as client:
            for headers in ({"Host": "evil.example"}, {"X-Forwarded-Proto": "https"}):
                answer = await client.post(f"{bridge.http}/twilio/voice", data={"CallSid": CALL}, headers=headers)
                assert answer.status_code == 403

    on_a_bridge(scenario)


def test_a_stolen_token_opens_nothing_and_harms_nobody() -> None:
    async def scenario(bridge: Bridge) -> None:
        url, token = await bridge.rings(CALL)
        async with connect(url) as thief:
            await thief.send(start(token, OTHER_CALL))
            with pytest.raises(ConnectionClosed):
                await thief.recv()
            assert thief.close_code == 1008
        async with bridge.stream(CALL) as websocket:
            await websocket.send(media(1))
        assert set(bridge.calls.events) <= {CALL}

    on_a_bridge(scenario)


def test_two_calls_at_once_hear_only_their_own() -> None:
    async def scenario(bridge: Bridge) -> None:
        async with bridge.stream(CALL) as one, bridge.stream(OTHER_CALL) as other:
            for number in range(1, 100):
                await one.send(media(number, "AQ=="))
                await other.send(media(number, "Ag=="))
        assert {await bridge.calls.served.get(), await bridge.calls.served.get()} == {CALL, OTHER_CALL}
        payloads = {
            call: {event.payload for event in events if isinstance(event, AudioReceived)}
            for call, events in bridge.calls.events.items()
        }
        assert payloads == {CALL: {b"\x01"}, OTHER_CALL: {b"\x02"}}
        assert [len(events) for events in bridge.calls.events.values()] == [99, 99]

    on_a_bridge(scenario)


def test_a_peer_that_resets_its_connection_ends_its_leg() -> None:
    async def scenario(bridge: Bridge) -> None:
        ended: asyncio.Future[LegEnd | None] = asyncio.get_running_loop().create_future()

        async def listen(call_id: str, leg: Leg) -> None:
            assert isinstance(leg, WebsocketLeg)
            await bridge.calls.listen(call_id, leg)
            ended.set_result(leg.end)

        bridge.calls.conversation = listen
        async with bridge.stream() as websocket:
            websocket.transport.abort()
            assert await ended is LegEnd.DISCONNECTED

    on_a_bridge(scenario)


def test_a_peer_that_reads_no_more_is_given_up() -> None:
    async def scenario(bridge: Bridge) -> None:
        ended: asyncio.Future[LegEnd | None] = asyncio.get_running_loop().create_future()

        class Endless(ScriptedPlayout):
            def due(self, now: float) -> tuple[PlayAudio, ...]:
                return (PlayAudio(bytes(40_000)),)

            def next_due(self, now: float) -> float:
                return now

        async def shout(call_id: str, leg: Leg) -> None:
            assert isinstance(leg, WebsocketLeg)
            await leg.play(Endless())
            ended.set_result(leg.end)

        bridge.calls.conversation = shout
        async with bridge.stream(max_queue=1) as websocket:
            assert await ended is LegEnd.STUCK
            websocket.transport.abort()

    on_a_bridge(scenario, limits=MediaLimits(send_within_s=0.2, silence_s=60))


def test_oversized_and_broken_messages_do_not_end_a_call() -> None:
    async def scenario(bridge: Bridge) -> None:
        async with bridge.stream() as websocket:
            for message in ("x" * 70_000, b"\xff\x00", "{", media(1, "??"), media(1, "AQ==")):
                await websocket.send(message)
        await bridge.calls.served.get()
        assert bridge.calls.events == {CALL: [AudioReceived(b"\x01", 20)]}
        for reason in ("oversized", "binary", "not_json", "bad_base64"):
            assert bridge.counters.of("media_messages_malformed", carrier="twilio", reason=reason) == 1

    on_a_bridge(scenario)
