"""One call's audio inside a worker: gate, backlog, utterance, answers. Sans I/O."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from providers.stt.pocketsphinx.gate import SpeechGate
from providers.stt.pocketsphinx.wire import Final, Lost, Partial, Report
from telephony.audio import FRAME_BYTES, FRAME_MS

_BACKLOG_FRAMES = 4000 // FRAME_MS
"""Speech that waits to be decoded; beyond it the oldest is dropped."""

_PAUSE_FRAMES = 2000 // FRAME_MS
"""Quiet after which an utterance ends that nobody finalized: a cough must not stick to the next sentence."""

LONGEST_MS = 15_000
"""Speech after which an utterance ends that nobody finalized: noise, or somebody reads out a book."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What an utterance says so far, or said. Empty text: nothing that the dialogue knows."""

    text: str
    confidence: float = 0.0
    stable: bool = False
    complete: bool = False


class Utterance(Protocol):
    """One stretch of speech, frame by frame."""

    def hear(self, frame: bytes) -> Heard | None:
        """Take a frame (µ-law, 20 ms); what it changed, if anything."""
        ...

    def finish(self) -> Heard:
        """What was said; the utterance is over."""
        ...


class _Mark(Enum):
    """What stands between frames in the backlog."""

    PAUSE = auto()
    FINALIZE = auto()


class Call:
    """The audio of call `number`. `listen` begins an utterance.

    Taking audio is cheap; `work` decodes a bounded piece of the backlog, so that calls can take turns.
    """

    def __init__(self, number: int, listen: Callable[[], Utterance]) -> None:
        self._number = number
        self._listen = listen
        self._gate = SpeechGate()
        self._rest = b""
        self._backlog: deque[bytes | _Mark] = deque()
        self._lost_frames = 0
        self._utterance: Utterance | None = None
        self._utterance_frames = 0
        self._partial = ""

    @property
    def busy(self) -> bool:
        return bool(self._backlog)

    def audio(self, payload: bytes) -> None:
        """Take audio as it comes; a frame's rest waits for the next."""
        self._rest += payload
        while len(self._rest) >= FRAME_BYTES:
            frame, self._rest = self._rest[:FRAME_BYTES], self._rest[FRAME_BYTES:]
            self._backlog.extend(self._gate.hear(frame))
            if self._gate.quiet_frames == _PAUSE_FRAMES and (self._utterance or self._backlog):
                self._backlog.append(_Mark.PAUSE)
        while len(self._backlog) > _BACKLOG_FRAMES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(at for at, item in enumerate(self._backlog) if isinstance(item, bytes))
        del self._backlog[oldest]
        self._lost_frames += 1

    def finalize(self) -> None:
        """Answer with a `Final` once everything before this is decoded."""
        self._backlog.append(_Mark.FINALIZE)

    def work(self, frames: int) -> list[Report]:
        """Decode at most `frames` of the backlog."""
        reports: list[Report] = []
        if self._lost_frames:
            reports.append(Lost(self._number, self._lost_frames * FRAME_MS))
            self._lost_frames = 0
        for _ in range(min(frames, len(self._backlog))):
            item = self._backlog.popleft()
            if isinstance(item, bytes):
                reports += self._hear(item)
            else:
                reports += self._finish(finalized=item is _Mark.FINALIZE)
        return reports

    def close(self) -> None:
        """Give up what was begun."""
        self._finish(finalized=False)

    def _hear(self, frame: bytes) -> list[Report]:
        if self._utterance is None:
            self._utterance = self._listen()
        heard = self._utterance.hear(frame)
        self._utterance_frames += 1
        if self._utterance_frames * FRAME_MS >= LONGEST_MS:
            return self._finish(finalized=False)
        if heard is None or not (heard.text or self._partial):
            return []
        self._partial = heard.text
        return [Partial(self._number, heard.text, heard.stable, heard.complete)]

    def _finish(self, finalized: bool) -> list[Report]:
        """End the utterance, if there is one. What nobody asked for is only reported if it says something."""
        heard = self._utterance.finish() if self._utterance else None
        self._utterance, self._utterance_frames, self._partial = None, 0, ""
        if not finalized and not (heard and heard.text):
            return []
        text, confidence = (heard.text, heard.confidence) if heard else ("", None)
        return [Final(self._number, text, confidence, finalized)]
