"""Deepgram on loopback: `/v1/listen` (live and prerecorded) and `/v2/listen` as the vendor documents them, with an ear
of its own.

Words are tones, one frequency each (`say`), so what is recognised is what really arrived: lost audio is a lost or a
clipped word, audio sent twice a word said twice. Anything else that is loud gets words too, the same for the same
sound. Faults are dealt to connections in the order in which they come.
"""

import asyncio
import json
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from telephony.audio import FRAME_BYTES, MULAW_SILENCE
from telephony.codecs import g711

RATE = 8000
WORDS = "zero one two three four five six seven eight nine ten eleven twelve red green blue".split()
KEY = "a-good-key"
WORD_MS, PAUSE_MS = 200, 100
_WINDOW = RATE // 100
_LOUD = 1500
_LINEAR = np.frombuffer(g711.decode_mulaw(bytes(range(256))), dtype="<i2").astype(np.int32)


def _hz(word: str) -> int:
    return 400 + 100 * WORDS.index(word)


def say(text: str) -> bytes:
    """The words as tones, µ-law, each with a pause behind it."""
    spoken = b""
    for word in text.split():
        at = np.arange(RATE * WORD_MS // 1000) / RATE
        tone = (12_000 * np.sin(2 * np.pi * _hz(word) * at + 0.4)).astype("<i2")
        spoken += g711.encode_mulaw(tone.tobytes()) + silence(PAUSE_MS)
    return spoken


def silence(ms: float) -> bytes:
    return bytes([MULAW_SILENCE]) * int(RATE * ms / 1000)


def frames(audio: bytes) -> list[bytes]:
    return [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]


@dataclass(frozen=True)
class Word:
    """A word and where it stood, in seconds of the connection."""

    text: str
    start: float
    end: float

    def as_json(self) -> dict[str, Any]:
        return {"word": self.text, "start": self.start, "end": self.end, "confidence": 0.95}


class ToneEar:
    """Finds the words in µ-law audio."""

    def __init__(self) -> None:
        self._rest = b""
        self._run: list[np.ndarray] = []
        self._quiet = 0
        self.samples = 0
        self.words: list[Word] = []

    @property
    def now(self) -> float:
        return self.samples / RATE

    @property
    def quiet_s(self) -> float:
        """Silence up to now."""
        return 0.0 if self._run else self._quiet / 100

    def hear(self, audio: bytes) -> Iterator[None]:
        """Yields after every 10 ms of it."""
        self._rest += audio
        while len(self._rest) >= _WINDOW:
            window, self._rest = self._rest[:_WINDOW], self._rest[_WINDOW:]
            self._window(_LINEAR[np.frombuffer(window, np.uint8)])
            yield

    def _window(self, sound: np.ndarray) -> None:
        self.samples += _WINDOW
        if np.abs(sound).max() >= _LOUD:
            self._run.append(sound)
            self._quiet = 0
            return
        self._quiet += 1
        if self._run and self._quiet >= 4:
            self.flush()

    def flush(self) -> None:
        """What was being said was a word."""
        run, self._run = self._run, []
        if not run:
            return
        sound = np.concatenate(run)
        crossings = int(np.count_nonzero(np.diff(np.signbit(sound))))
        hz = crossings * RATE / len(sound) / 2
        word = WORDS[min(len(WORDS) - 1, max(0, round((hz - 400) / 100)))]
        ms = len(sound) * 1000 / RATE
        damage = "" if abs(ms - WORD_MS) < 20 else ("-clipped" if ms < WORD_MS else "-stretched")
        end = self.now - self._quiet / 100
        self.words.append(Word(word + damage, end - ms / 1000, end))


@dataclass(frozen=True)
class Fault:
    """What goes wrong on one connection once it has had `after_s` of audio."""

    what: Callable[["Line"], Any]
    """Called with the connection, once; may answer an awaitable."""
    after_s: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """The upgrade is answered with a status."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Line:
    """One connection: what came, and what it is to suffer."""

    socket: ServerConnection
    path: str
    query: dict[str, list[str]]
    fault: Fault | None
    texts: list[dict[str, Any]] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    chunks: list[int] = field(default_factory=list)
    came: list[str | int] = field(default_factory=list)
    """All messages in order: a text's type, or how many bytes of audio."""
    mute: bool = False
    deaf: asyncio.Event | None = None
    """While set aside, nothing is read any more."""

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.raw(json.dumps(message))

    async def raw(self, message: str | bytes) -> None:
        if not self.mute:
            await self.socket.send(message)

    def types(self) -> list[str]:
        return [text["type"] for text in self.texts]


class Ended(Exception):
    """The protocol is over for this connection."""


class _Protocol:
    """What both protocols share: the ear, and when to speak."""

    known: ClassVar[frozenset[str]]

    def __init__(self, line: Line, vendor: "FakeDeepgram") -> None:
        self.line = line
        self.vendor = vendor
        self.ear = ToneEar()
        self.told_at = 0.0

    def option(self, name: str, default: float) -> float:
        return float(self.line.query.get(name, [str(default)])[0])

    async def begin(self) -> None:
        """Before any audio."""

    async def tick(self) -> None:
        """After 10 ms of audio."""

    async def text(self, kind: str, message: Mapping[str, Any]) -> None:
        """A text message."""


class LiveProtocol(_Protocol):
    """`/v1/listen`."""

    known = frozenset(("KeepAlive", "Finalize", "CloseStream", "Configure"))

    def __init__(self, line: Line, vendor: "FakeDeepgram") -> None:
        super().__init__(line, vendor)
        self.settled = 0.0
        self.unended: Word | None = None
        self.active = False

    def _words(self) -> list[Word]:
        return [word for word in self.ear.words if word.start >= self.settled - 0.005]

    async def tick(self) -> None:
        ear, words = self.ear, self._words()
        self.active = self.active or ear.quiet_s == 0.0
        if words and ear.quiet_s * 1000 >= self.option("endpointing", 10):
            if not self.vendor.noisy:
                await self._final(speech_final=True)
                return
            self.unended = words[-1]
            await self._final()
        elif ear.now - self.settled >= 3.0 and ear.quiet_s > 0.05:
            self.unended = words[-1] if words else self.unended
            await self._final()
        elif ear.now - self.told_at >= 0.25 and self.option_is("interim_results"):
            await self._results()
        if self.unended and (ear.now - self.unended.end) * 1000 >= self.option("utterance_end_ms", 1e9):
            await self.line.say({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": self.unended.end})
            self.unended = None

    def option_is(self, name: str) -> bool:
        return self.line.query.get(name) == ["true"]

    async def _final(self, **flags: bool) -> None:
        await self._results(is_final=True, **flags)
        self.settled = self.ear.now
        self.active = False

    async def _results(self, **flags: bool) -> None:
        self.told_at = self.ear.now
        words = self._words()
        said = {"transcript": " ".join(word.text for word in words), "confidence": 0.98 if words else 0.0}
        message = {
            "type": "Results",
            "channel_index": [0, 1],
            "start": self.settled,
            "duration": self.ear.now - self.settled,
            "is_final": False,
            "speech_final": False,
            "from_finalize": False,
            "channel": {"alternatives": [{**said, "words": [word.as_json() for word in words]}]},
            "metadata": {
                "request_id": "7c1f",
                "model_info": {"name": "general-nova-3", "version": "2025-01-01", "arch": "nova-3"},
                "model_uuid": "5a1e",
            },
        }
        await self.line.say({**message, **flags})

    async def text(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind not in self.known:
            await self.line.say({"type": "Error", "variant": "SchemaError", "description": f"unknown {kind}"})
        elif kind == "Finalize" and self.active:
            self.ear.flush()
            await self._final(from_finalize=True, speech_final=True)
            self.unended = None
        elif kind == "CloseStream":
            self.ear.flush()
            await self._final()
            await self.line.say({"type": "Metadata", "request_id": "7c1f", "duration": self.ear.now, "channels": 1})
            await self.line.socket.close(1000)
            raise Ended


class FluxProtocol(_Protocol):
    """`/v2/listen`."""

    known = frozenset(("CloseStream", "Configure", "ForceEndTurn"))

    def __init__(self, line: Line, vendor: "FakeDeepgram") -> None:
        super().__init__(line, vendor)
        self.sequence = 0
        self.turn = 0
        self.turn_start = 0.0
        self.open = self.eager = False

    async def begin(self) -> None:
        await self._tell({"type": "Connected"})

    async def _tell(self, message: Mapping[str, Any]) -> None:
        await self.line.say({**message, "request_id": "7c1f", "sequence_id": self.sequence})
        self.sequence += 1

    def _words(self) -> list[Word]:
        return [word for word in self.ear.words if word.start >= self.turn_start - 0.005]

    async def _turn(self, event: str, **more: str) -> None:
        self.told_at = self.ear.now
        words = self._words()
        message = {
            "type": "TurnInfo",
            "event": event,
            "turn_index": self.turn,
            "audio_window_start": self.turn_start,
            "audio_window_end": self.ear.now,
            "transcript": " ".join(word.text for word in words),
            "words": [word.as_json() for word in words],
            "end_of_turn_confidence": 0.9 if event == "EndOfTurn" else 0.4,
        }
        await self._tell({**message, **more})

    async def tick(self) -> None:
        words, quiet_ms = self._words(), self.ear.quiet_s * 1000
        eager = self.option("eager_eot_threshold", 0.0) * 500  # this fake is the surer the longer the silence is
        if words and not self.open:
            self.open = True
            await self._turn("StartOfTurn")
        elif self.eager and quiet_ms == 0:
            self.eager = False
            await self._turn("TurnResumed")
        elif self.open and eager and not self.eager and quiet_ms >= eager:
            self.eager = True
            await self._turn("EagerEndOfTurn")
        elif self.open and quiet_ms >= min(
            self.option("eot_threshold", 0.7) * 1000, self.option("eot_timeout_ms", 5000)
        ):
            await self._end("model")
        elif self.ear.now - self.told_at >= 0.25:
            await self._turn("Update")

    async def _end(self, trigger: str) -> None:
        await self._turn("EndOfTurn", trigger=trigger)
        self.turn += 1
        self.turn_start = self.ear.now
        self.open = self.eager = False

    async def text(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind not in self.known:
            await self._tell({"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": kind})
            await self.line.socket.close(1011)
            raise Ended
        if kind == "ForceEndTurn" and self.open:
            self.ear.flush()
            await self._end("manual")
        elif kind == "CloseStream":
            self.ear.flush()
            await self._turn("Update")
            close_without_status(self.line)
            raise Ended


def close_without_status(line: Line) -> None:
    """A close frame with nothing in it, which the other side sees as 1005."""
    line.socket.protocol.send_close()
    for data in line.socket.protocol.data_to_send():
        line.socket.transport.write(data)


def reset(line: Line) -> None:
    """The connection is gone without a word."""
    line.socket.transport.abort()


def mute(line: Line) -> None:
    """Reads on and says nothing any more."""
    line.mute = True


class _Door(ServerConnection):
    """Websockets and, on the same port, POST requests, which websockets knows nothing of."""

    vendor: "FakeDeepgram"
    _posted = b""

    def data_received(self, data: bytes) -> None:
        if not self._posted and not data.startswith(b"POST "):
            super().data_received(data)
            return
        self._posted += data
        head, found, body = self._posted.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if found and len(body) >= int(headers.get("content-length", "0")):
            self._posted = b""
            self.vendor.posts.append(Post(lines[0].split(" ")[1], headers, body))
            self.loop.call_later(self.vendor.batch_s, self._answer, self.vendor.posts[-1])

    def _answer(self, post: "Post") -> None:
        status, headers, body = self.vendor.transcribe(post)
        lines = [f"{name}: {value}" for name, value in {**headers, "content-length": len(body)}.items()]
        head = "\r\n".join((f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines, "", ""))
        self.transport.write(head.encode() + body)


@dataclass(frozen=True)
class Post:
    """A request for prerecorded recognition."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def audio(self) -> bytes | None:
        """The samples of a µ-law WAV file at 8 kHz; None for anything else."""
        if self.body[:4] + self.body[8:16] != b"RIFFWAVEfmt " or len(self.body) != 8 + _le32(self.body, 4):
            return None
        encoding, channels, rate = struct.unpack_from("<HHI", self.body, 20)
        at = 12
        while at + 8 <= len(self.body) and self.body[at : at + 4] != b"data":
            at += 8 + _le32(self.body, at + 4) + _le32(self.body, at + 4) % 2
        samples = self.body[at + 8 : at + 8 + _le32(self.body, at + 4)]
        return samples if (encoding, channels, rate) == (7, 1, RATE) else None


def _le32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


class FakeDeepgram:
    """The vendor. `faults` and `refusals` are dealt out one per connection; None is a good one. `batch_refusals` are
    dealt to prerecorded requests."""

    def __init__(self, quiet_s: float = 10.0, noisy: bool = False) -> None:
        self.quiet_s = quiet_s
        self.noisy = noisy
        self.lines: list[Line] = []
        self.upgrades: list[Request] = []
        self.faults: deque[Fault | None] = deque()
        self.refusals: deque[Refusal | None] = deque()
        self.posts: list[Post] = []
        self.batch_s = 0.0
        self.batch_refusals: deque[Refusal | bytes] = deque()
        """A refusal, or the body of an answer that is none."""
        self.admitted = asyncio.Event()
        """Cleared, upgrades are not answered."""
        self.admitted.set()
        self.url = ""

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.upgrades.append(request)
        await self.admitted.wait()
        refusal = self.refusals.popleft() if self.refusals else None
        if request.headers.get("Authorization") != f"Token {KEY}":
            refusal = Refusal(401, {"dg-error": "INVALID_AUTH"})
        elif urlsplit(request.path).path not in ("/v1/listen", "/v2/listen"):
            refusal = Refusal(404)
        if refusal is None:
            return None
        body = json.dumps({"err_code": refusal.headers.get("dg-error", ""), "err_msg": "no", "request_id": "7c1f"})
        headers = Headers([*refusal.headers.items(), ("Content-Length", str(len(body)))])
        return Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, body.encode())

    def transcribe(self, post: Post) -> tuple[int, Mapping[str, str], bytes]:
        """The answer to a prerecorded request."""
        refusal = self.batch_refusals.popleft() if self.batch_refusals else None
        sound = post.audio()
        if post.headers.get("authorization") != f"Token {KEY}":
            refusal = Refusal(401, {"dg-error": "INVALID_AUTH"})
        elif not post.path.startswith("/v1/listen?"):
            refusal = Refusal(404)
        elif sound is None or post.query["model"][0].startswith("flux"):
            refusal = Refusal(400, {"dg-error": "Bad Request"})
        if isinstance(refusal, bytes):
            return 200, {"content-type": "application/json"}, refusal
        if refusal is not None or sound is None:
            refused = refusal or Refusal(400)
            return refused.status, refused.headers, json.dumps({"err_code": "NO", "err_msg": "no"}).encode()
        ear = ToneEar()
        for _ in ear.hear(sound + silence(10)):
            pass
        ear.flush()
        words = [word.as_json() for word in ear.words]
        said = {"transcript": " ".join(word.text for word in ear.words), "confidence": 0.97, "words": words}
        answer = {"metadata": {"request_id": "7c1f"}, "results": {"channels": [{"alternatives": [said]}]}}
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        parts = urlsplit(socket.request.path)
        line = Line(socket, parts.path, parse_qs(parts.query), self.faults.popleft() if self.faults else None)
        self.lines.append(line)
        protocol = (FluxProtocol if parts.path.startswith("/v2") else LiveProtocol)(line, self)
        try:
            await self._strike(line)
            await protocol.begin()
            while True:
                await self._take(protocol, line)
        except (Ended, ConnectionClosed):
            await socket.wait_closed()

    async def _take(self, protocol: _Protocol, line: Line) -> None:
        try:
            async with asyncio.timeout(self.quiet_s):
                message = await line.socket.recv()
        except TimeoutError:
            await line.socket.close(1011, "NET-0001")
            raise Ended from None
        if isinstance(message, str):
            text = json.loads(message)
            line.texts.append(text)
            line.came.append(text["type"])
            await protocol.text(text["type"], text)
            return
        if not message:
            await line.socket.close(1000, "an empty message ends the stream")
            raise Ended
        line.audio += message
        line.chunks.append(len(message))
        line.came.append(len(message))
        for _ in protocol.ear.hear(message):
            await protocol.tick()
            await self._strike(line)

    async def _strike(self, line: Line) -> None:
        fault = line.fault
        if fault is not None and len(line.audio) / RATE >= fault.after_s:
            line.fault = None
            pending = fault.what(line)
            if pending is not None:
                await pending

    @property
    def environment(self) -> Mapping[str, str]:
        """What points the adapter here."""
        return {"DEEPGRAM_API_KEY": KEY, "DEEPGRAM_BASE_URL": self.url}

    async def __aenter__(self) -> Self:
        """Serve on a free port of loopback."""
        door = type("Door", (_Door,), {"vendor": self})
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            create_connection=door,
            compression=None,
            close_timeout=1,
            ping_interval=None,
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.admitted.set()
        self._server.close()
        await self._server.wait_closed()
