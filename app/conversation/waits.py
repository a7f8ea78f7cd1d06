"""How long things have taken lately, and so will take: what a filler is judged by."""

from collections import deque
from statistics import median

from app.telemetry.latency import LatencyMetrics

_KEPT = 50
_ENOUGH = 3
"""So many of a call's own are believed before those of the whole process."""
_MODEL, _VOICE = "model", "voice"


class RecentWaits:
    """The latest durations by stage, of one call with those of its process behind them, or of the process."""

    def __init__(self, process: "RecentWaits | None" = None) -> None:
        self._process = process
        self._seconds: dict[str, deque[float]] = {}

    def measured(self, metrics: LatencyMetrics) -> None:
        """A reply has ended: what its model and its voice took to begin."""
        for stage, began, ended in (
            (_MODEL, metrics.llm_started, metrics.llm_first_token),
            (_VOICE, metrics.tts_started, metrics.tts_first_chunk),
        ):
            if began is not None and ended is not None:
                self._add(stage, ended - began)

    def tool_returned(self, name: str, seconds: float) -> None:
        """A tool has taken so long."""
        self._add(f"tool {name}", seconds)

    def expected_s(self, tools: tuple[str, ...] = ()) -> float:
        """From now to the first sound of a reply that has to wait for these tools, model and voice; as far as anything
        is known of them."""
        slowest_tool = max((self._usual(f"tool {name}") or 0.0 for name in tools), default=0.0)
        return slowest_tool + (self._usual(_MODEL) or 0.0) + (self._usual(_VOICE) or 0.0)

    def _add(self, stage: str, seconds: float) -> None:
        self._seconds.setdefault(stage, deque(maxlen=_KEPT)).append(seconds)
        if self._process is not None:
            self._process._add(stage, seconds)

    def _usual(self, stage: str) -> float | None:
        own = self._seconds.get(stage, ())
        if self._process is not None and len(own) < _ENOUGH:
            return self._process._usual(stage)
        return median(own) if own else None
