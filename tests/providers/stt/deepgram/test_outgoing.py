"""What waits to be sent: in order, bounded, and its place in the call known whatever was slipped in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stt.deepgram.outgoing import Outgoing, Pace

Steps = st.lists(
    st.tuples(st.sampled_from(["add", "take", "slip in"]), st.integers(1, 30)),
    max_size=60,
)


@given(Steps, st.data())
def test_where_in_the_call_a_byte_stands_is_known_whatever_was_slipped_in(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    outgoing = Outgoing(10_000)
    call = 0
    connection: list[int] = []  # for each byte sent, where in the call the audio up to and with it ends
    for what, amount in steps:
        if what == "add":
            outgoing.add(bytes(amount))
            call += amount
        elif what == "take":
            before = outgoing.position
            taken = len(outgoing.take(amount))
            connection += range(before + 1, before + taken + 1)
        else:
            outgoing.slip_in(amount)
            connection += [outgoing.position] * amount
        assert outgoing.end == call
        assert outgoing.sent == len(connection)
    if connection:
        for sent in sorted(data.draw(st.lists(st.integers(1, len(connection))))):
            assert outgoing.position_of(sent) == connection[sent - 1]


def test_audio_beyond_the_bound_is_lost_oldest_first() -> None:
    outgoing = Outgoing(4)
    outgoing.add(b"abcdef")
    assert (outgoing.take_lost(), outgoing.take_lost(), outgoing.position, outgoing.end) == (2, 0, 2, 6)
    assert outgoing.take(9) == b"cdef"
    assert outgoing.position_of(3) == 5


def test_silence_behind_silence_takes_no_more_room() -> None:
    outgoing = Outgoing(100)
    outgoing.add(b"ab")
    outgoing.take(2)
    for _ in range(1_000):
        outgoing.slip_in(5)
    assert len(outgoing._seams) <= 3
    assert outgoing.position_of(4_000) == 2


def test_two_seconds_go_at_once_and_more_at_the_vendors_pace() -> None:
    pace = Pace()
    now = 100.0
    for _ in range(100):
        now = max(now, pace.due())
        pace.sent(0.1, now)
    assert now - 100.0 == pytest.approx((10.0 - 0.1) / 1.25 - 2.0)
