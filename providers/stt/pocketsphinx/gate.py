"""Which frames of a call are worth decoding: a caller is silent most of the time, and silence is free.

An energy gate by minimum statistics: open while frames are well over the quietest of the last seconds. It need not be
precise: it decides what is decoded, never where a turn begins or ends.
"""

import audioop
import math
from collections import deque

from telephony.audio import FRAME_MS

_SMOOTHING = 0.6
"""Weight of the past in the power that the floor is taken from."""

_FLOOR_BLOCK_FRAMES = 25
_FLOOR_BLOCKS = 6
"""The floor is the least power of this many blocks: 3 s, longer than anyone speaks without a gap."""

_OVER_FLOOR = 10 ** (6 / 10)
"""6 dB: speech that stands out less is beyond the recogniser anyway (60 % wrong words at 10 dB)."""

_LEAST_POWER = (32768 * 10 ** (-56 / 20)) ** 2
"""-56 dBFS: below this it is quiet on any line."""

_ONSET_FRAMES = 3
"""Loud frames in a row that open the gate: a click is shorter."""

_PRE_ROLL_FRAMES = 400 // FRAME_MS
"""Weak first sounds, and the pause that the decoders want before the first word."""

_HOLD_FRAMES = 500 // FRAME_MS
"""How long the gate stays open after the last loud frame: weak last sounds, and the pause that ends a sentence. Of 324
synthetic turns 300 are right; 290 with 240 ms before and 300 ms after."""


class SpeechGate:
    """One call's gate. Sans I/O; hears every frame of the call, in order."""

    def __init__(self) -> None:
        self._power = 0.0
        # Quiet until proven otherwise: who speaks from the first moment on is heard.
        self._minima: deque[float] = deque([0.0] * (_FLOOR_BLOCKS - 1) + [math.inf], maxlen=_FLOOR_BLOCKS)
        self._block_frames = 0
        self._loud_frames = 0
        self._hold_frames = 0
        self._pre_roll: deque[bytes] = deque(maxlen=_PRE_ROLL_FRAMES)
        self.quiet_frames = 0
        """Frames since the gate closed; 0 while it is open."""

    def hear(self, frame: bytes) -> tuple[bytes, ...]:
        """The frames to decode now that `frame` (µ-law, 20 ms) has come: none, itself, or it and what led to it."""
        self._loud_frames = self._loud_frames + 1 if self._is_loud(frame) else 0
        if self._loud_frames >= _ONSET_FRAMES or (self._loud_frames and self._hold_frames):
            self._hold_frames = _HOLD_FRAMES
        elif self._hold_frames:
            self._hold_frames -= 1
        if not self._hold_frames:
            self._pre_roll.append(frame)
            self.quiet_frames += 1
            return ()
        self.quiet_frames = 0
        frames = (*self._pre_roll, frame)
        self._pre_roll.clear()
        return frames

    def _is_loud(self, frame: bytes) -> bool:
        power = audioop.rms(audioop.ulaw2lin(frame, 2), 2) ** 2
        self._power = _SMOOTHING * self._power + (1 - _SMOOTHING) * power
        self._minima[-1] = min(self._minima[-1], self._power)
        self._block_frames += 1
        if self._block_frames == _FLOOR_BLOCK_FRAMES:
            self._block_frames = 0
            self._minima.append(math.inf)
        return power > max(_LEAST_POWER, _OVER_FLOOR * min(self._minima))
