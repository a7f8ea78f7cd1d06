"""Does it sound as if the caller is done? An optional model that judges a turn's end by its melody.

smart-turn v3 (https://github.com/pipecat-ai/smart-turn, BSD 2-Clause) is a Whisper encoder with a classifier on top: it
hears up to the last 8 s of a turn, as the log-mel spectrogram that Whisper defines (Radford et al. 2022, section 2.2),
and answers with the probability that nothing more comes. The weights are not part of this project: `make ears`
fetches them, and `TURN_MODEL` names the file.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from telephony.codecs.g711 import decode_mulaw
from telephony.codecs.resample import Resampler
from telephony.errors import MissingExtra

TURN_S = 8
"""How much of a turn is judged: its end."""
_RATE_HZ = 16_000
_HOP, _WINDOW, _MELS = 160, 400, 80
_WAITING = 32
"""Questions that may wait for the one thread; beyond that a turn goes without."""


class TurnEndModel(Protocol):
    """Judges turns of all calls of a process; an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def judge(self, turn: bytes, told: Callable[[float], None]) -> None:
        """Call `told` with the probability (0..1) that the caller is done, soon, from the event loop. `turn` is what he
        said so far, µ-law 8 kHz. Never blocks; `told` is not called if there is no telling in time."""
        ...


@lru_cache(maxsize=1)
def _mel_filters() -> NDArray[np.float32]:
    """[frequencies, mels]: triangles of equal area, evenly spaced on Slaney's mel scale (linear to 1 kHz, 27 steps for
    each factor of 6.4 beyond; Auditory Toolbox, 1998)."""
    linear_top, step = 15.0, np.log(6.4) / 27.0
    top = linear_top + np.log(_RATE_HZ / 2 / 1000.0) / step
    mels = np.linspace(0.0, top, _MELS + 2)
    edges = np.where(mels < linear_top, mels * 200.0 / 3.0, 1000.0 * np.exp(step * (mels - linear_top)))
    hz = np.fft.rfftfreq(_WINDOW, 1 / _RATE_HZ)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2])), np.float32)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[80, 800] of the last 8 s of `samples` (16 kHz, ±1), silence before a shorter turn; at zero mean and unit
    variance, centred windows of 25 ms every 10 ms, 80 dB of range."""
    turn = np.zeros(TURN_S * _RATE_HZ, np.float32)
    tail = samples[-len(turn) :]
    turn[len(turn) - len(tail) :] = tail
    turn = (turn - turn.mean()) / np.sqrt(turn.var() + 1e-7)
    padded = np.pad(turn, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:-1:_HOP]
    spectrum = np.fft.rfft(windows * np.hanning(_WINDOW + 1)[:-1].astype(np.float32), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    level = np.log10(np.maximum(power @ _mel_filters(), 1e-10))
    level = np.maximum(level, level.max() - 8.0)
    return np.ascontiguousarray((level.T + 4.0) / 4.0, np.float32)


class SmartTurn:
    """smart-turn v3 in one worker thread; ONNX Runtime holds no lock of Python's while it computes."""

    def __init__(self, weights: Path) -> None:
        """Raises `MissingExtra` when the file or ONNX Runtime is missing, or the file is no such model."""
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as refusals
        except ModuleNotFoundError as missing:
            raise MissingExtra(f"the turn-end model needs {missing.name}: `make ears` installs it") from missing
        if not weights.is_file():
            raise MissingExtra(f"there is no turn-end model at {weights}: `make ears` fetches one")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(str(weights), options, ["CPUExecutionProvider"])
        except (refusals.InvalidProtobuf, refusals.InvalidGraph, refusals.InvalidArgument, refusals.Fail) as broken:
            raise MissingExtra(f"{weights} is no model that can be run: {broken}") from broken
        self._input = self._session.get_inputs()[0].name
        self._thread = ThreadPoolExecutor(1, "turn-end")
        self._waiting = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def judge(self, turn: bytes, told: Callable[[float], None]) -> None:
        """See `TurnEndModel`. A question that finds 32 others waiting is not asked."""
        if self._waiting >= _WAITING:
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()

        def answered(asked: Any) -> None:
            def tell() -> None:
                self._waiting -= 1
                if not asked.cancelled():
                    told(asked.result())

            loop.call_soon_threadsafe(tell)

        self._thread.submit(self.probability, turn).add_done_callback(answered)

    def probability(self, turn: bytes) -> float:
        """That the caller is done, 0..1. Takes its time (see `benchmarks turns`)."""
        linear = np.frombuffer(decode_mulaw(turn[-TURN_S * 8000 :]), "<i2")
        wide = Resampler(8000, _RATE_HZ)
        samples = np.concatenate([wide.feed(linear), wide.flush()]).astype(np.float32) / np.float32(32768)
        (outcome,) = self._session.run(None, {self._input: log_mel(samples)[None]})
        return float(np.ravel(outcome)[0])
