"""The audio of one call that no final transcript covers yet: what a new recogniser has to hear again."""

import re
from struct import unpack

from telephony.codecs import g711

_QUIET = 400
"""Samples below that (-38 dBFS) are the line's noise, or silence."""
_LOUD_CODES = bytes(
    code for code, sample in enumerate(unpack("<256h", g711.decode_mulaw(bytes(range(256))))) if abs(sample) >= _QUIET
)
_QUIET_CODES = bytes(set(range(256)) - set(_LOUD_CODES))
_LOUD = re.compile(b"[" + re.escape(_LOUD_CODES) + b"]")
_VOICED_SHARE = 0.1


def voiced(mulaw: bytes) -> bool:
    """It may be voice: a good part of it is loud."""
    return len(mulaw.translate(None, _QUIET_CODES)) > _VOICED_SHARE * len(mulaw)


class ReplayRing:
    """A bounded buffer of a call's latest audio. Positions count bytes from the call's first.

    Beyond `keep_bytes` the oldest goes. It is lost only if the recogniser that heard it is lost as well, before it has
    settled it.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._audio = bytearray()
        self._settled = 0
        self.begin = 0
        """Where the oldest byte stands that is kept."""

    @property
    def end(self) -> int:
        """Where the next byte will stand."""
        return self.begin + len(self._audio)

    @property
    def fill(self) -> float:
        """From 0 to 1."""
        return len(self._audio) / self._keep_bytes

    def add(self, audio: bytes) -> None:
        """Keep it, in place of the oldest if need be."""
        self._audio += audio
        excess = len(self._audio) - self._keep_bytes
        if excess > 0:
            self._drop(excess)

    def settle(self, position: int) -> None:
        """What stands before is recognised: nobody will have to hear it again. Never goes back."""
        self._settled = max(self._settled, min(position, self.end))
        if self._settled > self.begin:
            self._drop(self._settled - self.begin)

    def settle_quiet(self, keep_bytes: int) -> None:
        """In the silence before the first sound there is nothing to hear, but for the last `keep_bytes` of it."""
        first = _LOUD.search(self._audio)
        self.settle((self.end if first is None else self.begin + first.start()) - keep_bytes)

    def voiced_from(self, position: int) -> bool:
        """Something loud stands at `position` or later."""
        return _LOUD.search(self._audio, max(0, position - self.begin)) is not None

    def take_lost(self) -> int:
        """Whoever heard the audio so far is gone: bytes that were neither settled nor kept, counted once."""
        lost = max(0, self.begin - self._settled)
        self._settled = max(self._settled, self.begin)
        return lost

    def between(self, begin: int, end: int) -> bytes:
        """A copy of what is kept between two positions."""
        return bytes(self._audio[max(0, begin - self.begin) : max(0, end - self.begin)])

    def _drop(self, count: int) -> None:
        del self._audio[:count]
        self.begin += count
