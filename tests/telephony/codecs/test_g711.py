"""G.711 against tables computed here from the recommendation, over every code and every 16-bit sample."""

import numpy as np
import pytest

from telephony.audio import MULAW_SILENCE
from telephony.codecs import g711

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype="<i2")


def linear(pcm16: bytes) -> np.ndarray:
    return np.frombuffer(pcm16, "<i2").astype(int)


def mulaw_by_the_book(code: int) -> int:
    """G.711 table 2: 8 segments of 16 steps, each twice as wide as the last, around a bias of 33 in 14 bits."""
    flipped = ~code & 0xFF
    magnitude = (((flipped & 0x0F) * 2 + 33) << (flipped >> 4 & 7)) - 33
    return 4 * (-magnitude if flipped & 0x80 else magnitude)


def alaw_by_the_book(code: int) -> int:
    """G.711 table 1: the two lowest segments are equally wide; even bits are inverted on the line."""
    plain = code ^ 0x55
    segment, step = plain >> 4 & 7, plain & 0x0F
    magnitude = step * 2 + 1 if segment == 0 else (step * 2 + 33) << (segment - 1)
    return 8 * (magnitude if plain & 0x80 else -magnitude)


@pytest.mark.parametrize(
    ("decode", "book"), [(g711.decode_mulaw, mulaw_by_the_book), (g711.decode_alaw, alaw_by_the_book)]
)
def test_every_code_decodes_as_the_recommendation_says(decode, book) -> None:
    assert linear(decode(EVERY_CODE)).tolist() == [book(code) for code in range(256)]


def mulaw_of(sample: int) -> int:
    """G.711 table 2, decision values: the codec hears 14 bits, so the lowest 2 of the sample are cut off."""
    value = sample >> 2
    magnitude = min(abs(value), 8158) + 33
    segment = magnitude.bit_length() - 6
    return ~((0x80 if value < 0 else 0) | segment << 4 | (magnitude >> (segment + 1)) & 0x0F) & 0xFF


def alaw_of(sample: int) -> int:
    """G.711 table 1, decision values: the codec hears 13 bits, and has no zero but steps either side of it."""
    value = sample >> 3
    magnitude = value if value >= 0 else ~value
    segment = max(0, magnitude.bit_length() - 5)
    return (segment << 4 | (magnitude >> max(1, segment)) & 0x0F) ^ (0xD5 if value >= 0 else 0x55)


@pytest.mark.parametrize(("encode", "book"), [(g711.encode_mulaw, mulaw_of), (g711.encode_alaw, alaw_of)])
def test_every_sample_encodes_as_the_recommendation_says(encode, book) -> None:
    assert encode(EVERY_SAMPLE.tobytes()) == bytes(book(sample) for sample in EVERY_SAMPLE.tolist())


@pytest.mark.parametrize(
    ("encode", "decode"), [(g711.encode_mulaw, g711.decode_mulaw), (g711.encode_alaw, g711.decode_alaw)]
)
def test_louder_samples_never_encode_to_softer_codes(encode, decode) -> None:
    assert (np.diff(linear(decode(encode(EVERY_SAMPLE.tobytes())))) >= 0).all()


def test_alaw_codes_survive_decoding_and_encoding() -> None:
    assert g711.encode_alaw(g711.decode_alaw(EVERY_CODE)) == EVERY_CODE


def test_mulaw_codes_survive_but_for_negative_zero() -> None:
    survived = g711.encode_mulaw(g711.decode_mulaw(EVERY_CODE))
    assert [code for code in range(256) if survived[code] != code] == [0x7F]
    assert survived[0x7F] == MULAW_SILENCE


def test_silence_is_the_code_of_zero() -> None:
    assert g711.decode_mulaw(bytes([MULAW_SILENCE])) == b"\0\0"
    assert g711.encode_mulaw(b"\0\0") == bytes([MULAW_SILENCE])


def test_translation_between_the_laws_is_decoding_and_encoding() -> None:
    assert g711.mulaw_to_alaw(EVERY_CODE) == g711.encode_alaw(g711.decode_mulaw(EVERY_CODE))
    assert g711.alaw_to_mulaw(EVERY_CODE) == g711.encode_mulaw(g711.decode_alaw(EVERY_CODE))


def test_floats_are_the_linear_samples_over_full_scale() -> None:
    floats = g711.mulaw_to_float(EVERY_CODE)
    assert floats.dtype == np.float32
    assert (floats * 32768 == linear(g711.decode_mulaw(EVERY_CODE))).all()
    assert np.abs(floats).max() < 1


def test_nothing_decodes_to_nothing() -> None:
    assert g711.decode_mulaw(b"") == g711.encode_mulaw(b"") == g711.mulaw_to_alaw(b"") == b""
    assert g711.mulaw_to_float(b"").shape == (0,)
