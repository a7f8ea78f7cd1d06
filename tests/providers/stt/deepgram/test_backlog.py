"""The backlog: in order, once per connection, and nothing that is not settled is forgotten without being counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stt.deepgram.backlog import Backlog, Pace

KEEP = 50

Steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30)),
        st.tuples(st.just("take"), st.integers(0, 30)),
        st.tuples(st.just("settle"), st.integers(0, 60)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=60,
)


@given(Steps)
def test_every_byte_is_settled_sent_waiting_or_counted_as_lost(steps: list[tuple[str, int]]) -> None:
    backlog = Backlog(KEEP)
    added = 0
    settled: set[int] = set()
    lost = 0
    connection: list[int] = []  # numbers of the bytes that this connection was sent
    for what, amount in steps:
        if what == "add":
            backlog.add(bytes((added + n) % 251 for n in range(amount)))
            added += amount
            lost += backlog.take_lost()
        elif what == "take":
            chunk = backlog.take(amount)
            numbers = range(added - backlog.unsent - len(chunk), added - backlog.unsent)
            assert chunk == bytes(n % 251 for n in numbers)
            connection += numbers
        elif what == "settle":
            backlog.settle(amount)
            settled |= set(connection[:amount])
        else:
            lost += backlog.rewind()
            connection = []
            assert backlog.unsent == added - len(settled) - lost
        assert backlog.connection_bytes == len(connection)
        assert 0 <= backlog.unsent <= KEEP
        assert backlog.end == backlog.position + backlog.unsent


def test_a_new_connection_gets_what_is_not_settled() -> None:
    backlog = Backlog(KEEP)
    backlog.add(b"abcdefgh")
    assert (backlog.take(6), backlog.position) == (b"abcdef", 6)
    backlog.settle(4)
    assert (backlog.rewind(), backlog.position, backlog.end) == (0, 4, 8)
    assert (backlog.take(10), backlog.connection_bytes) == (b"efgh", 4)
    backlog.settle(1)
    assert backlog.rewind() == 0
    assert backlog.take(10) == b"fgh"


def test_what_was_sent_and_not_kept_is_lost_with_the_connection_only() -> None:
    backlog = Backlog(4)
    backlog.add(b"abcd")
    backlog.take(4)
    backlog.add(b"ef")
    assert backlog.take_lost() == 0
    assert backlog.rewind() == 2
    assert backlog.take(9) == b"cdef"


def test_what_was_settled_late_was_not_lost() -> None:
    backlog = Backlog(4)
    backlog.add(b"abcd")
    backlog.take(4)
    backlog.add(b"efg")
    backlog.settle(2)
    assert backlog.rewind() == 1


def test_unsent_audio_beyond_the_bound_is_lost_oldest_first() -> None:
    backlog = Backlog(4)
    backlog.add(b"abcdef")
    assert (backlog.take_lost(), backlog.take_lost(), backlog.position, backlog.end) == (2, 0, 2, 6)
    assert backlog.take(9) == b"cdef"


def test_two_seconds_go_at_once_and_more_at_the_vendors_pace() -> None:
    pace = Pace()
    now = 100.0
    for _ in range(100):
        now = max(now, pace.due())
        pace.sent(0.1, now)
    assert now - 100.0 == pytest.approx((10.0 - 0.1) / 1.25 - 2.0)
