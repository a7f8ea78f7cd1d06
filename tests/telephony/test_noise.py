"""Noise goes, voice stays, and nothing is lost on the way."""

import numpy as np
import pytest

from telephony.codecs.g711 import decode_mulaw, encode_mulaw
from telephony.noise import STRENGTHS, WebRtcSuppressor

pytest.importorskip("webrtc_noise_gain", reason="the extra `ears` is not installed")


def _cleaned(sound: np.ndarray, strength: str, frame: int = 160) -> np.ndarray:
    line = encode_mulaw(np.clip(sound, -32768, 32767).astype("<i2").tobytes())
    suppressor = WebRtcSuppressor(strength)
    clean = b"".join(suppressor.feed(line[at : at + frame]) for at in range(0, len(line), frame))
    return np.frombuffer(decode_mulaw(clean), "<i2").astype(float)


def _dbfs(sound: np.ndarray) -> float:
    return float(10 * np.log10((sound**2).mean() / 32768**2 + 1e-12))


def _hiss(seconds: float, dbfs: float) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 32768 * 10 ** (dbfs / 20), int(8000 * seconds))


def test_steady_noise_is_lowered_the_more_the_stronger():
    levels = [_dbfs(_cleaned(_hiss(4, -38), strength)[16_000:]) for strength in STRENGTHS]
    assert levels[0] < -42
    assert levels == sorted(levels, reverse=True)


def test_a_voice_over_noise_keeps_its_level():
    at = np.arange(8000 * 4) / 8000
    voice = 6000 * np.sin(2 * np.pi * 180 * at) * (np.sin(2 * np.pi * 3 * at) > 0)
    clean = _cleaned(voice + _hiss(4, -45), "high")
    assert abs(_dbfs(clean[8000:]) - _dbfs(voice[8000:])) < 3


@pytest.mark.parametrize("frame", [160, 80, 240, 7])
def test_all_but_the_last_12_ms_come_out_whatever_the_frame(frame: int):
    sound = _hiss(1, -30)
    assert 0 <= len(sound) - len(_cleaned(sound, "low", frame)) <= 96
