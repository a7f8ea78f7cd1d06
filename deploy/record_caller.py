"""Regenerate the caller's recordings from `recordings.toml` with flite (`apt install flite`).

Run from the project's root: `python -m deploy.record_caller`.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telephony.simulator.sound import FRAME_SAMPLES, RATE_HZ, encode, mulaw_wav, read_linear, samples_of_ms
from telephony.simulator.voice import RECORDINGS, recordings

VOICE = "rms"
ACTIVE_DBFS = -22.0
MARGIN_MS = 50
PHONES = {"Mm hm.": "pau ah m hh ah m pau"}
"""What flite would spell letter by letter; spoken as briskly as listeners do, in 0.4 s."""
BRISKLY = ("--setf", "duration_stretch=0.65")
ACTIVE_RANGE_DB = 30.0
"""A frame within this range of the loudest one belongs to the speech."""


def speak(text: str) -> npt.NDArray[np.float64]:
    """`text` in flite's voice, 8 kHz, on the 16-bit scale."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        said = (*BRISKLY, "-p", PHONES[text]) if text in PHONES else ("-t", text)
        subprocess.run(["flite", "-voice", VOICE, *said, "-o", str(path)], check=True, timeout=60)
        return read_linear(path)


def trim_and_level(speech: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The speech with `MARGIN_MS` around it, its active frames at `ACTIVE_DBFS`."""
    frames = speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    power = np.mean(frames**2, axis=1) + 1e-9
    active = np.flatnonzero(10 * np.log10(power / power.max()) > -ACTIVE_RANGE_DB)
    margin = samples_of_ms(MARGIN_MS)
    start = max(0, active[0] * FRAME_SAMPLES - margin)
    end = (active[-1] + 1) * FRAME_SAMPLES + margin
    gain = 32768 * 10 ** (ACTIVE_DBFS / 20) / np.sqrt(power[active].mean())
    return speech[start:end] * gain


def main() -> None:
    """Write one µ-law WAV file per text."""
    for name, text in recordings().items():
        speech = trim_and_level(speak(text))
        (RECORDINGS / f"{name}.wav").write_bytes(mulaw_wav(encode(speech)))
        print(f"{len(speech) / RATE_HZ:5.2f} s  {name}")


if __name__ == "__main__":
    main()
