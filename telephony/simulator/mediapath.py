"""One media stream on its websocket, through the network as it is: the driver of `stream`."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from telephony.clock import Clock
from telephony.simulator.faults import Network
from telephony.simulator.network import Link, Passage
from telephony.simulator.stream import MediaStream
from telephony.simulator.websocket import MediaSocket, SocketClosed, open_socket


class MediaPath:
    """Between `open` and the end of `run` the caller's frames go through `tick`, one each 20 ms."""

    def __init__(self, clock: Clock, network: Network, seed: str) -> None:
        self._clock = clock
        self._network = network
        self._seed = seed
        self._socket: MediaSocket | None = None
        self._closed: asyncio.Future[SocketClosed] = asyncio.get_running_loop().create_future()
        self._outward: Link | None = None
        self._inward: Link | None = None
        self.stream: MediaStream | None = None
        self.hung_up = False

    async def open(self, url: str, headers: Mapping[str, str]) -> None:
        """Connect; raises `HandshakeFailed`."""
        self._socket = await open_socket(url, headers, self._receive, self._on_closed)

    async def run(self, stream: MediaStream, parameters: Mapping[str, str]) -> SocketClosed:
        """Carry `stream` until the websocket has ended, by whomever; raises what a bug of ours raised on the way."""
        opened = self._clock.now()
        self.stream = stream
        async with asyncio.TaskGroup() as tasks:
            helpers = []
            if self._network.delays:
                self._outward = Link(Passage(self._network, opened, self._seed + "out"), self._clock, self._lost)
                self._inward = Link(Passage(self._network, opened, self._seed + "in"), self._clock, self._lost)
                helpers += [tasks.create_task(self._outward.run()), tasks.create_task(self._inward.run())]
            if self._network.drop_at_s is not None:
                helpers.append(tasks.create_task(self._drop(opened + self._network.drop_at_s)))
            self._send(stream.open(parameters))
            try:
                closed = await self._closed
            finally:
                for helper in helpers:
                    helper.cancel()
                self._lost()
        if closed.failure is not None:
            raise closed.failure
        return closed

    def tick(self, frame: bytes, now: float) -> bytes | None:
        """The caller's 20 ms out, the agent's 20 ms in; None for silence."""
        if self.stream is None:
            return None
        self._send(self.stream.tick(frame, now))
        return self.stream.take_frame()

    def press(self, digit: str) -> None:
        if self.stream is not None:
            self._send(self.stream.press(digit))

    def hang_up(self) -> None:
        """The call is over: say so, then close. `run` returns soon after."""
        self.hung_up = True
        self.end()

    def end(self) -> None:
        """The stream is over: the same."""
        if self.stream is not None:
            self._send(self.stream.stop())
        self._pass(self._outward, self._close)

    def _send(self, messages: list[str]) -> None:
        if self._socket is None:
            return
        for message in messages:
            if self._outward is None:
                self._socket.send(message)
            else:
                self._outward.enter(partial(self._socket.send, message))

    def _receive(self, message: bytes, is_text: bool) -> None:
        if self._inward is None:
            self._take(message, is_text)
        else:
            self._inward.enter(partial(self._take, message, is_text))

    def _take(self, message: bytes, is_text: bool) -> None:
        if self.stream is None:
            return  # before `start` nobody can know the stream's id
        if is_text:
            self._send(self.stream.receive(message, self._clock.now()))
        else:
            self.stream.receive_binary(len(message))

    def _on_closed(self, closed: SocketClosed) -> None:
        self._pass(self._inward, partial(self._settle, closed))

    def _settle(self, closed: SocketClosed) -> None:
        if not self._closed.done():
            self._closed.set_result(closed)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    @staticmethod
    def _pass(link: Link | None, deliver: Callable[[], None]) -> None:
        if link is None:
            deliver()
        else:
            link.enter(deliver)

    async def _drop(self, at: float) -> None:
        await self._clock.sleep_until(at)
        self._lost()

    def _lost(self) -> None:
        """The connection is gone, without a word. Harmless when it has ended already."""
        if self._socket is not None:
            self._socket.reset()
