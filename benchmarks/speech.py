"""Human speech, and where in it the speech begins and ends: labelled from the recording's own energy.

The recordings are Asterisk's English prompts (package `asterisk-core-sounds-en-wav`), found in the folder that
`ASTERISK_SOUNDS` names, or where the package puts them. Without them there is no benchmark of speech.
"""

import os
import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from telephony.audio import FRAME_BYTES, FRAME_MS
from telephony.simulator.sound import decode, encode, read_linear

_PLACES = ("/usr/share/asterisk/sounds/en", "/usr/share/asterisk/sounds/en_US_f_Allison")
_NO_SPEECH = ("beep", "silence", "tone", "ascending", "descending", "dial", "monkeys", "screech")
_LEVEL_DBFS = -23.0
"""Active speech level that all recordings are brought to: what telephone networks aim at (ITU-T P.56, about -26 dBov,
and a little more for mobile phones)."""
_AUDIBLE_DB = -35.0
"""Relative to the loudest 10 ms: below it there is no speech but breath, room and the ends of words."""
_PROBE = 1000
"""Amplitude that the scripted recogniser takes for speech, at the first and the middle sample of a frame."""


class NoRecordings(Exception):
    """No human speech on this machine: the text says where it was looked for."""


@dataclass(frozen=True)
class Recording:
    """µ-law at 8 kHz; speech begins at sample `onset` and is over at `end`, as its energy has it."""

    name: str
    audio: bytes
    onset: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.onset) / 8000


def folder() -> Path:
    """Where the recordings are. Raises `NoRecordings`."""
    places = [*filter(None, [os.environ.get("ASTERISK_SOUNDS")]), *_PLACES]
    for place in places:
        if next(Path(place).rglob("*.wav"), None) is not None:
            return Path(place)
    raise NoRecordings(f"no recordings in {', '.join(places)}: set ASTERISK_SOUNDS to a folder of 8 kHz WAV prompts")


@lru_cache
def recordings() -> tuple[Recording, ...]:
    """All recordings that hold speech, in a fixed order. Raises `NoRecordings`."""
    found = []
    root = folder()
    for path in sorted(root.rglob("*.wav")):
        name = path.relative_to(root).with_suffix("").as_posix()
        if not any(word in name for word in _NO_SPEECH):
            recording = _label(name, read_linear(path))
            if recording is not None:
                found.append(recording)
    return tuple(found)


def utterances(shortest_s: float = 0.8, longest_s: float = 2.5) -> tuple[Recording, ...]:
    """Recordings for turns whose end is beyond doubt: no pause that a recogniser would end the turn at, and cut off
    where the voice is still loud, so that the end of speech is one sample for everybody who listens."""
    chosen = []
    for recording in recordings():
        cut = _sharp_end(recording)
        if cut is not None and shortest_s <= cut.seconds <= longest_s:
            chosen.append(cut)
    return tuple(chosen)


def talk(source: tuple[Recording, ...], seconds: float, seed: int) -> bytes:
    """Somebody who talks on and on: recordings in a row, 150 ms apart."""
    order = random.Random(seed).sample(source, len(source))
    sound = bytearray()
    for recording in order:
        sound += recording.audio[recording.onset : recording.end] + b"\xff" * 1200
        if len(sound) >= seconds * 8000:
            break
    return bytes(sound[: int(seconds * 8000)])


def frames(audio: bytes) -> list[bytes]:
    """Frames of 20 ms, the last one filled up with silence."""
    return [audio[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\xff") for at in range(0, len(audio), FRAME_BYTES)]


def _label(name: str, linear: np.ndarray) -> Recording | None:
    """Onset: the first 10 ms within 35 dB of the loudest that begin 60 ms of which at least half are; likewise the end.
    None without at least 300 ms of speech."""
    step = 80
    windows = len(linear) // step
    if windows < 30:
        return None
    power = (linear[: windows * step].reshape(windows, step) ** 2).mean(axis=1) + 1e-9
    level_db = 10 * np.log10(power / power.max())
    loud = level_db > _AUDIBLE_DB
    active = power[level_db > -25]
    gain = 10 ** (_LEVEL_DBFS / 20) * 32768 / np.sqrt(active.mean())
    sustained = [at for at in range(windows) if loud[at] and loud[at : at + 6].sum() >= 3]
    ending = [at for at in range(windows) if loud[at] and loud[max(0, at - 5) : at + 1].sum() >= 3]
    if not sustained or not ending or ending[-1] - sustained[0] < 30:
        return None
    return Recording(name, encode(linear * gain), sustained[0] * step, (ending[-1] + 1) * step)


def _sharp_end(recording: Recording) -> Recording | None:
    """The recording from its onset to the end of its last frame that is loud for the scripted recogniser; None if it
    pauses for 200 ms or more in between."""
    pieces = frames(recording.audio[recording.onset : recording.end])
    samples = [decode(piece) for piece in pieces]
    loud = [index for index, piece in enumerate(samples) if abs(int(piece[0])) > _PROBE or abs(int(piece[80])) > _PROBE]
    if len(loud) < 2 or loud[0] * FRAME_MS > 200:
        return None
    if max(after - before for before, after in pairwise(loud)) * FRAME_MS >= 200:
        return None
    audio = b"".join(pieces[: loud[-1] + 1])
    return Recording(recording.name, audio, 0, len(audio))
