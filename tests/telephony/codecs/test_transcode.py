import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.codecs.transcode import Transcoder
from telephony.errors import PartialSample

FORMATS = [AudioFormat(encoding, rate) for encoding in Encoding for rate in (8000, 16000, 22050, 24000, 48000)]
ESPEAK = AudioFormat(Encoding.PCM16, 22050)


def sine(hz: float, rate_hz: int, seconds: float = 0.5) -> bytes:
    samples = 8000 * np.sin(2 * np.pi * hz / rate_hz * np.arange(int(seconds * rate_hz)))
    return np.rint(samples).astype("<i2").tobytes()


def convert(audio: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    transcoder = Transcoder(source, target)
    return transcoder.feed(audio) + transcoder.flush()


@pytest.mark.parametrize("audio", FORMATS)
def test_an_equal_format_costs_nothing(audio) -> None:
    transcoder, payload = Transcoder(audio, audio), bytes(160)
    assert transcoder.feed(payload) is payload
    assert transcoder.flush() == b""
    assert transcoder.scale(12345) == 12345


@given(st.sampled_from(FORMATS), st.sampled_from(FORMATS), st.integers(0, 3000))
def test_any_format_becomes_any_other_in_the_length_that_scale_says(source, target, samples) -> None:
    out = convert(bytes(source.bytes_of_samples(samples)), source, target)
    assert target.samples(len(out)) == Transcoder(source, target).scale(samples)


@given(st.sampled_from(FORMATS), st.sampled_from(FORMATS), st.lists(st.integers(0, 500), max_size=6), st.data())
def test_the_cut_of_the_stream_does_not_matter(source, target, pieces, data) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    audio = np.random.default_rng(seed).bytes(source.bytes_of_samples(sum(pieces)))
    transcoder, out, at = Transcoder(source, target), b"", 0
    for piece in map(source.bytes_of_samples, pieces):
        out += transcoder.feed(audio[at : at + piece])
        at += piece
    assert out + transcoder.flush() == convert(audio, source, target)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
def test_a_tone_survives_the_telephone_and_back(encoding, rate) -> None:
    wide, narrow = AudioFormat(Encoding.PCM16, rate), AudioFormat(encoding, 8000)
    original = np.frombuffer(sine(1000, rate), "<i2").astype(float)
    back = np.frombuffer(convert(convert(sine(1000, rate), wide, narrow), narrow, wide), "<i2").astype(float)
    edge = rate // 100
    error = (back[: len(original)] - original)[edge:-edge]
    snr_db = 10 * np.log10(np.mean(original**2) / np.mean(error**2))
    assert snr_db > 35  # G.711 itself leaves 37 to 38 dB of a tone at this level


def test_a_position_is_where_it_sounds() -> None:
    click = np.zeros(22050, "<i2")
    click[11025] = 30000
    transcoder = Transcoder(ESPEAK, AudioFormat(Encoding.PCM16, 8000))
    out = np.frombuffer(transcoder.feed(click.tobytes()) + transcoder.flush(), "<i2")
    assert int(np.argmax(out)) == transcoder.scale(11025) == 4000


def test_half_a_sample_is_the_callers_fault() -> None:
    for target in (ESPEAK, TELEPHONE):
        with pytest.raises(PartialSample):
            Transcoder(ESPEAK, target).feed(b"\0\0\0")
