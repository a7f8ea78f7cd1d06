"""The way back: what the caller's handset plays comes out of his microphone again, later and softer."""

import numpy as np

from telephony.simulator.script import Echo
from telephony.simulator.sound import FRAME_SAMPLES, SILENT_FRAME, decode, encode, samples_of_ms


class EchoPath:
    """One caller's. Each 20 ms: `over`, then `returns` with what sounded at the same time.

    The shortest way is one frame: a shorter delay is as long as that.
    """

    def __init__(self, echo: Echo) -> None:
        self._gain = 10 ** (echo.level_db / 20)
        self._on_its_way = np.zeros(max(FRAME_SAMPLES, samples_of_ms(echo.delay_ms)))

    def over(self, voice: bytes) -> bytes:
        """20 ms of the voice with what comes back in them, µ-law."""
        coming = self._on_its_way[:FRAME_SAMPLES]
        return encode(decode(voice) + self._gain * coming) if coming.any() else voice

    def returns(self, frame: bytes | None) -> None:
        """These 20 ms (None: silence) are on their way back."""
        self._on_its_way = np.concatenate([self._on_its_way[FRAME_SAMPLES:], decode(frame or SILENT_FRAME)])
