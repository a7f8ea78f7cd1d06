"""A SIP call's sound as a `Leg`, over the native ring.

The ring is where asyncio and the conference thread meet: what is written here is taken a frame every 20 ms, encoded and
sent as RTP within the same tick. So the far end of this leg is our own conference: it plays in real time, it knows
exactly what it has played, and a clear empties it at once. The session is told the way a carrier would tell: by marks
that come back when the sound before them has left. Behind the ring is what is behind every carrier's buffer too, the
network and a telephone, and the ledger allows for that already: it is the same for what plays as for what is cut.

One ticker serves all legs of the process: see `telephony.sip.ticker`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from telephony.audio import TELEPHONE
from telephony.carrier import (
    AudioReceived,
    CarrierCapabilities,
    CarrierEvent,
    ClearAudio,
    DigitPressed,
    MarkReached,
    PlaceMark,
    PlayAudio,
)
from telephony.clock import Clock
from telephony.errors import OurFault
from telephony.leg import Playout

SIP_CAPABILITIES = CarrierCapabilities(
    marks=True, marks_echo_on_clear=False, clear=True, resume=False, transfer=True, dtmf_out=True
)
RING_IN_MS, RING_OUT_MS = 1_000, 5_000
"""What the loop may be late to read, and far more than a pacer's lead: neither is ever full unless we are broken."""

_GRAIN_S = 0.001
"""What is due within this is due: ticks are that exact at best."""
_KEPT_FRAMES = 100
"""Two seconds before anybody listens: then the newest is dropped, and counted."""


class Ring(Protocol):
    """The native ring of one call, as `pjsua2.AudioRing`: µ-law, 8 kHz."""

    def write(self, audio: bytes) -> int:
        """Samples taken, fewer than given when it is full."""
        ...

    def clear(self) -> int:
        """Samples dropped, which will never be played."""
        ...


class SipLeg:
    """`Leg` of one SIP call, from its first media to its end. Holds and re-INVITEs do not end it."""

    def __init__(self, ring: Ring, clock: Clock) -> None:
        self.capabilities = SIP_CAPABILITIES
        self.audio = TELEPHONE
        self.dropped_frames = 0
        """Of the caller's, because nobody listened yet."""
        self._ring = ring
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._take: Callable[[CarrierEvent], None] | None = None
        self._kept: deque[CarrierEvent] = deque()
        """What came before anybody listened."""
        self._bug: Exception | None = None
        self._received_samples = 0
        self._position = 0  # samples that were written and not cleared: what `played` runs up to
        self._marks: deque[tuple[int, str]] = deque()
        self._playout: Playout | None = None
        self._due_at: float | None = None
        self._woken = False
        self._ended = asyncio.Event()

    @property
    def closed(self) -> bool:
        return self._ended.is_set()

    # the reader

    async def listen(self, take: Callable[[CarrierEvent], None]) -> None:
        """Who listens later takes the place of who does now: before the answer somebody does who only ignores."""
        while self._kept:
            take(self._kept.popleft())
        self._take = take
        try:
            await self._ended.wait()
        finally:
            if self._take is take:
                self._take = None
        if self._bug is not None:
            raise self._bug

    def _tell(self, event: CarrierEvent) -> None:
        """What goes wrong with it is raised where somebody listens: behind the ticker are the frames of all others."""
        if self._take is None:
            self._kept.append(event)
            return
        try:
            self._take(event)
        except Exception as bug:  # noqa: BLE001 - the wall between calls
            self._bug = bug
            self.close()

    # the writer

    async def play(self, playout: Playout) -> None:
        if self._playout is not None:
            raise OurFault("a leg has one writer")
        self._playout = playout
        try:
            self._send_due(self._clock.now())
            await self._ended.wait()
        finally:
            self._playout = None

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            # Whoever wakes may be in the middle of feeding the playout: it is asked once he is done.
            self._loop.call_soon(self._look)

    def clear(self) -> None:
        if not self._ended.is_set():
            self._position -= self._ring.clear()
            self._marks.clear()

    def close(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._marks.clear()
            self._ring.clear()  # the ring itself is the call's, and is closed with it

    def _look(self) -> None:
        self._woken = False
        self._send_due(self._clock.now())

    def _send_due(self, now: float) -> None:
        if self._playout is None or self._ended.is_set():
            return
        for command in self._playout.due(now):
            match command:
                case PlayAudio(payload):
                    self._position += self._ring.write(payload)
                case PlaceMark(name):
                    self._marks.append((self._position, name))
                case ClearAudio():
                    self.clear()
        self._due_at = self._playout.next_due(now)

    # the ticker, and the call

    def tick(self, now: float, audio: bytes, played: int) -> None:
        """Every 20 ms: what the caller said since the last tick, and how much of ours was played by now."""
        if self._ended.is_set():
            return
        if audio:
            self._receive(audio)
        while self._marks and self._marks[0][0] <= played:
            self._tell(MarkReached(self._marks.popleft()[1]))
        if self._due_at is not None and self._due_at <= now + _GRAIN_S:
            self._send_due(max(now, self._due_at))

    def press(self, digit: str) -> None:
        """The caller pressed a key."""
        if not self._ended.is_set() and len(self._kept) < 2 * _KEPT_FRAMES:
            self._tell(DigitPressed(digit))

    def _receive(self, audio: bytes) -> None:
        if len(self._kept) < _KEPT_FRAMES:
            self._tell(AudioReceived(audio, self._received_samples * 1000 // TELEPHONE.rate_hz))
        else:
            self.dropped_frames += 1
        self._received_samples += len(audio)
