"""The network against its authors' own model, by way of `golden/silero_8k.npz`.

That file holds 7.4 s of µ-law audio (speech of two flite voices, loud, soft and in noise, then a tone) and what the
pinned ONNX file makes of each 32 ms of it; `deploy/extract_silero.py --golden` writes the latter.
"""

from pathlib import Path

import numpy as np
import pytest

from telephony.codecs.g711 import mulaw_to_float
from telephony.silero import BATCH, CHUNK_SAMPLES, CONTEXT_SAMPLES, STATE_SIZE, Silero

GOLDEN = np.load(Path(__file__).parent / "golden" / "silero_8k.npz")
FLOAT16_TOLERANCE = 0.005


@pytest.fixture(scope="module")
def network() -> Silero:
    return Silero.load()


def windows(samples: np.ndarray) -> np.ndarray:
    """[chunks, 288]: each chunk behind the last samples of the one before."""
    padded = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), samples])
    starts = range(0, len(samples) - CHUNK_SAMPLES + 1, CHUNK_SAMPLES)
    return np.stack([padded[start : start + CONTEXT_SAMPLES + CHUNK_SAMPLES] for start in starts])


def judge(network: Silero, calls: np.ndarray) -> np.ndarray:
    """[chunks, calls] for [calls, chunks, 288], the calls side by side."""
    state = np.zeros((len(calls), STATE_SIZE), np.float32)
    return np.array([network(np.ascontiguousarray(calls[:, chunk]), state) for chunk in range(calls.shape[1])])


def test_probabilities_are_those_of_the_authors_model(network: Silero) -> None:
    judged = judge(network, windows(mulaw_to_float(GOLDEN["mulaw"].tobytes()))[None])[:, 0]
    assert len(judged) == len(GOLDEN["probabilities"]) > 200
    assert np.abs(judged - GOLDEN["probabilities"]).max() < FLOAT16_TOLERANCE


@pytest.mark.parametrize("calls", [2, 7, 33, BATCH])
def test_a_call_is_judged_alike_in_any_company(network: Silero, calls: int) -> None:
    chunks = windows(mulaw_to_float(GOLDEN["mulaw"].tobytes()))[20:60]
    together = judge(network, np.stack([np.roll(chunks, shift, axis=0) for shift in range(calls)]))
    for call in (0, calls // 2, calls - 1):
        alone = judge(network, np.roll(chunks, call, axis=0)[None])[:, 0]
        assert np.abs(together[:, call] - alone).max() < 1e-4


def test_a_call_has_its_own_memory(network: Silero) -> None:
    speech = windows(mulaw_to_float(GOLDEN["mulaw"].tobytes()))[30:50]
    silence = np.zeros_like(speech)
    judged = judge(network, np.stack([speech, silence]))
    assert judged[-1, 0] > 0.9
    assert judged[:, 1].max() < 0.1
