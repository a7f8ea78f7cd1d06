"""What reaches a bridge beside speech: coughs, clicks, static. Synthesised, at telephone levels, from fixed seeds.

Linear samples on the 16-bit scale, 8 kHz.
"""

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
Sound = NDArray[np.float64]


def cough(seed: int) -> Sound:
    """One to three bursts. Each is what a cough is: an explosion of 30 to 60 ms, then air through the throat for 100 to
    200 ms, shaped by its resonances, then sometimes a voiced rest of 60 to 120 ms with a falling pitch."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(random.integers(1, 4)):
        explosion = _shaped(random, 0.001 * random.uniform(30, 60), 1.0, -1.0)
        air = _shaped(random, 0.001 * random.uniform(100, 200), 0.5, -5.0)
        parts += [explosion, air]
        if random.random() < 0.4:
            parts.append(_voiced(random, 0.001 * random.uniform(60, 120)) * 0.35)
        parts.append(np.zeros(int(RATE_HZ * random.uniform(0.12, 0.3))))
    return _levelled(np.concatenate(parts), random.uniform(-24, -16))


def clicks(seed: int) -> Sound:
    """A switch, a handset put down: a few impulses of 1 to 4 ms within 200 ms, as loud as a line carries."""
    random = np.random.default_rng(seed)
    sound = np.zeros(int(0.25 * RATE_HZ))
    for _ in range(random.integers(1, 5)):
        length = int(RATE_HZ * random.uniform(0.001, 0.004))
        at = random.integers(0, len(sound) - length)
        sound[at : at + length] += random.normal(0, 12_000, length) * np.exp(-np.arange(length) / (length / 3))
    return sound


def static(seed: int) -> Sound:
    """A bad connection for 200 to 800 ms: noise and crackle at -38 to -28 dBFS."""
    random = np.random.default_rng(seed)
    length = int(RATE_HZ * random.uniform(0.2, 0.8))
    crackle = (random.random(length) < 0.004) * random.normal(0, 8, length)
    edges = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 160)
    return _levelled((random.normal(0, 1, length) + crackle) * edges, random.uniform(-38, -28))


def hum(level_dbfs: float, seconds: float) -> Sound:
    """Mains hum with its harmonics, and white noise below it."""
    at = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 50 * harmonic * at) / harmonic for harmonic in (2, 3, 5, 7))
    return _levelled(tone + np.random.default_rng(50).normal(0, 0.7, len(at)), level_dbfs)


def _shaped(random: np.random.Generator, seconds: float, loudness: float, decay: float) -> Sound:
    """Noise with the resonances of a throat; its level changes by e^`decay` from beginning to end."""
    length = int(RATE_HZ * seconds)
    spectrum = np.fft.rfft(random.normal(0, 1, length))
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    resonances = ((random.uniform(500, 800), 200), (random.uniform(1100, 1500), 300), (random.uniform(2200, 2800), 500))
    shape = sum(1 / (1 + ((hz - at) / width) ** 2) for at, width in resonances) + 0.1
    shaped = np.fft.irfft(spectrum * shape, length)
    attack = np.minimum(1, np.arange(length) / (0.004 * RATE_HZ))
    fading = attack * np.exp(decay * np.arange(length) / length)
    return np.asarray(shaped / np.abs(shaped).max() * loudness * fading)


def _voiced(random: np.random.Generator, seconds: float) -> Sound:
    """A buzz of falling pitch, with the first two resonances."""
    length = int(RATE_HZ * seconds)
    pitch = np.linspace(random.uniform(140, 260), 90, length)
    phase = np.cumsum(pitch) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * n * phase) / (1 + abs(n * 150 - 650) / 300) for n in range(1, 14))
    return np.asarray(buzz / np.abs(buzz).max() * np.linspace(1, 0, length))


def _levelled(sound: Sound, dbfs: float) -> Sound:
    """With this RMS level over what is not silent."""
    active = sound[np.abs(sound) > np.abs(sound).max() / 1000]
    return np.asarray(sound * (32768 * 10 ** (dbfs / 20) / np.sqrt((active**2).mean())))
