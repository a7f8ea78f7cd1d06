"""The carrier's REST API, as far as a bridge needs it to get a live call back: the update of a call.

`POST /2010-04-01/Accounts/{account}/Calls/{call}.json` with `Twiml`, `Url` (and `Method`) or `Status=completed`, under
HTTP Basic authentication. The running document is left where it is, a stream in it is ended, and the new one is
followed. Source: https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource
"""

import asyncio
import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

import h11

NOT_FOUND, AUTHENTICATION_FAILED, INVALID_PARAMETER = 20404, 20003, 21218
TWIML_LIMIT = 4000
_REQUEST_S = 10.0
_BODY_LIMIT_BYTES = 1 << 16
_TARGET = re.compile(r"/2010-04-01/Accounts/(AC\w+)/Calls/(CA\w+)\.json")


@dataclass(frozen=True, slots=True)
class CallUpdate:
    """What is to become of a live call: other TwiML, the TwiML of a URL, or its end."""

    twiml: str | None = None
    url: str | None = None
    method: str = "POST"
    ends: bool = False


@dataclass(slots=True)
class Exchange:
    """The live calls of any number of lines, by their sid: where updates arrive."""

    calls: dict[str, Callable[[CallUpdate], None]] = field(default_factory=dict)
    updates: list[tuple[str, CallUpdate]] = field(default_factory=list)
    """Every update that was accepted, in order."""


class RestApi:
    """The API's server on a loopback port. An async context manager; `url` is its address from then on."""

    def __init__(self, exchange: Exchange, account_sid: str, auth_token: str) -> None:
        self._exchange = exchange
        self._account_sid = account_sid
        self._credentials = base64.b64encode(f"{account_sid}:{auth_token}".encode())
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on one connection."""
        try:
            async with asyncio.timeout(_REQUEST_S):
                connection = h11.Connection(h11.SERVER)
                request, body = await _receive(connection, reader)
                status, answer = self._answer(request, body)
                content = json.dumps(answer).encode()
                headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
                parts = (h11.Response(status_code=status, headers=[*headers, ("Connection", "close")]),)
                writer.write(b"".join(connection.send(part) or b"" for part in (*parts, h11.Data(data=content))))
                await writer.drain()
        except (OSError, TimeoutError, EOFError, h11.RemoteProtocolError):
            pass  # whoever asked has gone, or asked nothing that HTTP knows
        finally:
            writer.close()

    def _answer(self, request: h11.Request, body: bytes) -> tuple[int, Mapping[str, object]]:
        target = _TARGET.fullmatch(request.target.decode("latin-1"))
        if request.method != b"POST" or target is None or target[1] != self._account_sid:
            return _refusal(404, NOT_FOUND, "The requested resource was not found")
        scheme, _, given = dict(request.headers).get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic" or not hmac.compare_digest(given.strip(), self._credentials):
            return _refusal(401, AUTHENTICATION_FAILED, "Authenticate")
        update = read_update(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))
        if update is None:
            return _refusal(400, INVALID_PARAMETER, "Give one of Url, Twiml and Status")
        call = self._exchange.calls.get(target[2])
        if call is None:
            return _refusal(404, NOT_FOUND, "The requested resource was not found")
        self._exchange.updates.append((target[2], update))
        call(update)
        return 200, {"sid": target[2], "account_sid": target[1], "status": "in-progress"}


def read_update(form: Mapping[str, str]) -> CallUpdate | None:
    """What the fields of an update ask for; None if Twilio would refuse them."""
    twiml, url, status = (form.get(name) or None for name in ("Twiml", "Url", "Status"))
    if status in ("completed", "canceled") and twiml is None and url is None:
        return CallUpdate(ends=True)
    if status is not None or (twiml is None) == (url is None) or len(twiml or "") > TWIML_LIMIT:
        return None
    return CallUpdate(twiml, url, form.get("Method", "POST"))


def _refusal(status: int, code: int, message: str) -> tuple[int, Mapping[str, object]]:
    return status, {"code": code, "message": message, "status": status}


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _BODY_LIMIT_BYTES:
                raise EOFError("a body longer than any update")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, bytes(body)
        else:
            raise EOFError("the connection ended before the request did")
