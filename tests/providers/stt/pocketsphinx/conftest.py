"""Speech to recognise: synthesised on the spot, or recorded from a person where the recordings are installed."""

import audioop
import functools
import os
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from providers.base import Grammar
from providers.llm.dialogue import DEMO, load
from providers.llm.dialogue.grammar import grammar
from providers.stt.pocketsphinx.call import Call
from providers.stt.pocketsphinx.decoding import Recogniser
from providers.stt.pocketsphinx.wire import Final
from telephony.audio import FRAME_BYTES, MULAW_SILENCE

SILENCE = bytes([MULAW_SILENCE])
HALF_BAND = np.sinc(np.arange(-47, 48) * 0.45) * np.hamming(95) * 0.45
"""Low pass at 3.6 kHz for audio of 16 kHz: what lies above must not be folded back by taking every other sample."""

LEVEL = 0.08 * 32768
"""-22 dBFS, an ordinary telephone voice."""


def mulaw(path: Path) -> bytes:
    """A recording of 8 or 16 kHz, as the telephone network would carry it."""
    with wave.open(str(path)) as recording:
        rate_hz = recording.getframerate()
        pcm = recording.readframes(recording.getnframes())
    if rate_hz == 16000:
        samples = np.convolve(np.frombuffer(pcm, dtype="<i2"), HALF_BAND, mode="same")[::2]
        pcm = samples.clip(-32768, 32767).astype("<i2").tobytes()
    else:
        assert rate_hz == 8000
    return audioop.lin2ulaw(pcm, 2)


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """Say a sentence with flite's voice rms: µ-law, 8 kHz."""
    if shutil.which("flite") is None:
        pytest.skip("flite, which speaks the test sentences, is not installed")
    folder = tmp_path_factory.mktemp("speech")

    @functools.cache
    def say(text: str) -> bytes:
        path = folder / f"{text.replace(' ', '-')}.wav"
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(path)], check=True)
        pcm = audioop.ulaw2lin(mulaw(path), 2)
        return audioop.lin2ulaw(audioop.mul(pcm, 2, LEVEL / audioop.rms(pcm, 2)), 2)

    return say


@pytest.fixture(scope="session")
def sounds() -> Path:
    """Where Asterisk's English prompts are (Debian: asterisk-core-sounds-en-wav), spoken by a person."""
    folder = Path(os.environ.get("ASTERISK_SOUNDS", "/usr/share/asterisk/sounds/en"))
    if not (folder / "hours.wav").exists():
        pytest.skip(f"no recordings in {folder}: install asterisk-core-sounds-en-wav, or set ASTERISK_SOUNDS")
    return folder


@pytest.fixture(scope="session")
def desk() -> Grammar:
    """What callers of the demo may say."""
    return grammar(load(DEMO))


@pytest.fixture(scope="session")
def recogniser(desk: Grammar, tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    """The recogniser of the demo, in this process."""
    return Recogniser(desk.jsgf, desk.sentences, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def transcribe(recogniser: Recogniser) -> Callable[[bytes], str]:
    """What is heard in a call in which this is said after a second of silence."""

    def transcribed(audio: bytes) -> str:
        call = Call(1, recogniser.utterance)
        reports = []
        line = SILENCE * 8000 + audio + SILENCE * 4000
        for at in range(0, len(line), FRAME_BYTES):
            call.audio(line[at : at + FRAME_BYTES])
            while call.busy:
                reports += call.work(frames=3)
        call.finalize()
        reports += call.work(frames=1)
        return " ".join(report.text for report in reports if isinstance(report, Final) and report.text)

    return transcribed
