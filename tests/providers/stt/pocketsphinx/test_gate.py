"""The gate: silence is free, speech is whole."""

import audioop
import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stt.pocketsphinx.gate import SpeechGate
from telephony.audio import FRAME_BYTES, MULAW_SILENCE

SILENCE = bytes([MULAW_SILENCE]) * FRAME_BYTES


def tone(dbfs: float, phase: int = 0) -> bytes:
    """A frame of a 400 Hz tone of that level, numbered by its phase."""
    peak = 32768 * 10 ** (dbfs / 20) * math.sqrt(2)
    samples = array("h", (int(peak * math.sin((n + phase) * math.pi / 10)) for n in range(FRAME_BYTES)))
    return audioop.lin2ulaw(samples.tobytes(), 2)


def through(gate: SpeechGate, frames: list[bytes]) -> list[bytes]:
    return [passed for frame in frames for passed in gate.hear(frame)]


def test_silence_never_opens_it() -> None:
    assert through(SpeechGate(), [SILENCE] * 500) == []


@pytest.mark.parametrize("dbfs", [-70, -60])
def test_what_is_quiet_on_any_line_never_opens_it(dbfs: float) -> None:
    assert through(SpeechGate(), [tone(dbfs)] * 500) == []


def test_a_click_does_not_open_it() -> None:
    assert through(SpeechGate(), [SILENCE] * 50 + [tone(-20)] + [SILENCE] * 50) == []


def test_speech_comes_with_what_led_to_it_and_what_follows() -> None:
    speech = [tone(-25, phase) for phase in range(20)]
    passed = through(SpeechGate(), [SILENCE] * 100 + speech + [SILENCE] * 100)
    assert passed == [SILENCE] * 18 + speech + [SILENCE] * 24


def test_a_steady_noise_closes_it_again_and_speech_over_it_opens_it() -> None:
    gate = SpeechGate()
    through(gate, [SILENCE] * 50 + [tone(-45)] * 300)
    assert through(gate, [tone(-45)] * 100) == []
    assert len(through(gate, [tone(-25)] * 20)) >= 20


def test_it_opens_for_a_caller_who_speaks_from_the_first_moment() -> None:
    speech = [tone(-25, phase) for phase in range(20)]
    assert through(SpeechGate(), speech) == speech


def test_quiet_is_counted_from_the_moment_it_closes() -> None:
    gate = SpeechGate()
    through(gate, [SILENCE] * 50)
    assert gate.quiet_frames == 50
    through(gate, [tone(-25)] * 10)
    assert gate.quiet_frames == 0
    through(gate, [SILENCE] * 100)
    assert gate.quiet_frames == 76


@given(st.lists(st.tuples(st.integers(-70, -10), st.integers(1, 40)), max_size=8))
def test_frames_pass_in_order_and_once(levels: list[tuple[int, int]]) -> None:
    frames = [tone(dbfs, number) for dbfs, count in levels for number in range(count)]
    gate = SpeechGate()
    passed: list[int] = []
    for number, frame in enumerate(frames):
        out = gate.hear(frame)
        assert out == tuple(frames[number + 1 - len(out) : number + 1])
        passed += range(number + 1 - len(out), number + 1)
    assert passed == sorted(set(passed))
