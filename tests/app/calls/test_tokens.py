"""Stream tokens: one stream, one call, a short time, in any process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.errors import TokenRejected
from app.calls.tokens import StreamTokens

KEY = b"k" * 32
NOW = 1_700_000_000.0


def test_a_token_is_good_once() -> None:
    tokens = StreamTokens(60.0)
    token = tokens.issue("CA1", NOW)
    tokens.redeem(token, "CA1", NOW + 1)
    with pytest.raises(TokenRejected, match="used"):
        tokens.redeem(token, "CA1", NOW + 1)


def test_a_token_is_good_in_every_process_that_shares_the_key() -> None:
    token = StreamTokens(60.0, KEY).issue("CA1", NOW)
    StreamTokens(60.0, KEY).redeem(token, "CA1", NOW)
    with pytest.raises(TokenRejected):
        StreamTokens(60.0, b"another").redeem(token, "CA1", NOW)


def test_a_process_that_learns_the_shared_key_uses_it() -> None:
    late, early = StreamTokens(60.0), StreamTokens(60.0, KEY)
    late.share(KEY)
    early.redeem(late.issue("CA1", NOW), "CA1", NOW)


def test_a_token_of_one_call_is_no_token_of_another_and_is_not_used_up_by_the_attempt() -> None:
    tokens = StreamTokens(60.0)
    token = tokens.issue("CA1", NOW)
    with pytest.raises(TokenRejected, match="not of this call"):
        tokens.redeem(token, "CA2", NOW)
    tokens.redeem(token, "CA1", NOW)


def test_a_token_expires() -> None:
    tokens = StreamTokens(60.0)
    token = tokens.issue("CA1", NOW)
    with pytest.raises(TokenRejected, match="expired"):
        tokens.redeem(token, "CA1", NOW + 61)


def test_an_earlier_token_stays_good_when_another_is_issued() -> None:
    tokens = StreamTokens(60.0)
    first, second = tokens.issue("CA1", NOW), tokens.issue("CA1", NOW)
    assert first != second
    tokens.redeem(second, "CA1", NOW)
    tokens.redeem(first, "CA1", NOW)


@given(st.text(max_size=80))
def test_nonsense_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(TokenRejected):
        StreamTokens(60.0, KEY).redeem(text, "CA1", NOW)


@given(st.integers(min_value=0, max_value=70), st.characters(codec="ascii"))
def test_a_token_that_was_touched_is_refused(at: int, character: str) -> None:
    tokens = StreamTokens(60.0, KEY)
    token = tokens.issue("CA1", NOW)
    touched = token[: at % len(token)] + character + token[at % len(token) + 1 :]
    if touched != token:
        with pytest.raises(TokenRejected):
            tokens.redeem(touched, "CA1", NOW)


def test_a_token_fits_a_stream_parameter_and_needs_no_quoting() -> None:
    token = StreamTokens(86_400.0).issue("CA" + "1" * 32, NOW)
    assert len(token) < 100
    assert all(character.isalnum() or character in "-_.=" for character in token)


def test_what_was_used_is_forgotten_in_bounds() -> None:
    tokens = StreamTokens(60.0)
    for _ in range(10_100):
        tokens.redeem(tokens.issue("CA1", NOW), "CA1", NOW)
    assert len(tokens._used) <= 10_000


def test_what_was_issued_before_the_key_was_shared_stays_good() -> None:
    tokens = StreamTokens(60.0)
    token = tokens.issue("CA1", NOW)
    tokens.share(KEY)
    tokens.share(KEY)
    tokens.redeem(token, "CA1", NOW)
