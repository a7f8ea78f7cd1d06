"""Changes the sample rate of a stream: a polyphase low-pass filter as one matrix product, exact to the sample.

The filter is linear-phase and 24 samples of the lower rate long, 3 ms at 8 kHz: flat to 3 kHz, -0.5 dB at 3.4 kHz, and
at least 60 dB down from 4.6 kHz on, which is the first frequency whose alias would fall into the telephone band.

The output is in time with the input: what is at sample `n` of the source sounds at sample `n * target / source`. So
there is no delay to account for; but up to `Resampler.lookahead_samples` of what was fed are still held back.
"""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

_TAPS = 24  # at the lower rate; 1.5 ms before and 1.5 ms after at 8 kHz
_CUTOFF = 0.95  # of the lower rate's Nyquist frequency: where the filter is 6 dB down
_KAISER_BETA = 5.65  # a stop band of 60 dB
_UNIT = 1 << 20  # taps are multiples of 1 / _UNIT
_BLOCK_MS = 2

Samples = NDArray[np.int16]


@lru_cache(maxsize=32)
def _bank(up: int, down: int, periods: int) -> NDArray[np.float64]:
    """[inputs, outputs]: how much each input weighs in each output of a block of `periods * up` outputs.

    The first input is `_reach(up, down) - 1` samples before the block.
    """
    reach = _reach(up, down)
    distances = np.arange(-reach * up + 1, reach * up)  # from an output, in units of 1 / (source rate * up)
    lowpass = np.sinc(distances * _CUTOFF / max(up, down)) * np.kaiser(len(distances), _KAISER_BETA)
    taps = np.rint(lowpass * (up * _UNIT / lowpass.sum())) / _UNIT
    at = np.arange(periods * up) * down
    inputs = np.arange(1 - reach, at[-1] // up + reach + 1)
    distance = at[None, :] - inputs[:, None] * up
    inside = np.abs(distance) < reach * up
    return np.where(inside, taps[np.clip(distance + reach * up - 1, 0, len(taps) - 1)], 0.0)


def _reach(up: int, down: int) -> int:
    """How many source samples the filter looks back, and ahead."""
    return ceil(_TAPS / 2 * max(1.0, down / up))


class Resampler:
    """One stream of 16-bit samples, from `source_hz` to `target_hz`; rates must differ, in a ratio of small numbers.

    However the stream is cut into pieces, the output is the same to the bit: the taps are multiples of 2^-20, and sums
    of 16-bit samples times such taps are exact in float64, whatever their order.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        divisor = gcd(source_hz, target_hz)
        self._up, self._down = target_hz // divisor, source_hz // divisor
        periods = ceil(_BLOCK_MS * source_hz / (1000 * self._down))
        self._hop = periods * self._down
        self._bank = _bank(self._up, self._down, periods)
        self._begin()

    @property
    def lookahead_samples(self) -> int:
        """At most so many source samples are held back by `feed`: half the filter, and less than one block."""
        return len(self._bank) - _reach(self._up, self._down)

    def feed(self, samples: Samples) -> Samples:
        """The output that `samples` complete, maybe none."""
        self._fed += len(samples)
        return self._advance(samples)

    def flush(self) -> Samples:
        """The rest: in all `scale(fed)` samples came out. The next `feed` begins a new stream."""
        rest = self.scale(self._fed) - self._emitted
        tail = self._advance(np.zeros(len(self._bank) + self._hop, np.int16))[:rest]
        self._begin()
        return tail

    def scale(self, position: int) -> int:
        """The first target sample that sounds at or after source sample `position`, both counted from the start."""
        return -(-position * self._up // self._down)

    def _begin(self) -> None:
        self._fed = 0
        self._emitted = 0
        self._pending = np.zeros(_reach(self._up, self._down) - 1)

    def _advance(self, samples: Samples) -> Samples:
        pending = np.concatenate([self._pending, samples])
        span = len(self._bank)
        blocks = max(0, (len(pending) - span) // self._hop + 1)
        self._pending = pending[blocks * self._hop :]
        if not blocks:
            return np.empty(0, np.int16)
        strides = (self._hop * pending.itemsize, pending.itemsize)
        windows: NDArray[np.float64] = np.ndarray((blocks, span), np.float64, pending, 0, strides)
        output = np.rint(windows.copy() @ self._bank)
        np.maximum(np.minimum(output, 32767, out=output), -32768, out=output)
        self._emitted += output.size
        return output.ravel().astype(np.int16)
