"""Noise suppression for the recogniser's branch, by WebRTC's audio processing (package `webrtc-noise-gain`, BSD).

It works on 10 ms at 16 kHz, so a frame is widened for it and narrowed again. Speech comes out 6 ms late, up to 12 ms
are held back, and a frame of 20 ms costs 45 µs of CPU. The voice detector and the echo guard hear the line as it is.

Sans I/O, one object per call, µ-law in and out.
"""

from typing import Protocol

import numpy as np

from telephony.codecs.g711 import decode_mulaw, encode_mulaw
from telephony.codecs.resample import Resampler
from telephony.errors import MissingExtra

STRENGTHS = {"low": 1, "moderate": 2, "high": 3, "very-high": 4}
"""What WebRTC calls them; it aims at 6, 12, 18 and 21 dB less noise."""
_STEP = 160 * 2
"""Bytes of the 10 ms that WebRTC takes at once."""


class NoiseSuppressor(Protocol):
    """One call's."""

    def feed(self, mulaw: bytes) -> bytes:
        """What is cleaned by now: as much as was fed, less what is still held back."""
        ...


class WebRtcSuppressor:
    """See the top of this file."""

    def __init__(self, strength: str) -> None:
        """`strength` is one of `STRENGTHS`. Raises `MissingExtra` without the package."""
        try:
            from webrtc_noise_gain import AudioProcessor
        except ModuleNotFoundError as missing:
            remedy = f"noise suppression needs the package {missing.name!r}: `make ears` installs it"
            raise MissingExtra(remedy) from missing
        self._process = AudioProcessor(0, STRENGTHS[strength]).Process10ms
        self._widen, self._narrow = Resampler(8000, 16_000), Resampler(16_000, 8000)
        self._waiting = b""

    def feed(self, mulaw: bytes) -> bytes:
        """See `NoiseSuppressor`."""
        wide = self._waiting + self._widen.feed(np.frombuffer(decode_mulaw(mulaw), "<i2")).tobytes()
        steps = len(wide) // _STEP
        self._waiting = wide[steps * _STEP :]
        clean = b"".join(self._process(wide[at : at + _STEP]).audio for at in range(0, steps * _STEP, _STEP))
        return encode_mulaw(self._narrow.feed(np.frombuffer(clean, "<i2")).astype("<i2").tobytes())
