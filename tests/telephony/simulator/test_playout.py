from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from telephony.audio import MULAW_SILENCE
from telephony.simulator.playout import QUEUE_LIMIT_SAMPLES, Playout, Run

SILENCE = bytes([MULAW_SILENCE])


def played(playout: Playout, samples: int) -> bytes:
    return playout.take(samples) or SILENCE * samples


def test_audio_sounds_from_the_moment_of_its_arrival() -> None:
    playout = Playout(origin=10.0, position=0)
    playout.receive(b"\x01" * 16, now=10.005)
    playout.advance(now=10.020)
    assert played(playout, 160) == SILENCE * 40 + b"\x01" * 16 + SILENCE * 104
    assert playout.runs == [Run(40, 56)]


def test_it_drains_eight_bytes_per_millisecond() -> None:
    playout = Playout(origin=0.0, position=0)
    playout.receive(b"\x01" * 800, now=0.0)
    playout.advance(now=0.060)
    assert playout.waiting_samples == 320


def test_silence_is_none() -> None:
    playout = Playout(origin=0.0, position=0)
    playout.advance(now=0.020)
    assert playout.take(160) is None


def test_a_mark_is_due_when_all_audio_before_it_has_been_played() -> None:
    playout = Playout(origin=0.0, position=0)
    playout.receive(b"\x01" * 160, now=0.0)
    assert playout.place_mark("first", now=0.0) == []
    playout.receive(b"\x01" * 160, now=0.0)
    playout.place_mark("second", now=0.0)
    assert playout.advance(now=0.0199) == []
    assert playout.advance(now=0.020) == ["first"]
    assert playout.advance(now=0.100) == ["second"]


def test_a_mark_in_an_empty_fifo_is_due_at_once() -> None:
    playout = Playout(origin=0.0, position=0)
    assert playout.place_mark("at once", now=1.0) == ["at once"]


def test_clear_drops_what_waits_and_makes_every_mark_due() -> None:
    playout = Playout(origin=0.0, position=0)
    for name in ("played", "cut", "after"):
        playout.receive(b"\x01" * 160, now=0.0)
        playout.place_mark(name, now=0.0)
    assert playout.clear(now=0.030) == (["played"], ["cut", "after"])
    playout.advance(now=1.0)
    assert played(playout, 8000).count(1) == 240
    assert playout.runs == [Run(0, 240, cut=True)]


def test_audio_after_a_clear_plays_and_its_marks_wait_for_it() -> None:
    playout = Playout(origin=0.0, position=0)
    playout.receive(b"\x01" * 8000, now=0.0)
    playout.clear(now=0.010)
    playout.receive(b"\x02" * 80, now=0.010)
    assert playout.place_mark("new", now=0.010) == []
    assert playout.advance(now=0.020) == ["new"]
    assert playout.runs == [Run(0, 80, cut=True), Run(80, 160)]


def test_a_late_clear_plays_200_ms_of_what_it_cleared() -> None:
    playout = Playout(origin=0.0, position=0, late_clear=True)
    playout.receive(b"\x01" * 8000, now=0.0)
    playout.clear(now=0.010)
    playout.advance(now=1.0)
    assert played(playout, 8000).count(1) == 80 + 1600


def test_ten_minutes_fit_and_no_sample_more() -> None:
    playout = Playout(origin=0.0, position=0)
    fits, _ = playout.receive(b"\x01" * QUEUE_LIMIT_SAMPLES, now=0.0)
    assert fits
    assert playout.receive(b"\x01", now=0.0) == (False, [])
    assert playout.receive(b"\x01", now=0.001) == (True, [])


@dataclass(frozen=True)
class Receive:
    size: int


@dataclass(frozen=True)
class Place:
    pass


@dataclass(frozen=True)
class DropAll:
    pass


@dataclass(frozen=True)
class Pass:
    ms: int


STEPS = st.lists(
    st.one_of(
        st.integers(0, 900).map(Receive),
        st.just(Place()),
        st.just(DropAll()),
        st.integers(0, 90).map(Pass),
    ),
    max_size=60,
)


@given(STEPS)
def test_audio_plays_once_in_order_and_marks_come_back_once_in_order(
    steps: list[Receive | Place | DropAll | Pass],
) -> None:
    playout = Playout(origin=0.0, position=0)
    now_ms, placed, echoed = 0, 0, []
    waiting: list[int] = []  # the model: received samples that are neither played nor dropped
    expected: list[int] = []
    value = 0
    for step in steps:
        now = now_ms / 1000
        match step:
            case Receive(size):
                audio = [(value + index) % 120 + 1 for index in range(size)]
                value += size
                echoed += playout.receive(bytes(audio), now)[1]
                waiting += audio
            case Place():
                due = playout.place_mark(str(placed), now)
                assert (str(placed) in due) == (not waiting)
                echoed += due
                placed += 1
            case DropAll():
                reached, cleared = playout.clear(now)
                echoed += reached + cleared
                waiting = []
            case Pass(ms):
                now_ms += ms
                echoed += playout.advance(now_ms / 1000)
                expected += waiting[: ms * 8]
                del waiting[: ms * 8]
        assert playout.waiting_samples == len(waiting)
    heard = played(playout, now_ms * 8)
    assert list(heard.replace(SILENCE, b"")) == expected
    assert sum(run.end - run.start for run in playout.runs) == len(expected)
    echoed += playout.clear(now_ms / 1000)[1]
    assert echoed == [str(number) for number in range(placed)]
