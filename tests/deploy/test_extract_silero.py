"""The shipped weights can be reproduced. Needs the wheel that they come from: SILERO_WHEEL names it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "extract_silero.py"


@pytest.mark.peer
@pytest.mark.skipif("SILERO_WHEEL" not in os.environ, reason="SILERO_WHEEL names no wheel of silero-vad 6.2.3")
def test_the_wheel_yields_the_shipped_weights_and_their_notice(tmp_path: Path) -> None:
    target = tmp_path / "silero_8k.npz"
    subprocess.run([sys.executable, SCRIPT, os.environ["SILERO_WHEEL"], target], check=True)
    for name in ("silero_8k.npz", "silero_8k.LICENSE"):
        assert (tmp_path / name).read_bytes() == (ROOT / "telephony" / name).read_bytes()


def test_another_model_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "silero_vad-6.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("silero_vad/data/silero_vad.onnx", b"another model")
        archive.writestr("silero_vad-6.2.3.dist-info/licenses/LICENSE", b"MIT")
    target = tmp_path / "weights.npz"
    run = subprocess.run([sys.executable, SCRIPT, wheel, target], check=False, capture_output=True, text=True)
    assert run.returncode == 1
    assert "is not the pinned model" in run.stderr
    assert not target.exists()
