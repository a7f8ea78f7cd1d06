"""What sounded comes back, so much later and softer, over whatever is said meanwhile."""

import numpy as np
import pytest

from telephony.simulator.echopath import EchoPath
from telephony.simulator.script import Echo
from telephony.simulator.sound import FRAME_SAMPLES, SILENT_FRAME, decode, encode

PULSE = encode(np.array([16_000.0] + [0.0] * (FRAME_SAMPLES - 1)))


def _returned(echo: Echo, frames: int = 40, voice: bytes = SILENT_FRAME) -> np.ndarray:
    path, line = EchoPath(echo), b""
    for number in range(frames):
        line += path.over(voice)
        path.returns(PULSE if number == 0 else None)
    return decode(line).astype(float)


@pytest.mark.parametrize("delay_ms", [20, 30, 180, 405.5])
def test_it_comes_back_after_the_delay_to_the_sample(delay_ms: float):
    line = _returned(Echo(-20, delay_ms))
    assert int(np.abs(line).argmax()) == round(delay_ms * 8)
    assert line.max() == pytest.approx(1600, rel=0.05)


def test_the_shortest_way_is_one_frame():
    assert int(np.abs(_returned(Echo(-20, 3))).argmax()) == FRAME_SAMPLES


def test_it_is_added_to_the_voice():
    voice = encode(np.full(FRAME_SAMPLES, 1000.0))
    line = _returned(Echo(-20, 100), 10, voice)
    assert line[800] - line[799] == pytest.approx(1600, rel=0.06)
    assert np.allclose(np.delete(line, 800), line[0])
