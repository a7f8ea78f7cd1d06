"""How voice activity serves many calls: batching, the gate, its clock, and one call's failure that no other notices."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from telephony.audio import MULAW_SILENCE
from telephony.clock import LoopClock
from telephony.codecs.g711 import encode_mulaw, mulaw_to_float
from telephony.silero import CHUNK_SAMPLES, CONTEXT_SAMPLES, STATE_SIZE, Silero
from telephony.vad import (
    BACKLOG_CHUNKS,
    CHUNK_S,
    CHUNKS_PER_TICK,
    QUIETEST_DBFS,
    Channel,
    VoiceActivity,
    VoiceFrame,
)
from tests.virtual import run as in_virtual_time

SPEECH = np.load(Path(__file__).parent / "golden" / "silero_8k.npz")["mulaw"].tobytes()
SILENCE = bytes([MULAW_SILENCE])
RNG = np.random.default_rng(7)


def mulaw(samples: np.ndarray) -> bytes:
    return encode_mulaw(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def hum(seconds: float, hz: float = 50, amplitude: float = 0.1) -> bytes:
    return mulaw(amplitude * np.sin(2 * np.pi * hz / 8000 * np.arange(int(seconds * 8000))))


def no_failure(failure: Exception) -> None:
    raise AssertionError("a channel failed") from failure


def listen(activity: VoiceActivity) -> tuple[Channel, list[VoiceFrame]]:
    frames: list[VoiceFrame] = []
    return activity.open(frames.append, no_failure), frames


def hear(activity: VoiceActivity, channel: Channel, audio: bytes, now: float = 0.0) -> float:
    """Feed `audio` in real time, a tick after each chunk; returns the time it ended."""
    for at in range(0, len(audio), CHUNK_SAMPLES):
        channel.feed(audio[at : at + CHUNK_SAMPLES])
        now += CHUNK_S
        activity.tick(now)
    return now


def probabilities(audio: bytes) -> list[float]:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    hear(activity, channel, audio)
    return [frame.probability for frame in frames]


# One call


def test_speech_is_told_from_silence() -> None:
    before = probabilities(SILENCE * 8000)
    during = probabilities(SILENCE * 8000 + SPEECH[6000:14000])[len(before) :]
    assert max(before) < 0.1
    assert np.mean(np.array(during) > 0.5) > 0.8


def test_there_is_one_frame_for_every_256_samples() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(SPEECH[:255])
    activity.tick(1.0)
    assert frames == []
    channel.feed(SPEECH[255:600])
    activity.tick(2.0)
    assert len(frames) == 2
    channel.feed(SPEECH[600:768])
    activity.tick(3.0)
    assert len(frames) == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=30))
def test_the_cut_of_the_audio_does_not_matter(pieces: list[int]) -> None:
    audio = SPEECH[8000 : 8000 + sum(pieces)]
    activity = VoiceActivity()
    channel, frames = listen(activity)
    at = 0
    for piece in pieces:
        channel.feed(audio[at : at + piece])
        at += piece
        activity.tick(0.0)
    assert [frame.probability for frame in frames] == probabilities(audio)[: len(audio) // CHUNK_SAMPLES]


def test_the_level_is_rms_over_full_scale() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    hear(activity, channel, hum(0.32, hz=1000, amplitude=0.1) + SILENCE * 512)
    assert frames[5].level_dbfs == pytest.approx(-23.0, abs=0.2)
    assert frames[-1].level_dbfs == pytest.approx(QUIETEST_DBFS)


def test_behind_an_open_gate_the_network_hears_every_sample_in_order() -> None:
    audio = SPEECH[6000 : 6000 + 20 * CHUNK_SAMPLES]
    padded = np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), mulaw_to_float(audio)])
    network, state = Silero.load(), np.zeros((1, STATE_SIZE), np.float32)
    expected = [
        float(network(padded[None, start : start + CONTEXT_SAMPLES + CHUNK_SAMPLES], state)[0])
        for start in range(0, len(audio), CHUNK_SAMPLES)
    ]
    assert probabilities(audio) == pytest.approx(expected, abs=1e-6)


# The gate


def test_a_closed_gate_spares_the_network() -> None:
    for steady in (SILENCE * 8000 * 6, hum(6.0), mulaw(RNG.normal(0, 0.02, 8000 * 6))):
        activity = VoiceActivity()
        channel, frames = listen(activity)
        now = hear(activity, channel, steady[: 8000 * 5])
        judged = activity.chunks_judged
        hear(activity, channel, steady[8000 * 5 :], now)
        assert activity.chunks_judged == judged
        assert activity.chunks_heard == len(frames)
        assert {frame.probability for frame in frames[-20:]} == {0.0}


def test_the_first_words_of_a_call_are_heard_without_any_quiet_before_them() -> None:
    assert max(probabilities(SPEECH[6000:8000])) > 0.9


def test_speech_opens_the_gate_out_of_steady_noise() -> None:
    noise = RNG.normal(0, 0.01, 8000 * 5)
    audio = mulaw(noise) + SPEECH[5000:13000]
    frames = probabilities(audio)
    assert max(frames[-30:]) > 0.9


def test_the_networks_memory_stays_as_it_is_behind_a_closed_gate() -> None:
    activity = VoiceActivity()
    channel, _ = listen(activity)
    now = hear(activity, channel, SPEECH[6000:14000])
    now = hear(activity, channel, SILENCE * 8000 * 4, now)
    kept = activity._memory["state"][channel._row].copy()
    hear(activity, channel, SILENCE * 8000, now)
    assert np.array_equal(activity._memory["state"][channel._row], kept)


# Many calls


def test_a_call_is_judged_alike_in_any_company() -> None:
    starts = [0, 3000, 7000, 12000, 20000] * 8  # more than the first rows, and not in step
    activity = VoiceActivity()
    calls = [listen(activity) for _ in starts]
    for step in range(100):
        for (channel, _), start in zip(calls, starts, strict=True):
            channel.feed(SPEECH[start + step * 160 : start + (step + 1) * 160])
        activity.tick(step * 0.02)
    for (_, frames), start in list(zip(calls, starts, strict=True))[:5]:
        alone = probabilities(SPEECH[start : start + 16000])[: len(frames)]
        assert [frame.probability for frame in frames] == pytest.approx(alone, abs=1e-3)


def test_a_new_call_does_not_inherit_anothers_memory() -> None:
    activity = VoiceActivity()
    for _ in range(40):
        channel, _ = listen(activity)
        hear(activity, channel, SPEECH[6000:8000])
        channel.close()
    channel, frames = listen(activity)
    hear(activity, channel, SPEECH[20000:24096])
    assert [frame.probability for frame in frames] == probabilities(SPEECH[20000:24096])


def test_memory_does_not_grow_with_calls_that_come_and_go() -> None:
    activity = VoiceActivity()
    for _ in range(200):
        calls = [listen(activity)[0] for _ in range(10)]
        for channel in calls:
            channel.close()
            channel.close()
    assert len(activity._memory) == 16


def test_products_are_computed_in_one_thread() -> None:
    VoiceActivity()
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} <= {1}


# Late ticks


def test_a_late_tick_catches_up_and_dates_what_it_missed() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(SPEECH[: 4 * CHUNK_SAMPLES])
    activity.tick(10.0)
    assert [frame.now for frame in frames] == pytest.approx(
        [10.0 - 3 * CHUNK_S, 10.0 - 2 * CHUNK_S, 10.0 - CHUNK_S, 10.0]
    )


def test_a_burst_does_not_turn_time_back() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(SPEECH[:CHUNK_SAMPLES])
    activity.tick(10.0)
    channel.feed(SPEECH[: 5 * CHUNK_SAMPLES])
    activity.tick(10.04)
    times = [frame.now for frame in frames]
    assert times == sorted(times)
    assert times[-1] == 10.04


def test_one_tick_catches_up_only_so_far() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(SPEECH[: 20 * CHUNK_SAMPLES])
    activity.tick(1.0)
    assert len(frames) == CHUNKS_PER_TICK
    activity.tick(1.1)
    activity.tick(1.2)
    assert len(frames) == 20


def test_a_full_backlog_drops_its_oldest_and_counts() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(hum(1.0))
    channel.feed(SPEECH[: BACKLOG_CHUNKS * CHUNK_SAMPLES])
    assert channel.dropped_samples == 8000
    for _ in range(10):
        activity.tick(0.0)
    assert [frame.probability for frame in frames] == probabilities(SPEECH[: BACKLOG_CHUNKS * CHUNK_SAMPLES])


# Failure and closing


def test_one_calls_failure_is_its_own() -> None:
    activity, failures = VoiceActivity(), []
    before, heard_before = listen(activity)

    def fail(frame: VoiceFrame) -> None:
        raise LookupError("a bug of this call")

    broken = activity.open(fail, failures.append)
    after, heard_after = listen(activity)
    for _ in range(3):
        for channel in (before, broken, after):
            channel.feed(SPEECH[:CHUNK_SAMPLES])
        activity.tick(0.0)
    assert len(heard_before) == len(heard_after) == 3
    assert [type(failure) for failure in failures] == [LookupError]


def test_a_closed_channel_hears_nothing_more() -> None:
    activity = VoiceActivity()
    channel, frames = listen(activity)
    channel.feed(SPEECH[:CHUNK_SAMPLES])
    channel.close()
    channel.feed(SPEECH[:CHUNK_SAMPLES])
    activity.tick(0.0)
    assert frames == []


def test_a_call_may_end_another_from_within_a_frame() -> None:
    activity = VoiceActivity()
    later: list[Channel] = []
    heard: list[VoiceFrame] = []

    def hang_up(frame: VoiceFrame) -> None:
        later[0].close()
        first.close()

    first = activity.open(hang_up, no_failure)
    later.append(activity.open(heard.append, no_failure))
    for channel in (first, later[0]):
        channel.feed(SPEECH[: 2 * CHUNK_SAMPLES])
    activity.tick(0.0)
    assert heard == []


# The clock


def told_at(fed: dict[int, int]) -> list[float]:
    """When frames are told, in virtual milliseconds, if so many chunks are fed at those milliseconds."""

    async def scene() -> list[float]:
        clock, activity = LoopClock(), VoiceActivity()
        began = clock.now()
        told: list[float] = []
        channel = activity.open(lambda frame: told.append(round((clock.now() - began) * 1000, 3)), no_failure)
        running = asyncio.create_task(activity.run(clock))
        for at_ms, chunks in fed.items():
            await clock.sleep_until(began + at_ms / 1000)
            channel.feed(SPEECH[: chunks * CHUNK_SAMPLES])
        await asyncio.sleep(0.1)
        running.cancel()
        return told

    return in_virtual_time(scene())


def test_a_chunk_is_judged_at_once_where_none_was_for_a_while() -> None:
    assert told_at({0: 1, 13: 1, 57: 1}) == [0, 13, 57]


def test_chunks_that_come_soon_after_are_judged_together_eight_milliseconds_later() -> None:
    assert told_at({0: 1, 1: 1, 7: 1, 9: 1}) == [0, 8, 8, 16]


def test_what_a_stalled_loop_has_missed_is_judged_when_it_runs_on() -> None:
    most = CHUNKS_PER_TICK
    assert told_at({50: 2 * most + 1}) == [50] * most + [58] * most + [66]
