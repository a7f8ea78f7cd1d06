"""One call's recognition on one connection: audio out, transcripts in, questions answered in time.

A connection that is lost is lost for good: who replaces it is decided elsewhere, from what was settled.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from providers.base import (
    AudioReached,
    AudioSettled,
    FinalTranscript,
    PartialTranscript,
    RecognitionEvent,
    RecognitionGap,
)
from providers.errors import ProviderError, ProviderTimedOut
from providers.stt.deepgram.dialect import Dialect, Heard
from providers.stt.deepgram.outgoing import Outgoing, Pace
from providers.stt.deepgram.vendor import (
    NAME,
    AsyncDeepgramClient,
    Socket,
    abandon,
    hanging_up,
    received,
    send_at_once,
    takes_at_once,
    translated,
)
from telephony.audio import MULAW_SILENCE, TELEPHONE
from telephony.clock import Alarm, Clock
from telephony.tasks import TaskGroup

_KEEP_BYTES = TELEPHONE.bytes_of_ms(30_000)
"""Audio that may wait to be sent: more than what is ever said again to a new recogniser."""
_ANSWER_S = 0.8
"""The vendor answers `Finalize` in about 0.1 s, or never if there was little to flush."""
_CROSSED_S = 0.3
"""An end of turn that the vendor found by himself so shortly before our question is as good as its answer."""
_BEHIND_S = 1.0
"""A vendor that leaves a question unanswered and has said nothing for so long, about so much audio, has stalled."""
_REACHED_EVERY_BYTES = TELEPHONE.bytes_of_ms(100)
"""How often it is told how far the vendor has come."""
_SETTLED_EVERY_MS = 200.0
"""How often it is told that there was nothing to hear."""
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
    asked_behind_s: float = 0.0
    """So much audio the connection had had by then,"""
    asked_at: float = 0.0
    """which was then."""


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
        self._outgoing = Outgoing(_KEEP_BYTES)
        self._pace = Pace()
        self._questions: deque[_Question] = deque()
        self._events: deque[RecognitionEvent] = deque(maxlen=_EVENTS_WAITING)
        self._partial = PartialTranscript("")  # the last that was told; the vendor repeats itself
        self._told = asyncio.Event()
        self._work = Alarm(clock)
        self._socket: Socket | None = None
        """While it is served."""
        self._settled = asyncio.Event()
        self._failure: ProviderError | None = None
        self._proven = False  # something was understood
        self._settled_bytes = 0  # of the connection
        self._told_settled_ms = 0.0
        self._idle_at = 0.0
        self._heard_at = 0.0
        self._reached_bytes = 0  # of the connection's audio the vendor has come so far
        self._told_reached_bytes = 0

    # what the call asks

    def send(self, audio: bytes) -> None:
        """See `Recognition.send`."""
        self._outgoing.add(audio)
        if self._outgoing.waiting >= self._chunk_bytes and not self._send_at_once():
            self._work.ring()

    def finalize(self) -> None:
        """See `Recognition.finalize`."""
        self._questions.append(_Question(self._outgoing.end))
        self._work.ring()

    def fills(self) -> Mapping[str, float]:
        """See `Buffered`: what waits to be sent."""
        return {"recogniser": self._outgoing.waiting / _KEEP_BYTES}

    async def connected(self) -> None:
        """Wait for the connection. Raises the `ProviderError` that kept it from being made."""
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

    # the connection

    async def run(self) -> None:
        """Recognise until the connection is lost, which `connected` and the iterator raise."""
        try:
            await self._connection()
        except ProviderError as error:
            self._fail(error)

    def _fail(self, error: ProviderError) -> None:
        self._failure = error
        self._settled.set()
        self._told.set()

    async def _connection(self) -> None:
        """From its upgrade to its end. Raises `ProviderError`."""
        cause: ProviderError | None = None
        try:
            with translated():
                async with AsyncExitStack() as stack:
                    socket = await self._connect(stack)
                    try:
                        await self._serve(socket)
                    except ProviderError as error:
                        cause = error
                        self._fail(error)  # nobody waits until the connection is gone
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
                await self._dialect.greeted(socket)
        except TimeoutError:
            raise ProviderTimedOut(NAME, "connect", self._connect_s) from None
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
        self._socket = socket
        try:
            async with TaskGroup() as tasks:
                tasks.create_task(self._listen(socket))
                tasks.create_task(self._feed(socket))
        except ExceptionGroup as group:
            lost, bugs = group.split(ProviderError)
            if bugs is not None or lost is None:
                raise
            raise lost.exceptions[0] from None  # the other task ended because of it
        finally:
            self._socket = None

    # from the vendor

    async def _listen(self, socket: Socket) -> None:
        while True:
            with translated():
                message = await received(socket)
            self._heard_at = self._clock.now()
            could_end = self._dialect.can_end_turn
            heard = self._dialect.hear(message)
            self._proven = self._proven or bool(heard.events)
            self._take(heard)
            if self._dialect.can_end_turn and not could_end:
                self._work.ring()

    def _take(self, heard: Heard) -> None:
        self._reached_bytes = max(self._reached_bytes, TELEPHONE.bytes_of_ms(heard.reached_s * 1000))
        settled_ms = self._settle(heard.settled_s)
        for event in heard.events:
            if not isinstance(event, FinalTranscript):
                self._tell(event)
                continue
            answers = event.finalized and self._answered(heard.reached_s)
            if answers or not event.finalized or event.text or event.ends_turn:
                self._tell(replace(event, finalized=answers, settled_ms=settled_ms))
        if settled_ms - self._told_settled_ms >= _SETTLED_EVERY_MS:
            self._tell(AudioSettled(settled_ms))
        if self._reached_bytes - self._told_reached_bytes >= _REACHED_EVERY_BYTES:
            self._told_reached_bytes = self._reached_bytes
            behind_bytes = self._outgoing.sent - self._reached_bytes
            self._tell(AudioReached(TELEPHONE.ms(max(0, self._outgoing.position - behind_bytes))))

    def _settle(self, settled_s: float) -> float:
        """How much of the call's audio is settled, in ms: the vendor is done with `settled_s` of the connection's."""
        self._settled_bytes = max(self._settled_bytes, TELEPHONE.bytes_of_ms(settled_s * 1000))
        return TELEPHONE.ms(self._outgoing.position_of(self._settled_bytes))

    def _answered(self, reached_s: float) -> bool:
        """The oldest question that the vendor knows of is answered; False if it knows of none, or ended a turn by
        itself that lies long before it. `reached_s` is 0 where he said nothing."""
        if not self._questions or self._questions[0].due is None:
            return False
        if reached_s and self._questions[0].asked_behind_s - reached_s > _CROSSED_S:
            return False
        self._questions.popleft()
        return True

    def _tell(self, event: RecognitionEvent) -> None:
        if isinstance(event, PartialTranscript):
            if event == self._partial:
                return
            self._partial = event
        elif isinstance(event, FinalTranscript):
            self._partial = PartialTranscript("")
            self._told_settled_ms = event.settled_ms or 0.0
        elif isinstance(event, AudioSettled):
            self._told_settled_ms = event.settled_ms
        self._events.append(event)
        self._told.set()

    # to the vendor

    def _send_at_once(self) -> bool:
        """Send the one chunk that waits, without waking `_feed` for it; False if there is more for that to look at."""
        now = self._clock.now()
        stalled = self._dialect.expecting and now - self._heard_at >= self._gap_s
        if self._socket is None or self._questions or stalled or self._outgoing.waiting >= 2 * self._chunk_bytes:
            return False
        if self._pace.due() > now or not takes_at_once(self._socket):
            return False
        chunk = self._outgoing.take(self._chunk_bytes)
        send_at_once(self._socket, chunk)
        self._count_sent(chunk, now)
        return True

    async def _feed(self, socket: Socket) -> None:
        with translated():
            while not hanging_up(socket):
                await self._send_audio(socket)
                if self._questions:
                    await self._ask(socket)
                now = self._clock.now()
                self._answer_overdue(now)
                if now >= self._idle_at:
                    await self._keep_alive(socket, now)
                await self._work.wait_until(self._due(now))
        abandon(socket)  # `_listen` says why

    async def _send_audio(self, socket: Socket) -> None:
        """All that is due: whole chunks, and what stands before a question."""
        while (most := self._sendable()) and self._pace.due() <= (now := self._clock.now()):
            chunk = self._outgoing.take(most)
            await self._sent(socket, socket.send_media(chunk))
            self._count_sent(chunk, now)
        if lost_bytes := self._outgoing.take_lost():
            self._tell(RecognitionGap(TELEPHONE.ms(lost_bytes), "the recogniser takes audio too slowly"))

    def _count_sent(self, chunk: bytes, now: float) -> None:
        self._pace.sent(len(chunk) / TELEPHONE.rate_hz, now)
        self._idle_at = now + self._dialect.idle_s

    def _sendable(self) -> int:
        """Bytes that the next message may hold; 0 while they are too few."""
        position = self._outgoing.position
        for question in self._questions:
            if question.position > position:
                return min(self._chunk_bytes, question.position - position)
            if question.due is None:
                return 0  # ask first
        return self._chunk_bytes if self._outgoing.waiting >= self._chunk_bytes else 0

    async def _ask(self, socket: Socket) -> None:
        for question in list(self._questions):
            if question.position > self._outgoing.position:
                break
            if question.due is None:
                question.due = self._clock.now() + _ANSWER_S
                question.asked_at = self._clock.now()
                question.asked_behind_s = self._outgoing.sent / TELEPHONE.rate_hz
            if not question.sent and self._dialect.can_end_turn:
                question.sent = True
                await self._sent(socket, self._dialect.end_turn(socket))

    def _answer_overdue(self, now: float) -> None:
        """Answer what the vendor does not. Raises `ProviderTimedOut` if it does nothing else either."""
        overdue = [question for question in self._questions if question.due is not None and question.due <= now]
        patience_s = min(_BEHIND_S, self._gap_s) if overdue else self._gap_s
        stalled = now - self._heard_at >= patience_s and self._unheard_s() >= patience_s
        if stalled and (overdue or self._dialect.expecting):
            raise ProviderTimedOut(NAME, "gap" if self._proven else "first_result", patience_s)
        for question in overdue:
            judged_at = self._heard_at + patience_s
            if (
                self._heard_at <= question.asked_at
                and now < judged_at
                and self._unheard_s() + judged_at - now >= patience_s
            ):
                question.due = judged_at  # the last partial may be old: then it is known whether the vendor has stalled
            else:
                self._take(self._dialect.answer())

    def _unheard_s(self) -> float:
        """Audio sent that the vendor has not come to yet."""
        return (self._outgoing.sent - self._reached_bytes) / TELEPHONE.rate_hz

    async def _keep_alive(self, socket: Socket, now: float) -> None:
        """The vendor hangs up on silence of the link; before the first audio, nothing but audio counts."""
        if self._dialect.idle_silence or not self._outgoing.sent:
            await self._send_silence(socket)
            self._idle_at = now + (
                self._dialect.chunk_ms / 1000 if self._dialect.idle_silence else self._dialect.idle_s
            )
        else:
            await self._sent(socket, self._dialect.keep_alive(socket))
            self._idle_at = now + self._dialect.idle_s

    async def _send_silence(self, socket: Socket) -> None:
        """After what the call has sent so far, be it less than a chunk."""
        if self._outgoing.waiting:
            await self._sent(socket, socket.send_media(self._outgoing.take(self._chunk_bytes)))
        self._outgoing.slip_in(self._chunk_bytes)
        await self._sent(socket, socket.send_media(bytes([MULAW_SILENCE]) * self._chunk_bytes))

    async def _sent(self, socket: Socket, sending: Awaitable[None]) -> None:
        """Raises `ProviderTimedOut` for a link that takes nothing. Usually nobody has to wait, and a timer for each of
        a call's messages would be for nothing."""
        if takes_at_once(socket):
            await sending
            return
        try:
            async with asyncio.timeout(_SEND_S):
                await sending
        except TimeoutError:
            raise ProviderTimedOut(NAME, "gap", _SEND_S) from None

    def _due(self, now: float) -> float:
        """When there is something to do even if nobody rings."""
        dues = [self._idle_at, *(question.due for question in self._questions if question.due is not None)]
        if self._sendable():
            dues.append(self._pace.due())
        return min(dues)
