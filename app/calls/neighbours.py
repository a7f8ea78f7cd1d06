"""The processes of one machine ask each other about calls, and hand them over, without the store.

Each listens on a socket in a folder that they share and that only their user can enter. A question goes to all of them
at once: who has the call answers, the others say that they do not know it, and who stands still is not waited for, nor
asked again for a while.

**Two owners are impossible.** Who hands a call over falls silent and leaves it before he answers. Then he waits for a
receipt: the other one has the call from the moment that he sends it, or never will. Without one, for the other one has
died or has given up waiting, the call is kept; before that the way is closed by which a receipt could still come.

A message is its length in four bytes and JSON; a receipt is one byte.
"""

import asyncio
import contextlib
import secrets
import socket
from asyncio import FIRST_COMPLETED
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from app.calls.books import Left
from app.calls.journal import JournalEvent
from app.calls.messages import Answer, HandedOver, HandOver, Message, decode, decode_answer, encode
from telephony.clock import Clock
from telephony.tasks import TaskGroup

_ANSWER_S = 0.5
"""For one question. A process whose event loop runs later than that is not to be asked for anything."""
_REST_S = 2.0
"""Who did not answer is not asked for so long: one that is stopped may have had many calls."""
_LONGEST_BYTES = 64 << 20
"""Of an answer: the journal of a call of many hours."""
_LENGTH_BYTES = 4
_BACKLOG = 128
_RECEIPT = b"!"

log = structlog.get_logger()


class Calls(Protocol):
    """The calls of a process, as its neighbours see them: the switchboard."""

    def asked(self, message: Message) -> Answer | None:
        """A neighbour's question; None: not about a call of ours. What is asked to be handed over is left already."""
        ...

    def carry_on(self, events: Sequence[JournalEvent], left: Left, reason: str) -> None:
        """The call with this journal is ours from now on."""
        ...


class Neighbours(Protocol):
    """The other processes of this machine."""

    async def listen(self, calls: Calls) -> None:
        """Answer them, until cancelled."""
        ...

    async def ask(self, message: Message) -> Answer | None:
        """What the one says who knows the call; None: nobody does. What is handed over is carried on already."""
        ...


class NoNeighbours:
    """Of a process that is alone."""

    async def listen(self, calls: Calls) -> None:
        """Nobody asks."""

    async def ask(self, message: Message) -> Answer | None:
        """Nobody answers."""
        return None


class LocalNeighbours:
    """`Neighbours` by the sockets in `folder`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._resting: dict[Path, float] = {}
        self._own = folder / secrets.token_hex(6)  # a short name: a socket's path has at most 107 bytes
        self._calls: Calls | None = None

    async def listen(self, calls: Calls) -> None:
        self._calls = calls
        with socket.socket(socket.AF_UNIX) as listening:
            try:
                self._open(listening)
            except OSError as error:
                log.warning("no calls from or to neighbours while the store is away", because=str(error))
                return
            try:
                async with TaskGroup() as group:
                    while True:
                        group.create_task(self._answer(await self._accepted(listening), calls))
            finally:
                self._own.unlink(missing_ok=True)

    def _open(self, listening: socket.socket) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        listening.bind(str(self._own))
        listening.listen(_BACKLOG)
        listening.setblocking(False)

    async def _accepted(self, listening: socket.socket) -> socket.socket:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:  # no descriptors are left, perhaps; some will be
                log.warning("neighbour not let in", because=str(error))
                await self._clock.sleep_until(self._clock.now() + _REST_S)
            else:
                return connection

    # asking

    async def ask(self, message: Message) -> Answer | None:
        places = self._places()
        if not places:
            return None
        async with TaskGroup() as group:
            asking: Collection[asyncio.Task[Answer | None]] = [
                group.create_task(self._ask(place, message)) for place in places
            ]
            answer = None
            while asking and answer is None:
                done, asking = await asyncio.wait(asking, return_when=FIRST_COMPLETED)
                answer = next(filter(None, (task.result() for task in done)), None)
            for task in asking:
                task.cancel()
        return answer

    def _places(self) -> list[Path]:
        now = self._clock.now()
        self._resting = {place: until for place, until in self._resting.items() if until > now}
        try:
            return [place for place in self._folder.iterdir() if place != self._own and place not in self._resting]
        except OSError:
            return []

    async def _ask(self, place: Path, message: Message) -> Answer | None:
        try:
            connection = socket.socket(socket.AF_UNIX)
        except OSError:
            return None
        with connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await asyncio.get_running_loop().sock_connect(connection, str(place))
                    await _send(connection, encode(message))
                    answer = decode_answer(await _receive(connection))
            except ConnectionRefusedError:
                _forget_dead(place)
                return None
            except TimeoutError:
                self._resting[place] = self._clock.now() + _REST_S
                return None
            except (OSError, EOFError):
                return None
            return self._received(connection, message, answer)

    def _received(self, connection: socket.socket, message: Message, answer: Answer | None) -> Answer | None:
        """From the receipt on it is ours: nothing may come between the two, so this does not wait."""
        if not isinstance(answer, HandedOver):
            return answer
        if self._calls is None or not isinstance(message, HandOver):
            return None
        try:
            events, left = answer.read()
            connection.send(_RECEIPT)
        except (msgspec.MsgspecError, OSError):  # unreadable, or kept
            return None
        self._calls.carry_on(events, left, message.reason)
        return answer

    # answering

    async def _answer(self, connection: socket.socket, calls: Calls) -> None:
        with connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(_ANSWER_S):
                    message = decode(await _receive(connection))
            except (OSError, TimeoutError, EOFError):
                return
            if message is None or _gone(connection):
                return
            answer = calls.asked(message)
            receipt = await self._told(connection, answer)
            if isinstance(answer, HandedOver) and not receipt:
                log.warning("call was not taken by who asked for it", call_id=answer.call_id)
                calls.carry_on(*answer.read(), "who asked for it did not take it")

    async def _told(self, connection: socket.socket, answer: Answer | None) -> bool:
        """The answer has arrived. False: it has not, and never will."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await _send(connection, encode(answer))
                if not isinstance(answer, HandedOver):
                    return True
                return await asyncio.get_running_loop().sock_recv(connection, 1) == _RECEIPT
        except (OSError, TimeoutError):
            pass
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
            return connection.recv(1) == _RECEIPT  # it came at the last moment
        return False


def _gone(connection: socket.socket) -> bool:
    """Who asked does not wait for the answer any more."""
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _forget_dead(place: Path) -> None:
    """A process that was killed could not tidy up."""
    place.unlink(missing_ok=True)


async def _send(connection: socket.socket, content: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, len(content).to_bytes(_LENGTH_BYTES) + content)


async def _receive(connection: socket.socket) -> bytes:
    """Raises `EOFError` when the other end is gone, or sends too much."""
    length = int.from_bytes(await _exactly(connection, _LENGTH_BYTES))
    if length > _LONGEST_BYTES:
        raise EOFError
    return await _exactly(connection, length)


async def _exactly(connection: socket.socket, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        piece = await asyncio.get_running_loop().sock_recv(connection, min(size - len(content), 1 << 20))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)
