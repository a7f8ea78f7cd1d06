"""Noises are as loud as they say, and the same every time."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import noises


@pytest.mark.parametrize("make", [noises.cough, noises.clicks, noises.static])
def test_a_noise_is_the_same_for_the_same_seed_and_fits_the_scale(make: Callable[[int], noises.Sound]) -> None:
    for seed in range(20):
        sound = make(seed)
        assert np.array_equal(sound, make(seed))
        assert 0.1 < len(sound) / noises.RATE_HZ < 3
        assert 300 < np.abs(sound).max() < 60_000


def test_hum_has_its_level() -> None:
    sound = noises.hum(-45.0, 2.0)
    assert 20 * np.log10(np.sqrt((sound**2).mean()) / 32768) == pytest.approx(-45, abs=0.5)
