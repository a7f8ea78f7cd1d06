"""Ringback: what the caller hears while somebody else is called for him, so that he knows that it is being done."""

from functools import cache

import numpy as np

from telephony.audio import AudioFormat, Encoding
from telephony.codecs.transcode import Transcoder

_TONES_HZ = np.array([440.0, 480.0])
_AMPLITUDE = 0.06
"""Of each tone: -19 dBm0 in the cadence's sounding part, as exchanges send it (ITU-T E.180, supplement 2)."""
_SOUNDS_S = 2.0
PERIOD_S = 6.0
"""One ring, and the pause before the next."""


@cache
def one_ring(audio: AudioFormat) -> bytes:
    """The sounding part of one period, in this format."""
    linear = AudioFormat(Encoding.PCM16, audio.rate_hz)
    at_s = np.arange(int(_SOUNDS_S * linear.rate_hz)) / linear.rate_hz
    wave = np.sin(2 * np.pi * np.outer(_TONES_HZ, at_s)).sum(axis=0) * _AMPLITUDE
    transcoder = Transcoder(linear, audio)
    return transcoder.feed((wave * 32767).astype("<i2").tobytes()) + transcoder.flush()
