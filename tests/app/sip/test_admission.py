"""Admission by rate and by how many there are, per source; bounded however many sources knock."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.sip.admission import Admission, Rate, host_of
from app.sip.numbers import Numbers
from tests.fakes.sip import INVITATION


@given(st.lists(st.floats(0.0, 5.0), max_size=100), st.sampled_from([0.5, 1.0, 3.0]))
def test_over_no_stretch_of_time_are_more_let_in_than_the_rate_and_one_bucket(waits: list[float], per_s: float) -> None:
    rate, now, admitted = Rate(per_s), 100.0, []
    for wait in waits:
        now += wait
        if rate.admit("a", now):
            admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            allowed = max(1.0, per_s) + (admitted[last] - begin) * per_s
            assert last - first + 1 <= allowed + 1e-6


def test_a_slow_rate_still_lets_one_in() -> None:
    rate = Rate(0.1)
    assert rate.admit("a", 0.0)
    assert not rate.admit("a", 9.0)
    assert rate.admit("a", 10.1)


def test_a_stranger_with_many_addresses_fills_no_memory() -> None:
    rate = Rate(1.0)
    for number in range(5_000):
        rate.admit(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(rate._buckets) <= 1_000


def test_whoever_leaves_makes_room() -> None:
    admission = Admission({"sip": Numbers()}, per_s=100, per_source=1)
    assert admission.refuse(INVITATION, 0.0) is None
    refusal = admission.refuse(INVITATION, 0.1)
    assert refusal is not None
    assert (refusal.reason, refusal.cause.status) == ("source", 503)
    other = replace(INVITATION, source="203.0.113.9:5060")
    assert admission.refuse(other, 0.1) is None
    admission.leave(INVITATION)
    assert admission.refuse(INVITATION, 0.2) is None


def test_a_source_is_an_address_without_its_port() -> None:
    assert host_of("198.51.100.7:5060") == "198.51.100.7"
    assert host_of("[2001:db8::7]:5060") == "2001:db8::7"
    assert host_of("2001:db8::7") == "2001:db8::7"
    assert host_of("198.51.100.7") == "198.51.100.7"
