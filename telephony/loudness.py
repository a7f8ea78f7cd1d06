"""Brings the caller's speech to the level that recognisers are trained on, by one table look-up per frame.

The level is the mean power of the voice over its last two seconds, as a meter of active speech has it. So it rises
within a few syllables, because an overdriven recogniser is worse than one that hears faintly, and falls within
seconds of voice, because the end of a sentence is not a softer caller. The gain moves in whole decibels,
with some play.

Sans I/O, one object per call, µ-law in and out.
"""

import math
from functools import cache

import numpy as np

from telephony.codecs.g711 import decode_mulaw, encode_mulaw

TARGET_DBFS = -20.0
"""Level of speech aimed at: RMS over voiced chunks, a full-scale square wave being 0."""
LARGEST_GAIN_DB = 15
"""Either way. A voice that needs more is hardly above the line's noise, which is amplified with it."""

_CEILING_DBFS = -9.0
"""No chunk is amplified beyond: the peaks of a loud chunk are 9 dB (median) to 12 dB over its level."""
_CHUNKS = 64
"""What the level is the mean of: 2 s of voice."""
_FIRST_CHUNKS = 8
"""Voice heard, 256 ms, before the gain moves at all."""
_PLAY_DB = 2.0
"""The gain stays as long as it is off by less."""

_EVERY_CODE = bytes(range(256))


@cache
def gain_table(gain_db: int) -> bytes:
    """For `bytes.translate`: each µ-law code `gain_db` louder, clipped at the loudest; the identity at 0 dB."""
    if gain_db == 0:
        return _EVERY_CODE
    louder = np.frombuffer(decode_mulaw(_EVERY_CODE), "<i2") * 10 ** (gain_db / 20)
    table = bytearray(encode_mulaw(np.clip(np.rint(louder), -32768, 32767).astype("<i2").tobytes()))
    table[0x7F] = 0x7F  # negative zero stays what it is: digital silence is to be recognised as such
    return bytes(table)


class LevelKeeper:
    """Follows one caller's voice and levels what goes to the recogniser."""

    def __init__(self) -> None:
        self._chunks = 0
        self._power = 0.0
        self.gain_db = 0
        """What `table` adds at present."""
        self.table: bytes | None = None
        """For `bytes.translate`: brings a frame to the recogniser's level; None while no gain is needed."""

    @property
    def level_dbfs(self) -> float | None:
        """Level of the caller's voice; None before it was heard."""
        return 10 * math.log10(self._power) if self._power > 0 else None

    def voiced(self, level_dbfs: float) -> None:
        """32 ms that the voice detector takes for the caller's speech; not to be told of the agent's echo."""
        self._chunks += 1
        self._power += (10 ** (level_dbfs / 10) - self._power) / min(self._chunks, _CHUNKS)
        if self._chunks < _FIRST_CHUNKS:
            return
        wanted_db = TARGET_DBFS - 10 * math.log10(self._power)
        gain_db = self.gain_db
        if abs(wanted_db - gain_db) > _PLAY_DB:
            gain_db += 1 if wanted_db > gain_db else -1  # 1 dB per chunk: unheard
        gain_db = min(gain_db, max(0, math.floor(_CEILING_DBFS - level_dbfs)))
        gain_db = max(-LARGEST_GAIN_DB, min(LARGEST_GAIN_DB, gain_db))
        if gain_db != self.gain_db:
            self.gain_db = gain_db
            self.table = gain_table(gain_db) if gain_db else None

    def apply(self, payload: bytes) -> bytes:
        """The same audio at the recogniser's level; the very same bytes while no gain is needed."""
        return payload if self.table is None else payload.translate(self.table)
