"""What is wrong with the sound that comes in: clipping, one-way audio, dropouts, a constant tone.

Frames are only collected; once a second of audio its samples are counted, and its spectrum is looked at if its loudness
is as even as no voice's. Each episode is reported once: clipping and dropouts when they are over, one-way
audio and tones as soon as they are certain, because they may last as long as the call.

Sans I/O, one object per media stream, µ-law at 8 kHz. Times are the carrier's timestamps, in ms of the stream.
"""

import math
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from telephony.codecs.g711 import mulaw_to_float


@dataclass(frozen=True, slots=True)
class Clipping:
    """The caller is cut off at full scale. `samples` of the `lasted_ms` are."""

    began_ms: int
    lasted_ms: int
    samples: int


@dataclass(frozen=True, slots=True)
class OneWayAudio:
    """Not one sample of sound or noise for so long that the caller's side is likely not connected."""

    began_ms: int
    lasted_ms: int
    ever_heard: bool
    """The caller was heard before."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Audio that never came: `missing_ms` in `gaps` pieces, the last one `lasted_ms` after the first began."""

    began_ms: int
    lasted_ms: int
    missing_ms: int
    gaps: int


@dataclass(frozen=True, slots=True)
class ConstantTone:
    """Dial tone, busy tone, fax or howl: nothing else sounds. `lasted_ms` up to now, with its pauses."""

    began_ms: int
    lasted_ms: int
    frequencies_hz: tuple[int, ...]
    """Of the tone or of both, the lower first; to within 8 Hz."""
    level_dbfs: float


Anomaly = Clipping | OneWayAudio | Dropout | ConstantTone

_SAMPLES_PER_MS = 8
_SECOND = 8000
_ZEROS, _LOUDEST = b"\xff\x7f", (b"\x00", b"\x80")  # of either sign
_CLIPPED_PER_SECOND = 40
"""Half a percent. Loud speech that is not clipped has a few samples in the last step of µ-law."""
_NEVER_HEARD_MS, _NOT_HEARD_MS = 10_000, 30_000
"""Exact silence that is no patience any more. Lines that suppress silence are silent while their caller listens."""
_APART_MS = 1_000
"""Gaps closer together are one dropout."""
_JITTER_MS = 10
"""Half a frame: timestamps need not be even."""
_RESTARTED_MS = 1_000
"""A timestamp that jumps back further is of a stream that began anew, not of a late frame."""

_SEGMENT = 1000
"""Samples whose spectrum is taken at a time: bins of 8 Hz."""
_BIN_HZ = _SECOND // _SEGMENT
_LINE_BINS = 2
"""What a windowed line spreads to on either side. A voice strays further within a segment or two."""
_LOWEST_BIN = 3
_SOFTEST_TONE = 10 ** (-45 / 10)
_EVEN = 2.0
"""The loudest segment of a tone has at most twice the power of the median, and at least half of them half of it."""
_TONE_SHARE = 0.85
"""Of the power of every segment, in at most two lines; of a square wave it is 0.9."""
_LEAST_SHARE = 0.05
"""Of each line in every segment: two notes in turn are no tone."""
_CERTAIN_SEGMENTS = 16
"""Of tone, 2 s in all: no key is pressed and hardly a note held that long and that evenly."""
_PAUSES = 4
"""Seconds without sound that a tone survives: a calling fax is silent for 3 s at a time."""
_WINDOW = np.hanning(_SEGMENT + 1)[:-1].astype(np.float32)


@dataclass(slots=True)
class _Tone:
    bins: tuple[int, ...]
    began_ms: int
    segments: int = 0
    pauses: int = 0
    reported: bool = False

    def has(self, line: int) -> bool:
        return any(abs(line - known) <= 1 for known in self.bins)


class AudioAnomalies:
    """Listens to one caller. `feed` it every inbound frame as it comes, and `finish` when the stream ends."""

    def __init__(self) -> None:
        self._second = bytearray()
        self._expected_ms: int | None = None
        self._clipping: Clipping | None = None
        self._silent_since_ms = 0
        self._ever_heard = self._one_way = False
        self._dropout: Dropout | None = None
        self._tone: _Tone | None = None

    def feed(self, payload: bytes, timestamp_ms: int) -> tuple[Anomaly, ...]:
        """Take a frame, of any length; `timestamp_ms` is when it begins. Returns what has become certain with it."""
        if timestamp_ms == self._expected_ms:
            self._expected_ms = timestamp_ms + len(payload) // _SAMPLES_PER_MS
        else:
            self._misplaced(timestamp_ms, len(payload) // _SAMPLES_PER_MS)
        self._second += payload
        return () if len(self._second) < _SECOND else self._review()

    def finish(self) -> tuple[Anomaly, ...]:
        """The stream has ended: what was still going on and was not reported."""
        clipping, dropout = self._clipping, self._dropout
        self._clipping = self._dropout = None
        return tuple(anomaly for anomaly in (clipping, dropout) if anomaly is not None)

    def _misplaced(self, timestamp_ms: int, frame_ms: int) -> None:
        """A frame that does not follow the one before."""
        ends_ms, expected_ms = timestamp_ms + frame_ms, self._expected_ms
        if expected_ms is None or timestamp_ms < expected_ms - _RESTARTED_MS:
            self._expected_ms, self._silent_since_ms = ends_ms, timestamp_ms
            return
        self._expected_ms = max(expected_ms, ends_ms)
        missing_ms = timestamp_ms - expected_ms
        dropout = self._dropout
        if missing_ms > _JITTER_MS:
            if dropout is None:
                self._dropout = Dropout(expected_ms, missing_ms, missing_ms, 1)
            else:
                lasted_ms = timestamp_ms - dropout.began_ms
                self._dropout = Dropout(dropout.began_ms, lasted_ms, dropout.missing_ms + missing_ms, dropout.gaps + 1)
        elif missing_ms < -_JITTER_MS and dropout is not None:  # it was only late
            missing_ms = dropout.missing_ms - frame_ms
            self._dropout = replace(dropout, missing_ms=missing_ms) if missing_ms > 0 else None

    def _review(self) -> tuple[Anomaly, ...]:
        """The second is full."""
        now_ms = self._expected_ms or 0
        began_ms = now_ms - len(self._second) // _SAMPLES_PER_MS
        sound = bytes(self._second)
        sounds = bool(sound.strip(_ZEROS)) and bool(sound.strip(sound[:1]))
        found: tuple[Anomaly | None, ...] = (
            self._review_clipping(sum(map(sound.count, _LOUDEST)), began_ms, now_ms),
            self._review_silence(now_ms, sounds=sounds),
            self._review_gaps(now_ms),
            self._review_tone(sound if sounds else b"", began_ms, now_ms),
        )
        self._second.clear()
        return tuple(anomaly for anomaly in found if anomaly is not None)

    def _review_clipping(self, clipped: int, began_ms: int, now_ms: int) -> Clipping | None:
        over = self._clipping
        if clipped < _CLIPPED_PER_SECOND:
            self._clipping = None
            return over
        if over is None:
            self._clipping = Clipping(began_ms, now_ms - began_ms, clipped)
        else:
            self._clipping = Clipping(over.began_ms, now_ms - over.began_ms, over.samples + clipped)
        return None

    def _review_silence(self, now_ms: int, *, sounds: bool) -> OneWayAudio | None:
        if sounds:
            self._silent_since_ms = now_ms
            self._ever_heard, self._one_way = True, False
            return None
        silent_ms = now_ms - self._silent_since_ms
        if self._one_way or silent_ms < (_NOT_HEARD_MS if self._ever_heard else _NEVER_HEARD_MS):
            return None
        self._one_way = True
        return OneWayAudio(self._silent_since_ms, silent_ms, self._ever_heard)

    def _review_gaps(self, now_ms: int) -> Dropout | None:
        over = self._dropout
        if over is None or now_ms - over.began_ms - over.lasted_ms < _APART_MS:
            return None
        self._dropout = None
        return over

    def _review_tone(self, sound: bytes, began_ms: int, now_ms: int) -> ConstantTone | None:
        tone = self._tone
        steady = _steady(mulaw_to_float(sound[:_SECOND])) if sound else None
        if steady is None:
            if tone is not None:
                tone.pauses += 1
                self._tone = tone if tone.pauses <= _PAUSES else None
            return None
        lines = _lines(steady)
        if not lines:
            self._tone = None
            return None
        if tone is None or not tone.has(lines[0]):
            tone = self._tone = _Tone(lines, began_ms)
        tone.pauses = 0
        tone.segments += len(steady)
        if tone.reported or tone.segments < _CERTAIN_SEGMENTS:
            return None
        tone.reported = True
        frequencies = tuple(sorted(line * _BIN_HZ for line in lines))
        level_dbfs = 10 * math.log10(float(np.einsum("ij,ij->", steady, steady)) / steady.size)
        return ConstantTone(tone.began_ms, now_ms - tone.began_ms, frequencies, round(level_dbfs, 1))


def _steady(samples: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The segments of a second that are about as loud as each other, [segments, samples]; none of them if they are not.

    None if nothing sounds. The segments in which a tone begins or ends are left out.
    """
    segments = samples.reshape(-1, _SEGMENT)
    power = [total / _SEGMENT for total in np.einsum("ij,ij->i", segments, segments).tolist()]
    sounding = [level for level in power if level > _SOFTEST_TONE]
    if not sounding:
        return None
    middle = median(sounding)
    if max(power) > _EVEN * middle:  # as of all speech
        return segments[:0]
    steady = [level > max(_SOFTEST_TONE, middle / _EVEN) for level in power]
    if 2 * sum(steady) < len(sounding):
        return segments[:0]
    chosen: NDArray[np.float32] = segments[steady]
    return chosen


def _lines(segments: NDArray[np.float32]) -> tuple[int, ...]:
    """Bins of the one or two lines that make up all segments, the stronger first; empty if something else does."""
    if not len(segments):
        return ()
    spectrum = np.fft.rfft(segments * _WINDOW)
    power = spectrum.real**2 + spectrum.imag**2
    power[:, :_LOWEST_BIN] = 0
    share = power / power.sum(axis=1, keepdims=True)
    rest = share.mean(axis=0)
    lines: list[int] = []
    shares: list[NDArray[np.float32]] = []
    while len(lines) < 2:
        line = int(rest.argmax())
        around = slice(max(0, line - _LINE_BINS), line + _LINE_BINS + 1)
        rest[around] = 0
        lines.append(line)
        shares.append(share[:, around].sum(axis=1))
        if np.add.reduce(shares).min() >= _TONE_SHARE and np.min(shares) >= _LEAST_SHARE:
            return tuple(lines)
    return ()
