"""Silero VAD v6 at 8 kHz in plain numpy: how likely a piece of telephone audio is speech.

The network, for a chunk of 256 samples (32 ms) and the last 32 samples of the chunk before it:

    288 samples, mirrored 32 beyond the end
    -> 4 Hann-windowed DFTs of 128 samples, 64 apart: magnitudes of 65 bins
    -> convolutions over time, 3 taps, each with ReLU: 65 -> 128, 128 -> 64 (every 2nd), 64 -> 64 (every 2nd), 64 -> 128
    -> one LSTM step of 128 cells -> ReLU -> one weighted sum -> sigmoid

Nine tenths of the work are matrix products, which cost a call 6 times less in a batch of 32 than alone: hence rows, one
per call, everywhere. With the shipped float16 weights a probability differs from the authors' ONNX file by less than
0.005, with float32 weights by 0.000005. The weights, under the MIT licence beside them, are reproduced by
`deploy/extract_silero.py`.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Self

import numpy as np
from numpy.typing import NDArray

CHUNK_SAMPLES = 256
CONTEXT_SAMPLES = 32
BATCH = 128
"""The most calls to compute at once. More would gain nothing, and flood the cache with scratch space, 10 kB a call."""

STATE_SIZE = 256
"""Floats that a call carries from chunk to chunk: 128 that the LSTM said, then its 128 cells."""

_WINDOW = 128
_HOP = 64
_WINDOWS = 4
_BINS = _WINDOW // 2 + 1
_CELLS = 128
_MIRRORED = 32

Floats = NDArray[np.float32]


def _dft() -> Floats:
    """[128, 2 * 65]: Hann-windowed cosines, then sines."""
    time = 2 * np.pi / _WINDOW * np.arange(_WINDOW)
    angles = np.outer(time, np.arange(_BINS))
    waves = np.hstack([np.cos(angles), np.sin(angles)])
    hann = 0.5 - 0.5 * np.cos(time)
    return np.asarray(hann[:, None] * waves, np.float32)


def _taps(kernel: Floats) -> Floats:
    """[out, in, taps] as [taps * in, out]: frames that lie side by side are multiplied at once."""
    return np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0]))


def _buffer(*shape: int) -> Floats:
    return np.empty(shape, np.float32)


class Silero:
    """The network: weights and scratch space. What belongs to a call is a row of the caller's arrays."""

    def __init__(self, weights: Mapping[str, NDArray[np.float16]]) -> None:
        w = {name: np.asarray(values, np.float32) for name, values in weights.items()}
        self._dft = _dft()
        # The last window reaches 32 samples into the mirror; instead, the samples mirrored weigh twice.
        self._dft_mirrored = self._dft[:-_MIRRORED].copy()
        self._dft_mirrored[-2 : -2 - _MIRRORED : -1] += self._dft[-_MIRRORED:]
        self._conv1, self._bias1 = _taps(w["conv1.weight"]), np.tile(w["conv1.bias"], 4)
        self._conv2, self._bias2 = _taps(w["conv2.weight"]), np.tile(w["conv2.bias"], 2)
        # From here on a single frame is left, and the other taps meet padding.
        self._conv3, self._bias3 = _taps(w["conv3.weight"])[64:], w["conv3.bias"]
        self._conv4, self._bias4 = _taps(w["conv4.weight"])[64:128], w["conv4.bias"]
        # sigmoid(x) is (1 + tanh(x / 2)) / 2: with its weights halved every gate of the LSTM is the same tanh.
        halves = np.array([0.5, 0.5, 1.0, 0.5], np.float32)[:, None, None]  # input, forget, candidate, output
        lstm = np.hstack([w["lstm.weight_ih"], w["lstm.weight_hh"]]).reshape(4, _CELLS, 2 * _CELLS)
        self._lstm = np.ascontiguousarray(lstm.transpose(0, 2, 1)) * halves
        self._lstm_bias = (w["lstm.bias_ih"] + w["lstm.bias_hh"]).reshape(4, 1, _CELLS) * halves
        self._output, self._output_bias = w["output.weight"][0, :, 0] / 2, w["output.bias"][0] / 2
        self._spectra = _buffer(_WINDOWS, BATCH, 2 * _BINS)
        self._magnitudes = _buffer(BATCH, _WINDOWS, _BINS)
        self._layer1 = _buffer(BATCH, 4 * 128)
        self._layer2 = _buffer(BATCH, 2 * 64)
        self._layer3 = _buffer(BATCH, 64)
        self._lstm_input = _buffer(BATCH, 2 * _CELLS)
        self._gates = _buffer(4, BATCH, _CELLS)

    @classmethod
    def load(cls) -> Self:
        """The network with the weights that ship with it."""
        with files("telephony").joinpath("silero_8k.npz").open("rb") as file, np.load(file) as weights:
            return cls(dict(weights))

    def __call__(self, samples: Floats, state: Floats) -> Floats:
        """Probabilities of speech, [calls]; moves `state`, [calls, 256], on in place. A call begins with zeros.

        `samples` is [calls, 288] in [-1, 1): the last 32 of the chunk before, zeros if none, and 256 new ones. At most
        `BATCH` calls.
        """
        scores = self._remember(self._convolve(self._transform(samples)), state)
        return np.asarray((1 + np.tanh(scores)) / 2, np.float32)

    def _transform(self, samples: Floats) -> Floats:
        """[calls, 4 * 65]: the magnitudes of window after window."""
        calls = len(samples)
        spectra, magnitudes = self._spectra[:, :calls], self._magnitudes[:calls]
        for window, start in enumerate(range(0, 3 * _HOP, _HOP)):
            np.matmul(samples[:, start : start + _WINDOW], self._dft, out=spectra[window])
        np.matmul(samples[:, 3 * _HOP :], self._dft_mirrored, out=spectra[3])
        np.multiply(spectra, spectra, out=spectra)
        power = spectra[..., :_BINS]
        np.add(power, spectra[..., _BINS:], out=power)
        np.sqrt(power.transpose(1, 0, 2), out=magnitudes)
        return magnitudes.reshape(calls, _WINDOWS * _BINS)

    def _convolve(self, frames: Floats) -> Floats:
        """[calls, 256], of which the convolutions fill the first half. Taps that meet padding are left out."""
        calls = len(frames)
        one, two, three = self._layer1[:calls], self._layer2[:calls], self._layer3[:calls]
        np.matmul(frames[:, : 2 * _BINS], self._conv1[_BINS:], out=one[:, :128])
        np.matmul(frames[:, : 3 * _BINS], self._conv1, out=one[:, 128:256])
        np.matmul(frames[:, _BINS:], self._conv1, out=one[:, 256:384])
        np.matmul(frames[:, 2 * _BINS :], self._conv1[: 2 * _BINS], out=one[:, 384:])
        _rectify(one, self._bias1)
        np.matmul(one[:, :256], self._conv2[128:], out=two[:, :64])
        np.matmul(one[:, 128:], self._conv2, out=two[:, 64:])
        _rectify(two, self._bias2)
        _rectify(np.matmul(two, self._conv3, out=three), self._bias3)
        inputs = self._lstm_input[:calls]
        _rectify(np.matmul(three, self._conv4, out=inputs[:, :_CELLS]), self._bias4)
        return inputs

    def _remember(self, inputs: Floats, state: Floats) -> Floats:
        """[calls]: half the logits, after one step of the LSTM."""
        said, cells = state[:, :_CELLS], state[:, _CELLS:]
        inputs[:, _CELLS:] = said
        gates = np.matmul(inputs, self._lstm, out=self._gates[:, : len(inputs)])
        gates += self._lstm_bias
        np.tanh(gates, out=gates)
        enter, keep, candidate, leave = gates
        cells *= np.add(keep, 1, out=keep)
        cells += np.multiply(np.add(enter, 1, out=enter), candidate, out=candidate)
        cells *= np.float32(0.5)
        np.tanh(cells, out=said)
        said *= np.add(leave, 1, out=leave)
        said *= np.float32(0.5)
        return np.asarray(np.maximum(said, 0, out=leave) @ self._output + self._output_bias, np.float32)


def _rectify(values: Floats, bias: Floats) -> None:
    """`max(values + bias, 0)`, in place."""
    np.add(values, bias, out=values)
    np.maximum(values, 0, out=values)
