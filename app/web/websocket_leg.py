"""A media websocket as a `Leg`.

The leg has two users: who listens to it, and the writer, who runs `play`. It owns no task. One timer, shared by both,
finds a peer that went away without a word (no message for a while: carriers stream without pause) and a socket that
takes no more (a send that does not return). Whatever ends the leg, it ends once, for one reason, and both users are let
go at once.

Where the server offers a `ShortWay`, messages are told and sent by it, without a task's being woken for each.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from starlette.types import Receive, Send

from app.web.contracts import Counters
from app.web.interruptible import Interruptible
from app.web.short_way import ShortWay
from telephony.audio import TELEPHONE, AudioFormat
from telephony.carrier import Carrier, CarrierCommand, CarrierEvent, ClearAudio, MediaStarted
from telephony.clock import Clock
from telephony.errors import LegClosed, MalformedMessage, OurFault
from telephony.leg import Playout

_TICK_S = 0.001
"""Grain of waiting: some event loops count whole milliseconds, round to the nearest, and would spin on less."""

_STALL_S = 0.25
"""A watch that comes later than this was held up by our own process, and so was the reader: nobody is to blame."""


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """How much patience a media socket gets."""

    start_within_s: float = 5.0
    """From accepting the socket to a valid start message."""
    silence_s: float = 2.0
    """Without any message after the start; then the peer is taken for gone."""
    send_within_s: float = 5.0
    """For one message to be taken by the socket; then the socket is taken for dead."""
    malformed_in_a_row: int = 50
    """One second of nonsense; then the stream is unusable."""
    waiting_sockets: int = 256
    """Sockets without a valid start yet, over all calls of a carrier."""


class LegEnd(StrEnum):
    """Why a leg ended; a metric label."""

    CLOSED = "closed"  # by us
    DISCONNECTED = "disconnected"  # by the peer or the network
    SILENT = "silent"  # `silence_s` without a message
    STUCK = "stuck"  # a send took longer than `send_within_s`
    UNUSABLE = "unusable"  # nothing but malformed messages


class WebsocketLeg:
    """One media websocket after its accept: `Leg`. Usable as such once `started` has told of its stream."""

    def __init__(
        self,
        carrier: Carrier,
        receive: Receive,
        send: Send,
        clock: Clock,
        counters: Counters,
        limits: MediaLimits,
        short_way: ShortWay | None = None,
    ) -> None:
        self.capabilities = carrier.capabilities
        self.audio: AudioFormat = TELEPHONE
        self.end: LegEnd | None = None
        """Why the leg ended; None while it lives."""
        self._carrier = carrier.name
        self._protocol = carrier.protocol()
        self._receive = receive
        self._send = send
        self._clock = clock
        self._counters = counters
        self._limits = limits
        self._short_way = short_way
        self._loop = asyncio.get_running_loop()
        self._reading = Interruptible()
        self._take: Callable[[CarrierEvent], None] | None = None
        self._backlog: deque[CarrierEvent] = deque()
        """What came before anybody listened."""
        self._bug: Exception | None = None
        self._malformed_in_a_row = 0
        self._sending = Interruptible()
        self._sending_since: float | None = None
        self._clear_due = False
        self._awake = asyncio.Event()
        self._playing = False
        self._heard_at = 0.0
        self._watch_at = 0.0
        self._watch_timer: asyncio.TimerHandle | None = None

    # The reader

    async def started(self) -> MediaStarted | None:
        """The start of the stream, from where on the peer must not fall silent; None if there is none."""
        try:
            while not self._backlog:
                await self._read()
        except LegClosed:
            return None
        event = self._backlog.popleft()
        if not isinstance(event, MediaStarted):
            return None
        self.audio = event.audio
        self._watch_in(min(self._limits.silence_s, self._limits.send_within_s))
        return event

    async def listen(self, take: Callable[[CarrierEvent], None]) -> None:
        if self._take is not None:
            raise OurFault("a leg has one listener")
        self._take = take
        try:
            while self._backlog:
                take(self._backlog.popleft())
            if self._short_way is not None:
                self._short_way.divert(self._tell)
            while True:
                await self._read()
        except LegClosed:
            pass
        finally:
            self._take = None
        if self._bug is not None:
            raise self._bug

    async def _read(self) -> None:
        """Take one message. Raises `LegClosed` when the leg has ended, or ends meanwhile."""
        with self._reading:
            message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._finish_for(LegEnd.DISCONNECTED)
        else:
            content = message.get("text")
            self._tell(message["bytes"] if content is None else content)

    def _tell(self, content: str | bytes) -> None:
        """A message, whichever way it came. What goes wrong in the call is raised where somebody listens."""
        if self.end is not None:
            return
        self._heard_at = now = self._clock.now()
        try:
            events = self._protocol.receive(content, now)
        except MalformedMessage as malformed:
            self._count_malformed(malformed)
            return
        self._malformed_in_a_row = 0
        if self._take is None:
            self._backlog.extend(events)
            return
        try:
            for event in events:
                self._take(event)
        except Exception as bug:  # noqa: BLE001 - the wall between the server's callbacks and the call they are for
            self._bug = bug
            self._finish_for(LegEnd.CLOSED)

    def _count_malformed(self, malformed: MalformedMessage) -> None:
        self._counters.count("media_messages_malformed", carrier=self._carrier, reason=malformed.reason)
        self._malformed_in_a_row += 1
        if self._malformed_in_a_row >= self._limits.malformed_in_a_row:
            self._finish_for(LegEnd.UNUSABLE)

    # The writer

    async def play(self, playout: Playout) -> None:
        if self._playing:
            raise OurFault("a leg has one writer")
        self._playing = True
        try:
            while self.end is None:
                self._awake.clear()
                await self._send_due(playout)
                await self._sleep(playout)
        except LegClosed:
            return
        finally:
            self._playing = False

    async def _send_due(self, playout: Playout) -> None:
        if self._clear_due:
            self._clear_due = False
            await self._deliver(ClearAudio())
        for command in playout.due(self._clock.now()):
            if self._clear_due:
                return  # it came while the socket held us up: what was due then is no longer
            await self._deliver(command)

    async def _deliver(self, command: CarrierCommand) -> None:
        """Send one command. Raises `LegClosed` when the leg has ended, or ends by this or while it is sent."""
        message = self._protocol.send(command)
        if self._short_way is not None and isinstance(message, str) and self._short_way.write_text(message):
            return
        self._sending_since = self._clock.now()
        try:
            with self._sending:
                await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
        except OSError:  # what ASGI raises when the peer is gone
            self._finish_for(LegEnd.DISCONNECTED)
            raise LegClosed from None
        finally:
            self._sending_since = None

    async def _sleep(self, playout: Playout) -> None:
        """Until the playout has something due, or `wake`, which the leg's end does too."""
        if self._awake.is_set():
            return
        now = self._clock.now()
        due = playout.next_due(now)
        timer = None if due is None else self._loop.call_later(_delay(due - now), self._awake.set)
        try:
            await self._awake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        self._awake.set()

    def clear(self) -> None:
        if self.capabilities.clear:
            self._clear_due = True
            self._awake.set()

    # The end

    def close(self) -> None:
        self._finish_for(LegEnd.CLOSED)

    async def shut(self, code: int) -> None:
        """Close the socket with `code`, the leg with it. For the owner of the socket, once reading is over.

        The close frame is the last message: a send that is held up is given up first. A socket that takes no more is
        left to the server after the send deadline.
        """
        self.close()
        try:
            async with asyncio.timeout(self._limits.send_within_s):
                await self._send({"type": "websocket.close", "code": code})
        except (TimeoutError, OSError):
            return  # nobody is there to be told

    def _finish_for(self, end: LegEnd) -> None:
        if self.end is not None:
            return
        self.end = end
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        self._counters.count("media_legs_ended", carrier=self._carrier, reason=end)
        self._reading.interrupt()
        self._sending.interrupt()
        self._awake.set()

    def _watch_in(self, delay: float) -> None:
        self._watch_at = self._clock.now() + delay
        self._watch_timer = self._loop.call_later(delay, self._watch)

    def _watch(self) -> None:
        now = self._clock.now()
        sending_since = now if self._sending_since is None else self._sending_since
        if now - self._watch_at > _STALL_S:
            self._heard_at = sending_since = now
        if not self._reading.waiting:  # while its call is fetched from elsewhere nobody listens
            self._heard_at = now
        left_silence = self._heard_at + self._limits.silence_s - now
        left_sending = sending_since + self._limits.send_within_s - now
        if left_silence <= 0:
            self._finish_for(LegEnd.SILENT)
        elif left_sending <= 0:
            self._finish_for(LegEnd.STUCK)
        else:
            self._watch_in(max(_TICK_S, min(left_silence, left_sending)))


def _delay(remaining_s: float) -> float:
    """How long to wait for a time that far ahead: whole ticks, rounded up, so that no wake comes too early."""
    return math.ceil(remaining_s / _TICK_S - 0.001) * _TICK_S if remaining_s > 0 else 0.0
