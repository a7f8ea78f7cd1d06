"""What the web stack costs by itself: sockets on which every message is sent back."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bridge import Bridge
from benchmarks.machine import Usage, UsageMeter
from benchmarks.phones import Caller, Exchange, Phone, WebSocket, header
from benchmarks.report import quantile

MESSAGE_BYTES = 390
"""As long as a media message of a frame."""


class EchoPhone(Phone):
    """Sends as much as a phone does, and takes the time until it is back: the message carries when it was sent."""

    def __init__(self, port: int, took_s: Callable[[float], None]) -> None:
        super().__init__(port, Caller())
        self._took_s = took_s
        self._echo: WebSocket | None = None

    async def dial(self) -> None:
        self._echo = await WebSocket.connect(self._port, "/echo", self._returned, lambda: None)

    def tick(self, due: float) -> None:
        if self._echo is not None:
            self._echo.write(header(MESSAGE_BYTES) + b"%-*.9f" % (MESSAGE_BYTES, time.monotonic()))

    async def hang_up(self) -> None:
        if self._echo is not None:
            self._echo.close()

    def _returned(self, message: bytes) -> None:
        self._took_s(time.monotonic() - float(message))


@dataclass(frozen=True)
class Echoed:
    """What so many sockets came to; round trips in ms."""

    usage: Usage
    messages: int
    p50_ms: float
    p99_ms: float


async def echo(bridge: Bridge, sockets: int, seconds: float) -> Echoed:
    """50 messages a second each way on each socket, after a second of warming up."""
    took: list[float] = []
    exchange = Exchange()
    phones = [EchoPhone(bridge.port, took.append) for _ in range(sockets)]
    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(exchange.run())
        for phone in phones:
            await phone.dial()
            exchange.connect(phone)
        await asyncio.sleep(1.0)
        took.clear()
        meter = UsageMeter(bridge.pid)
        await asyncio.sleep(seconds)
        usage = meter.read()
        for phone in phones:
            await phone.hang_up()
        ticking.cancel()
    return Echoed(usage, len(took), (quantile(took, 0.5) or 0.0) * 1000, (quantile(took, 0.99) or 0.0) * 1000)
