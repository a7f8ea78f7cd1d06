"""The caller's level is followed over speech, and brought near the target without clipping."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.codecs.g711 import decode_mulaw
from telephony.loudness import LARGEST_GAIN_DB, TARGET_DBFS, LevelKeeper, gain_table
from telephony.simulator.sound import decode, encode
from telephony.simulator.voice import RECORDINGS

EVERY_CODE = bytes(range(256))
CHUNK = 256
VOICES = sorted(RECORDINGS.glob("*.wav"))


def speech(level_dbfs: float, seconds: float = 12.0) -> bytes:
    """The recordings in a row, the mean power of what is audible in them at a level."""
    rows = [np.frombuffer(decode_mulaw(path.read_bytes()[58:]), "<i2").astype(float) for path in VOICES]
    sound = np.concatenate(rows)[: int(seconds * 8000)]
    blocks = sound[: len(sound) // CHUNK * CHUNK].reshape(-1, CHUNK)
    power = (blocks**2).mean(axis=1)
    active = power[power > power.max() * 1e-4].mean()
    return encode(sound * 32768 * 10 ** (level_dbfs / 20) / math.sqrt(active))


def chunks(sound: bytes) -> list[tuple[bytes, float]]:
    """Chunks of 32 ms and their levels, of those that a detector takes for speech."""
    cut = [sound[at : at + CHUNK] for at in range(0, len(sound) - CHUNK, CHUNK)]
    levels = [10 * math.log10((decode(chunk).astype(float) ** 2).mean() / 32768**2 + 1e-10) for chunk in cut]
    return [(chunk, level) for chunk, level in zip(cut, levels, strict=True) if level > max(levels) - 35]


def level_of(sound: bytes) -> float:
    return 10 * math.log10((decode(sound).astype(float) ** 2).mean() / 32768**2)


def keeper_after(levels: list[float]) -> LevelKeeper:
    keeper = LevelKeeper()
    for level in levels:
        keeper.voiced(level)
    return keeper


@pytest.mark.parametrize("level", [-34.0, -30.0, -25.0, -15.0, -12.0, -8.0])
def test_speech_of_any_usual_level_comes_out_near_the_target(level: float) -> None:
    keeper = LevelKeeper()
    levelled = b""
    for chunk, chunk_level in chunks(speech(level)):
        keeper.voiced(chunk_level)
        levelled += keeper.apply(chunk)
    settled = levelled[3 * 8000 :]
    assert level_of(settled) == pytest.approx(TARGET_DBFS, abs=3.0)


@pytest.mark.parametrize("level", [-40.0, -32.0, -26.0, -20.0])
def test_hardly_a_sample_clips(level: float) -> None:
    loudest = max(decode(EVERY_CODE).tolist())
    keeper = LevelKeeper()
    clipped = samples = 0
    for chunk, chunk_level in chunks(speech(level)):
        keeper.voiced(chunk_level)
        clipped += int((np.abs(decode(keeper.apply(chunk)).astype(int)) >= loudest).sum())
        samples += len(chunk)
    assert clipped <= samples / 1000


def test_a_shout_is_turned_down_with_its_first_chunk() -> None:
    keeper = keeper_after([-40.0] * 100)
    assert keeper.gain_db == LARGEST_GAIN_DB
    keeper.voiced(-12.0)
    assert -12.0 + keeper.gain_db <= -9.0


def test_a_voice_at_the_target_passes_as_the_very_same_bytes() -> None:
    keeper = keeper_after([-21.0, -19.5] * 50)
    assert keeper.apply(EVERY_CODE) is EVERY_CODE


def test_nothing_is_changed_before_a_voice_was_heard() -> None:
    keeper = LevelKeeper()
    assert keeper.level_dbfs is None
    assert keeper.apply(EVERY_CODE) is EVERY_CODE


def test_the_end_of_a_sentence_is_not_taken_for_a_softer_caller() -> None:
    keeper = keeper_after([-20.0] * 64)
    for level in (-25.0, -30.0, -35.0, -40.0):
        keeper.voiced(level)
    assert keeper.gain_db == 0


def test_a_softer_caller_is_followed_within_seconds_of_voice() -> None:
    keeper = keeper_after([-20.0] * 64)
    for _ in range(round(8 / 0.032)):
        keeper.voiced(-32.0)
    assert -32.0 + keeper.gain_db == pytest.approx(TARGET_DBFS, abs=3.0)


@given(st.lists(st.floats(-100, 0), max_size=200))
def test_the_gain_is_bounded_and_never_jumps_up(levels: list[float]) -> None:
    keeper = LevelKeeper()
    gains = [0]
    for level in levels:
        keeper.voiced(level)
        gains.append(keeper.gain_db)
    assert all(abs(gain) <= LARGEST_GAIN_DB for gain in gains)
    assert all(later - earlier <= 1 for earlier, later in pairwise(gains))


@pytest.mark.parametrize("gain_db", [-15, -6, 1, 6, 15])
def test_a_table_shifts_every_code_by_its_gain(gain_db: int) -> None:
    before = decode(EVERY_CODE).astype(float)
    after = decode(EVERY_CODE.translate(gain_table(gain_db))).astype(float)
    wanted = np.clip(before * 10 ** (gain_db / 20), -32124, 32124)
    # Half a step of µ-law, which is a sixteenth of the value and its bias of 132; and the 2 bits it does not have.
    assert (np.abs(after - wanted) <= (np.abs(wanted) + 132) / 32 + 4).all()


@pytest.mark.parametrize("gain_db", range(-15, 16))
def test_silence_stays_silence_and_order_is_kept(gain_db: int) -> None:
    table = gain_table(gain_db)
    assert table[0xFF] == 0xFF
    assert table[0x7F] == 0x7F
    ascending = sorted(range(256), key=lambda code: int(decode(bytes([code]))[0]))
    louder = decode(bytes(table[code] for code in ascending)).tolist()
    assert louder == sorted(louder)
