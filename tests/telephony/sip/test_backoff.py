"""When to try again."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.backoff import Backoff


@given(st.integers(), st.integers(1, 200))
def test_each_failure_waits_longer_up_to_a_limit_and_never_at_the_same_time_as_others(seed: int, failures: int) -> None:
    backoff = Backoff(1.0, 60.0, Random(seed))
    for number in range(failures):
        longest = min(60.0, 2.0**number)
        assert longest / 2 <= backoff.failed() <= longest


def test_a_success_begins_anew() -> None:
    backoff = Backoff(1.0, 60.0, Random(1))
    for _ in range(9):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failed() <= 1.0
