"""Is what comes in the agent's own voice, coming back from the far end's handset or line?

An echo is a late, softer, filtered copy of what was played. Four looks, the cheap ones first, tell it from a caller:

1. *Level*: sound hardly softer than the loudest that the agent can have sounded is no echo.
2. *Lag*: both sounds are whitened by the spectrum of the incoming one, which takes away what any two voices have in
   common (pitch, formants), and correlated by FFT. Two utterances of one speaker rarely reach a likeness of 0.3, an
   echo 0.3 to 0.9. The lag is remembered: it is looked for again only when the path at it explains nothing any more.
3. *Path*: a filter of 8 ms at that lag, fitted by least squares to this and the echo before, must explain most of what
   comes in. A caller who talks over his echo leaves the lag where it was, but cannot be explained.
4. *Habit*: what is neither clearly explained nor clearly unexplained goes with the verdict before it, once.

Sans I/O, one object per call and leg, µ-law in. What is played and heard is only kept; nothing is computed before
`is_echo` asks.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telephony.audio import MULAW_SILENCE
from telephony.codecs.g711 import mulaw_to_float

Samples = NDArray[np.float32]

_TAIL_S = 0.7
"""An echo may come this long after the agent fell silent: 400 ms of echo, 200 ms of carrier, and some reverberation."""
_EARLIEST_S, _LATEST_S = 0.020, 0.692
"""Lags looked at. The span and the window together make a length that is quick to transform (6,400 at 8 kHz)."""
_WINDOW_S = 0.128
"""Sound whose lag is looked for."""
_SPAN_STEP_S = 0.2
"""A span is a whole number of these: few lengths, each quick to transform."""
_JUDGED_S = 0.064
"""The latest of it, which the path must explain."""
_KEPT_S = 1.2
"""Sound kept: the window at the latest lag, and what plays in the future because it is sent ahead."""
_LATE_S = 0.25
"""An inbound frame later than this is no jitter: the stream's clock starts anew."""

_EMPHASIS = np.float32(0.9)
_BAND_HZ = (250.0, 3500.0)
_SMOOTHING_HZ = 150.0

_LOUDEST_ECHO = 10 ** (-6 / 10)
"""Echo over agent, in power: -15 dB are expected, but a line may favour the band the agent happens to sound in."""
_ALIKE = 0.32
"""Likeness that tells an echo's lag from any other."""
_EXPLAINED_BY_NEW, _EXPLAINED_BY_KNOWN = 0.65, 0.45
"""The part of the sound's energy that makes it an echo. A new filter fits anything better than one with a history."""
_SURELY_ECHO, _SURELY_NOT = 0.75, 0.2
"""What contradicts the verdict before it at once."""
_TAPS_S, _TAPS_BEFORE_S = 0.008, 0.002
"""The filter, and how much of it is before the lag: the loudest of what comes back is not the first of it."""
_FORGETTING = np.float32(0.9)
"""Per judgement of 32 ms: the path is what 0.3 s of echo agree on."""
_STALE_S = 0.3
"""A verdict this old says nothing about the next."""

_BLOCK = 64
_NOISE_MARGIN = 1.5
_NOISE_RISE = 1.02  # per judgement: doubled within 1.1 s of speech
_QUIETEST = 1e-7  # power of an emphasised block: -70 dBFS


@dataclass(slots=True)
class _Path:
    """How the agent's voice comes back: the lag, and the sums that the filter at it is solved from."""

    lag: int
    autocorrelation: Samples
    correlation: Samples


class EchoGuard:
    """One call's memory of what it played and heard.

    `played` and `heard` cost half a microsecond; `is_echo` costs 0.03 ms for a caller as loud as the agent, 0.15 ms
    for an echo once its path is known, and 0.5 ms when it has to be looked for.
    """

    def __init__(self, rate_hz: int = 8000) -> None:
        self._rate_hz = rate_hz
        self._window, self._judged, self._taps, self._taps_before, self._step = (
            round(s * rate_hz) for s in (_WINDOW_S, _JUDGED_S, _TAPS_S, _TAPS_BEFORE_S, _SPAN_STEP_S)
        )
        self._earliest, self._latest = round(_EARLIEST_S * rate_hz), round(_LATEST_S * rate_hz)
        self._kept = round(_KEPT_S * rate_hz)
        self._sound = bytearray()
        self._sound_ends_at = 0.0
        self._sounds_until = float("-inf")
        self._heard = bytearray()
        self._heard_ends_at = float("-inf")
        self._noise = float("inf")
        self._path: _Path | None = None
        self._verdict = False
        self._doubted = False
        self._judged_at = float("-inf")

    def played(self, payload: bytes, starts_at: float) -> None:
        """µ-law that was sent, and when it starts to play by the ledger; ahead of time, in order."""
        ends_at = starts_at + len(payload) / self._rate_hz
        if payload.count(MULAW_SILENCE) != len(payload):
            self._sounds_until = ends_at
        if abs(starts_at - self._sound_ends_at) * self._rate_hz > 2:
            self._move_to(starts_at)
        self._sound += payload
        self._sound_ends_at = ends_at
        if len(self._sound) > 2 * self._kept:
            del self._sound[: -self._kept]

    def cleared(self, now: float) -> None:
        """The far end dropped what it had not played by `now`."""
        if now < self._sound_ends_at:
            self._move_to(now)
            self._sounds_until = min(self._sounds_until, now)

    def heard(self, payload: bytes, now: float) -> None:
        """µ-law that came in just `now`."""
        expected = self._heard_ends_at + len(payload) / self._rate_hz
        late_s = now - expected
        # The earliest arrivals tell the stream's own clock; following the late ones slowly makes up for its drift.
        self._heard_ends_at = expected + late_s / 256 if 0.0 <= late_s <= _LATE_S else now
        self._heard += payload
        if len(self._heard) > 4 * self._window:
            del self._heard[: -2 * self._window]

    def audible(self, now: float) -> bool:
        """The agent sounded so recently that an echo is possible."""
        return now < self._sounds_until + _TAIL_S

    def is_echo(self, now: float) -> bool:
        """Whether the latest 64 ms heard are the agent's voice and nothing louder. To be asked when speech is detected
        while `audible`, for every verdict of the detector."""
        if len(self._heard) < self._judged or not self._sound:
            return False
        if now - self._judged_at > _STALE_S:
            self._verdict, self._doubted = self._path is not None, False
        self._judged_at = now
        explained, needed = self._explained()
        if explained is None:
            return self._verdict
        verdict = explained >= needed
        sure = not _SURELY_NOT <= explained < _SURELY_ECHO or self._path is None
        if verdict == self._verdict or sure or self._doubted:
            self._verdict, self._doubted = verdict, False
        else:
            self._doubted = True
        return self._verdict

    @property
    def lag_s(self) -> float | None:
        """How late the echo comes, if one was ever found."""
        return None if self._path is None else self._path.lag / self._rate_hz

    def _move_to(self, at: float) -> None:
        """What is played next starts `at`. What was to play after that is dropped; a gap is silence."""
        gap_s = at - self._sound_ends_at
        if gap_s >= _KEPT_S:
            self._sound.clear()
        elif gap_s >= 0:
            self._sound += bytes([MULAW_SILENCE]) * round(gap_s * self._rate_hz)
        else:
            del self._sound[max(0, len(self._sound) + round(gap_s * self._rate_hz)) :]
        self._sound_ends_at = at

    # looks

    def _explained(self) -> tuple[float | None, float]:
        """The part of the latest sound that is explained as echo, and how much must be; None if there is no sound."""
        incoming = self._incoming()
        latest = incoming[-self._judged :]
        energy = float(latest @ latest)
        noise = self._follow_noise(incoming) * _NOISE_MARGIN * self._judged
        if energy < 2 * noise:
            return None, 1.0
        reference = self._reference(self._window + self._latest, self._span())
        if energy > _LOUDEST_ECHO * self._loudest(reference):
            return 0.0, 1.0
        known, explained = self._path, 0.0
        if known is not None:
            explained = self._fit(latest, noise, known.lag, _EXPLAINED_BY_KNOWN, known)
            if explained >= _EXPLAINED_BY_KNOWN:
                return explained, _EXPLAINED_BY_KNOWN
        likeness = _likeness(incoming, reference, self._noise, self._rate_hz)
        offset = int(likeness.argmax())
        if likeness[offset] < _ALIKE:
            return explained, 1.0
        lag = self._latest - offset
        # At the known lag it was the same echo that could not be explained; if the path has changed, it must show.
        needed = _SURELY_ECHO if known and abs(lag - known.lag) <= self._taps else _EXPLAINED_BY_NEW
        return self._fit(latest, noise, lag, needed), needed

    def _span(self) -> int:
        """Samples, from the latest lag on, in which an echo can have its origin: shorter if the agent is silent by now,
        for the window must have heard some of what sounded."""
        silent_s = min(self._heard_ends_at - self._sounds_until, _LATEST_S)
        earliest = max(self._earliest, round(silent_s * self._rate_hz) - self._window)
        span = self._window + self._latest - earliest
        return math.ceil(span / self._step) * self._step

    def _fit(self, latest: Samples, noise: float, lag: int, needed: float, known: _Path | None = None) -> float:
        """The part of `latest` that a path at `lag` explains. The path is remembered if that is as much as `needed`."""
        delayed = self._delayed(lag)
        weight = np.float32(1 / float(latest @ latest))
        autocorrelation = weight * (delayed @ delayed.T)
        correlation = weight * (delayed @ latest)
        if known is not None:
            autocorrelation += _FORGETTING * known.autocorrelation
            correlation += _FORGETTING * known.correlation
        explained = _explain(latest, delayed, autocorrelation, correlation, noise)
        if explained >= needed:
            self._path = _Path(lag, autocorrelation, correlation)
        return explained

    def _follow_noise(self, incoming: Samples) -> float:
        """Power of the line's noise: the quietest 8 ms, of long ago too, but then it counts for more and more."""
        blocks = incoming[max(0, self._window - len(self._heard)) :]
        blocks = blocks[len(blocks) % _BLOCK :].reshape(-1, _BLOCK)
        quietest = max(float(np.einsum("bs,bs->b", blocks, blocks).min()) / _BLOCK, _QUIETEST)
        self._noise = min(self._noise * _NOISE_RISE, quietest)
        return self._noise

    def _loudest(self, reference: Samples) -> float:
        """Energy of the loudest stretch as long as what is judged."""
        blocks = reference[: len(reference) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
        total = np.cumsum(np.einsum("bs,bs->b", blocks, blocks))
        stretch = self._judged // _BLOCK
        return float((total[stretch:] - total[:-stretch]).max())

    # sound, emphasised: as flat as speech gets with one tap

    def _incoming(self) -> Samples:
        heard = bytes(self._heard[-self._window - 1 :])
        return _emphasised(heard.rjust(self._window + 1, b"\xff"))

    def _reference(self, ago: int, count: int) -> Samples:
        """`count` samples of what was played, from `ago` samples before the end of what was heard."""
        begin = len(self._sound) + round((self._heard_ends_at - self._sound_ends_at) * self._rate_hz) - ago - 1
        end = begin + count + 1
        before = b"\xff" * min(count + 1, max(0, -begin))
        return _emphasised((before + bytes(self._sound[max(0, begin) : max(0, end)])).ljust(count + 1, b"\xff"))

    def _delayed(self, lag: int) -> Samples:
        """What was played at `lag`, once for each tap, a sample apart: [taps, judged]."""
        count = self._judged + self._taps - 1
        reference = self._reference(self._judged + lag + self._taps - self._taps_before, count)
        step = reference.strides[0]
        return np.ascontiguousarray(
            np.lib.stride_tricks.as_strided(reference, (self._taps, self._judged), (step, step), writeable=False)
        )


def _emphasised(mulaw: bytes) -> Samples:
    """Samples with the treble raised; the first one is used up for it."""
    samples = mulaw_to_float(mulaw)
    return samples[1:] - _EMPHASIS * samples[:-1]


class _Spectrum:
    """What the correlation of one length needs to know of each of its bins."""

    def __init__(self, size: int, rate_hz: int) -> None:
        frequency = np.fft.rfftfreq(size, 1 / rate_hz)
        self.band = ((frequency > _BAND_HZ[0]) & (frequency < _BAND_HZ[1])).astype(np.float32)
        emphasis = np.abs(1 - float(_EMPHASIS) * np.exp(-2j * np.pi * frequency / rate_hz)) ** 2
        self.noise = (emphasis / emphasis.mean()).astype(np.float32)
        bins = np.arange(len(frequency))
        reach = round(_SMOOTHING_HZ / 2 * size / rate_hz)
        self._above = np.minimum(bins + reach + 1, len(bins))
        self._below = np.maximum(bins - reach, 0)

    def smoothed(self, power: NDArray[np.floating[Any]]) -> Samples:
        """The mean over the bins around each."""
        total = np.zeros(len(power) + 1)
        np.cumsum(power, out=total[1:])
        mean: Samples = ((total[self._above] - total[self._below]) / (self._above - self._below)).astype(np.float32)
        return mean


_spectrum = lru_cache(maxsize=8)(_Spectrum)


def _likeness(incoming: Samples, reference: Samples, noise: float, rate_hz: int) -> Samples:
    """How like `incoming` is to `reference` at each offset into it, 0..1, whatever the level and the spectrum."""
    size, window = len(reference), len(incoming)
    spectrum = _spectrum(size, rate_hz)
    heard, played = np.fft.rfft(incoming, size), np.fft.rfft(reference)
    envelope = spectrum.smoothed(heard.real**2 + heard.imag**2)
    above_noise = np.maximum(envelope - np.float32(2 * window * noise) * spectrum.noise, 0)
    whitening = spectrum.band * np.sqrt(above_noise) / (envelope + np.float32(0.01) * envelope.max())
    heard *= whitening
    played *= whitening
    offsets = size - window + 1
    correlation = np.abs(np.fft.irfft(heard.conj() * played, size)[:offsets])
    flat = np.fft.irfft(played, size)
    total = np.zeros(size + 1)
    np.cumsum(flat * flat, out=total[1:])
    played_energy = total[window:] - total[:offsets]
    heard_energy = 2 / size * float(np.vdot(heard, heard).real)
    # A hundredth of the loudest keeps the pauses of the agent from being like anything.
    energy = (played_energy + 0.01 * played_energy.max()) * heard_energy
    likeness: Samples = (correlation / np.sqrt(energy + 1e-20)).astype(np.float32)
    return likeness


def _explain(latest: Samples, delayed: Samples, autocorrelation: Samples, correlation: Samples, noise: float) -> float:
    """The part of `latest`, of its energy above `noise`, that the filter solved from the sums makes of `delayed`."""
    taps = len(correlation)
    ridge = np.float32(1e-3 * np.trace(autocorrelation) / taps + 1e-9)
    path = np.linalg.solve(autocorrelation + ridge * np.eye(taps, dtype=np.float32), correlation)
    rest = latest - path @ delayed
    energy = float(latest @ latest)
    return 1 - (float(rest @ rest) - noise) / max(energy - noise, 0.1 * energy)
