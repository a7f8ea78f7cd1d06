"""The audio alphabet: formats and exact conversions between bytes, samples and milliseconds."""

from dataclasses import dataclass
from enum import StrEnum

from telephony.errors import PartialSample

FRAME_MS = 20
"""Length of a frame. *Frame* means 20 ms of audio everywhere in this project."""


class Encoding(StrEnum):
    """How one sample is stored."""

    MULAW = "mulaw"  # ITU-T G.711 µ-law, 1 byte
    ALAW = "alaw"  # ITU-T G.711 A-law, 1 byte
    PCM16 = "pcm16"  # signed 16-bit linear, little-endian, 2 bytes


_SAMPLE_BYTES = {Encoding.MULAW: 1, Encoding.ALAW: 1, Encoding.PCM16: 2}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Mono audio of one encoding and rate. Conversions are exact; a partial sample raises `PartialSample`."""

    encoding: Encoding
    rate_hz: int

    @property
    def sample_bytes(self) -> int:
        return _SAMPLE_BYTES[self.encoding]

    @property
    def frame_bytes(self) -> int:
        """Bytes in one frame of `FRAME_MS`."""
        return self.bytes_of_ms(FRAME_MS)

    def samples(self, byte_count: int) -> int:
        """Samples in `byte_count` bytes; raises `PartialSample` (the sender's fault) if they do not divide."""
        sample_bytes = _SAMPLE_BYTES[self.encoding]
        samples, rest = divmod(byte_count, sample_bytes)
        if rest:
            raise PartialSample(byte_count, sample_bytes)
        return samples

    def ms(self, byte_count: int) -> float:
        """Duration of `byte_count` bytes in milliseconds."""
        return self.samples(byte_count) * 1000 / self.rate_hz

    def bytes_of_ms(self, ms: float) -> int:
        """Bytes of `ms` milliseconds, rounded down to a whole sample."""
        return int(ms * self.rate_hz / 1000) * self.sample_bytes

    def bytes_of_samples(self, samples: int) -> int:
        return samples * self.sample_bytes


TELEPHONE = AudioFormat(Encoding.MULAW, 8000)
"""What every telephone network speaks: µ-law, 8 kHz, 160 bytes per frame."""

FRAME_BYTES = TELEPHONE.frame_bytes
MULAW_SILENCE = 0xFF
"""The µ-law code of a zero sample (ITU-T G.711, positive zero)."""
