"""A client websocket that sends synchronously and hands over each message at the moment of its arrival.

`websockets`' sans-I/O protocol under an asyncio transport: no task and no queue per connection, which is what lets one
process hold hundreds of calls, and the playout learn the arrival of a frame exactly.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from telephony.simulator.errors import HandshakeFailed
from telephony.simulator.twiml import STREAM_URL_MALFORMED

CONNECT_TIMEOUT, REFUSED, TLS_ERROR, HANDSHAKE_NOT_101 = 31901, 31902, 31910, 31920
HANDSHAKE_S = 10.0
CLOSE_S = 2.0
"""How long the peer may take to finish the closing handshake before the connection is dropped."""
MESSAGE_LIMIT_BYTES = 1 << 20
UNSENT_LIMIT_BYTES = 1 << 18
"""About 15 s of media: a peer that reads nothing for so long has lost the connection."""
NO_CLOSE_FRAME = 1006


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """How a connection ended; `code` is 1006 without a close frame. `failure` is a bug of ours, to be raised."""

    code: int
    reason: str
    failure: Exception | None = None


OnMessage = Callable[[bytes, bool], None]
"""Takes a message and whether it is text."""
OnClosed = Callable[[SocketClosed], None]


async def open_socket(
    url: str, headers: Mapping[str, str], on_message: OnMessage, on_closed: OnClosed
) -> "MediaSocket":
    """Connect to `url` (ws or wss). Raises `HandshakeFailed` with Twilio's code; `on_closed` is then never called."""
    try:
        media_socket = MediaSocket(parse_uri(url), headers, on_message, on_closed)
        async with asyncio.timeout(HANDSHAKE_S):
            await media_socket.connect()
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise HandshakeFailed(_code(error), f"{url}: {error or type(error).__name__}") from error
    return media_socket


def _code(error: Exception) -> int:
    match error:
        case InvalidURI():
            return STREAM_URL_MALFORMED
        case InvalidHandshake():
            return HANDSHAKE_NOT_101
        case ConnectionRefusedError():
            return REFUSED
        case ssl.SSLError():
            return TLS_ERROR
        case _:
            return CONNECT_TIMEOUT


@lru_cache(maxsize=1)
def client_tls() -> ssl.SSLContext:
    """The machine's trust, loaded once: it costs milliseconds, and calls come by the hundred."""
    return ssl.create_default_context()


class MediaSocket(asyncio.Protocol):
    """One connection. `on_closed` is called once, after the last message, when the connection is gone."""

    def __init__(
        self, uri: WebSocketURI, headers: Mapping[str, str], on_message: OnMessage, on_closed: OnClosed
    ) -> None:
        self._uri = uri
        self._headers = headers
        self._on_message = on_message
        self._on_closed = on_closed
        self._protocol = ClientProtocol(uri, max_size=MESSAGE_LIMIT_BYTES)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._fragments: list[bytes] = []
        self._first_opcode = Opcode.TEXT
        self._deadline: asyncio.TimerHandle | None = None
        self._close: Close | None = None
        self._over = False

    async def connect(self) -> None:
        """Connect and shake hands; raises OSError or InvalidHandshake, and is then as good as never called."""
        loop = asyncio.get_running_loop()
        try:
            context = client_tls() if self._uri.secure else None
            await loop.create_connection(lambda: self, self._uri.host, self._uri.port, ssl=context)
            await self._opened
        finally:
            if not self._is_open():
                self._over = True
                self._opened.cancel()
                self._drop()

    def send(self, message: str) -> None:
        """Send a text message now; what cannot be sent any more is lost, as on a real connection."""
        if self._protocol.state is not State.OPEN or self._transport is None:
            return
        self._protocol.send_text(message.encode())
        self._flush()
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT_BYTES:
            self._drop()

    def close(self, code: int = 1000) -> None:
        """Start the closing handshake; `on_closed` follows within `CLOSE_S`."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code)
            self._flush()

    def reset(self) -> None:
        """Drop the connection with a TCP reset and without a close frame."""
        if self._transport is not None:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._drop()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        request = self._protocol.connect()
        for name, value in self._headers.items():
            if name in request.headers:
                del request.headers[name]  # assignment would add a second one
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._receive_frame(event)
        self._settle_handshake()
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._settle_handshake()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.receive_eof()
        self._settle_handshake()
        if self._deadline is not None:
            self._deadline.cancel()
        failure = exc if exc is not None and not isinstance(exc, OSError) else None
        self._transport = None
        if self._over:
            return
        self._over = True
        if self._close is not None:
            self._on_closed(SocketClosed(self._close.code, self._close.reason, failure))
        else:
            self._on_closed(SocketClosed(NO_CLOSE_FRAME, str(exc or "connection lost"), failure))

    # Inside

    def _is_open(self) -> bool:
        return self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None

    def _settle_handshake(self) -> None:
        if self._opened.done():
            return
        if self._protocol.handshake_exc is not None:
            self._opened.set_exception(self._protocol.handshake_exc)
        elif self._protocol.state is not State.CONNECTING:
            self._opened.set_result(None)

    def _receive_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY) and frame.fin:
            self._on_message(bytes(frame.data), frame.opcode is Opcode.TEXT)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._first_opcode = frame.opcode
            self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._on_message(b"".join(self._fragments), self._first_opcode is Opcode.TEXT)
        elif frame.opcode is Opcode.CLOSE:
            self._close = Close.parse(frame.data)

    def _flush(self) -> None:
        """Hand what the protocol wants sent to the transport, and see to it that a closing handshake ends."""
        if self._transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
        if self._deadline is None and self._protocol.close_expected():
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_S, self._drop)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
