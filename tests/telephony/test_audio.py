"""Bytes, samples and milliseconds of a format are exact, or an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.audio import FRAME_BYTES, FRAME_MS, MULAW_SILENCE, TELEPHONE, AudioFormat, Encoding
from telephony.codecs.g711 import decode_mulaw
from telephony.errors import OurFault, PartialSample

FORMATS = st.builds(AudioFormat, st.sampled_from(Encoding), st.sampled_from((8000, 16000, 22050, 24000, 44100, 48000)))


def test_a_telephone_frame_is_160_bytes_of_20_ms() -> None:
    assert FRAME_BYTES == TELEPHONE.frame_bytes == 160
    assert TELEPHONE.ms(FRAME_BYTES) == FRAME_MS == 20


def test_linear_samples_take_two_bytes() -> None:
    wideband = AudioFormat(Encoding.PCM16, 16000)
    assert wideband.frame_bytes == 640
    assert wideband.samples(640) == 320
    assert wideband.ms(640) == 20


@given(FORMATS, st.integers(0, 10**7))
def test_samples_to_bytes_and_back_is_the_same(audio: AudioFormat, samples: int) -> None:
    assert audio.samples(audio.bytes_of_samples(samples)) == samples


@given(FORMATS, st.floats(0, 10**6))
def test_milliseconds_become_whole_samples_rounded_down(audio: AudioFormat, ms: float) -> None:
    length = audio.bytes_of_ms(ms)
    assert length % audio.sample_bytes == 0
    assert audio.ms(length) <= ms * (1 + 1e-12)
    assert audio.ms(length + audio.sample_bytes) > ms


@given(st.integers(0, 10**6))
def test_half_a_sample_is_refused_and_named(samples: int) -> None:
    wideband = AudioFormat(Encoding.PCM16, 16000)
    with pytest.raises(PartialSample) as refused:
        wideband.ms(2 * samples + 1)
    assert (refused.value.byte_count, refused.value.sample_bytes) == (2 * samples + 1, 2)
    assert isinstance(refused.value, OurFault)


def test_the_code_of_silence_is_a_zero_sample() -> None:
    assert decode_mulaw(bytes([MULAW_SILENCE])) == b"\0\0"
