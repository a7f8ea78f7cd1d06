"""What the carrier holds for the caller's ear: a FIFO of audio and marks, drained in real time. Sans I/O.

The position axis counts samples of the call (8 per millisecond) from `origin`, the answer of the call.
"""

from collections import deque
from dataclasses import dataclass

from telephony.audio import MULAW_SILENCE
from telephony.simulator.sound import RATE_HZ, samples_of_ms

QUEUE_LIMIT_SAMPLES = 600 * RATE_HZ
"""Ten minutes; what comes on top is thrown away (Twilio's warning 31931)."""
LATE_CLEAR_SAMPLES = samples_of_ms(200)
_SILENCE = bytes([MULAW_SILENCE])


@dataclass(slots=True)
class Run:
    """Audio played without a break, in samples of the call. `cut`: a `clear` ended it, or came after it."""

    start: int
    end: int
    cut: bool = False


class Playout:
    """The FIFO. Every method first plays until `now`, so that what arrives in an empty FIFO sounds from its arrival on.

    Methods return the names of the marks that are to be echoed now, in the order in which they were placed.
    `late_clear` is a fault to inject: 200 ms of what was cleared sound all the same.
    """

    def __init__(self, origin: float, position: int, late_clear: bool = False) -> None:
        self._origin = origin
        self._position = position
        self._kept_by_clear = LATE_CLEAR_SAMPLES if late_clear else 0
        self._waiting = bytearray()
        self._played = bytearray()  # and not yet taken
        self._received_samples = 0
        self._done_samples = 0  # received samples that were played or dropped
        self._marks: deque[tuple[int, str]] = deque()
        self.runs: list[Run] = []

    @property
    def waiting_samples(self) -> int:
        return len(self._waiting)

    def advance(self, now: float) -> list[str]:
        """Play until `now`."""
        self._play_until(now)
        return self._due()

    def receive(self, audio: bytes, now: float) -> tuple[bool, list[str]]:
        """Append audio; False when it is thrown away because the FIFO is full."""
        self._play_until(now)
        fits = len(self._waiting) + len(audio) <= QUEUE_LIMIT_SAMPLES
        if fits:
            self._waiting += audio
            self._received_samples += len(audio)
        return fits, self._due()

    def place_mark(self, name: str, now: float) -> list[str]:
        """Append a mark; it is due at once when nothing waits before it."""
        self._play_until(now)
        self._marks.append((self._received_samples, name))
        return self._due()

    def clear(self, now: float) -> tuple[list[str], list[str]]:
        """Drop what waits: the marks that were reached by playing, and those that are due because of this."""
        self._play_until(now)
        reached = self._due()
        dropped = max(0, len(self._waiting) - self._kept_by_clear)
        del self._waiting[len(self._waiting) - dropped :]
        self._done_samples += dropped
        if self.runs:
            self.runs[-1].cut = True
        cleared = [name for _, name in self._marks]
        self._marks.clear()
        return reached, cleared

    def take(self, samples: int) -> bytes | None:
        """The next `samples` played samples (the caller has advanced that far); None if all of it is silence."""
        frame = bytes(self._played[:samples])
        del self._played[:samples]
        return frame if frame.count(MULAW_SILENCE) != samples else None

    def _play_until(self, now: float) -> None:
        elapsed = round((now - self._origin) * RATE_HZ) - self._position
        if elapsed <= 0:
            return
        audio = self._waiting[:elapsed]
        if audio:
            del self._waiting[: len(audio)]
            self._played += audio
            self._done_samples += len(audio)
            self._extend_run(self._position, self._position + len(audio))
        if len(audio) < elapsed:
            self._played += _SILENCE * (elapsed - len(audio))
        self._position += elapsed

    def _extend_run(self, start: int, end: int) -> None:
        if self.runs and self.runs[-1].end == start and not self.runs[-1].cut:
            self.runs[-1].end = end
        else:
            self.runs.append(Run(start, end))

    def _due(self) -> list[str]:
        marks = []
        while self._marks and self._marks[0][0] <= self._done_samples:
            marks.append(self._marks.popleft()[1])
        return marks
