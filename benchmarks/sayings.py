"""What callers say in the turn-taking table: human recordings with their words, pauses spliced into them, and short
words spoken by flite.

Words are laid over the speech in proportion to their letters: nearer than a syllable nobody can say it without hands.
"""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.noises import Sound
from benchmarks.speech import recordings
from telephony.simulator.sound import decode, read_linear

RATE_HZ = 8000
PROMPTS = Path(__file__).parent / "prompts.txt"
_VOICES = ("kal", "awb", "rms", "slt")
_PHONES = {"mm hm": "pau ah m hh ah m pau"}
"""What flite would spell letter by letter."""
_WINDOW = 80  # 10 ms
_QUIET_DB = -35.0
_LEVEL_DBFS = -23.0


@dataclass(frozen=True)
class Saying:
    """Linear samples at 8 kHz, and at which of them each word is over. No words: not speech."""

    name: str
    sound: Sound
    words: tuple[tuple[int, str], ...] = ()
    pause: tuple[int, int] | None = None
    """Where the spliced pause begins and ends."""

    @property
    def text(self) -> str:
        return " ".join(word for _, word in self.words)

    @property
    def seconds(self) -> float:
        return len(self.sound) / RATE_HZ


def spoken(name: str, text: str, sound: Sound) -> Saying:
    """Speech from its first sample to its last, with its words laid over it."""
    words = text.split()
    total, ends, letters = sum(len(word) + 1 for word in words), [], 0
    for word in words:
        letters += len(word) + 1
        ends.append((len(sound) * letters // total, word))
    return Saying(name, sound, tuple(ends))


@lru_cache
def prompts() -> tuple[Saying, ...]:
    """The selection of `prompts.txt`, trimmed to the speech. Raises `NoRecordings`."""
    found = {recording.name: recording for recording in recordings()}
    chosen = []
    for line in PROMPTS.read_text().splitlines():
        name, _, text = line.partition(": ")
        if not line.startswith("#") and name in found:
            recording = found[name]
            linear = decode(recording.audio[recording.onset : recording.end]).astype(float)
            chosen.append(spoken(name, text, linear))
    return tuple(chosen)


def paused(saying: Saying, pause_ms: int) -> Saying:
    """The same with a pause of so many ms at its quietest point inside. What is quiet there already is part of it."""
    windows = len(saying.sound) // _WINDOW
    power = (saying.sound[: windows * _WINDOW].reshape(windows, _WINDOW) ** 2).mean(axis=1) + 1e-9
    quiet = 10 * np.log10(power / power.max()) < _QUIET_DB
    smooth = np.convolve(power, np.ones(3) / 3, "same")
    first, last = windows // 4, windows - windows // 4
    at = first + int(smooth[first:last].argmin())
    begin = end = at
    while begin > 0 and quiet[begin - 1]:
        begin -= 1
    while end < windows and quiet[end]:
        end += 1
    missing = max(0, pause_ms * RATE_HZ // 1000 - (end - begin) * _WINDOW)
    cut = at * _WINDOW
    sound = np.concatenate([saying.sound[:cut], np.zeros(missing), saying.sound[cut:]])
    words = tuple((over + missing if over > cut else over, word) for over, word in saying.words)
    return Saying(saying.name, sound, words, (begin * _WINDOW, end * _WINDOW + missing))


@lru_cache
def by_flite(texts: tuple[str, ...]) -> tuple[Saying, ...]:
    """Each text in each of flite's voices, at telephone level; none if flite is not installed."""
    if shutil.which("flite") is None:
        return ()
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for text in texts:
            for voice in _VOICES:
                file = Path(folder) / f"{hashlib.sha1(f'{voice} {text}'.encode()).hexdigest()}.wav"
                told = ("-p", _PHONES[text]) if text in _PHONES else ("-t", text)
                subprocess.run(["flite", "-voice", voice, *told, "-o", str(file)], check=True)
                said.append(spoken(f"{text} ({voice})", text, _trimmed(read_linear(file))))
    return tuple(said)


def _trimmed(linear: Sound) -> Sound:
    """From the first to the last 10 ms within 35 dB of the loudest, at the level of the recordings."""
    windows = len(linear) // _WINDOW
    power = (linear[: windows * _WINDOW].reshape(windows, _WINDOW) ** 2).mean(axis=1) + 1e-9
    level_db = 10 * np.log10(power / power.max())
    loud = np.flatnonzero(level_db > _QUIET_DB)
    gain = 10 ** (_LEVEL_DBFS / 20) * 32768 / np.sqrt(power[level_db > -25].mean())
    return np.asarray(linear[loud[0] * _WINDOW : (loud[-1] + 1) * _WINDOW] * gain)


def dtmf(seed: int) -> Sound:
    """Somebody else's keys, as tones: three of 80 to 250 ms."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(3):
        at = np.arange(int(RATE_HZ * random.uniform(0.08, 0.25))) / RATE_HZ
        low, high = random.choice([697, 770, 852, 941]), random.choice([1209, 1336, 1477, 1633])
        tone = np.sin(2 * np.pi * low * at) + np.sin(2 * np.pi * high * at)
        parts += [tone * 32768 * 10 ** (-13 / 20), np.zeros(int(RATE_HZ * random.uniform(0.06, 0.2)))]
    return np.concatenate(parts)


def music(seed: int) -> Sound:
    """Music in the background, 1 to 3 s: plucked chords, two to four a second, -35 to -25 dBFS."""
    random = np.random.default_rng(seed)
    length = int(RATE_HZ * random.uniform(1.0, 3.0))
    sound = np.zeros(length)
    beat = int(RATE_HZ / random.uniform(2, 4))
    for begin in range(0, length, beat):
        at = np.arange(min(2 * beat, length - begin)) / RATE_HZ
        for semitones in random.choice([0, 4, 7, 12, 16], 3, replace=False):
            hz = 220 * 2 ** ((semitones + random.integers(0, 5)) / 12)
            tone = sum(np.sin(2 * np.pi * hz * n * at) / n**1.5 for n in range(1, 7) if hz * n < 3600)
            sound[begin : begin + len(at)] += tone * np.exp(-3 * at) * np.minimum(1, at / 0.005)
    level = 32768 * 10 ** (random.uniform(-35, -25) / 20)
    return np.asarray(sound / np.sqrt((sound**2).mean()) * level)
