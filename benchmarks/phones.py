"""Hundreds of telephones in one process: callers lean enough to leave the bridge as the thing that is measured.

The simulator (`telephony.simulator`) is a faithful carrier, and costs about 1 % of a core for each call. What is
here does less for a tenth of that: websocket frames are put together from prepared bytes (with a masking key of zero,
so that there is nothing to mask), arriving ones are recognised by their first bytes, and the playout is kept as a time
instead of a buffer. It checks nothing that tests check.

All phones are driven by one `Exchange`, which ticks each of them every 20 ms, spread evenly over that time, at absolute
deadlines; how late it was itself is kept, because a late generator measures itself.
"""

import asyncio
import base64
import os
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlencode

from telephony.audio import FRAME_MS

FRAME_S = FRAME_MS / 1000
_NUMBERS_FROM = 10_000_000
"""Counters start here, so that every message of a call is equally long and its header can be prepared."""
_MEDIA, _MARK, _CLEAR = b'{"event":"media"', b'{"event":"mark"', b'{"event":"clear"'
_ANSWER_S = 10.0


class CallFailed(Exception):
    """The bridge did not take the call."""


class WebSocket(asyncio.Protocol):
    """A client websocket over a raw transport. `on_text` gets whole messages, `on_closed` is called once."""

    def __init__(self, on_text: Callable[[bytes], None], on_closed: Callable[[], None]) -> None:
        self._on_text = on_text
        self._on_closed = on_closed
        self._buffer = b""
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def connect(
        cls, port: int, path: str, on_text: Callable[[bytes], None], on_closed: Callable[[], None]
    ) -> "WebSocket":
        """Connect to a path on this machine; raises `CallFailed`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_ANSWER_S):
            _, protocol = await loop.create_connection(lambda: cls(on_text, on_closed), "127.0.0.1", port)
            key = base64.b64encode(os.urandom(16)).decode()
            assert protocol.transport is not None, "because: create_connection has made the connection"
            protocol.transport.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            await protocol._open
        return protocol

    def send(self, message: bytes) -> None:
        """Send one text message."""
        self.write(header(len(message)) + message)

    def write(self, framed: bytes) -> None:
        """Send what is framed already."""
        if self.transport is not None:
            self.transport.write(framed)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.write(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._open.done():
            self._on_closed()
        else:
            self._open.set_exception(CallFailed("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        if not self._open.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:20]:
                self._open.set_exception(CallFailed(head.split(b"\r\n")[0].decode()))
                return
            self._open.set_result(None)
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                if len(data) - at < 4:
                    break
                size, start = data[at + 2] << 8 | data[at + 3], at + 4
            if len(data) - start < size:
                break
            if data[at] == 0x81:
                self._on_text(data[start : start + size])
            elif data[at] == 0x89 and self.transport is not None:
                self.transport.write(bytes([0x8A, 0x80 | size, 0, 0, 0, 0]) + data[start : start + size])
            at = start + size
        self._buffer = data[at:]


def header(size: int) -> bytes:
    """The header of a client's text message: with a mask, of zeros."""
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE, size >> 8, size & 0xFF])
    return b"\x81" + length + b"\0\0\0\0"


def payload(frame: bytes) -> bytes:
    """A frame as media messages carry it."""
    return base64.b64encode(frame)


async def get(port: int, path: str) -> str:
    """The body at a path; raises `CallFailed` for anything but success."""
    return await _request(port, f"GET {path} HTTP/1.1\r\n", b"")


async def post(port: int, path: str, form: dict[str, str]) -> str:
    """The body that answers a form; raises `CallFailed` for anything but success."""
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    return await _request(port, f"POST {path} HTTP/1.1\r\n{kind}", urlencode(form).encode())


async def _request(port: int, head: str, body: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_ANSWER_S):
            rest = f"Host: localhost:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + rest).encode() + body)
            answer = (await reader.read()).decode()
    finally:
        writer.close()
    if not answer.startswith(("HTTP/1.1 200", "HTTP/1.1 204")):
        raise CallFailed(f"{head.splitlines()[0]}: {answer.splitlines()[0] if answer else 'no answer'}")
    return answer.partition("\r\n\r\n")[2]


@dataclass
class Heard:
    """What a phone noticed."""

    sounded_s: float = 0.0
    """How much sound arrived."""
    clears: int = 0
    failure: str = ""


class Phone:
    """One call. `behave` is asked for the payload of each frame: see `Caller`."""

    def __init__(self, port: int, behave: "Caller") -> None:
        self.sid = "CA" + os.urandom(16).hex()
        self.heard = Heard()
        self.play_end = 0.0
        """When everything that arrived so far has been played; in the past while the agent is silent."""
        self.sound: list[tuple[float, bytes]] | None = None
        """What arrived, with the time at which it begins to sound, for phones that echo; None: not kept."""
        self.due = 0.0
        self.hung_up = False
        self._behave = behave
        self._port = port
        self._ticks = 0
        self._socket: WebSocket | None = None
        self._marks: deque[tuple[float, bytes]] = deque()
        self._template = b""

    async def dial(self) -> None:
        """The webhook, the socket, the start of the stream. Raises `CallFailed`."""
        form = {"CallSid": self.sid, "From": "+15550100001", "To": "+15550100002", "Direction": "inbound"}
        document = await post(self._port, "/twilio/voice", form)
        token = re.search(r'name="token" value="([^"]+)"', document)
        if token is None:
            raise CallFailed(f"no stream: {document[:200]}")
        self._socket = await WebSocket.connect(self._port, "/twilio/media", self._receive, self._lost)
        stream = "MZ" + self.sid[2:]
        self._socket.send(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        self._socket.send(
            b'{"event":"start","sequenceNumber":"1","streamSid":"%s","start":{"streamSid":"%s","accountSid":"AC0",'
            b'"callSid":"%s","tracks":["inbound"],"customParameters":{"token":"%s"},'
            b'"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}'
            % (stream.encode(), stream.encode(), self.sid.encode(), token[1].encode())
        )
        template = (
            b'{"event":"media","sequenceNumber":"%%d","media":{"track":"inbound","chunk":"%%d","timestamp":"%%d",'
            b'"payload":"%%b"},"streamSid":"%b"}' % stream.encode()
        )
        size = len(template % (_NUMBERS_FROM, _NUMBERS_FROM, _NUMBERS_FROM, payload(b"\xff" * 160)))
        self._template = header(size) + template

    async def hang_up(self) -> None:
        """Stop, close, and the carrier's last word."""
        self.hung_up = True
        if self._socket is not None:
            self._socket.send(b'{"event":"stop","streamSid":"MZ%b"}' % self.sid[2:].encode())
            self._socket.close()
        await post(self._port, "/twilio/status", {"CallSid": self.sid, "CallStatus": "completed"})

    def tick(self, due: float) -> None:
        """A frame out, and the marks that were played by now."""
        self.due = due
        if self._socket is None or self.hung_up:
            return
        self._ticks += 1
        number = _NUMBERS_FROM + self._ticks
        frame = self._behave.frame(self, due)
        self._socket.write(self._template % (number, number, _NUMBERS_FROM + FRAME_MS * self._ticks, frame))
        while self._marks and self._marks[0][0] <= due:
            self._socket.send(self._marks.popleft()[1])

    def _receive(self, message: bytes) -> None:
        now = time.monotonic()
        if message.startswith(_MEDIA):
            at = message.index(b'"payload":"') + 11
            encoded = message[at : message.index(b'"', at)]
            samples = len(encoded) // 4 * 3 - encoded[-2:].count(b"=")
            begins = max(self.play_end, now)
            self._behave.agent_sounds(self, begins - self.play_end, now)
            self.play_end = begins + samples / 8000
            self.heard.sounded_s += samples / 8000
            if self.sound is not None:
                self.sound.append((begins, base64.b64decode(encoded)))
        elif message.startswith(_MARK):
            self._marks.append((self.play_end, message))
        elif message.startswith(_CLEAR):
            self.play_end = min(self.play_end, now)
            self._marks = deque((now, mark) for _, mark in self._marks)
            self.heard.clears += 1
            self._behave.agent_cleared(self, now)

    def _lost(self) -> None:
        if not self.hung_up:
            self.heard.failure = self.heard.failure or "the bridge closed the stream"
            self.hung_up = True


class Caller:
    """What a person does with a phone. This one listens, in silence."""

    quiet = payload(b"\xff" * 160)

    def frame(self, phone: Phone, due: float) -> bytes:
        """The payload of the 20 ms that end at `due`."""
        return self.quiet

    def agent_sounds(self, phone: Phone, dry_s: float, now: float) -> None:
        """Sound arrived; the playout was empty for `dry_s` before."""

    def agent_cleared(self, phone: Phone, now: float) -> None:
        """What was still to be played is dropped."""


class Exchange:
    """Ticks all phones. `lateness_s` has how late it was for each group of them."""

    def __init__(self, slots: int = 20) -> None:
        self._slots: list[list[Phone]] = [[] for _ in range(slots)]
        self._connected = 0
        self.lateness_s: deque[float] = deque(maxlen=200_000)

    def connect(self, phone: Phone) -> None:
        """Tick this phone from now on."""
        self._slots[self._connected % len(self._slots)].append(phone)
        self._connected += 1

    def disconnect(self, phone: Phone) -> None:
        for slot in self._slots:
            if phone in slot:
                slot.remove(phone)

    async def run(self) -> None:
        """Until cancelled."""
        spacing = FRAME_S / len(self._slots)
        due = time.monotonic()
        while True:
            for slot in self._slots:
                due += spacing
                delay = due - time.monotonic()
                if delay > 0:
                    await asyncio.sleep(delay)
                if slot:
                    self.lateness_s.append(time.monotonic() - due)
                    for phone in slot:
                        phone.tick(due)
