"""A carrier's webhooks: `/{carrier}/voice`, `/{carrier}/after`, `/{carrier}/status`, by POST or GET.

A request is read within bounds, admitted, understood, and answered: a document, or a 4xx that says what was wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.web.contracts import Calls, Counters
from app.web.security import CarrierGate, RequestRefused
from telephony.carrier import Carrier, Decision, WebhookRequest
from telephony.errors import MalformedMessage

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
"""Longest body that is read. A voice webhook has about 1 KB."""

BODY_WITHIN_S = 5.0
"""For the whole body to arrive."""

_FORM = "application/x-www-form-urlencoded"


class CarrierWebhooks:
    """The webhooks of one carrier."""

    def __init__(self, carrier: Carrier, gate: CarrierGate, calls: Calls, counters: Counters) -> None:
        self._carrier = carrier
        self._gate = gate
        self._calls = calls
        self._counters = counters

    def routes(self) -> list[Route]:
        return [
            Route(f"/{self._carrier.name}/{name}", partial(self._respond, act), methods=["GET", "POST"], name=name)
            for name, act in (("voice", self._voice), ("after", self._after), ("status", self._status))
        ]

    async def _voice(self, webhook: WebhookRequest) -> Response:
        return self._document(await self._calls.answer(self._carrier, self._carrier.webhooks.call_offered(webhook)))

    async def _after(self, webhook: WebhookRequest) -> Response:
        return self._document(await self._calls.after(self._carrier, self._carrier.webhooks.call_offered(webhook)))

    async def _status(self, webhook: WebhookRequest) -> Response:
        await self._calls.status(self._carrier, self._carrier.webhooks.call_status(webhook))
        return Response(status_code=204)

    def _document(self, decision: Decision) -> Response:
        document = self._carrier.webhooks.document(decision)
        return Response(document.body, media_type=document.content_type)

    async def _respond(self, act: Callable[[WebhookRequest], Awaitable[Response]], request: Request) -> Response:
        try:
            return await act(await self._admitted(request))
        except RequestRefused as refused:
            reason, remedy = refused.reason, refused.remedy
            response = PlainTextResponse(refused.text, refused.status, refused.headers)
        except MalformedMessage as malformed:
            reason, remedy = malformed.reason, ""
            response = PlainTextResponse(str(malformed), 400)
        except ClientDisconnect:
            reason, remedy = "disconnected", ""
            response = PlainTextResponse("", 400)  # nobody reads it
        self._counters.count("webhooks_refused", carrier=self._carrier.name, reason=reason)
        log.warning("webhook refused", carrier=self._carrier.name, reason=reason, remedy=remedy)
        return response

    async def _admitted(self, request: Request) -> WebhookRequest:
        if request.method == "HEAD":  # the router lets it in where GET may; it would open a call that nobody answers
            raise RequestRefused(405, "method", "Use POST or GET.", headers={"allow": "GET, POST"})
        body = await _body(request) if request.method == "POST" else b""
        return self._gate.admit(request.scope, _form(request, body), body)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RequestRefused(
                        413, "body_size", f"At most {MAX_BODY_BYTES} bytes.", headers={"connection": "close"}
                    )
    except TimeoutError:
        raise RequestRefused(
            408, "body_time", f"Within {BODY_WITHIN_S:g} seconds.", headers={"connection": "close"}
        ) from None
    return bytes(body)


def _form(request: Request, body: bytes) -> tuple[tuple[str, str], ...]:
    """The form's fields in order, blank ones kept. A body without content type is taken for a form."""
    content_type = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if content_type not in (_FORM, ""):
        return ()
    return tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
