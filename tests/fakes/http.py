"""A vendor's HTTP/1.1 server on loopback, byte by byte: scripted answers, stalls, resets, and who hung up."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

CUT = object()
"""A step: the connection is reset."""

Step = bytes | asyncio.Event | object


@dataclass(frozen=True)
class Answer:
    """What the vendor does with one request: bytes to send, events to wait for, `CUT`. Then the body ends properly."""

    steps: tuple[Step, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream; charset=utf-8"})
    chunk_bytes: int | None = None
    """Size of the pieces that the body is cut into; None leaves each step whole."""


@dataclass
class Received:
    """A request as it came in. `hung_up` is set when the client is gone before it is answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


class HangUp(Exception):
    """The client is gone."""


class HttpVendor:
    """`async with` it, then `url`. Subclasses say in `choose` what they answer; a test scripts in `answers`."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.requests: list[Received] = []
        """Of replies."""
        self.asked_for_models: list[Received] = []
        self.connections = 0
        self.model_answer: Answer | None = None
        self.arrived = asyncio.Event()
        """A request for a reply has come in."""
        self.open_connections: set[asyncio.Task[None]] = set()
        self.url = ""

    def choose(self, received: Received) -> Answer:
        """The answer to a request."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """On all clients, whether or not they wait for something."""
        left = list(self.open_connections)
        for connection in left:
            connection.cancel()
        if left:
            await asyncio.wait(left)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open_connections.add(task)
        self.connections += 1
        number = self.connections
        try:
            while (received := await _read(reader, number)) is not None:
                try:
                    await self._answer(received, reader, writer)
                except (HangUp, ConnectionError):
                    received.hung_up.set()
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client's way to hang up, or ours to end
        finally:
            self.open_connections.discard(task)
            writer.transport.abort()

    async def _answer(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.choose(received)
        head = [f"HTTP/1.1 {answer.status} Status", *(f"{name}: {value}" for name, value in answer.headers.items())]
        writer.write("\r\n".join((*head, "transfer-encoding: chunked", "", "")).encode())
        for step in answer.steps:
            if step is CUT:
                await writer.drain()
                writer.close()
                raise HangUp
            if isinstance(step, asyncio.Event):
                await writer.drain()
                await _wait(step, reader)
            else:
                assert isinstance(step, bytes)
                size = answer.chunk_bytes or len(step)
                for at in range(0, len(step), size):
                    piece = step[at : at + size]
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _read(reader: asyncio.StreamReader, connection: int) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(raw) if raw else None, connection)


async def _wait(step: asyncio.Event, reader: asyncio.StreamReader) -> None:
    """For the event, or raise `HangUp` when the client goes first: it has nothing to send meanwhile."""
    async with asyncio.TaskGroup() as group:
        released = group.create_task(step.wait())
        gone = group.create_task(_gone(reader))
        await asyncio.wait((released, gone), return_when=asyncio.FIRST_COMPLETED)
        released.cancel()
        gone.cancel()
    if not step.is_set():
        raise HangUp


async def _gone(reader: asyncio.StreamReader) -> None:
    try:
        await reader.read(1)
    except ConnectionError:
        pass  # gone in the rude way
