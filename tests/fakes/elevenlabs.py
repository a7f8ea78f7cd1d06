"""ElevenLabs on loopback: its multi-context websocket as the vendor describes it, with faults to order.

Speech is the text itself: `CHARACTER_SAMPLES` bytes for each character, all with the character's code. So `spelled`
reads back from audio what was spoken, and whatever was lost, doubled or mixed shows.
"""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import groupby
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "sk_test_key"
VOICE = "voice-1"
CHARACTER_SAMPLES = 160  # 20 ms
_NO_CHARACTERS = bytes(range(0x7F, 0x100))
"""Both zeros of µ-law among them."""


def sound(text: str) -> bytes:
    """How `text` is spoken."""
    return b"".join(bytes([code if code < 128 else 128 + code % 128]) * CHARACTER_SAMPLES for code in map(ord, text))


def spelled(audio: bytes) -> str:
    """The text that was made into `audio`."""
    return "".join(map(chr, audio[::CHARACTER_SAMPLES]))


def _pronounceable(text: str) -> bool:
    """Of a text that has nothing to say, a smiley, there is no sound, and nothing that tells so."""
    return any(map(str.isalnum, text))


def heard(recording: bytes) -> str:
    """What somebody understood who heard this speech, with the silence of a line before, behind and anywhere within it.
    Of a character that broke off, less than half is none."""
    speech = recording.translate(None, _NO_CHARACTERS)
    runs = ((code, len(list(run))) for code, run in groupby(speech))
    return "".join(chr(code) * round(length / CHARACTER_SAMPLES) for code, length in runs)


@dataclass
class Fault:
    """What happens, once, instead of the chunk with this number of the next piece: each part that is set, in order."""

    chunk: int = 0
    wait: asyncio.Event | None = None
    send: str | bytes | None = None
    close: tuple[int, str] | None = None
    reset: bool = False
    stall: bool = False


@dataclass
class Spoken:
    """One context, as the vendor has it."""

    context_id: str
    first: dict[str, Any]
    pieces: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    buffered: str = ""
    text: str = ""
    keepalives: int = 0
    closed: bool = False
    finished: bool = False


@dataclass
class Line:
    """One connection."""

    connection: ServerConnection
    contexts: dict[str, Spoken] = field(default_factory=dict)

    async def send(self, **message: Any) -> None:
        try:
            await self.connection.send(json.dumps(message))
        except ConnectionClosed:
            return


class FakeElevenLabs:
    """A server for as long as it is entered. Change the attributes to change the vendor's behaviour."""

    def __init__(self) -> None:
        self.most_contexts = 5
        self.chunks: tuple[int, ...] = (1, 159, 1000, 333)  # bytes; the last goes on for ever
        self.alignment = "exact"  # or "none", "normalized", "specified"
        self.normalize: dict[str, str] = {}  # words, and what is said for them
        self.flush_done = True
        self.late_audio = b""  # sent after close_context
        self.linger = asyncio.Event()  # a closed context ends when this is set
        self.linger.set()
        self.refusals: list[tuple[int, dict[str, str], bytes]] = []  # for the next upgrades
        self.mute = asyncio.Event()  # upgrades are answered when this is set
        self.mute.set()
        self.faults: list[Fault] = []
        self.lines: list[Line] = []
        self.spoken: list[Spoken] = []
        self.most_open = 0
        self.queries: list[dict[str, list[str]]] = []
        self.violations: list[str] = []
        self.heard = asyncio.Event()  # set by each message of a client
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, process_request=self._upgrade, compression=None)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.mute.set()
        self._server.close()
        for line in self.lines:
            line.connection.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def environment(self) -> dict[str, str]:
        """What points the adapter here."""
        return {"ELEVENLABS_API_KEY": KEY, "ELEVENLABS_BASE_URL": self.url, "ELEVENLABS_VOICE_ID": VOICE}

    async def until(self, condition: Any) -> None:
        """Return when `condition()` holds; looked at after each message of a client."""
        while not condition():
            self.heard.clear()
            await self.heard.wait()

    async def close_idle(self, *, silently: bool = False) -> None:
        """What the vendor does when nothing was said for `inactivity_timeout`."""
        for line in self.lines:
            if not silently:
                await line.send(error="input_timeout_exceeded", message="No input for 180 s.", code=1008)
            await line.connection.close(1008, "Input timeout exceeded")

    async def finish_idle_contexts(self) -> None:
        for line in self.lines:
            for spoken in tuple(line.contexts.values()):
                await self._finish(line, spoken)

    async def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        await self.mute.wait()
        url = urlsplit(request.path)
        self.queries.append(parse_qs(url.query))
        if self.refusals:
            status, headers, body = self.refusals.pop(0)
            return Response(
                status, HTTPStatus(status).phrase, Headers({"Content-Length": str(len(body)), **headers}), body
            )
        if request.headers.get("xi-api-key") != KEY:
            return refusal(connection, 401, "invalid_api_key", "Invalid API key")
        if url.path != f"/v1/text-to-speech/{VOICE}/multi-stream-input":
            return refusal(connection, 400, "voice_not_found", "A voice with this id was not found.")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        line = Line(connection)
        self.lines.append(line)
        try:
            async with asyncio.TaskGroup() as group:
                speaking: list[asyncio.Task[None]] = []
                async for text in connection:
                    await self._take(line, json.loads(text), group, speaking)
                    self.heard.set()
                for task in speaking:
                    task.cancel()
        except* ConnectionClosed:
            pass
        self.heard.set()

    async def _take(
        self, line: Line, message: dict[str, Any], group: asyncio.TaskGroup, speaking: list[asyncio.Task[None]]
    ) -> None:
        if message.get("close_socket"):
            await line.connection.close()
            return
        spoken = line.contexts.get(message["context_id"])
        if spoken is not None:
            self._continue(spoken, message)
        elif not message.get("close_context"):
            await self._open(line, message, group, speaking)

    async def _open(
        self, line: Line, message: dict[str, Any], group: asyncio.TaskGroup, speaking: list[asyncio.Task[None]]
    ) -> None:
        spoken = Spoken(message["context_id"], message)
        line.contexts[spoken.context_id] = spoken
        self.spoken.append(spoken)
        self.most_open = max(self.most_open, len(line.contexts))
        if len(line.contexts) > self.most_contexts:
            await line.send(error="max_active_conversations", message="Too many contexts.", code=1008)
            await line.connection.close(1008, "Maximum simultaneous contexts exceeded")
            return
        reopened = any(earlier.context_id == spoken.context_id for earlier in self.spoken[:-1])
        if message.get("text") != " " and not reopened:
            self.violations.append(f"the first text of a context was {message.get('text')!r}")
        speaking.append(group.create_task(self._speak(line, spoken)))

    def _continue(self, spoken: Spoken, message: dict[str, Any]) -> None:
        text = message.get("text")
        if text == "":
            spoken.keepalives += 1
        elif text is not None:
            if not text.endswith(" "):
                self.violations.append(f"{text!r} does not end in a space")
            if spoken.closed:
                self.violations.append("text after close_context")
            spoken.buffered += text
        if message.get("flush"):
            spoken.text += spoken.buffered
            spoken.pieces.put_nowait(spoken.buffered)
            spoken.buffered = ""
        if message.get("close_context"):
            spoken.closed = True
            while not spoken.pieces.empty():  # what is queued is dropped
                spoken.pieces.get_nowait()
            spoken.pieces.put_nowait(None)

    async def _speak(self, line: Line, spoken: Spoken) -> None:
        while (piece := await spoken.pieces.get()) is not None:
            fault = self.faults.pop(0) if self.faults else None
            for number, message in enumerate(self._chunks(piece)):
                if fault is not None and number == fault.chunk:
                    await self._suffer(line, fault)
                await line.send(contextId=spoken.context_id, **message)
                await asyncio.sleep(0)
            if self.flush_done and _pronounceable(piece):
                await line.send(type="flush_done", contextId=spoken.context_id)
        if self.late_audio:
            await line.send(contextId=spoken.context_id, audio=base64.b64encode(self.late_audio).decode())
        await self.linger.wait()
        await self._finish(line, spoken)

    async def _suffer(self, line: Line, fault: Fault) -> None:
        if fault.wait is not None:
            await fault.wait.wait()
        if fault.send is not None:
            await line.connection.send(fault.send)
        if fault.close is not None:
            await line.connection.close(*fault.close)
        if fault.reset:
            line.connection.transport.abort()
        if fault.stall:
            await asyncio.Event().wait()

    async def _finish(self, line: Line, spoken: Spoken) -> None:
        if not spoken.finished:
            spoken.finished = True
            line.contexts.pop(spoken.context_id, None)
            await line.send(isFinal=True, contextId=spoken.context_id)
            self.heard.set()

    def _chunks(self, piece: str) -> Iterator[dict[str, Any]]:
        if not _pronounceable(piece):
            return
        said = " ".join(self.normalize.get(word, word) for word in piece.split(" "))
        audio = sound(said)
        sizes = iter(self.chunks)
        size, start = 1, 0
        while start < len(audio):
            size = next(sizes, size)
            end = min(start + size, len(audio))
            yield {
                "audio": base64.b64encode(audio[start:end]).decode(),
                "isFinal": None,
                **self._aligned(said, start, end),
            }
            start = end

    def _aligned(self, said: str, start: int, end: int) -> dict[str, Any]:
        """The characters that begin between two samples, as the vendor aligns them."""
        if self.alignment == "none":
            return {"alignment": None, "normalizedAlignment": None}
        first, last = (-(-place // CHARACTER_SAMPLES) for place in (start, end))
        durations = "charsDurationsMs" if self.alignment == "specified" else "charDurationsMs"
        times = {
            "chars": list(said[first:last]),
            "charStartTimesMs": [(at * CHARACTER_SAMPLES - start) / 8 for at in range(first, last)],
            durations: [CHARACTER_SAMPLES / 8] * len(said[first:last]),
        }
        return {"alignment": None if self.alignment == "normalized" else times, "normalizedAlignment": times}


def refusal(connection: ServerConnection, status: int, word: str, sentence: str) -> Response:
    response = connection.respond(HTTPStatus(status), detail(word, sentence).decode())
    response.headers["Content-Type"] = "application/json"
    return response


def detail(word: str, sentence: str = "No.") -> bytes:
    """The vendor's body of an HTTP error."""
    return json.dumps({"detail": {"status": word, "message": sentence}}).encode()


@contextmanager
def in_a_thread() -> Iterator[FakeElevenLabs]:
    """A fake for tests that run event loops of their own."""
    started = threading.Event()
    running: list[tuple[FakeElevenLabs, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        stop = asyncio.Event()
        async with FakeElevenLabs() as fake:
            running.append((fake, asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    started.wait(10)
    fake, loop, stop = running[0]
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def audio_of(chunks: Sequence[Any]) -> bytes:
    """All audio of some `SpeechChunk`s."""
    return b"".join(chunk.audio for chunk in chunks)
