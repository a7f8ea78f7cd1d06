"""A stream token opens one stream of one call, once, for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from app.calls.errors import TokenRejected
from app.calls.tokens import StreamTokens

LIFETIME_S = 60.0
CALLS = st.sampled_from(("CA1", "CA2", "CA3", "CÄ4"))


def test_a_token_is_good_once() -> None:
    tokens = StreamTokens(LIFETIME_S)
    token = tokens.issue("CA1", 0.0)
    tokens.redeem(token, "CA1", 1.0)
    with pytest.raises(TokenRejected, match="unknown or used"):
        tokens.redeem(token, "CA1", 1.0)


def test_a_token_expires() -> None:
    tokens = StreamTokens(LIFETIME_S)
    token = tokens.issue("CA1", 0.0)
    with pytest.raises(TokenRejected, match="expired"):
        tokens.redeem(token, "CA1", 60.1)


def test_a_token_of_another_call_is_refused_and_used_up_by_the_try() -> None:
    tokens = StreamTokens(LIFETIME_S)
    token = tokens.issue("CA1", 0.0)
    with pytest.raises(TokenRejected, match="of another call"):
        tokens.redeem(token, "CA2", 1.0)
    with pytest.raises(TokenRejected, match="unknown or used"):
        tokens.redeem(token, "CA1", 1.0)


def test_both_tokens_of_a_retried_webhook_are_good() -> None:
    tokens = StreamTokens(LIFETIME_S)
    first, second = tokens.issue("CA1", 0.0), tokens.issue("CA1", 1.0)
    tokens.redeem(second, "CA1", 2.0)
    tokens.redeem(first, "CA1", 2.0)


@given(st.text(max_size=40))
def test_what_was_never_issued_is_refused(guess: str) -> None:
    tokens = StreamTokens(LIFETIME_S)
    tokens.issue("CA1", 0.0)
    with pytest.raises(TokenRejected, match="unknown or used"):
        tokens.redeem(guess, "CA1", 0.0)


def test_tokens_are_long_and_never_alike() -> None:
    tokens = StreamTokens(LIFETIME_S)
    issued = {tokens.issue("CA1", 0.0) for _ in range(1000)}
    assert len(issued) == 1000
    assert min(map(len, issued)) >= 32


def test_a_flood_of_webhooks_makes_the_oldest_tokens_void_and_no_more_than_them() -> None:
    tokens = StreamTokens(LIFETIME_S)
    issued = [tokens.issue("CA1", 0.0) for _ in range(10_001)]
    with pytest.raises(TokenRejected):
        tokens.redeem(issued[0], "CA1", 0.0)
    tokens.redeem(issued[1], "CA1", 0.0)
    tokens.redeem(issued[-1], "CA1", 0.0)


def test_expired_tokens_are_forgotten_when_others_are_issued() -> None:
    tokens = StreamTokens(LIFETIME_S)
    for second in range(1000):
        tokens.issue("CA1", float(second))
    assert len(tokens._issued) <= LIFETIME_S + 2


class AnyTraffic(RuleBasedStateMachine):
    """Whatever is issued and tried in whatever order: a token opens its own call, once, in time, and nothing else."""

    @initialize()
    def begin(self) -> None:
        self.tokens = StreamTokens(LIFETIME_S)
        self.now = 0.0
        self.good: dict[str, tuple[str, float]] = {}
        self.ever: list[str] = []

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(call=CALLS)
    def issue(self, call: str) -> None:
        token = self.tokens.issue(call, self.now)
        assert token not in self.ever
        self.ever.append(token)
        self.good[token] = (call, self.now + LIFETIME_S)

    @precondition(lambda self: self.ever)
    @rule(choice=st.data(), call=CALLS)
    def redeem(self, choice: st.DataObject, call: str) -> None:
        token = choice.draw(st.sampled_from(self.ever))
        owner, until = self.good.pop(token, ("", 0.0))
        if owner == call and self.now <= until:
            self.tokens.redeem(token, call, self.now)
        else:
            with pytest.raises(TokenRejected):
                self.tokens.redeem(token, call, self.now)


TestAnyTraffic = AnyTraffic.TestCase
