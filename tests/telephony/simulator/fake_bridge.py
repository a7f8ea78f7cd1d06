"""A small real bridge on loopback: FastAPI under uvicorn, with an agent that speaks tones. Tests script it."""

import asyncio
import base64
import json
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from telephony.simulator.sound import RATE_HZ, encode

Agent = Callable[["MediaSession"], Awaitable[None]]
STREAM = '<Response><Connect><Stream url="{ws}/media"/></Connect>{then}</Response>'


def tone(ms: float, hz: float = 440.0) -> bytes:
    """Something audible of an exact length."""
    at = np.arange(round(ms * RATE_HZ / 1000)) / RATE_HZ
    return encode(8000 * np.sin(2 * math.pi * hz * at + 0.5))


class MediaSession:
    """One media websocket as the agent's code uses it."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.start: dict[str, Any] = {}

    @property
    def sid(self) -> str:
        return str(self.start["streamSid"])

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.socket.receive_text())
        self.messages.append(message)
        return message

    async def receive_until(self, event: str) -> dict[str, Any]:
        while (message := await self.receive())["event"] != event:
            pass
        return message

    async def send(self, event: str, **parts: Any) -> None:
        await self.socket.send_text(json.dumps({"event": event, "streamSid": self.sid, **parts}))

    async def play(self, audio: bytes) -> None:
        await self.send("media", media={"payload": base64.b64encode(audio).decode()})

    async def mark(self, name: str) -> None:
        await self.send("mark", mark={"name": name})


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@dataclass
class FakeBridge:
    """`documents` maps a path to what it answers: TwiML with `{ws}` and `{http}`, or a status code."""

    agent: Agent
    documents: dict[str, list[str | int]] = field(default_factory=dict)
    events: list[dict[str, Any]] | None = None
    posts: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    upgrades: list[dict[str, str]] = field(default_factory=list)
    sessions: list[MediaSession] = field(default_factory=list)
    url: str = ""

    def forms(self, path: str) -> list[dict[str, str]]:
        return [form for posted, form, _ in self.posts if posted == path]

    async def answer(self, request: Request) -> Response:
        form = {str(name): str(value) for name, value in (await request.form()).items()}
        self.posts.append((request.url.path, form, dict(request.headers)))
        waiting = self.documents.get(request.url.path, ["<Response/>"])
        document = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(document, int):
            return Response(status_code=document, headers={"location": request.url.path, "set-cookie": "a=1"})
        ws = self.url.replace("http", "ws", 1)
        body = document.replace("{ws}", ws).replace("{http}", self.url)
        return Response(body, media_type="text/xml", headers={"set-cookie": "visited=yes"})

    async def media(self, socket: WebSocket) -> None:
        self.upgrades.append(dict(socket.headers))
        await socket.accept()
        session = MediaSession(socket)
        self.sessions.append(session)
        try:
            assert (await session.receive())["event"] == "connected"
            session.start = (await session.receive())["start"]
            await self.agent(session)
            await socket.close()
        except (WebSocketDisconnect, RuntimeError):
            return  # the caller was quicker

    async def live_events(self, call_sid: str) -> Response:
        if self.events is None:
            return Response(status_code=404)
        lines = [f"data: {json.dumps(event)}\n\n" for event in self.events]

        async def stream() -> AsyncIterator[str]:
            yield ": hello\n\n"
            for line in lines:
                yield line

        return StreamingResponse(stream(), media_type="text/event-stream")

    def application(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/api/calls/{call_sid}/events", self.live_events, methods=["GET"])
        app.add_api_route("/{path:path}", self.answer, methods=["GET", "POST"])
        app.add_api_websocket_route("/media", self.media)
        return app

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeBridge"]:
        """Listen on a free port of the loopback until the block ends."""
        config = uvicorn.Config(
            self.application(), host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio"
        )
        server = _Server(config)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve())
            await server.listening.wait()
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            try:
                yield self
            finally:
                server.should_exit = True
                await serving
