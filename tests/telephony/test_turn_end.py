"""The turn-end model: its features by their definition, its verdicts where the weights are at hand."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from telephony.errors import MissingExtra
from telephony.simulator.sound import encode, read_linear
from telephony.turn_end import SmartTurn, log_mel
from tests.recordings import SOUNDS, needs_human_speech

WEIGHTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sidetone" / "smart-turn-v3.2-cpu.onnx"


def test_a_tone_lights_the_mel_band_that_holds_its_frequency():
    at = np.arange(16_000 * 8, dtype=np.float32) / 16_000
    features = log_mel(np.sin(2 * np.pi * 1000 * at).astype(np.float32))
    assert features.shape == (80, 800)
    # 1 kHz is mel 15 of 45.245 on Slaney's scale, whose 82 edges are evenly spaced: between centres 25 and 26
    assert int(features.mean(axis=1).argmax()) in (25, 26)


def test_a_short_turn_is_preceded_by_silence_and_a_long_one_loses_its_beginning():
    loud = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    features = log_mel(loud)
    assert features[:, :650].max() < features[:, 720:].min() + 2
    late = np.concatenate([np.zeros(16_000 * 9, np.float32), loud])
    assert np.allclose(log_mel(late), features, atol=1e-4)


def test_silence_has_features_too():
    assert np.isfinite(log_mel(np.zeros(0, np.float32))).all()


def test_missing_weights_say_how_to_get_them(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the extra `ears` is not installed")
    with pytest.raises(MissingExtra, match="make ears"):
        SmartTurn(tmp_path / "none.onnx")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="the extra `ears` is not installed")
    (tmp_path / "some.onnx").write_bytes(b"no model")
    with pytest.raises(MissingExtra, match="no model"):
        SmartTurn(tmp_path / "some.onnx")


@pytest.fixture
def model() -> SmartTurn:
    pytest.importorskip("onnxruntime", reason="the extra `ears` is not installed")
    if not WEIGHTS.is_file():
        pytest.skip("the turn-end model is not here: `make ears` fetches it")
    return SmartTurn(WEIGHTS)


@needs_human_speech
def test_whole_sentences_sound_done_and_their_first_thirds_do_not(model: SmartTurn):
    names = ("vm-goodbye", "vm-msgsaved", "pls-hold-while-try", "please-try-call-later", "ss-noservice", "vm-sorry")
    said = [encode(read_linear(SOUNDS / f"{name}.wav")) for name in names]
    silence = b"\xff" * 1600
    whole = [model.probability(speech + silence) for speech in said]
    begun = [model.probability(speech[: len(speech) // 3] + silence) for speech in said]
    assert np.median(whole) > 0.8
    assert np.median(begun) < 0.3


def test_a_verdict_is_told_from_the_event_loop(model: SmartTurn):
    async def ask() -> float:
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        async with model, asyncio.timeout(10):
            model.judge(b"\xff" * 16_000, told.set_result)
            return await told

    assert 0 <= asyncio.run(ask()) <= 1


def test_a_crowd_of_questions_is_cut_short(model: SmartTurn):
    async def ask() -> int:
        told: list[float] = []
        async with model:
            for _ in range(100):
                model.judge(b"\xff" * 160, told.append)
        await asyncio.sleep(0)
        return len(told)

    assert asyncio.run(ask()) <= 32
