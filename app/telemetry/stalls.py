"""Where the event loop stands still, while it does: a frame that is late for every call at once has one cause.

A thread looks whether the loop still beats. If not, it logs what the loop's thread is doing. If it could not look
either, the whole process stood still: its machine was stopped, or a library held the interpreter.
"""

import sys
import threading
import traceback
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger()

LONG_S = 1.0
_LOOKS = 4
_FRAMES = 12


class StallWatch:
    """A context manager, entered on the event loop's thread, which is to `beat` twice in `long_s`."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._long_s = long_s
        self._beats = 0
        self._caught = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        watching = threading.Thread(target=self._watch, args=(threading.get_ident(),), name="stalls", daemon=True)
        self._thread = watching
        watching.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def beat(self, late_s: float) -> None:
        """The loop runs, and is so late."""
        self._beats += 1
        caught, self._caught = self._caught, False
        if caught or late_s >= self._long_s:
            log.warning("event loop stood still", late_s=round(late_s, 2), whole_process=not caught)

    def _watch(self, loop_thread: int) -> None:
        seen, looks = -1, 0
        while not self._over.wait(self._long_s / _LOOKS):
            seen, looks = self._beats, looks + 1 if self._beats == seen else 0
            if looks == _LOOKS:
                self._caught = True
                log.warning("event loop stands still", where=_where(loop_thread))


def _where(thread: int) -> str:
    """What that thread is doing, innermost first."""
    frames = traceback.extract_stack(sys._current_frames().get(thread))[-_FRAMES:]
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
