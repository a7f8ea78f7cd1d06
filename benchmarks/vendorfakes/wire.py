"""The servers' side of HTTP/1.1 and of websockets (RFC 9112, RFC 6455), as far as well-behaved clients on loopback need
it."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import parse_qs, urlsplit

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE, _PING = 1, 2, 8, 9


@dataclass(frozen=True)
class Request:
    """One request; `query` has the first value of each name."""

    path: str
    query: Mapping[str, str]
    body: bytes


class Peer(Protocol):
    """Whoever is at the other end of one websocket. Told from the event loop, in order."""

    def text(self, message: bytes) -> None: ...

    def binary(self, payload: memoryview, mask: bytes) -> None:
        """Still masked: byte `i` is `payload[i] ^ mask[i % 4]`, so that nobody pays for bytes he does not look at."""
        ...

    def closed(self) -> None: ...


class Connection(asyncio.Protocol):
    """One connection: requests first, a websocket once one of them asks for it."""

    def __init__(
        self,
        on_request: Callable[["Connection", Request], None],
        on_socket: Callable[["Connection", Request], Peer],
    ) -> None:
        self._on_request = on_request
        self._on_socket = on_socket
        self._peer: Peer | None = None
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    # answering

    def write(self, data: bytes) -> None:
        """Raw bytes; dropped once the client is gone."""
        if self._transport is not None:
            self._transport.write(data)

    def respond(self, body: bytes, kind: str = "application/json") -> None:
        """A whole answer."""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.write(head.encode() + body)

    def begin(self, kind: str) -> None:
        """The head of an answer in chunks."""
        self.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())

    def chunk(self, data: bytes) -> None:
        """The next chunk; an empty one ends the answer."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def send(self, message: bytes) -> None:
        """A text message."""
        self.write(_header(0x80 | _TEXT, len(message)) + message)

    @property
    def open(self) -> bool:
        return self._transport is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._peer is not None:
            self._peer.closed()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._take_frame() if self._peer is not None else self._take_request():
            pass

    def _take_request(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            return False
        self._buffer = rest[size:]
        target = urlsplit(lines[0].split(" ")[1])
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        request = Request(target.path, query, rest[:size])
        if "sec-websocket-key" in headers:
            digest = hashlib.sha1(headers["sec-websocket-key"].encode() + _GUID).digest()
            self.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
            )
            self._peer = self._on_socket(self, request)
        else:
            self._on_request(self, request)
        return bool(self._buffer)

    def _take_frame(self) -> bool:
        data = self._buffer
        if len(data) < 6:
            return False
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        end = at + 4 + size
        if len(data) < end:
            return False
        mask, payload = data[at : at + 4], memoryview(data)[at + 4 : end]
        self._buffer = data[end:]
        self._take(data[0] & 0x0F, mask, payload)
        return len(self._buffer) >= 6

    def _take(self, kind: int, mask: bytes, payload: memoryview) -> None:
        assert self._peer is not None, "because: frames come after the upgrade"
        if kind == _BINARY:
            self._peer.binary(payload, mask)
        elif kind == _TEXT:
            self._peer.text(_unmasked(payload, mask))
        elif kind == _PING:
            self.write(_header(0x8A, len(payload)) + _unmasked(payload, mask))
        elif kind == _CLOSE and self._transport is not None:
            self.write(_header(0x80 | _CLOSE, 2) + b"\x03\xe8")
            self._transport.close()


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


def _unmasked(payload: memoryview, mask: bytes) -> bytes:
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
