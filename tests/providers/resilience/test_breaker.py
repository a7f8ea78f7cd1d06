"""The breaker: opens on a rate of failures, rests, probes, and never loses count, whatever overlaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from providers.resilience.breaker import BreakerSettings, BreakerState, CircuitBreaker

SETTINGS = BreakerSettings(failures=3, share=0.5, window_s=30.0, rest_s=5.0, longest_rest_s=20.0)


def sick(now: float = 0.0) -> CircuitBreaker:
    """Open, after three failures in a row."""
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(SETTINGS.failures):
        breaker.failed(now, probe=breaker.begin(now))
    return breaker


def test_opens_on_failures_in_a_row() -> None:
    assert sick().state(0.0) is BreakerState.OPEN
    assert not sick().admits(4.9)


@given(st.integers(0, 40), st.integers(0, 40))
def test_opens_on_a_rate_of_failures_and_not_below(successes: int, failures: int) -> None:
    breaker = CircuitBreaker(SETTINGS)
    for _ in range(successes):
        breaker.succeeded(0.0, probe=breaker.begin(0.0))
    opened = False
    for failed in range(1, failures + 1):
        breaker.failed(0.0, probe=breaker.begin(0.0))
        opened = opened or (failed >= SETTINGS.failures and failed >= SETTINGS.share * (successes + failed))
        assert (breaker.state(0.0) is BreakerState.OPEN) == opened


def test_failures_long_ago_do_not_count() -> None:
    breaker = CircuitBreaker(SETTINGS)
    for now in (0.0, 29.0, 58.0, 87.0):
        breaker.failed(now, probe=breaker.begin(now))
        assert breaker.state(now) is BreakerState.CLOSED


def test_after_its_rest_it_admits_one_probe_at_a_time() -> None:
    breaker = sick()
    assert breaker.state(5.0) is BreakerState.HALF_OPEN
    assert breaker.admits(5.0)
    assert breaker.begin(5.0)
    assert not breaker.admits(5.0)
    breaker.abandoned(probe=True)
    assert breaker.admits(5.0)


def test_a_probe_that_is_served_closes_it_and_forgets_the_past() -> None:
    breaker = sick()
    breaker.succeeded(5.0, probe=breaker.begin(5.0))
    assert breaker.state(5.0) is BreakerState.CLOSED
    breaker.failed(5.0, probe=breaker.begin(5.0))
    assert breaker.state(5.0) is BreakerState.CLOSED


def test_each_probe_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    breaker, now = sick(), 0.0
    for rest_s in (5.0, 10.0, 20.0, 20.0):
        assert breaker.opens_at(now) == now + rest_s
        now += rest_s
        breaker.failed(now, probe=breaker.begin(now))


def test_a_vendor_that_asks_to_be_left_alone_is_left_alone() -> None:
    breaker = CircuitBreaker(SETTINGS)
    breaker.failed(0.0, probe=breaker.begin(0.0), retry_after_s=7.0)
    assert breaker.state(6.9) is BreakerState.OPEN
    assert breaker.opens_at(0.0) == breaker.asked_off_s(0.0) == 7.0
    assert breaker.state(7.0) is BreakerState.CLOSED


def test_however_long_a_vendor_asks_to_be_left_alone_it_is_tried_after_the_longest_rest() -> None:
    breaker = CircuitBreaker(SETTINGS)
    breaker.failed(0.0, probe=breaker.begin(0.0), retry_after_s=3_600.0)
    assert breaker.opens_at(0.0) == breaker.asked_off_s(0.0) == SETTINGS.longest_rest_s
    assert breaker.admits(SETTINGS.longest_rest_s)


def test_an_attempt_from_before_it_opened_is_no_probe() -> None:
    breaker = CircuitBreaker(SETTINGS)
    early = breaker.begin(0.0)
    for _ in range(3):
        breaker.failed(1.0, probe=breaker.begin(1.0))
    breaker.failed(2.0, probe=early)
    assert breaker.opens_at(2.0) == 6.0
    assert breaker.admits(6.0)


class AnyLife(RuleBasedStateMachine):
    """Attempts that overlap and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(SETTINGS)
        self.now = 0.0
        self.attempts: list[bool] = []

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        admitted, state = self.breaker.admits(self.now), self.breaker.state(self.now)
        probe = self.breaker.begin(self.now)
        assert probe == (state is BreakerState.HALF_OPEN)
        assert not (admitted and probe and any(self.attempts)), "two probes were admitted at once"
        self.attempts.append(probe)

    @precondition(lambda self: self.attempts)
    @rule(
        which=st.integers(0, 99),
        outcome=st.sampled_from(["succeeded", "failed", "limited", "abandoned"]),
        retry_after_s=st.sampled_from([3.0, 300.0]),
    )
    def end(self, which: int, outcome: str, retry_after_s: float) -> None:
        probe = self.attempts.pop(which % len(self.attempts))
        match outcome:
            case "succeeded":
                self.breaker.succeeded(self.now, probe=probe)
            case "failed":
                self.breaker.failed(self.now, probe=probe)
            case "limited":
                self.breaker.failed(self.now, probe=probe, retry_after_s=retry_after_s)
            case _:
                self.breaker.abandoned(probe=probe)

    @invariant()
    def is_never_closed_to_probes_for_ever(self) -> None:
        later = self.now + SETTINGS.longest_rest_s
        assert self.breaker.opens_at(self.now) <= later
        assert any(self.attempts) or self.breaker.admits(later)

    @invariant()
    def admits_exactly_when_it_says(self) -> None:
        if self.breaker.state(self.now) is BreakerState.OPEN:
            assert not self.breaker.admits(self.now)
            assert self.breaker.opens_at(self.now) > self.now


TestAnyLife = pytest.mark.filterwarnings("ignore")(AnyLife.TestCase)
