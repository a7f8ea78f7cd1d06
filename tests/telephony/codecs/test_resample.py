import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.codecs.resample import Resampler

RATES = (8000, 16000, 22050, 24000, 48000)
PAIRS = [(source, target) for source in RATES for target in RATES if source != target]
SECOND = 1.0


def tone(hz: float, rate_hz: int, amplitude: float = 20000.0) -> np.ndarray:
    time = np.arange(int(SECOND * rate_hz)) / rate_hz
    return np.rint(amplitude * np.sin(2 * np.pi * hz * time)).astype(np.int16)


def convert(samples: np.ndarray, source_hz: int, target_hz: int) -> np.ndarray:
    resampler = Resampler(source_hz, target_hz)
    return np.concatenate([resampler.feed(samples), resampler.flush()])


def level_db(samples: np.ndarray, amplitude: float = 20000.0) -> float:
    """RMS level of the steady middle, against that of a sine of `amplitude`."""
    middle = samples[len(samples) // 10 : -len(samples) // 10].astype(float)
    return 20 * np.log10(np.sqrt(np.mean(middle**2)) / (amplitude / np.sqrt(2)) + 1e-9)


@given(st.sampled_from(PAIRS), st.lists(st.integers(0, 700), max_size=8), st.randoms(use_true_random=False))
def test_the_cut_of_the_stream_does_not_matter(pair, pieces, random) -> None:
    samples = np.array([random.randint(-32768, 32767) for _ in range(sum(pieces))], np.int16)
    resampler, out, at = Resampler(*pair), [], 0
    for piece in pieces:
        out.append(resampler.feed(samples[at : at + piece]))
        at += piece
    out.append(resampler.flush())
    assert np.array_equal(np.concatenate(out), convert(samples, *pair))


@given(st.sampled_from(PAIRS), st.integers(0, 2000))
def test_the_output_is_as_long_as_the_input(pair, length) -> None:
    source, target = pair
    expected = -(-length * target // source)
    assert len(convert(np.zeros(length, np.int16), source, target)) == expected
    assert Resampler(source, target).scale(length) == expected


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_pass_band_passes(source, target) -> None:
    nyquist = min(source, target) / 2
    for share, loss_db in ((0.1, 0.1), (0.5, 0.1), (0.75, 0.1), (0.85, 0.6)):
        assert level_db(convert(tone(share * nyquist, source), source, target)) == pytest.approx(0, abs=loss_db)


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_would_alias_into_the_band_is_rejected(source, target) -> None:
    for share in (1.15, 1.3, 1.6, 1.99):
        frequency = share * target / 2
        if frequency < source / 2:
            assert level_db(convert(tone(frequency, source), source, target)) < -58


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] < pair[1]])
def test_images_of_the_band_are_rejected(source, target) -> None:
    hz = 0.2 * source / 2
    out = convert(tone(hz, source), source, target)
    expected = tone(hz, target)
    edge = target // 100
    assert level_db((out[: len(expected)] - expected)[edge:-edge]) < -55


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_output_is_in_time_with_the_input(source, target) -> None:
    pulse = np.zeros(source // 5, np.int16)
    pulse[source // 10] = 30000
    out = convert(pulse, source, target)
    assert abs(int(np.argmax(out)) - target / 10) <= 0.5


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_no_more_than_the_lookahead_is_held_back(source, target) -> None:
    resampler, fed, emitted = Resampler(source, target), 0, 0
    for _ in range(50):
        fed += 37
        emitted += len(resampler.feed(np.zeros(37, np.int16)))
        assert emitted >= (fed - resampler.lookahead_samples) * target / source - 1


@pytest.mark.parametrize("source", [8000, 16000, 24000, 48000])
def test_telephone_frames_come_out_evenly(source) -> None:
    resampler = Resampler(source, 8000) if source != 8000 else Resampler(8000, 16000)
    frame = np.zeros(source // 50, np.int16)
    resampler.feed(frame)
    assert len({len(resampler.feed(frame)) for _ in range(20)}) == 1


def test_what_is_too_loud_clips_and_does_not_wrap() -> None:
    square = np.where(tone(300, 8000) > 0, 16383, -16383).astype(np.int16)  # its edges overshoot by a tenth
    expected = np.clip(2 * convert(square, 8000, 16000).astype(int), -32768, 32767)
    loud = convert(2 * square, 8000, 16000)
    assert np.abs(loud - expected).max() <= 1
    assert {loud.min(), loud.max()} == {-32768, 32767}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_taps_are_multiples_that_sum_exactly(source, target) -> None:
    multiples = Resampler(source, target)._bank * 2**20
    assert np.array_equal(multiples, np.rint(multiples))
    assert np.abs(multiples).sum(axis=0).max() * 2**15 < 2**53


def test_after_a_flush_a_new_stream_begins() -> None:
    resampler = Resampler(22050, 8000)
    first = np.concatenate([resampler.feed(tone(500, 22050)), resampler.flush()])
    again = np.concatenate([resampler.feed(tone(500, 22050)), resampler.flush()])
    assert np.array_equal(first, again)
