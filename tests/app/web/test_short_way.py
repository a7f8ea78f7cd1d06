"""uvicorn's websocket with the short way: whatever is sent, and however it is cut, the application is told the same.

A real server on loopback, and a peer that writes its frames by hand.
"""

import asyncio
import socket
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from app.web.short_way import EXTENSION, ShortWay, ShortWayProtocol

MAX_BYTES = 70_000
DIVERTED, FETCHED = True, False


def frame(content: str | bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, masked: bool = True) -> bytes:
    """One frame of a client."""
    payload = content.encode() if isinstance(content, str) else content
    length = len(payload)
    marker = length if length < 126 else 126 if length < 1 << 16 else 127
    extended = b"" if length < 126 else length.to_bytes(2 if length < 1 << 16 else 8)
    head = bytes((fin << 7 | opcode, masked << 7 | marker)) + extended
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else head + payload


class Peer:
    """A client past its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connected(cls, port: int) -> "Peer":
        peer = cls(*await asyncio.open_connection("127.0.0.1", port))
        key = b64encode(b"0123456789abcdef").decode()
        peer.writer.write(
            f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = await peer.reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer.splitlines()[0]
        return peer

    async def says(self, data: bytes, cuts: list[int] | None = None) -> None:
        """Write, as several pieces that arrive one after the other."""
        at = 0
        for cut in [*sorted(cuts or ()), len(data)]:
            self.writer.write(data[at:cut])
            await self.writer.drain()
            await asyncio.sleep(0.001)
            at = cut

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame from the server."""
        first, second = await self.reader.readexactly(2)
        assert not second & 0x80, "a server does not mask"
        length = second
        if second == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif second == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(length)

    async def closed_with(self) -> int:
        """The code of the server's close frame; what comes before it is passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == Opcode.CLOSE:
                return int(struct.unpack("!H", payload[:2])[0])


class Application:
    """What it is told, and by which way."""

    def __init__(self, diverted: bool, begin: Callable[[ShortWay], Awaitable[None]] | None = None) -> None:
        self._diverted = diverted
        self._begin = begin
        self.told: asyncio.Queue[str | bytes | None] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        short_way: ShortWay = scope["extensions"][EXTENSION]
        if self._begin is not None:
            await self._begin(short_way)
        if self._diverted:
            short_way.divert(self.told.put_nowait)
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            self.told.put_nowait(message["bytes"] if text is None else text)
        self.told.put_nowait(None)


def act(application: Application, scene: Callable[[Peer], Awaitable[None]]) -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            log_level="critical",
            ws=ShortWayProtocol,
            ws_max_size=MAX_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listening]))
            try:
                peer = await Peer.connected(listening.getsockname()[1])
                await scene(peer)
                peer.writer.close()
            finally:
                server.should_exit = True
            await serving

    asyncio.run(main())


ways = pytest.mark.parametrize("diverted", [DIVERTED, FETCHED], ids=["diverted", "fetched"])


@ways
@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=200),
            st.binary(max_size=200),
            st.sampled_from(["x" * 125, "x" * 126, "x" * 65_535, "x" * 65_536]),
        ),
        max_size=8,
    ),
    data=st.data(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(
    diverted: bool, messages: list[str | bytes], data: st.DataObject
) -> None:
    stream = b""
    for message in messages:
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        parts = data.draw(st.integers(1, 3)) if len(message) > 2 else 1
        size = -(-len(message) // parts) or 1
        pieces = [message[at : at + size] for at in range(0, len(message), size)] or [message]
        for number, piece in enumerate(pieces):
            stream += frame(piece, opcode if number == 0 else Opcode.CONT, fin=number == len(pieces) - 1)
            if data.draw(st.booleans()):
                stream += frame(b"beat", Opcode.PING)  # allowed between fragments, too
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5))
    application = Application(diverted)

    async def scene(peer: Peer) -> None:
        await peer.says(stream, cuts)
        assert [await application.told.get() for _ in messages] == messages

    act(application, scene)


@ways
def test_pings_are_answered_between_messages(diverted: bool) -> None:
    application = Application(diverted)

    async def scene(peer: Peer) -> None:
        await peer.says(frame("a") + frame(b"1", Opcode.PING) + frame("b") + frame(b"2", Opcode.PING))
        assert [await peer.frame(), await peer.frame()] == [(Opcode.PONG, b"1"), (Opcode.PONG, b"2")]
        assert [await application.told.get(), await application.told.get()] == ["a", "b"]

    act(application, scene)


@ways
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame("not masked", masked=False), 1002),
        (b"\xc1" + frame("a reserved bit")[1:], 1002),
        (b"\x83" + frame("a reserved opcode")[1:], 1002),
        (frame("goes on", Opcode.CONT), 1002),
        (frame("begins", fin=False) + frame("begins again"), 1002),
        (frame(b"\xff\xfe", Opcode.TEXT), 1007),
        (frame("x" * (MAX_BYTES + 1))[:14], 1009),  # its head is enough
        (frame(b"x" * 126, Opcode.PING), 1002),
    ],
)
def test_who_breaks_the_rules_is_told_so_and_cut_off(diverted: bool, broken: bytes, code: int) -> None:
    application = Application(diverted)

    async def scene(peer: Peer) -> None:
        await peer.says(frame("before") + broken + frame("after"))  # all at once: nothing is left unread
        assert await peer.closed_with() == code
        assert [await application.told.get(), await application.told.get()] == ["before", None]

    act(application, scene)


@ways
def test_a_close_ends_it_and_nothing_is_told_after(diverted: bool) -> None:
    application = Application(diverted)

    async def scene(peer: Peer) -> None:
        await peer.says(frame("a") + frame(struct.pack("!H", 1000), Opcode.CLOSE) + frame("late"))
        assert await peer.closed_with() == 1000
        assert [await application.told.get(), await application.told.get()] == ["a", None]

    act(application, scene)


def test_what_came_before_it_was_diverted_is_told_first() -> None:
    arrived = asyncio.Event()

    async def begin(_: ShortWay) -> None:
        await arrived.wait()

    application = Application(DIVERTED, begin)

    async def scene(peer: Peer) -> None:
        await peer.says(b"".join(frame(str(number)) for number in range(200)))  # more than is read without being asked
        arrived.set()
        await peer.says(frame("200"))
        assert [await application.told.get() for _ in range(201)] == [str(number) for number in range(201)]

    act(application, scene)


def test_nobody_floods_an_application_that_does_not_fetch() -> None:
    fetches = asyncio.Event()
    ways: list[Any] = []

    async def begin(short_way: ShortWay) -> None:
        ways.append(short_way)
        await fetches.wait()

    application = Application(FETCHED, begin)

    async def scene(peer: Peer) -> None:
        one = frame("x" * 1000)
        for _ in range(50):
            peer.writer.write(one * 200)
        await asyncio.sleep(0.3)
        assert ways[0].queue.qsize() < 1000, "10,000 messages were sent"
        fetches.set()
        for _ in range(10_000):
            assert await application.told.get() == "x" * 1000

    act(application, scene)


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_text_is_written_at_once_whatever_its_length(length: int) -> None:
    text = "ü" * (length // 2) + "x" * (length % 2)

    async def begin(short_way: ShortWay) -> None:
        assert short_way.write_text(text)

    async def scene(peer: Peer) -> None:
        assert await peer.frame() == (Opcode.TEXT, text.encode())

    act(Application(DIVERTED, begin), scene)


def test_nothing_is_written_to_a_peer_that_takes_no_more_or_is_gone() -> None:
    taken: list[bool] = []
    gone = asyncio.Event()

    async def begin(short_way: ShortWay) -> None:
        while short_way.write_text("x" * 60_000) and len(taken) < 1000:
            taken.append(True)
        await gone.wait()
        taken.append(short_way.write_text("x"))

    async def scene(peer: Peer) -> None:
        await asyncio.sleep(0.2)
        assert 0 < len(taken) < 1000
        peer.writer.transport.abort()
        await asyncio.sleep(0.1)
        gone.set()
        while taken[-1]:
            await asyncio.sleep(0.01)

    act(Application(DIVERTED, begin), scene)
