from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from telephony.simulator.bridge import BridgeEvent
from tests.telephony.simulator.test_judge import GOOD

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from telephony.simulator.report import CallReport
from telephony.simulator.waterfall import draw

STAMPS = {
    "asr_started": 2.1,
    "asr_partial": 2.5,
    "asr_complete": 3.2,
    "llm_started": 3.2,
    "llm_first_token": 3.3,
    "llm_complete": 3.8,
    "tts_started": 3.35,
    "tts_first_chunk": 3.4,
    "tts_complete": None,
}
MEASURED = replace(GOOD, events=(BridgeEvent(5.0, "turn_measured", 5.0, {"stamps": STAMPS}),))
MODEL, AGENT = (0x7B, 0x5E, 0xA7), (0x2A, 0x9D, 0x8F)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float(np.mean(np.all(np.abs(picture[:, :, :3] * 255 - colour) < 2, axis=2)))


def drawn(report: CallReport, path: Path) -> np.ndarray:
    draw(report, path)
    return imread(path)


def test_the_picture_shows_the_stages_and_what_the_ear_heard(tmp_path: Path) -> None:
    picture = drawn(MEASURED, tmp_path / "a.png")
    assert share(picture, MODEL) > 0.005
    assert share(picture, AGENT) > 0.02


def test_without_stamps_it_shows_what_the_ear_heard(tmp_path: Path) -> None:
    picture = drawn(GOOD, tmp_path / "a.png")
    assert share(picture, MODEL) == 0
    assert share(picture, AGENT) > 0.02


def test_each_turn_has_its_panel(tmp_path: Path) -> None:
    one = drawn(replace(GOOD, exchanges=GOOD.exchanges[:1]), tmp_path / "1.png")
    two = drawn(GOOD, tmp_path / "2.png")
    assert two.shape[0] > one.shape[0]


def test_a_call_without_a_turn_gives_a_picture_too(tmp_path: Path) -> None:
    assert share(drawn(replace(GOOD, exchanges=()), tmp_path / "a.png"), AGENT) == 0
