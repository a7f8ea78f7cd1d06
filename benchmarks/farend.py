"""The far end of a call in virtual time: a caller who says what he is given, over room noise and, if wanted, the
agent's echo; and a recogniser that knows his words, and hears them only in the frames that reach it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from benchmarks.noises import Sound
from benchmarks.sayings import Saying
from providers.base import FinalTranscript, PartialTranscript, Recognition, RecognitionEvent
from telephony.audio import FRAME_BYTES, TELEPHONE, AudioFormat
from telephony.carrier import AudioReceived
from telephony.clock import Clock
from telephony.simulator.sound import decode, encode
from tests.doubles import FRAME_S, Line

FINAL_S = 0.3
PARTIAL_S = 0.2
_ROOM_DBFS = -62.0
_TAPS = 24
_KEPT = 8000
"""Samples of what the agent said that may still come back: a second."""


@dataclass
class KnowingRecogniser:
    """Hears the words that `teach` tied to frames: a partial 200 ms after each, a final 300 ms after `finalize`."""

    clock: Clock
    name: str = "knowing"
    asked: list[float] = field(default_factory=list)
    """When it was asked for its last word."""
    _taught: dict[bytes, list[str]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    def teach(self, frame: bytes, words: list[str]) -> None:
        """These words are over in this frame."""
        self._taught[frame] = words

    def heard(self, frame: bytes) -> list[str]:
        """The words that are over in it; each frame is spoken once."""
        return self._taught.pop(frame, [])

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        async with asyncio.TaskGroup() as group:
            recognition = _Knowing(self)
            talking = group.create_task(recognition.talk())
            yield recognition
            talking.cancel()


class _Knowing:
    def __init__(self, owner: KnowingRecogniser) -> None:
        self._owner = owner
        self._clock = owner.clock
        self._words: list[str] = []
        self._due: deque[tuple[float, RecognitionEvent]] = deque()
        self._events: asyncio.Queue[RecognitionEvent] = asyncio.Queue(256)
        self._more = asyncio.Event()

    def send(self, audio: bytes) -> None:
        if words := self._owner.heard(audio):
            self._words += words
            self._tell(PARTIAL_S, PartialTranscript(" ".join(self._words), stable=True))

    def finalize(self) -> None:
        self._owner.asked.append(self._clock.now())
        self._due = deque((at, event) for at, event in self._due if isinstance(event, FinalTranscript))
        self._tell(FINAL_S, FinalTranscript(" ".join(self._words), confidence=1.0, finalized=True))
        self._words = []

    def _tell(self, delay_s: float, event: RecognitionEvent) -> None:
        last = self._due[-1][0] if self._due else 0.0
        self._due.append((max(self._clock.now() + delay_s, last), event))
        self._more.set()

    async def talk(self) -> None:
        """Say what is due, until cancelled. What `finalize` made void is not said."""
        while True:
            if not self._due:
                self._more.clear()
                await self._more.wait()
            at = self._due[0][0]
            await self._clock.sleep_until(at)
            if self._due and self._due[0][0] <= self._clock.now() + 1e-9:
                await self._events.put(self._due.popleft()[1])

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            yield await self._events.get()


@dataclass(frozen=True)
class Echo:
    """The agent's voice comes back so much softer and so much later."""

    level_db: float
    delay_ms: float


@dataclass
class FarEnd(Line):
    """A carrier, and at its end a caller in a room."""

    recogniser: KnowingRecogniser | None = None
    seed: int = 0
    echo: Echo | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._random = np.random.default_rng(self.seed)
        self._speech = np.zeros(0)
        self._words: list[tuple[int, str]] = []
        self._position = 0
        self._played = np.zeros(0)
        taps = self._random.normal(0, 1, _TAPS) * np.exp(-np.arange(_TAPS) / 5)
        taps[0] = 2.0
        self._path = taps / np.sqrt((taps**2).sum())

    def say(self, saying: Saying) -> tuple[float, float]:
        """From a random sample of the next frame on. Answers when his first sample sounds and when the last is over;
        before, he must have said what he had to say."""
        shift = int(self._random.integers(FRAME_BYTES))
        self._speech = np.concatenate([np.zeros(shift), saying.sound])
        self._words = [(over + shift, word) for over, word in saying.words]
        self._position = 0
        began = self._next_at - FRAME_S + shift / TELEPHONE.rate_hz
        return began, began + saying.seconds

    async def run(self) -> None:
        """Be the carrier: a frame each way every 20 ms. A frame leaves when its last sample was spoken."""
        self._next_at = self.clock.now() + FRAME_S
        while not self._closed:
            due = self._next_at
            await self.clock.sleep_until(due)
            frame = self._frame()
            self._next_at = due + FRAME_S
            self._events.put_nowait(AudioReceived(frame, 0))
            self._arrive(due)
            before = len(self.heard)
            self._play_frame(due)
            if self.echo is not None:
                sounded = decode(self.heard[-1][1]).astype(float) if len(self.heard) > before else np.zeros(FRAME_BYTES)
                self._played = np.concatenate([self._played, sounded])[-_KEPT:]

    def _frame(self) -> bytes:
        mixed = self._random.normal(0, 32768 * 10 ** (_ROOM_DBFS / 20), FRAME_BYTES)
        end = self._position + FRAME_BYTES
        part = self._speech[self._position : end]
        mixed[: len(part)] += part
        mixed += self._echoed()
        frame = encode(mixed)
        over = [word for at, word in self._words if self._position < at <= end]
        if over and self.recogniser is not None:
            self.recogniser.teach(frame, over)
        self._position = end
        return frame

    def _echoed(self) -> Sound:
        """What the microphone catches of what sounded `delay_ms` before."""
        if self.echo is None:
            return np.zeros(FRAME_BYTES)
        end = len(self._played) - int(self.echo.delay_ms * 8)
        begin = end - FRAME_BYTES - _TAPS + 1
        if begin < 0:
            return np.zeros(FRAME_BYTES)
        return np.convolve(self._played[begin:end], self._path, "valid") * 10 ** (self.echo.level_db / 20)
