"""One call's recognition: audio out, transcripts in, questions answered in time, one reconnection."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from providers.base import FinalTranscript, PartialTranscript, RecognitionEvent, RecognitionGap
from providers.errors import ProviderError, ProviderTimedOut, ProviderUnavailable
from providers.stt.deepgram.backlog import Backlog, Pace
from providers.stt.deepgram.dialect import Dialect, Heard
from providers.stt.deepgram.vendor import (
    NAME,
    AsyncDeepgramClient,
    Socket,
    abandon,
    hanging_up,
    hasten_close,
    translated,
)
from telephony.audio import MULAW_SILENCE, TELEPHONE
from telephony.clock import Alarm, Clock

_KEEP_BYTES = TELEPHONE.bytes_of_ms(10_000)
"""Audio kept that no final covers."""
_ANSWER_S = 0.8
"""The vendor answers `Finalize` in about 0.1 s, or never if there was little to flush."""
_SEND_S = 3.0
"""A link that does not take a message for so long is dead."""
_GOODBYE_S = 2.0
"""A call that is over waits no longer for the vendor."""
_EVENTS_WAITING = 256
"""Events that nobody took; beyond that the oldest goes."""


@dataclass(slots=True)
class _Question:
    """A `finalize`: to be sent after the audio before `position`, to be answered at `due`."""

    position: int
    due: float | None = None
    sent: bool = False


class CallRecognition:
    """See `providers.base.Recognition`. `run` does the work until it is cancelled, or all is lost."""

    def __init__(
        self, dialect: Dialect, client: AsyncDeepgramClient, clock: Clock, connect_s: float, gap_s: float
    ) -> None:
        self._dialect = dialect
        self._client = client
        self._clock = clock
        self._connect_s = connect_s
        self._gap_s = gap_s
        self._chunk_bytes = TELEPHONE.bytes_of_ms(dialect.chunk_ms)
        self._backlog = Backlog(_KEEP_BYTES)
        self._pace = Pace()
        self._questions: deque[_Question] = deque()
        self._events: deque[RecognitionEvent] = deque(maxlen=_EVENTS_WAITING)
        self._partial = PartialTranscript("")  # the last that was told; the vendor repeats itself
        self._told = asyncio.Event()
        self._work = Alarm(clock)
        self._settled = asyncio.Event()
        self._failure: ProviderError | None = None
        self._online = False
        self._proven = False  # the present connection has understood something
        self._idle_at = 0.0
        self._heard_at = 0.0
        self._reached_bytes = 0  # of this connection's audio the vendor has come so far

    # what the call asks

    def send(self, audio: bytes) -> None:
        """See `Recognition.send`."""
        self._backlog.add(audio)
        if self._backlog.unsent >= self._chunk_bytes:
            self._work.ring()

    def finalize(self) -> None:
        """See `Recognition.finalize`."""
        self._questions.append(_Question(self._backlog.end))
        self._work.ring()

    async def connected(self) -> None:
        """Wait for the first connection. Raises the `ProviderError` that kept it from being made."""
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._failure is not None:
                raise self._failure
            self._told.clear()
            await self._told.wait()

    # connections

    async def run(self) -> None:
        """Recognise; a connection that was good is replaced once."""
        spare = False
        while True:
            self._online = self._proven = False
            try:
                await self._connection()
            except (ProviderUnavailable, ProviderTimedOut) as error:
                spare = self._online and (self._proven or not spare)
                if not spare:
                    return self._fail(error)
                self._rewind(error)
            except ProviderError as error:
                return self._fail(error)

    def _fail(self, error: ProviderError) -> None:
        self._failure = error
        self._settled.set()
        self._told.set()

    def _rewind(self, error: ProviderError) -> None:
        lost_bytes = self._backlog.rewind()
        self._dialect.reconnected()
        for question in self._questions:
            question.sent, question.due = False, None
        self._tell(RecognitionGap(TELEPHONE.ms(lost_bytes), f"reconnected: {error.detail}"))

    async def _connection(self) -> None:
        """One connection, to its end. Raises `ProviderError`."""
        cause: ProviderError | None = None
        try:
            with translated():
                async with AsyncExitStack() as stack:
                    socket = await self._connect(stack)
                    try:
                        await self._serve(socket)
                    except ProviderError as error:
                        cause = error
                        abandon(socket)
                    except asyncio.CancelledError:
                        await self._goodbye(socket)
                        raise
        except ProviderError:
            if cause is None:
                raise
        if cause is not None:
            raise cause  # and not what leaving an abandoned connection raises

    async def _connect(self, stack: AsyncExitStack) -> Socket:
        try:
            async with asyncio.timeout(self._connect_s):
                socket: Socket = await stack.enter_async_context(self._dialect.connect(self._client))
                hasten_close(socket)
                await self._dialect.greeted(socket)
        except TimeoutError:
            raise ProviderTimedOut(NAME, "connect", self._connect_s) from None
        self._online = True
        self._settled.set()
        return socket

    async def _goodbye(self, socket: Socket) -> None:
        """Tell the vendor that nothing more comes; what it still makes of the rest is for nobody."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                with translated():
                    await socket.send_close_stream()
        except (ProviderError, TimeoutError):
            pass

    async def _serve(self, socket: Socket) -> None:
        now = self._clock.now()
        self._heard_at, self._reached_bytes = now, 0
        self._idle_at = now + self._dialect.idle_s
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(socket))
                tasks.create_task(self._feed(socket))
        except ExceptionGroup as group:
            lost, bugs = group.split(ProviderError)
            if bugs is not None or lost is None:
                raise
            raise lost.exceptions[0] from None  # the other task ended because of it

    # from the vendor

    async def _listen(self, socket: Socket) -> None:
        while True:
            with translated():
                message = await socket.recv()
            self._heard_at = self._clock.now()
            could_end = self._dialect.can_end_turn
            heard = self._dialect.hear(message)
            self._proven = self._proven or bool(heard.events)
            self._take(heard)
            if self._dialect.can_end_turn and not could_end:
                self._work.ring()

    def _take(self, heard: Heard) -> None:
        self._backlog.settle(TELEPHONE.bytes_of_ms(heard.settled_s * 1000))
        self._reached_bytes = max(self._reached_bytes, TELEPHONE.bytes_of_ms(heard.reached_s * 1000))
        for event in heard.events:
            if isinstance(event, FinalTranscript) and event.finalized and not self._answered():
                if event.text or event.ends_turn:
                    self._tell(replace(event, finalized=False))
            else:
                self._tell(event)

    def _answered(self) -> bool:
        """The oldest question that the vendor knows of is answered; False if it knows of none."""
        if self._questions and self._questions[0].due is not None:
            self._questions.popleft()
            return True
        return False

    def _tell(self, event: RecognitionEvent) -> None:
        if isinstance(event, PartialTranscript):
            if event == self._partial:
                return
            self._partial = event
        elif isinstance(event, FinalTranscript):
            self._partial = PartialTranscript("")
        self._events.append(event)
        self._told.set()

    # to the vendor

    async def _feed(self, socket: Socket) -> None:
        while not hanging_up(socket):
            await self._send_audio(socket)
            await self._ask(socket)
            now = self._clock.now()
            self._answer_overdue(now)
            await self._keep_alive(socket, now)
            await self._work.wait_until(self._due(now))
        abandon(socket)  # `_listen` says why

    async def _send_audio(self, socket: Socket) -> None:
        """All that is due: whole chunks, and what stands before a question."""
        while (most := self._sendable()) and self._pace.due() <= (now := self._clock.now()):
            chunk = self._backlog.take(most)
            await self._sent(socket.send_media(chunk))
            self._pace.sent(TELEPHONE.ms(len(chunk)) / 1000, now)
            self._idle_at = now + self._dialect.idle_s
        if lost_bytes := self._backlog.take_lost():
            self._tell(RecognitionGap(TELEPHONE.ms(lost_bytes), "the recogniser takes audio too slowly"))

    def _sendable(self) -> int:
        """Bytes that the next message may hold; 0 while they are too few."""
        position = self._backlog.position
        for question in self._questions:
            if question.position > position:
                return min(self._chunk_bytes, question.position - position)
            if question.due is None:
                return 0  # ask first
        return self._chunk_bytes if self._backlog.unsent >= self._chunk_bytes else 0

    async def _ask(self, socket: Socket) -> None:
        for question in list(self._questions):
            if question.position > self._backlog.position:
                break
            if question.due is None:
                question.due = self._clock.now() + _ANSWER_S
            if not question.sent and self._dialect.can_end_turn:
                question.sent = True
                await self._sent(self._dialect.end_turn(socket))

    def _answer_overdue(self, now: float) -> None:
        """Answer what the vendor does not. Raises `ProviderTimedOut` if it does nothing else either."""
        overdue = [question for question in self._questions if question.due is not None and question.due <= now]
        stalled = now - self._heard_at >= self._gap_s and self._unheard_s() >= self._gap_s
        if stalled and (overdue or self._dialect.expecting):
            raise ProviderTimedOut(NAME, "gap" if self._proven else "first_result", self._gap_s)
        for _ in overdue:
            self._take(self._dialect.answer())

    def _unheard_s(self) -> float:
        """Audio sent that the vendor has not come to yet."""
        return (self._backlog.connection_bytes - self._reached_bytes) / TELEPHONE.rate_hz

    async def _keep_alive(self, socket: Socket, now: float) -> None:
        """The vendor hangs up on silence of the link; before the first audio, nothing but audio counts."""
        if now < self._idle_at:
            return
        if self._dialect.idle_silence or not self._backlog.connection_bytes:
            self._backlog.add(bytes([MULAW_SILENCE]) * self._chunk_bytes)
            await self._send_audio(socket)
            self._idle_at = now + (
                self._dialect.chunk_ms / 1000 if self._dialect.idle_silence else self._dialect.idle_s
            )
        else:
            await self._sent(self._dialect.keep_alive(socket))
            self._idle_at = now + self._dialect.idle_s

    async def _sent(self, sending: Awaitable[None]) -> None:
        """Raises `ProviderError` for a link that is gone or takes nothing."""
        try:
            async with asyncio.timeout(_SEND_S):
                with translated():
                    await sending
        except TimeoutError:
            raise ProviderTimedOut(NAME, "gap", _SEND_S) from None

    def _due(self, now: float) -> float:
        """When there is something to do even if nobody rings."""
        dues = [self._idle_at, *(question.due for question in self._questions if question.due is not None)]
        if self._sendable():
            dues.append(self._pace.due())
        return min(dues)
