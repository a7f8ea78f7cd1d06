import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from telephony.simulator.errors import HandshakeFailed
from telephony.simulator.websocket import MediaSocket, SocketClosed, open_socket


class Client:
    """The socket under test, with what it reported."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bool]] = []
        self.closed: asyncio.Future[SocketClosed] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()

    async def open(self, url: str, **headers: str) -> MediaSocket:
        return await open_socket(url, headers, self.take, self.closed.set_result)

    def take(self, message: bytes, is_text: bool) -> None:
        self.messages.append((message, is_text))
        self.heard.set()


@asynccontextmanager
async def server(handle: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    async with serve(handle, "127.0.0.1", 0, compression=None) as listening:
        yield f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/media"


def test_messages_pass_both_ways_in_order_whole_and_with_their_kind() -> None:
    async def scenario() -> None:
        got: list[str | bytes] = []

        async def handle(connection: ServerConnection) -> None:
            got.append(await connection.recv())
            got.append(connection.request.headers["X-Test"] if connection.request else "")
            await connection.send("text")
            await connection.send(b"\x00\x01")
            await connection.send(["in ", "three ", "parts"])
            await connection.close(1000, "bye")

        client = Client()
        async with server(handle) as url:
            socket = await client.open(url, **{"X-Test": "yes"})
            socket.send("hello")
            closed = await asyncio.wait_for(client.closed, 5)
        assert got == ["hello", "yes"]
        assert client.messages == [(b"text", True), (b"\x00\x01", False), (b"in three parts", True)]
        assert (closed.code, closed.reason, closed.failure) == (1000, "bye", None)
        socket.send("into the void")

    asyncio.run(scenario())


def test_our_close_is_answered_and_pings_are_too() -> None:
    async def scenario() -> None:
        async def handle(connection: ServerConnection) -> None:
            await (await connection.ping())
            await connection.send("pinged")
            await connection.wait_closed()

        client = Client()
        async with server(handle) as url:
            socket = await client.open(url)
            await asyncio.wait_for(client.heard.wait(), 5)
            socket.close(1000)
            assert (await asyncio.wait_for(client.closed, 5)).code == 1000

    asyncio.run(scenario())


def test_a_reset_reaches_the_peer_without_a_close_frame() -> None:
    async def scenario() -> None:
        seen: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

        async def handle(connection: ServerConnection) -> None:
            await connection.wait_closed()
            seen.set_result(connection.close_code)

        client = Client()
        async with server(handle) as url:
            (await client.open(url)).reset()
            assert (await asyncio.wait_for(client.closed, 5)).code == 1006
            assert await asyncio.wait_for(seen, 5) == 1006

    asyncio.run(scenario())


def test_a_connection_that_dies_is_a_close_without_a_frame() -> None:
    async def scenario() -> SocketClosed:
        async def handle(connection: ServerConnection) -> None:
            connection.transport.abort()

        client = Client()
        async with server(handle) as url:
            await client.open(url)
            return await asyncio.wait_for(client.closed, 5)

    closed = asyncio.run(scenario())
    assert (closed.code, closed.failure) == (1006, None)


def test_a_bug_in_the_receiver_is_handed_to_whoever_waits_for_the_end() -> None:
    async def scenario() -> SocketClosed:
        async def handle(connection: ServerConnection) -> None:
            await connection.send("x")
            await connection.wait_closed()

        def broken(message: bytes, is_text: bool) -> None:
            raise ZeroDivisionError

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        client = Client()
        async with server(handle) as url:
            await open_socket(url, {}, broken, client.closed.set_result)
            return await asyncio.wait_for(client.closed, 5)

    assert isinstance(asyncio.run(scenario()).failure, ZeroDivisionError)


def test_a_handshake_that_is_refused_names_twilios_error() -> None:
    async def scenario() -> None:
        async def handle(connection: ServerConnection) -> None:
            await connection.wait_closed()

        def refuse(connection: ServerConnection, request: Request) -> Response:
            return connection.respond(403, "no")

        async with serve(handle, "127.0.0.1", 0, process_request=refuse) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            await Client().open(f"ws://127.0.0.1:{port}/media")

    with pytest.raises(HandshakeFailed, match="403") as failed:
        asyncio.run(scenario())
    assert failed.value.code == 31920


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_a_peer_that_speaks_something_else_is_a_failed_handshake(answer: bytes) -> None:
    async def scenario() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            await Client().open(f"ws://127.0.0.1:{port}/media")

    with pytest.raises(HandshakeFailed) as failed:
        asyncio.run(scenario())
    assert failed.value.code == 31920


def test_nobody_listening_and_no_tls_have_their_own_codes() -> None:
    async def scenario() -> tuple[int, int, int]:
        codes = []
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            with pytest.raises(HandshakeFailed) as failed:
                await Client().open(f"wss://127.0.0.1:{port}/media")
            codes.append(failed.value.code)
        for url in (f"ws://127.0.0.1:{port}/media", "http://127.0.0.1/"):
            with pytest.raises(HandshakeFailed) as failed:
                await Client().open(url)
            codes.append(failed.value.code)
        return codes[0], codes[1], codes[2]

    tls, refused, malformed = asyncio.run(scenario())
    assert tls in {31910, 31901}  # how an aborted TLS handshake surfaces is the platform's choice
    assert (refused, malformed) == (31902, 31923)
