"""Where the time of a turn goes: the stamps of each stage, and the budgets they are held to."""

import math
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class LatencyMetrics:
    """Stamps of one turn, in seconds of the call's clock; None: it did not happen (yet, or because of a cut).

    The caller's half starts with `audio_chunk_received`, the reply's half with `llm_started`; stages overlap. A turn
    that the agent takes by itself (greeting, re-prompt) has no first half.
    """

    audio_chunk_received: float | None = None
    """The first audio of the caller's turn arrived."""
    asr_started: float | None = None
    """The recogniser had it."""
    asr_partial: float | None = None
    """First partial transcript."""
    asr_complete: float | None = None
    """The turn's words were final."""
    llm_started: float | None = None
    llm_first_token: float | None = None
    llm_complete: float | None = None
    tts_started: float | None = None
    """The first speakable piece of the reply went to the voice."""
    tts_first_chunk: float | None = None
    tts_complete: float | None = None

    speech_ended: float | None = None
    """The caller's last voice before the turn was taken to be over."""
    turn_ended: float | None = None
    """The ear's decision that it was over."""
    playout_started: float | None = None
    """The reply's first sound left for the carrier."""
    barge_in_at: float | None = None
    """The onset of the caller's speech that stopped this reply."""
    stopped_at: float | None = None
    """The sound was stopped: the clear was on its way."""

    llm_tokens: int = 0
    """Pieces of text that the model streamed."""
    tts_chunks: int = 0
    tts_busy_s: float = 0.0
    """Time spent waiting for the voice after its first chunk; waiting for the caller's ear is not counted."""

    @property
    def time_to_first_audio(self) -> float | None:
        """`tts_first_chunk` - `asr_complete`."""
        return _between(self.asr_complete, self.tts_first_chunk)

    @property
    def total_latency(self) -> float | None:
        """`tts_complete` - `audio_chunk_received`."""
        return _between(self.audio_chunk_received, self.tts_complete)

    @property
    def response_onset(self) -> float | None:
        """What the caller perceives: from the end of his speech to the reply's first sound leaving."""
        return _between(self.speech_ended, self.playout_started)

    @property
    def barge_in_stop(self) -> float | None:
        """From the onset of the interrupting speech to the clear."""
        return _between(self.barge_in_at, self.stopped_at)

    def stamps(self) -> dict[str, float | None]:
        """All stamps by name, as they are reported."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("llm_tokens", "tts_chunks", "tts_busy_s")
        }


def _between(start: float | None, end: float | None) -> float | None:
    """`end` - `start`; None where a cut turn lacks one, or where they belong to different turns (negative)."""
    if start is None or end is None or end < start:
        return None
    return end - start


@dataclass(frozen=True, slots=True)
class BudgetBreach:
    """`stage` took `measured_s`, more than `budget_s`."""

    stage: str
    measured_s: float
    budget_s: float


@dataclass(frozen=True, slots=True)
class LatencyBudgets:
    """Seconds allowed to each stage. What each compares:

    ========================  =============================================================
    `asr_processing`          `audio_chunk_received` → `asr_started`
    `asr_finalization`        `turn_ended` → `asr_complete`
    `llm_first_token`         `llm_started` → `llm_first_token`
    `llm_token_generation`    `llm_first_token` → `llm_complete`, per further token
    `tts_first_chunk`         `tts_started` → `tts_first_chunk`
    `tts_chunk_generation`    `tts_first_chunk` → `tts_complete`, per further chunk, without
                              the time that the voice waited for the caller's ear
    `time_to_first_audio`     `asr_complete` → `tts_first_chunk`
    ========================  =============================================================
    """

    asr_processing: float = 0.1
    asr_finalization: float = 0.3
    llm_first_token: float = 0.5
    llm_token_generation: float = 0.02
    tts_first_chunk: float = 0.2
    tts_chunk_generation: float = 0.05
    time_to_first_audio: float = 1.0

    def breaches(self, metrics: LatencyMetrics) -> tuple[BudgetBreach, ...]:
        """Every stage that took longer than allowed; a stage without both stamps is not judged."""
        spent = stage_times(metrics)
        return tuple(
            BudgetBreach(stage, seconds, budget)
            for stage, seconds in spent.items()
            if seconds is not None and seconds > (budget := getattr(self, stage))
        )


STRICT = LatencyBudgets(asr_processing=0.08, llm_first_token=0.3, tts_first_chunk=0.15, time_to_first_audio=0.8)
"""The stricter profile."""

PROFILES = {"default": LatencyBudgets(), "strict": STRICT}


def stage_times(metrics: LatencyMetrics) -> dict[str, float | None]:
    """Seconds that each budgeted stage took, by the name of its budget."""
    generating = _between(metrics.llm_first_token, metrics.llm_complete)
    tokens = max(1, metrics.llm_tokens - 1)
    chunks = metrics.tts_chunks - 1
    return {
        "asr_processing": _between(metrics.audio_chunk_received, metrics.asr_started),
        "asr_finalization": _between(metrics.turn_ended, metrics.asr_complete),
        "llm_first_token": _between(metrics.llm_started, metrics.llm_first_token),
        "llm_token_generation": None if generating is None else generating / tokens,
        "tts_first_chunk": _between(metrics.tts_started, metrics.tts_first_chunk),
        "tts_chunk_generation": metrics.tts_busy_s / chunks if chunks > 0 and metrics.tts_complete else None,
        "time_to_first_audio": metrics.time_to_first_audio,
    }


@dataclass(slots=True)
class Quantiles:
    """p50, p90 and p99 of one figure over its most recent values."""

    capacity: int = 1000
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)
        if len(self.values) > self.capacity:
            del self.values[0]

    def at(self, share: float) -> float | None:
        """The smallest value that `share` (0..1) of all do not exceed, the nearest rank; None without values."""
        if not self.values:
            return None
        ordered = sorted(self.values)
        rank = math.ceil(share * len(ordered) - 1e-9)  # 0.07 * 100 is a little more than 7
        return ordered[max(0, rank - 1)]
