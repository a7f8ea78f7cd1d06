"""Connections to ElevenLabs that the utterances of all calls share, one context for each utterance.

A connection holds so many contexts; the vendor ends one that is asked for more, and every context on it. A context
counts until the vendor says `isFinal`, which after `close_context` takes a while: only then is its place free. When all
places are taken another connection is opened. One that the vendor closed for inactivity is replaced by the next `open`.

Each connection has a task that reads and one that writes. Nothing a speaker does waits for the network but `open`.
Source: ElevenLabs, websocket `/v1/text-to-speech/{voice_id}/multi-stream-input`.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException

from providers.errors import ProviderError, ProviderMalformed, ProviderTimedOut, ProviderUnavailable
from providers.tts.elevenlabs_errors import NAME, Refusal, refused_upgrade
from providers.tts.elevenlabs_messages import Message, decode
from providers.tts.elevenlabs_words import TimedCharacter
from telephony.tasks import TaskGroup

MOST_WAITING = 4096
"""Messages that may wait for a speaker, or for the network: many minutes of speech. More is a broken vendor."""

_WRITE_S = 5.0
_CLOSE_S = 1.0
_LOGGER = logging.getLogger(__name__)
_LOGGER.setLevel(logging.INFO)  # at debug, websockets writes the headers, and in them the key
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Sound:
    """Audio of a context, µ-law at 8 kHz, any length; `alignment` is None where the vendor gave none that is usable."""

    audio: bytes
    alignment: tuple[TimedCharacter, ...] | None


@dataclass(frozen=True, slots=True)
class Ordered:
    """So many characters were sent to be spoken, which is what the vendor bills."""

    characters: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """All that was flushed is spoken."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The vendor ended the context; None stands for an utterance that needed none."""

    context: "Context | None"


Event = Sound | Ordered | Flushed | Finished


class Inbox:
    """What arrives for one utterance, in order; a failure comes last."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._failure: Callable[[], Exception] | None = None
        self._arrived = asyncio.Event()

    @property
    def empty(self) -> bool:
        return not self._events

    def put(self, event: Event) -> None:
        """Never blocks; one too many fails the utterance."""
        if len(self._events) >= MOST_WAITING:
            self.fail(lambda: ProviderMalformed(NAME, f"more than {MOST_WAITING} messages ahead of the listener"))
        elif self._failure is None:
            self._events.append(event)
            self._arrived.set()

    def fail(self, failure: Callable[[], Exception]) -> None:
        self._failure = self._failure or failure
        self._arrived.set()

    def reopen(self) -> None:
        """Forget the failure: the utterance goes on in another context."""
        self._failure = None

    async def get(self) -> Event:
        """The next event; the failure as soon as none is left."""
        while not self._events:
            if self._failure is not None:
                raise self._failure()
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()


class Context:
    """One utterance on a connection."""

    def __init__(self, socket: "Socket", context_id: str, inbox: Inbox) -> None:
        self.context_id = context_id
        self.inbox: Inbox | None = inbox
        self.finished = False
        """The vendor ended it, or its connection."""
        self.on_used_connection = socket.contexts_served > 0
        self._socket = socket
        self._closing = False

    def speak(self, text: str) -> None:
        """Generate `text` now."""
        self._post(text=text, flush=True)

    def keep_alive(self) -> None:
        self._post(text="")

    def close(self) -> None:
        """No more text: what is being generated arrives, what has not begun may not; then `Finished`."""
        if not self._closing:
            self._closing = True
            self._post(close_context=True)

    def abandon(self) -> None:
        """Close, and drop whatever still arrives."""
        self.inbox = None
        self.close()

    def _post(self, **message: Any) -> None:
        if not self.finished or self._closing:
            self._socket.post({"context_id": self.context_id, **message})


class Socket:
    """One connection and its contexts. `run` keeps it; when that returns, all contexts have failed."""

    def __init__(self, connection: ClientConnection, most_contexts: int) -> None:
        self.contexts_served = 0
        self.alive = True
        self._connection = connection
        self._most_contexts = most_contexts
        self._contexts: dict[str, Context] = {}
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._lost: Callable[[], ProviderError] = Refusal(0, "", "the connection was closed").error

    @property
    def has_room(self) -> bool:
        return self.alive and len(self._contexts) < self._most_contexts

    @property
    def is_stuck(self) -> bool:
        """Full of contexts that nobody listens to and the vendor does not end."""
        return not self.has_room and all(context.inbox is None for context in self._contexts.values())

    def open(self, context_id: str, inbox: Inbox, voice_settings: Mapping[str, float]) -> Context:
        """Begin a context; the caller saw that there is room."""
        context = Context(self, context_id, inbox)
        self.contexts_served += 1
        self._contexts[context_id] = context
        first: dict[str, Any] = {"text": " ", "context_id": context_id}
        self.post({**first, "voice_settings": dict(voice_settings)} if voice_settings else first)
        return context

    def post(self, message: dict[str, Any]) -> None:
        """Send when the network allows. Never blocks; a vendor that does not read loses the connection."""
        if not self.alive:
            return
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self._fail(lambda: ProviderUnavailable(NAME, "the connection does not take our text any more"))

    async def run(self) -> None:
        """Read and write until either side closes. Never raises but for cancellation."""
        try:
            async with TaskGroup() as group:
                writing = group.create_task(self._write())
                await self._read()
                writing.cancel()
        finally:
            self._fail(self._lost)
            await self._connection.close()

    def ended(self, _: "asyncio.Task[None]") -> None:
        """`run` is over, or was cancelled before it began: nothing of the connection stays."""
        self._fail(self._lost)
        self._connection.transport.abort()

    async def _write(self) -> None:
        try:
            while self.alive:
                message = await self._outgoing.get()
                async with asyncio.timeout(_WRITE_S):
                    await self._connection.send(_ENCODER.encode(message), text=True)
        except TimeoutError:
            self._fail(lambda: ProviderTimedOut(NAME, "gap", _WRITE_S))
        except ConnectionClosed:
            return  # the reader learns why
        await self._connection.close()  # which ends the reader too

    async def _read(self) -> None:
        try:
            while self.alive:
                self._take(decode(await self._connection.recv()))
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (0, "the connection broke")
            self._lost = Refusal(code, "", reason or "the connection was closed").error
        except (msgspec.DecodeError, UnicodeDecodeError) as reason:
            detail = f"a message that makes no sense: {reason}"
            self._lost = lambda: ProviderMalformed(NAME, detail)

    def _take(self, message: Message) -> None:
        context = self._contexts.get(message.of_context)
        if message.error is not None:
            refusal = message.refusal()
            if context is not None:
                self._finish(context, refusal.error)
            else:
                self._fail(refusal.error)
            return
        if context is None:
            return  # late audio of a context that is gone
        inbox = context.inbox
        if inbox is not None and message.audio:
            inbox.put(Sound(message.audio, message.characters()))
        if inbox is not None and message.type == "flush_done":
            inbox.put(Flushed())
        if message.ends_context:
            self._finish(context)
            context.close()  # text that crossed this message has opened it again

    def _finish(self, context: Context, failure: Callable[[], ProviderError] | None = None) -> None:
        context.finished = True
        self._contexts.pop(context.context_id, None)
        if context.inbox is not None and failure is None:
            context.inbox.put(Finished(context))
        elif context.inbox is not None and failure is not None:
            context.inbox.fail(failure)

    def _fail(self, failure: Callable[[], ProviderError]) -> None:
        """The connection is of no use any more."""
        self.alive = False
        for context in tuple(self._contexts.values()):
            self._finish(context, failure)


class Sockets:
    """The connections of a process. Enter nothing: they live in `group` until `close`."""

    def __init__(
        self,
        group: TaskGroup,
        url: str,
        key: str,
        *,
        voice_settings: Mapping[str, float],
        most_contexts: int,
        connect_timeout_s: float,
    ) -> None:
        self._group: TaskGroup = group
        self._url = url
        self._key = key
        self._voice_settings = voice_settings
        self._most_contexts = most_contexts
        self._connect_timeout_s = connect_timeout_s
        self._connecting = asyncio.Lock()
        self._running: dict[Socket, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    async def open(self, inbox: Inbox) -> Context:
        """A context with an id never used before, on a connection with room. Raises `ProviderError`."""
        socket = self._with_room()
        if socket is None:
            try:
                async with asyncio.timeout(self._connect_timeout_s), self._connecting:
                    socket = self._with_room() or await self._connect()
            except TimeoutError:
                raise ProviderTimedOut(NAME, "connect", self._connect_timeout_s) from None
        return socket.open(f"u{next(self._numbers)}", inbox, self._voice_settings)

    async def warm(self) -> None:
        """Have a connection with room. Raises `ProviderError`: a new one is tried by an empty context, for the vendor
        may find only then that he does not know the key."""
        if self._with_room() is not None:
            return
        inbox = Inbox()
        context = await self.open(inbox)
        context.close()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await inbox.get()
        except TimeoutError:
            pass  # connected it is; that an empty context ends is nowhere promised
        finally:
            context.abandon()

    def close(self) -> None:
        """End all connections; whoever still speaks gets `ProviderUnavailable`."""
        for task in self._running.values():
            task.cancel()

    def _with_room(self) -> Socket | None:
        for socket in [socket for socket in self._running if socket.is_stuck]:
            self._running[socket].cancel()
        return next((socket for socket in self._running if socket.has_room), None)

    async def _connect(self) -> Socket:
        try:
            connection = await connect(
                self._url,
                additional_headers={"xi-api-key": self._key},
                compression=None,
                open_timeout=None,
                close_timeout=_CLOSE_S,
                logger=_LOGGER,
            )
        except InvalidStatus as refused:
            response = refused.response
            raise refused_upgrade(response.status_code, response.headers, bytes(response.body or b"")).error() from None
        except InvalidMessage as reason:
            raise ProviderMalformed(NAME, f"no answer in HTTP: {reason}") from reason
        except (OSError, WebSocketException) as reason:
            raise ProviderUnavailable(NAME, f"cannot connect: {reason}") from reason
        socket = Socket(connection, self._most_contexts)
        task = self._group.create_task(socket.run())
        self._running[socket] = task
        task.add_done_callback(socket.ended)
        task.add_done_callback(lambda _: self._running.pop(socket, None))
        return socket
