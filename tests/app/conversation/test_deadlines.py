"""Deadlines by name: at most one each, told one at a time and in order."""

from hypothesis import given
from hypothesis import strategies as st

from app.conversation.deadlines import DeadlineTable

NAMES = st.sampled_from(("floor", "phase", "final", "digits"))


def test_nothing_is_due_before_its_time() -> None:
    table = DeadlineTable()
    table.set("floor", 5.0)
    assert table.expire(4.999) is None
    assert table.expire(5.0) == "floor"
    assert table.expire(6.0) is None


def test_setting_a_deadline_again_moves_it() -> None:
    table = DeadlineTable()
    table.set("floor", 5.0)
    table.set("floor", 9.0)
    assert table.expire(8.0) is None
    assert table.at("floor") == table.earliest() == 9.0


def test_a_cleared_deadline_never_comes() -> None:
    table = DeadlineTable()
    table.set("floor", 5.0)
    table.clear("floor")
    table.clear("floor")
    assert table.at("floor") is None
    assert table.earliest() is None
    assert table.expire(1000.0) is None


def test_what_one_expiry_moves_does_not_expire_with_it() -> None:
    table = DeadlineTable()
    table.set("digits", 5.0)
    table.set("floor", 5.5)
    assert table.expire(6.0) == "digits"
    table.set("floor", 14.0)
    assert table.expire(6.0) is None


@given(st.dictionaries(NAMES, st.floats(0, 100)), st.floats(0, 100))
def test_all_that_is_due_comes_in_order_and_the_rest_stays(deadlines: dict[str, float], now: float) -> None:
    table = DeadlineTable()
    for name, at in deadlines.items():
        table.set(name, at)
    expired = []
    while (name := table.expire(now)) is not None:
        expired.append(name)
    assert [deadlines[name] for name in expired] == sorted(at for at in deadlines.values() if at <= now)
    assert table.earliest() == min((at for at in deadlines.values() if at > now), default=None)
