"""Sound as the caller uses it: µ-law at 8 kHz, WAV files in and out, and what counts as audible."""

import audioop
import io
import struct
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE
from telephony.simulator.errors import SoundRejected

RATE_HZ = TELEPHONE.rate_hz
FRAME_SAMPLES = FRAME_BYTES
SILENT_FRAME = bytes([MULAW_SILENCE]) * FRAME_BYTES

AUDIBLE_AMPLITUDE = 328
"""Linear 16-bit amplitude (-40 dBFS) from which a person on a telephone hears a sample as part of a sound."""
AUDIBLE_SAMPLES = 3
"""So many audible samples make a frame audible; fewer are a click."""

_LINEAR = struct.unpack("<256h", audioop.ulaw2lin(bytes(range(256)), 2))
_AUDIBLE = bytes(abs(sample) >= AUDIBLE_AMPLITUDE for sample in _LINEAR)

_PCM, _ALAW, _MULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_SINC_ZEROS = 32


def seconds(samples: int) -> float:
    return samples / RATE_HZ


def samples_of_ms(ms: float) -> int:
    return round(ms * RATE_HZ / 1000)


def audible_span(mulaw: bytes) -> tuple[int, int] | None:
    """First audible sample and the one after the last; None if there is nothing to hear."""
    marks = mulaw.translate(_AUDIBLE)
    if marks.count(1) < AUDIBLE_SAMPLES:
        return None
    return marks.index(1), marks.rindex(1) + 1


def read_wav(path: Path) -> bytes:
    """The file as µ-law at 8 kHz, several channels mixed, other rates resampled.

    Takes 16-bit PCM, µ-law and A-law. Raises `SoundRejected`, naming the file and what is wrong with it.
    """
    encoding, channels, rate_hz, sound = _read(path)
    if (encoding, channels, rate_hz) == (_MULAW, 1, RATE_HZ):
        return sound
    return encode(read_linear(path))


def read_linear(path: Path) -> npt.NDArray[np.float64]:
    """Like `read_wav`, as samples on the 16-bit scale."""
    encoding, channels, rate_hz, sound = _read(path)
    if encoding == _MULAW:
        sound = audioop.ulaw2lin(sound, 2)
    elif encoding == _ALAW:
        sound = audioop.alaw2lin(sound, 2)
    whole = len(sound) // (2 * channels) * 2 * channels
    mixed = np.frombuffer(sound[:whole], "<i2").reshape(-1, channels).mean(axis=1)
    return resample(mixed, rate_hz, RATE_HZ)


def _read(path: Path) -> tuple[int, int, int, bytes]:
    try:
        return _parse_riff(path.read_bytes())
    except OSError as error:
        raise SoundRejected(f"{path}: {error.strerror}") from error
    except (struct.error, ValueError) as error:
        raise SoundRejected(f"{path}: {error}") from error


def _parse_riff(content: bytes) -> tuple[int, int, int, bytes]:
    """Encoding, channels, rate and the samples of a RIFF/WAVE file; raises ValueError or struct.error."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    shape: tuple[int, int, int] | None = None
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        body = content[at + 8 : at + 8 + size]
        if name == b"fmt ":
            shape = _parse_format(body)
        elif name == b"data" and shape:
            return (*shape, body)
        at += 8 + size + size % 2
    raise ValueError("no sound in it")


def _parse_format(body: bytes) -> tuple[int, int, int]:
    encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if encoding == _EXTENSIBLE:
        encoding = struct.unpack_from("<H", body, 24)[0]
    if (encoding, bits) not in {(_PCM, 16), (_ALAW, 8), (_MULAW, 8)}:
        raise ValueError(f"encoding {encoding} with {bits} bits; 16-bit PCM, µ-law or A-law wanted")
    if not channels or not rate_hz:
        raise ValueError(f"{channels} channels at {rate_hz} Hz")
    return encoding, channels, rate_hz


def resample(linear: npt.NDArray[np.float64], from_hz: int, to_hz: int) -> npt.NDArray[np.float64]:
    """Band-limited to the lower of both rates (Blackman-windowed sinc); for whole sounds, not for streams."""
    if from_hz == to_hz or not len(linear):
        return linear
    scale = min(1.0, to_hz / from_hz)
    reach = int(_SINC_ZEROS / scale)
    padded = np.pad(linear, reach)
    at = np.arange(len(linear) * to_hz // from_hz) * (from_hz / to_hz)
    nearest = at.astype(np.int64)
    result = np.zeros(len(at))
    for tap in range(-reach + 1, reach + 1):
        distance = (nearest + tap - at) * scale
        window = 0.42 + 0.5 * np.cos(np.pi * distance / _SINC_ZEROS) + 0.08 * np.cos(2 * np.pi * distance / _SINC_ZEROS)
        result += padded[nearest + tap + reach] * np.sinc(distance) * window * scale
    return result


def encode(linear: npt.NDArray[np.float64]) -> bytes:
    """µ-law of samples on the 16-bit scale, clipped to it."""
    return audioop.lin2ulaw(np.clip(np.rint(linear), -32768, 32767).astype("<i2").tobytes(), 2)


def decode(mulaw: bytes) -> npt.NDArray[np.int16]:
    return np.frombuffer(audioop.ulaw2lin(mulaw, 2), "<i2")


def comfort_noise(level_dbfs: float, frames: int = 50) -> tuple[bytes, ...]:
    """`frames` frames of soft noise to be repeated: what a quiet room sounds like on the line."""
    amplitude = 32768 * 10 ** (level_dbfs / 20)
    noise = encode(np.random.default_rng(8000).normal(0, amplitude, frames * FRAME_SAMPLES))
    return tuple(noise[at : at + FRAME_BYTES] for at in range(0, len(noise), FRAME_BYTES))


def hum() -> bytes:
    """A frame of a soft 200 Hz hum that can be repeated without a click: somebody's voice that we do not synthesise."""
    at = np.arange(FRAME_SAMPLES) / RATE_HZ
    return encode(3000 * np.sin(2 * np.pi * 200 * at))


def mulaw_wav(mulaw: bytes) -> bytes:
    """A mono µ-law WAV file at 8 kHz (the standard library writes PCM only)."""
    shape = struct.pack("<HHIIHHH", _MULAW, 1, RATE_HZ, RATE_HZ, 1, 8, 0)
    fact = struct.pack("<I", len(mulaw))
    body = mulaw + b"\0" * (len(mulaw) % 2)
    chunks = b"fmt " + struct.pack("<I", len(shape)) + shape + b"fact" + struct.pack("<I", len(fact)) + fact
    chunks += b"data" + struct.pack("<I", len(mulaw)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def stereo_wav(left: bytes, right: bytes) -> bytes:
    """A 16-bit stereo WAV file of two µ-law tracks of equal length."""
    both = np.column_stack((decode(left), decode(right)))
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(both.astype("<i2").tobytes())
    return target.getvalue()
