"""Small real objects for the tests of the web front: a call directory, a websocket's far end, a virtual-time loop."""

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from app.calls.errors import TokenRejected
from app.web.short_way import Take
from telephony.carrier import (
    CallOffered,
    CallStatus,
    Carrier,
    CarrierCommand,
    CarrierEvent,
    Decision,
    HangUp,
    MediaStarted,
    OpenStream,
)
from telephony.leg import Leg

# Time


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("deadlock: nothing is ready and no timer runs")
            self.jumped_s += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """When nothing is ready the time jumps to the next timer; when there is none either, it says so."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped_s

    def stall(self, seconds: float) -> None:
        """Time passes and nothing runs, as when the process is stopped."""
        self._jumping.jumped_s += seconds


def run_virtual(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_leaving_nothing(main))


async def _leaving_nothing(main: Coroutine[Any, Any, None]) -> None:
    await main
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left over: {left}"


# The house around the web front


class TallyCounters:
    """Counts, and lets itself be asked: `tally["name", ("label", "value"), …]`."""

    def __init__(self) -> None:
        self.tally: Counter[tuple[object, ...]] = Counter()

    def count(self, name: str, **labels: str) -> None:
        self.tally[name, *sorted(labels.items())] += 1

    def of(self, name: str, **labels: str) -> int:
        return self.tally[name, *sorted(labels.items())]


class TokenBook:
    """A call directory that only keeps tokens: single-use, one call each; the newest leg of a call wins.

    `conversation` is what a session does with its leg; by default it collects the leg's events.
    """

    def __init__(self, base: str = "ws://localhost") -> None:
        self.base = base
        self.tokens: dict[str, str] = {}
        self.issued: list[str] = []
        self.legs: dict[str, Leg] = {}
        self.events: dict[str, list[CarrierEvent]] = {}
        self.statuses: list[CallStatus] = []
        self.ended: set[str] = set()
        self.offered: list[CallOffered] = []
        self.serving = 0
        self.served: asyncio.Queue[str] = asyncio.Queue()
        self.conversation: Callable[[str, Leg], Awaitable[None]] = self.listen

    async def answer(self, carrier: Carrier, offered: CallOffered) -> Decision:
        self.offered.append(offered)
        if offered.call_id in self.ended:
            return HangUp()
        token = f"token-{len(self.issued)}"
        self.issued.append(token)
        self.tokens[token] = offered.call_id
        return OpenStream(f"{self.base}/{carrier.name}/media", f"{self.base}/{carrier.name}/after", token)

    async def after(self, carrier: Carrier, offered: CallOffered) -> Decision:
        return await self.answer(carrier, offered)

    async def status(self, carrier: Carrier, status: CallStatus) -> None:
        self.statuses.append(status)
        if status.ended:
            self.ended.add(status.call_id)

    async def serve(self, carrier: Carrier, token: str, started: MediaStarted, leg: Leg) -> None:
        call_id = self.tokens.pop(token, None)
        if call_id is None:
            raise TokenRejected("unknown_token")
        if call_id != started.call_id:
            raise TokenRejected("other_call")
        before, self.legs[call_id] = self.legs.get(call_id), leg
        if before is not None:
            before.close()
        self.serving += 1
        try:
            await self.conversation(call_id, leg)
        finally:
            self.serving -= 1
            self.served.put_nowait(call_id)
            if self.legs.get(call_id) is leg:
                del self.legs[call_id]

    async def listen(self, call_id: str, leg: Leg) -> None:
        await leg.listen(lambda event: self.events.setdefault(call_id, []).append(event))


class ScriptedPlayout:
    """Sends `commands[n]` at `times[n]`; keeps when it was asked."""

    def __init__(self, *timed: tuple[float, CarrierCommand]) -> None:
        self.timed = deque(timed)
        self.asked: list[float] = []

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        self.asked.append(now)
        due = []
        while self.timed and self.timed[0][0] <= now + 1e-9:
            due.append(self.timed.popleft()[1])
        return tuple(due)

    def next_due(self, now: float) -> float | None:
        return self.timed[0][0] if self.timed else None


# The peer


class SocketPeer:
    """The far end of one websocket, seen from an ASGI application: scripted messages in, what was sent recorded.

    A conforming server: after a close nothing may be sent, after a disconnect `send` raises `OSError`.
    """

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict[str, Any]] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self.blocked = asyncio.Event()
        self.closed = False
        self.disconnected = False

    def says(self, *messages: str | bytes) -> None:
        for message in messages:
            kind = "text" if isinstance(message, str) else "bytes"
            self.inbox.put_nowait({"type": "websocket.receive", kind: message})

    def hangs_up(self) -> None:
        """Gone this instant, whatever has been read so far."""
        self.says_goodbye()
        self.disconnected = True
        self.writable.set()

    def says_goodbye(self) -> None:
        """Gone once everything said before has been read."""
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def receive(self) -> dict[str, Any]:
        message = await self.inbox.get()
        self.disconnected |= message["type"] == "websocket.disconnect"
        return message

    async def send(self, message: Any) -> None:
        if not self.writable.is_set():
            self.blocked.set()
        await self.writable.wait()
        if self.disconnected:
            raise ConnectionResetError
        assert not self.closed, f"sent after close: {message}"
        self.closed = message["type"] == "websocket.close"
        self.sent.append(message)

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def close_code(self) -> int | None:
        return next((message["code"] for message in self.sent if message["type"] == "websocket.close"), None)


class ShortPeer(SocketPeer):
    """The same behind a server that offers a `ShortWay`, which this is, too."""

    def __init__(self) -> None:
        super().__init__()
        self._take: Take | None = None

    def divert(self, take: Take) -> None:
        self._take = take
        waiting, self.inbox = self.inbox, asyncio.Queue()
        while not waiting.empty():
            message = waiting.get_nowait()
            if message["type"] == "websocket.receive":
                take(next(iter(set(message.values()) - {message["type"]})))
            else:
                self.inbox.put_nowait(message)

    def write_text(self, text: str) -> bool:
        if self.closed or self.disconnected or not self.writable.is_set():
            return False
        self.sent.append({"type": "websocket.send", "text": text})
        return True

    def says(self, *messages: str | bytes) -> None:
        if self._take is None:
            super().says(*messages)
            return
        for message in messages:
            self._take(message)


def http_scope(
    path: str = "/", headers: Iterable[tuple[str, str]] = (("host", "localhost:8080"),), **changes: Any
) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        **changes,
    }


def websocket_scope(path: str = "/twilio/media", **changes: Any) -> dict[str, Any]:
    scope = http_scope(path, **{"type": "websocket", "extensions": {"websocket.http.response": {}}, **changes})
    del scope["method"]
    return scope


class HttpAnswer:
    """What an ASGI application answers to one request."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]


async def request(app: Any, scope: dict[str, Any], *chunks: bytes) -> HttpAnswer:
    """One request, its body in `chunks`; without any, the body never ends."""
    messages = deque({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks)
    if messages:
        messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.popleft()

    answer = HttpAnswer()
    await app(scope, receive, answer.send)
    return answer


# Twilio's messages

CALL = "CA11111111111111111111111111111111"
STREAM = "MZ22222222222222222222222222222222"


def start(token: str = "token-0", call: str = CALL, stream: str = STREAM) -> str:
    return (
        f'{{"event":"start","sequenceNumber":"1","streamSid":"{stream}","start":{{"streamSid":"{stream}",'
        f'"callSid":"{call}","tracks":["inbound"],"customParameters":{{"token":"{token}"}},'
        '"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}'
    )


def media(number: int, payload: str = "/////w==", stream: str = STREAM) -> str:
    return (
        f'{{"event":"media","sequenceNumber":"{number + 1}","streamSid":"{stream}","media":{{"track":"inbound",'
        f'"chunk":"{number}","timestamp":"{number * 20}","payload":"{payload}"}}}}'
    )
