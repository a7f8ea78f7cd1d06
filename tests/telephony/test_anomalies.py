"""Clipping, one-way audio, dropouts and constant tones are found; what people, keys and music sound like is not."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.anomalies import Anomaly, AudioAnomalies, Clipping, ConstantTone, Dropout, OneWayAudio
from telephony.audio import FRAME_BYTES, FRAME_MS, MULAW_SILENCE
from telephony.simulator.sound import encode, read_linear
from telephony.simulator.voice import RECORDINGS

RATE_HZ = 8000
HUMAN = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
SILENT = bytes([MULAW_SILENCE]) * FRAME_BYTES
NOISE = np.random.default_rng(5)


def frames(sound: bytes) -> list[bytes]:
    return [sound[at : at + FRAME_BYTES] for at in range(0, len(sound) - FRAME_BYTES + 1, FRAME_BYTES)]


def listen(payloads: Iterable[bytes], ear: AudioAnomalies | None = None, begin_ms: int = 0) -> list[Anomaly]:
    ear = ear or AudioAnomalies()
    found: list[Anomaly] = []
    for number, payload in enumerate(payloads):
        found += ear.feed(payload, begin_ms + number * FRAME_MS)
    return [*found, *ear.finish()]


def tone(*frequencies_hz: float, seconds: float, amplitude: float = 3000.0) -> np.ndarray:
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return amplitude * sum(np.sin(2 * np.pi * frequency * at) for frequency in frequencies_hz)


def pause(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ))


def line(*sounds: np.ndarray, noise: float = 20.0) -> list[bytes]:
    sound = np.concatenate(sounds)
    return frames(encode(sound + NOISE.normal(0, noise, len(sound))))


def recordings() -> np.ndarray:
    return np.concatenate([read_linear(path) for path in sorted(RECORDINGS.glob("*.wav"))])


# what is in order


def test_speech_is_no_anomaly() -> None:
    assert listen(line(recordings())) == []
    assert listen(line(recordings(), noise=0.0)) == []


@pytest.mark.peer
@pytest.mark.skipif(not HUMAN.is_dir(), reason="needs the package asterisk-core-sounds-en-wav")
def test_human_recordings_are_no_anomaly() -> None:
    for path in sorted(HUMAN.rglob("*.wav")):
        if path.parent.name != "silence":
            assert listen(line(read_linear(path))) == []


def test_keys_are_no_anomaly() -> None:
    rng = np.random.default_rng(1)
    keys = [
        part
        for _ in range(80)
        for part in (
            tone(rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477]), seconds=rng.uniform(0.05, 0.8)),
            pause(rng.uniform(0.05, 0.4)),
        )
    ]
    assert listen(line(*keys)) == []


@pytest.mark.parametrize(("harmonics", "voices"), [((1.0,), 1), ((1.0, 0.6, 0.4, 0.2), 1), ((1.0, 0.7, 0.5, 0.3), 3)])
def test_melodies_and_chords_are_no_anomaly(harmonics: tuple[float, ...], voices: int) -> None:
    rng = np.random.default_rng(2)
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
    notes = []
    for _ in range(60):
        seconds = rng.uniform(0.1, 0.9)
        pitches = rng.choice(scale, voices, replace=False)
        overtones = [(number * pitch, part) for pitch in pitches for number, part in enumerate(harmonics, 1)]
        notes.append(sum(tone(pitch, seconds=seconds, amplitude=2000 * part) for pitch, part in overtones))
    assert listen(line(*notes)) == []


def test_noise_is_no_anomaly() -> None:
    assert listen(line(pause(5), noise=1000.0)) == []


# tones


@pytest.mark.parametrize(
    ("sound", "frequencies_hz"),
    [
        ([tone(350, 440, seconds=3)], (350, 440)),
        ([tone(425, seconds=3)], (425,)),
        ([tone(480, 620, seconds=0.5), pause(0.5)] * 6, (480, 620)),
        ([tone(480, 620, seconds=0.25), pause(0.25)] * 12, (480, 620)),
        ([tone(1100, seconds=0.5), pause(3)] * 5, (1100,)),
        ([pause(1), tone(2100, seconds=3.3)], (2100,)),
        ([np.clip(tone(1730, seconds=3, amplitude=20_000), -9000, 9000)], (1730,)),
    ],
    ids=["dial tone", "european dial tone", "busy", "reorder", "calling fax", "answering fax", "howl"],
)
def test_a_constant_tone_is_reported_once_with_its_frequencies(
    sound: list[np.ndarray], frequencies_hz: tuple[int, ...]
) -> None:
    (found,) = listen(line(*sound))
    assert isinstance(found, ConstantTone)
    assert found.frequencies_hz[: len(frequencies_hz)] == pytest.approx(frequencies_hz, abs=8)
    assert found.lasted_ms >= 2000


def test_a_tone_is_as_loud_as_it_sounds() -> None:
    (found,) = listen(line(tone(1000, seconds=4, amplitude=32768 * 10 ** (-17 / 20))))
    assert isinstance(found, ConstantTone)
    assert found.level_dbfs == pytest.approx(-20, abs=0.5)
    assert (found.began_ms, found.lasted_ms) == (0, 2000)


def test_a_tone_after_speech_is_another_episode() -> None:
    speech = recordings()[: 5 * RATE_HZ]
    found = listen(line(tone(425, seconds=4), speech, tone(425, seconds=4)))
    assert [type(anomaly) for anomaly in found] == [ConstantTone, ConstantTone]


def test_two_notes_in_turn_are_no_tone() -> None:
    assert listen(line(*[tone(400, seconds=0.5), tone(600, seconds=0.5)] * 6)) == []


# clipping


def test_clipping_is_reported_when_it_is_over() -> None:
    speech = recordings()[: 4 * RATE_HZ]
    ear = AudioAnomalies()
    during = [ear.feed(payload, 20 * n) for n, payload in enumerate(line(speech * 12))]
    assert during == [()] * len(during)
    (found,) = listen(line(speech), ear, begin_ms=20 * len(during))
    assert isinstance(found, Clipping)
    assert found.began_ms == 0
    assert 3000 <= found.lasted_ms <= 4000
    assert found.samples >= 40 * found.lasted_ms // 1000


def test_clipping_up_to_the_end_is_reported_at_the_end() -> None:
    ear = AudioAnomalies()
    loud = NOISE.choice(np.array([0x00, 0x80], np.uint8), (100, FRAME_BYTES))
    for number, payload in enumerate(loud):
        assert ear.feed(payload.tobytes(), 20 * number) == ()
    assert ear.finish() == (Clipping(0, 2000, 16_000),)
    assert ear.finish() == ()


def test_a_loud_voice_that_touches_full_scale_does_not_clip() -> None:
    frame = b"\x80" + line(recordings()[:FRAME_BYTES])[0][1:]
    calm = line(recordings())
    assert listen([frame if number % 3 == 0 else calm[number % len(calm)] for number in range(200)]) == []


# one-way audio


@pytest.mark.parametrize("code", [0xFF, 0x7F, 0xD5])
def test_nothing_but_silence_is_one_way_audio_once(code: int) -> None:
    found = listen([bytes([code]) * FRAME_BYTES] * 3000)
    assert found == [OneWayAudio(0, 10_000, ever_heard=False)]


def test_a_caller_who_only_listens_is_given_longer() -> None:
    heard = line(recordings()[: 3 * RATE_HZ])
    assert listen([*heard, *[SILENT] * (29 * 50)]) == []
    (found,) = listen([*heard, *[SILENT] * (31 * 50)])
    assert found == OneWayAudio(3000, 30_000, ever_heard=True)


def test_one_way_audio_that_comes_back_is_another_episode() -> None:
    silence = [SILENT] * (35 * 50)
    found = listen([*silence, *line(recordings()[: 2 * RATE_HZ]), *silence])
    assert [anomaly.ever_heard for anomaly in found if isinstance(anomaly, OneWayAudio)] == [False, True]


def test_a_quiet_room_is_a_live_line() -> None:
    assert listen(line(pause(40), noise=10.0)) == []


# dropouts


def dropped(missing: set[int], count: int = 200) -> list[Anomaly]:
    ear = AudioAnomalies()
    calm = line(pause(count * FRAME_MS / 1000))
    found: list[Anomaly] = []
    for number, payload in enumerate(calm):
        if number not in missing:
            found += ear.feed(payload, 5 + number * FRAME_MS)
    return [*found, *ear.finish()]


def test_missing_frames_are_a_dropout_with_its_extent() -> None:
    assert dropped({50, 51, 52}) == [Dropout(1005, 60, 60, 1)]


def test_gaps_close_together_are_one_dropout() -> None:
    assert dropped({50, 51, 60}) == [Dropout(1005, 220, 60, 2)]


def test_gaps_far_apart_are_two() -> None:
    assert dropped({20, 180}) == [Dropout(405, 20, 20, 1), Dropout(3605, 20, 20, 1)]


def test_a_frame_that_is_only_late_is_not_missing() -> None:
    ear = AudioAnomalies()
    for timestamp_ms in (0, 20, 60, 40, 80):
        assert ear.feed(SILENT, timestamp_ms) == ()
    assert ear.finish() == ()


def test_a_stream_that_starts_anew_is_no_dropout() -> None:
    ear = AudioAnomalies()
    for timestamp_ms in (60_000, 60_020, 0, 20, 40):
        ear.feed(SILENT, timestamp_ms)
    assert ear.finish() == ()


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=100))
def test_uneven_timestamps_are_no_dropout(jitter: list[int]) -> None:
    ear = AudioAnomalies()
    latest = 0
    for number, shift in enumerate(jitter):
        timestamp_ms = max(latest, number * FRAME_MS + shift // 2 + 5)
        latest = timestamp_ms
        ear.feed(SILENT, timestamp_ms)
    assert ear.finish() == ()


@given(st.lists(st.tuples(st.binary(max_size=400), st.integers(0, 10**7)), max_size=100))
def test_any_frames_are_taken(payloads: list[tuple[bytes, int]]) -> None:
    ear = AudioAnomalies()
    for payload, timestamp_ms in payloads:
        ear.feed(payload, timestamp_ms)
    ear.finish()
