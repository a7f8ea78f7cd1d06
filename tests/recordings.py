"""Human speech for tests: Debian's asterisk-core-sounds-en-wav (8 kHz, one speaker, CC-BY-SA 3.0), if it is there."""

import os
from pathlib import Path

import pytest

SOUNDS = Path(os.environ.get("ASTERISK_SOUNDS", "/usr/share/asterisk/sounds/en"))

needs_human_speech = pytest.mark.skipif(
    not (SOUNDS / "goodbye.wav").exists(),
    reason=f"no human recordings in {SOUNDS}: install asterisk-core-sounds-en-wav, or set ASTERISK_SOUNDS",
)
