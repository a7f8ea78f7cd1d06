"""What the caller can say: the committed recordings, found by their words, and any WAV file."""

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from telephony.simulator.errors import SoundRejected
from telephony.simulator.sound import audible_span, read_wav

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something to say: µ-law at 8 kHz, and where in it the audible part begins and ends, in samples."""

    text: str
    audio: bytes
    onset: int
    end: int


def slug(text: str) -> str:
    """The name of the recording of `text`: "What's the weather like?" -> "whats-the-weather-like"."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("'", "").replace("’", "")).strip("-")


@lru_cache
def recordings() -> dict[str, str]:
    """Name -> text of the committed recordings."""
    return {str(name): str(text) for name, text in tomllib.loads((RECORDINGS / "recordings.toml").read_text()).items()}


def utterance(words_or_file: str, folder: Path) -> Utterance:
    """The recording of these words, or the WAV file of that name in `folder`. Raises `SoundRejected`."""
    if words_or_file.lower().endswith(".wav"):
        path = folder / words_or_file
        return _load(path, path.stem)
    name = slug(words_or_file)
    if name not in recordings():
        known = ", ".join(sorted(recordings()))
        raise SoundRejected(f"no recording of {words_or_file!r}; there are: {known}; or name a .wav file")
    return _load(RECORDINGS / f"{name}.wav", recordings()[name])


@lru_cache(maxsize=256)
def _load(path: Path, text: str) -> Utterance:
    audio = read_wav(path)
    span = audible_span(audio)
    if span is None:
        raise SoundRejected(f"{path}: nothing audible in it")
    return Utterance(text, audio, *span)
