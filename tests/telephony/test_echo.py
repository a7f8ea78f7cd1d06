"""The agent's voice coming back is told from a caller, at any delay, over any line, and from the same speaker."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.audio import FRAME_BYTES, MULAW_SILENCE
from telephony.echo import EchoGuard
from telephony.simulator.sound import decode, encode, read_linear
from telephony.simulator.voice import RECORDINGS

RATE_HZ = 8000
FRAME_S = 0.02
CHUNK = 256
LEAD_FRAMES = 10
VOICES = sorted(RECORDINGS.glob("*.wav"))
SECONDS = 6
SILENT = bytes([MULAW_SILENCE]) * FRAME_BYTES


def voice(first: int, level_dbfs: float = -20.0) -> np.ndarray:
    """Six seconds of one synthetic speaker, another utterance for each `first`."""
    sound = np.concatenate([read_linear(VOICES[(first + n) % len(VOICES)]) for n in range(8)])[: SECONDS * RATE_HZ]
    power = (sound.reshape(-1, CHUNK // 2) ** 2).mean(axis=1)
    return sound * 32768 * 10 ** (level_dbfs / 20) / np.sqrt(power[power > power.max() / 1000].mean())


def telephone_band() -> np.ndarray:
    at = np.arange(129) - 64
    low, high = 300 / 4000, 3400 / 4000
    return (high * np.sinc(high * at) - low * np.sinc(low * at)) * np.hamming(129)


def reflections() -> np.ndarray:
    taps = np.zeros(300)
    for at, gain in ((0, 1.0), (23, -0.5), (57, 0.4), (121, 0.3), (260, -0.2)):
        taps[at] = gain
    return np.convolve(taps, telephone_band())


def hybrid() -> np.ndarray:
    """A dispersive one: two-wire lines ring for some milliseconds."""
    taps = np.random.default_rng(7).normal(size=40) * np.exp(-np.arange(40) / 12)
    return np.convolve(taps, telephone_band())


PATHS = {"wire": np.ones(1), "telephone band": telephone_band(), "reflections": reflections(), "hybrid": hybrid()}


def echo_of(sound: np.ndarray, delay_s: float, level_db: float, path: np.ndarray) -> np.ndarray:
    """`sound` as it comes back: late, filtered, softer by `-level_db`."""
    filtered = np.convolve(decode(encode(sound)).astype(float), path)
    filtered *= 10 ** (level_db / 20) * np.sqrt((sound**2).sum() / (filtered**2).sum())
    late = np.concatenate([np.zeros(round(delay_s * RATE_HZ)), filtered])
    return late[: len(sound)]


def verdicts(
    agent: np.ndarray, incoming: np.ndarray, guard: EchoGuard | None = None, jitter_s: float = 0.0
) -> Iterator[tuple[float, bool]]:
    """When something sounded, and what the guard made of it, for each chunk of the detector."""
    guard = guard or EchoGuard()
    rng = np.random.default_rng(11)
    sound = encode(agent)
    heard = encode(incoming + rng.normal(0, 15, len(incoming)))
    loud = [(decode(heard[at : at + CHUNK]).astype(float) ** 2).mean() > 60**2 for at in range(0, len(heard), CHUNK)]
    sent = chunk = 0
    for number in range(len(heard) // FRAME_BYTES):
        now = (number + 1) * FRAME_S + rng.uniform(0, jitter_s)
        for frame in range(sent, min(number + LEAD_FRAMES, len(sound) // FRAME_BYTES)):
            guard.played(sound[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES], frame * FRAME_S)
        sent = number + LEAD_FRAMES
        guard.heard(heard[number * FRAME_BYTES : (number + 1) * FRAME_BYTES], now)
        while (chunk + 1) * CHUNK <= (number + 1) * FRAME_BYTES:
            if loud[chunk] and guard.audible(now):
                yield now, guard.is_echo(now)
            chunk += 1


def share_called_echo(agent: np.ndarray, incoming: np.ndarray, jitter_s: float = 0.0) -> float:
    return float(np.mean([echo for _, echo in verdicts(agent, incoming, jitter_s=jitter_s)]))


# echoes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("delay_s", "level_db"), [(0.06, -15), (0.21, -20), (0.4, -25), (0.6, -30)])
def test_an_echo_is_known_at_any_delay_and_level_over_any_line(path: str, delay_s: float, level_db: float) -> None:
    agent = voice(0)
    assert share_called_echo(agent, echo_of(agent, delay_s, level_db, PATHS[path])) >= 0.97


def test_an_echo_is_known_when_it_has_sounded_for_two_chunks() -> None:
    first_seen = []
    for number in range(8):
        agent = voice(2 * number)
        seen = [echo for _, echo in verdicts(agent, echo_of(agent, 0.3, -20, PATHS["telephone band"]))]
        first_seen.append(seen.index(True))
    assert np.mean([at <= 1 for at in first_seen]) >= 0.8
    assert max(first_seen) <= 5


def test_the_lag_is_found() -> None:
    guard = EchoGuard()
    assert guard.lag_s is None
    agent = voice(1)
    assert all(at for at in verdicts(agent, echo_of(agent, 0.25, -20, PATHS["wire"]), guard))
    assert guard.lag_s == pytest.approx(0.25, abs=0.002)


@pytest.mark.parametrize("delay_s", [0.3, 0.56, 0.6, 0.65])
def test_an_echo_that_begins_when_the_agent_is_silent_already_is_found_where_it_is(delay_s: float) -> None:
    known = []
    for number in range(8):
        guard, agent = EchoGuard(), voice(number)
        begin = int(np.argmax(np.abs(agent) > 2000))
        agent = np.concatenate([agent[begin : begin + round(0.1 * RATE_HZ)], np.zeros(RATE_HZ)])
        known += [echo for _, echo in verdicts(agent, echo_of(agent, delay_s, -20, PATHS["telephone band"]), guard)][1:]
        assert guard.lag_s == pytest.approx(delay_s + 64 / RATE_HZ, abs=0.004)  # the filter's own delay is in it
    assert np.mean(known) >= 0.9


def test_uneven_arrival_does_not_matter() -> None:
    agent = voice(3)
    assert share_called_echo(agent, echo_of(agent, 0.3, -20, PATHS["telephone band"]), jitter_s=0.018) >= 0.95


def test_an_echo_whose_path_changes_is_found_again() -> None:
    agent = voice(4)
    half = len(agent) // 2
    before, after = echo_of(agent, 0.15, -20, PATHS["wire"]), echo_of(agent, 0.4, -25, PATHS["reflections"])
    incoming = np.concatenate([before[:half], after[half:]])
    late = [echo for now, echo in verdicts(agent, incoming) if now > SECONDS / 2 + 0.5]
    assert np.mean(late) >= 0.95


# callers


@pytest.mark.parametrize(("level_dbfs", "allowed"), [(-20.0, 0.04), (-28.0, 0.06), (-36.0, 0.1), (-42.0, 0.15)])
def test_another_utterance_of_the_same_speaker_is_hardly_an_echo(level_dbfs: float, allowed: float) -> None:
    """A synthetic voice says the same syllable the same way each time, which no person does."""
    shares = [share_called_echo(voice(at), voice(at + 8, level_dbfs)) for at in (0, 3, 6)]
    assert np.mean(shares) <= allowed


@pytest.mark.parametrize(("over_db", "allowed"), [(3.0, 0.6), (10.0, 0.3), (20.0, 0.1)])
def test_a_caller_over_his_echo_is_no_echo(over_db: float, allowed: float) -> None:
    shares = []
    for at in (0, 4, 7):
        agent = voice(at)
        caller = voice(at + 9, -42.0 + over_db)
        caller[: 3 * RATE_HZ] = 0
        incoming = echo_of(agent, 0.3, -22, PATHS["telephone band"]) + caller
        spoken = (np.convolve(caller**2, np.ones(CHUNK) / CHUNK)[CHUNK - 1 :] > 100**2)[:: FRAME_BYTES // 2]
        said = [
            echo
            for now, echo in verdicts(agent, incoming)
            if now > 3.1 and spoken[min(len(spoken) - 1, int((now - 0.048) * 100))]
        ]
        shares.append(np.mean(said))
    assert np.mean(shares) <= allowed


def test_a_caller_as_loud_as_the_agent_is_no_echo_from_the_first_chunk() -> None:
    guard = EchoGuard()
    agent = voice(0)
    caller = voice(9)
    caller[: 3 * RATE_HZ] = 0
    incoming = echo_of(agent, 0.2, -25, PATHS["telephone band"]) + caller
    began = 3 + int(np.flatnonzero(np.abs(caller[3 * RATE_HZ :]) > 1000)[0]) / RATE_HZ
    after = [echo for now, echo in verdicts(agent, incoming, guard) if began + 0.032 < now < began + 0.2]
    assert after
    assert not any(after)


def test_noise_is_no_echo() -> None:
    agent = voice(0)
    noise = np.random.default_rng(3).normal(0, 300, len(agent))
    assert share_called_echo(agent, noise) <= 0.01


# habit


def verdicts_on(explained: list[float | None], every_s: float = 0.032) -> list[bool]:
    """What a guard that has just known an echo says, if the looks find so much of the sound explained."""
    guard = EchoGuard()
    agent = voice(0)[: 3 * RATE_HZ]
    *_, (now, last) = verdicts(agent, echo_of(agent, 0.2, -20, PATHS["wire"]), guard)
    assert last
    found = iter(explained)
    guard._explained = lambda: (next(found), 0.45)  # type: ignore[method-assign]
    return [guard.is_echo(now + every_s * (number + 1)) for number in range(len(explained))]


def test_one_doubtful_chunk_does_not_end_an_echo_but_a_second_does() -> None:
    assert verdicts_on([0.4, 0.9, 0.4, 0.4]) == [True, True, True, False]


def test_what_is_surely_no_echo_ends_it_at_once() -> None:
    assert verdicts_on([0.1]) == [False]


def test_a_caller_who_spoke_is_not_an_echo_for_one_doubtful_chunk() -> None:
    assert verdicts_on([0.1, 0.5, 0.1, 0.5, 0.5]) == [False, False, False, False, True]


def test_a_pause_leaves_the_verdict_as_it_was() -> None:
    assert verdicts_on([None, 0.1, None]) == [True, False, False]


def test_after_a_while_a_line_that_echoes_is_expected_to_echo_again() -> None:
    assert verdicts_on([0.1, 0.4], every_s=0.5) == [False, True]


# what is played


def test_an_echo_is_possible_until_some_time_after_the_agent_fell_silent() -> None:
    guard = EchoGuard()
    assert not guard.audible(10.0)
    guard.played(encode(voice(0)[:1600]), 10.0)
    assert guard.audible(10.1)
    assert guard.audible(10.8)
    assert not guard.audible(11.0)


def test_silence_that_is_played_has_no_echo() -> None:
    guard = EchoGuard()
    guard.played(SILENT, 1.0)
    assert not guard.audible(1.0)


def test_sound_that_was_cleared_has_no_echo() -> None:
    agent = voice(0)
    kept = EchoGuard()
    cleared = EchoGuard()
    sound, heard = encode(agent[: 2 * RATE_HZ]), encode(agent[RATE_HZ : 2 * RATE_HZ] * 0.1)
    for guard in (kept, cleared):
        guard.played(sound, 10.0)
    cleared.cleared(10.5)
    assert not cleared.audible(11.3)
    assert kept.audible(11.3)
    for number in range(50):
        payload = heard[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        for guard in (kept, cleared):
            guard.heard(payload, 11.3 + (number + 1) * FRAME_S)
    known = [guard.is_echo(12.3) for guard in (kept, cleared)]
    assert known == [True, False]


def test_a_reply_after_a_clear_replaces_what_was_dropped() -> None:
    guard = EchoGuard()
    agent, other = voice(0), voice(8)
    guard.played(encode(other[: 2 * RATE_HZ]), 10.0)
    guard.cleared(10.0)
    guard.played(encode(agent[: 2 * RATE_HZ]), 10.0)
    heard = encode(agent[: 2 * RATE_HZ] * 0.1)
    seen = []
    for number in range(60):
        guard.heard(heard[number * FRAME_BYTES : (number + 1) * FRAME_BYTES], 10.3 + (number + 1) * FRAME_S)
        seen.append(guard.is_echo(10.3 + (number + 1) * FRAME_S))
    assert any(seen[:20])
    assert all(seen[20:])


def test_before_anything_was_played_or_heard_nothing_is_an_echo() -> None:
    guard = EchoGuard()
    assert not guard.is_echo(0.0)
    guard.heard(SILENT, 0.02)
    assert not guard.is_echo(0.02)


def test_what_is_kept_is_bounded() -> None:
    guard = EchoGuard()
    for number in range(5000):
        guard.played(SILENT, number * FRAME_S)
        guard.heard(SILENT, number * FRAME_S)
    assert len(guard._sound) + len(guard._heard) < 32_000


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["played", "heard", "cleared", "asked"]), st.binary(max_size=400), st.floats(0, 5)),
        max_size=60,
    )
)
def test_any_bytes_at_any_time_give_a_verdict(steps: list[tuple[str, bytes, float]]) -> None:
    guard = EchoGuard()
    for what, payload, at in steps:
        match what:
            case "played":
                guard.played(payload, at)
            case "heard":
                guard.heard(payload, at)
            case "cleared":
                guard.cleared(at)
            case _:
                assert guard.is_echo(at) in (True, False)
