"""What the whole of gate and network makes of speech, and of sounds that are none.

Speech is judged at the thresholds that a conversation uses: on at 0.5, off at 0.35.
"""

import os
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from telephony.codecs.g711 import encode_mulaw
from telephony.codecs.resample import Resampler
from telephony.silero import CHUNK_SAMPLES
from telephony.vad import VoiceActivity, VoiceFrame

RATE = 8000
FRAME = 160
SOUNDS = Path(os.environ.get("ASTERISK_SOUNDS", "/usr/share/asterisk/sounds/en"))
SENTENCES = (
    "I would like to book an appointment for Tuesday.",
    "What are your opening hours?",
    "Goodbye, and thank you.",
    "Can I move it to the afternoon?",
)
RECORDINGS = (
    "vm-goodbye",
    "demo-thanks",
    "demo-abouttotry",
    "tt-somethingwrong",
    "conf-getpin",
    "vm-leavemsg",
    "queue-thankyou",
    "pls-hold-while-try",
    "number-not-answering",
    "please-try-call-later",
)


def decisions(samples: np.ndarray) -> np.ndarray:
    """Whether the caller is taken to speak, for each chunk of [-1, 1) samples at 8 kHz."""
    frames: list[VoiceFrame] = []
    activity = VoiceActivity()
    channel = activity.open(frames.append, lambda failure: pytest.fail(str(failure)))
    audio = encode_mulaw(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    for at in range(0, len(audio), FRAME):
        channel.feed(audio[at : at + FRAME])
        activity.tick(at / RATE)
    speaking, decided = False, []
    for frame in frames:
        speaking = frame.probability >= (0.35 if speaking else 0.5)
        decided.append(speaking)
    return np.array(decided)


def judge(utterances: list[np.ndarray], noise_rms: float = 0.0002) -> tuple[float, float, float]:
    """Utterances 1 s apart: share of speech missed, share of the pauses taken for speech, median onset in ms."""
    rng = np.random.default_rng(1)
    parts, truth = [], []
    for utterance in utterances:
        utterance = utterance[: len(utterance) // CHUNK_SAMPLES * CHUNK_SAMPLES]
        level_db = 10 * np.log10(np.mean(utterance.reshape(-1, CHUNK_SAMPLES) ** 2, axis=1) + 1e-12)
        voiced = np.flatnonzero(level_db > level_db.max() - 30)
        spoken = np.zeros(len(level_db), bool)
        spoken[voiced[0] : voiced[-1] + 1] = True
        parts += [np.zeros(31 * CHUNK_SAMPLES), utterance]
        truth += [np.zeros(31, bool), spoken]
    samples = np.concatenate(parts)
    spoken = np.concatenate(truth)
    decided = decisions(samples + rng.normal(0, noise_rms, len(samples)))
    starts = np.flatnonzero(spoken[1:] & ~spoken[:-1]) + 1
    onsets = [
        np.argmax(decided[start : start + 31]) * 32 if decided[start : start + 31].any() else 1000 for start in starts
    ]
    after_speech = np.convolve(spoken, np.ones(9))[: len(spoken)] > 0  # a collar of 256 ms behind each word
    return float((~decided[spoken]).mean()), float(decided[~after_speech].mean()), float(np.median(onsets))


def normalised(samples: np.ndarray, dbfs: float = -22.0) -> np.ndarray:
    loud = np.abs(samples) > 0.05 * np.abs(samples).max()
    return samples * 10 ** (dbfs / 20) / np.sqrt(np.mean(samples[loud] ** 2))


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
        rate = recording.getframerate()
    if rate != RATE:
        resampler = Resampler(rate, RATE)
        samples = np.concatenate([resampler.feed(samples), resampler.flush()])
    return samples / 32768


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@pytest.mark.parametrize("voice", ["rms", "slt", "awb", "kal"])
@pytest.mark.parametrize("noise_rms", [0.0002, 0.008], ids=["clean", "20 dB above noise"])
def test_synthetic_speech_is_heard(voice: str, noise_rms: float, tmp_path: Path) -> None:
    utterances = []
    for number, sentence in enumerate(SENTENCES):
        path = tmp_path / f"{number}.wav"
        subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", path], check=True)
        utterances.append(normalised(read(path)))
    missed, false_alarm, onset_ms = judge(utterances, noise_rms)
    assert missed < 0.12
    assert false_alarm < 0.01
    assert onset_ms <= 128


@pytest.mark.peer
@pytest.mark.skipif(not SOUNDS.is_dir(), reason="no recordings: ASTERISK_SOUNDS names no folder")
@pytest.mark.parametrize(
    ("dbfs", "noise_rms", "worst_miss", "worst_onset_ms"),
    [(-22, 0.0002, 0.05, 64), (-38, 0.0002, 0.06, 96), (-22, 0.008, 0.08, 96), (-22, 0.045, 0.15, 160)],
    ids=["clean", "quiet", "20 dB above noise", "5 dB above noise"],
)
def test_human_speech_is_heard(dbfs: float, noise_rms: float, worst_miss: float, worst_onset_ms: float) -> None:
    recordings = [normalised(read(SOUNDS / f"{name}.wav"), dbfs) for name in RECORDINGS]
    missed, false_alarm, onset_ms = judge(recordings, noise_rms)
    assert missed < worst_miss
    assert false_alarm < 0.01
    assert onset_ms <= worst_onset_ms


TIME = np.arange(20 * RATE) / RATE


def sines(*frequencies: float, amplitude: float = 0.1) -> np.ndarray:
    return amplitude * sum(np.sin(2 * np.pi * hz * TIME) for hz in frequencies)


def bursts(every_s: float, make) -> np.ndarray:
    """What `make(number)` returns, every so often."""
    out = np.zeros(len(TIME))
    for number, start in enumerate(np.arange(0.2, 19.0, every_s)):
        sound = make(number)
        at = int(start * RATE)
        out[at : at + len(sound)] += sound[: len(out) - at]
    return out


def key(number: int) -> np.ndarray:
    row, column = (697, 770, 852, 941)[number % 4], (1209, 1336, 1477, 1633)[number // 4 % 4]
    return sines(row, column, amplitude=0.2)[: RATE // 10]


def note(number: int) -> np.ndarray:
    hz = (262, 330, 392, 523, 294, 349, 440, 587)[number * 5 % 8]
    fade = np.exp(-5 * TIME[: RATE // 2])
    return fade * sum(sines(hz * harmonic, amplitude=0.1 / harmonic)[: RATE // 2] for harmonic in range(1, 6))


def breath(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.15, RATE // 4) * np.hanning(RATE // 4)


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("ringback", sines(440, 480) * (TIME % 6 < 2)),
        ("busy", sines(480, 620) * (TIME % 1 < 0.5)),
        ("one tone", sines(1000, amplitude=0.3)),
        ("hum", sum(sines(50 * harmonic, amplitude=0.02 / harmonic) for harmonic in range(1, 8))),
        ("keys", bursts(0.3, key)),
        ("clicks", bursts(0.43, lambda number: np.array([0.9, -0.9]))),
        ("music", bursts(0.25, note)),
        ("breaths", bursts(1.6, breath)),
        ("noise", np.random.default_rng(3).normal(0, 0.03, len(TIME))),
        ("comfort noise", np.random.default_rng(4).normal(0, 0.001, len(TIME))),
    ],
)
def test_what_is_no_speech_is_hardly_ever_taken_for_it(name: str, samples: np.ndarray) -> None:
    assert decisions(samples).mean() <= 0.01, name  # the first note of the music costs 160 ms, nothing else anything
