"""Carries a stream of audio from one format to another: decode, resample, encode, and only what is needed of it."""

from collections.abc import Callable

import numpy as np

from telephony.audio import AudioFormat, Encoding
from telephony.codecs.g711 import (
    alaw_to_mulaw,
    decode_alaw,
    decode_mulaw,
    encode_alaw,
    encode_mulaw,
    mulaw_to_alaw,
)
from telephony.codecs.resample import Resampler

Recode = Callable[[bytes], bytes]


def _same(audio: bytes) -> bytes:
    return audio


_RECODE: dict[tuple[Encoding, Encoding], Recode] = {
    (Encoding.MULAW, Encoding.PCM16): decode_mulaw,
    (Encoding.PCM16, Encoding.MULAW): encode_mulaw,
    (Encoding.ALAW, Encoding.PCM16): decode_alaw,
    (Encoding.PCM16, Encoding.ALAW): encode_alaw,
    (Encoding.MULAW, Encoding.ALAW): mulaw_to_alaw,
    (Encoding.ALAW, Encoding.MULAW): alaw_to_mulaw,
}


class Transcoder:
    """One stream from `source` to `target`. Between equal formats it hands on the very bytes it was given.

    The output is in time with the input (`scale` says exactly how), and the same however the input is cut.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source, self._target = source, target
        self._resampler = None if source.rate_hz == target.rate_hz else Resampler(source.rate_hz, target.rate_hz)
        middle = target.encoding if self._resampler is None else Encoding.PCM16
        self._decode = _RECODE.get((source.encoding, middle), _same)
        self._encode = _RECODE.get((middle, target.encoding), _same)

    def feed(self, audio: bytes) -> bytes:
        """The output that `audio` completes; with a change of rate the last few ms stay until more comes, or `flush`.

        Raises `PartialSample`, the caller's fault, when `audio` is no whole number of samples.
        """
        self._source.samples(len(audio))
        if self._resampler is None:
            return self._decode(audio)
        samples = np.frombuffer(self._decode(audio), "<i2")
        return self._encode(self._resampler.feed(samples).tobytes())

    def flush(self) -> bytes:
        """What was held back. The stream has ended; the next `feed` begins another."""
        if self._resampler is None:
            return b""
        return self._encode(self._resampler.flush().tobytes())

    def scale(self, position: int) -> int:
        """Where source sample `position` sounds in the target's samples, both counted from the start of the stream.

        What `feed` held back does not shift it: output that follows later has the later positions.
        """
        return position if self._resampler is None else self._resampler.scale(position)
