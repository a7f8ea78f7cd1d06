"""The library's side of a call as small real objects: a ring and the conference that plays it, a dialog, a trunk."""

import asyncio
from collections import deque
from collections.abc import Mapping

from telephony.audio import FRAME_BYTES, FRAME_MS
from telephony.clock import LoopClock
from telephony.sip.errors import CommandFailed, LibraryBusy
from telephony.sip.leg import SipLeg
from telephony.sip.quality import StreamCounts

FRAME_S = FRAME_MS / 1000


class ToyRing:
    """What `pjsua2.AudioRing` is to a leg. `log` has what was written, by its first byte in hex, and each `clear`."""

    def __init__(self, capacity: int = 40_000) -> None:
        self.log: list[str] = []
        self.sound: deque[int] = deque()
        self.played = 0
        self._capacity = capacity

    def write(self, audio: bytes) -> int:
        taken = audio[: self._capacity - len(self.sound)]
        self.log.append(audio[:1].hex())
        self.sound.extend(taken)
        return len(taken)

    def clear(self) -> int:
        self.log.append("clear")
        dropped = len(self.sound)
        self.sound.clear()
        return dropped

    def pending(self) -> int:
        return len(self.sound)

    def play_frame(self) -> None:
        """One tick of the conference."""
        taken = min(FRAME_BYTES, len(self.sound))
        for _ in range(taken):
            self.sound.popleft()
        self.played += taken


class Conference:
    """Plays one leg's ring in real time, and ticks the leg, until it is closed. Owns no task."""

    def __init__(self, leg: SipLeg, ring: ToyRing) -> None:
        self._leg, self._ring = leg, ring
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ticks = 0
        self.caller: deque[bytes] = deque()
        """What the caller says next, frame by frame; then nothing comes at all."""

    def run(self) -> None:
        """From now on."""
        self._ticks += 1
        self._loop.call_at(self._began + self._ticks * FRAME_S, self._tick)

    def _tick(self) -> None:
        if self._leg.closed:
            return
        self._ring.play_frame()
        self._leg.tick(LoopClock().now(), self.caller.popleft() if self.caller else b"", self._ring.played)
        self.run()


class ToyDialog:
    """The library's side of one call: keeps what it was told; refuses it when it `refuses`, or is `busy` so often."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.refuses = False
        self.busy = 0
        self.received = 0

    def _tell(self, *command: object) -> None:
        if self.refuses:
            raise CommandFailed("too late")
        if self.busy:
            self.busy -= 1
            raise LibraryBusy("two seconds were not enough")
        self.told.append(command)

    def answer(self, status: int, headers: Mapping[str, str]) -> None:
        self._tell("answer", status, dict(headers))

    def hang_up(self, status: int, headers: Mapping[str, str]) -> None:
        self._tell("hang up", status, dict(headers))

    def hold(self) -> None:
        self._tell("hold")

    def resume(self) -> None:
        self._tell("resume")

    def press(self, digits: str) -> None:
        self._tell("press", digits)

    def refer(self, target: str, headers: Mapping[str, str]) -> None:
        self._tell("refer", target, dict(headers))

    def refer_to(self, other: object) -> None:
        self._tell("refer to", other)

    def counts(self) -> StreamCounts:
        return StreamCounts("PCMU", received=self.received)
