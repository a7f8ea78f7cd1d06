"""The media websocket, `/{carrier}/media`: authenticate, accept, wait for a valid start, hand the leg to its call.

A raw ASGI endpoint: a frame passes no framework on its way from the server to the leg, and with `app.web.short_way` no
queue and no task either.
"""

import asyncio
from collections.abc import Mapping

import structlog
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.calls.errors import TokenRejected
from app.web.contracts import Calls, Counters
from app.web.security import CarrierGate, RequestRefused
from app.web.short_way import EXTENSION
from app.web.websocket_leg import LegEnd, MediaLimits, WebsocketLeg
from telephony.carrier import TOKEN_PARAMETER, Carrier, MediaStarted
from telephony.clock import Clock

log = structlog.get_logger(__name__)

# RFC 6455, section 7.4.1
_NORMAL = 1000
_POLICY = 1008
_INTERNAL_ERROR = 1011


class MediaEndpoint:
    """The media websockets of one carrier: an ASGI application."""

    def __init__(
        self, carrier: Carrier, gate: CarrierGate, calls: Calls, clock: Clock, counters: Counters, limits: MediaLimits
    ) -> None:
        self._carrier = carrier
        self._gate = gate
        self._calls = calls
        self._clock = clock
        self._counters = counters
        self._limits = limits
        self._waiting = 0

    def route(self) -> WebSocketRoute:
        return WebSocketRoute(f"/{self._carrier.name}/media", self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._limits.send_within_s):
                await receive()  # websocket.connect
                if not await self._accepted(scope, send):
                    return
        except (TimeoutError, OSError):  # gone before it had our answer
            return
        short_way = scope.get("extensions", {}).get(EXTENSION)
        leg = WebsocketLeg(self._carrier, receive, send, self._clock, self._counters, self._limits, short_way)
        code = _INTERNAL_ERROR
        try:
            code = await self._serve(leg)
        finally:
            await leg.shut(code)

    async def _accepted(self, scope: Scope, send: Send) -> bool:
        try:
            self._gate.admit(scope)
            if self._waiting >= self._limits.waiting_sockets:
                raise RequestRefused(503, "crowded", "Too many sockets wait for their stream to start.")
        except RequestRefused as refused:
            self._note_refusal(refused.reason, refused.remedy)
            await _reject(refused, scope, send)
            return False
        await send({"type": "websocket.accept"})
        return True

    async def _serve(self, leg: WebsocketLeg) -> int:
        """Serve one accepted socket; answers the close code."""
        started = await self._started(leg)
        if started is None:
            return self._turn_away("no_start")
        token = started.parameters.get(TOKEN_PARAMETER)
        if not token:
            return self._turn_away("no_token")
        try:
            await self._calls.serve(self._carrier, token, started, leg)
        except TokenRejected as rejected:
            return self._turn_away(rejected.reason)
        return _POLICY if leg.end is LegEnd.UNUSABLE else _NORMAL

    async def _started(self, leg: WebsocketLeg) -> MediaStarted | None:
        """The start of the stream; None when it does not come in time, or not at all."""
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.start_within_s):
                return await leg.started()
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    def _turn_away(self, reason: str) -> int:
        self._note_refusal(reason)
        return _POLICY

    def _note_refusal(self, reason: str, remedy: str = "") -> None:
        self._counters.count("media_sockets_refused", carrier=self._carrier.name, reason=reason)
        log.warning("media socket refused", carrier=self._carrier.name, reason=reason, remedy=remedy)


async def _reject(refused: RequestRefused, scope: Scope, send: Send) -> None:
    """Answer the upgrade with an HTTP error; with its text where the server can (ASGI's Websocket Denial Response)."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY})
        return
    body = refused.text.encode()
    headers: Mapping[str, str] = {"content-type": "text/plain; charset=utf-8", **refused.headers}
    await send(
        {
            "type": "websocket.http.response.start",
            "status": refused.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})
