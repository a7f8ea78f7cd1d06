import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.bridge import BridgeEvent, clock_offset_s, read_event


def test_an_event_keeps_both_times_and_all_fields() -> None:
    event = read_event('data: {"kind":"caller_said","at":2.5,"text":"hello","new":1}', 2.6)
    assert event == BridgeEvent(2.6, "caller_said", 2.5, {"text": "hello", "new": 1})


def test_an_unknown_kind_without_a_time_is_an_event_too() -> None:
    assert read_event('data:{"kind":"weather"}', 1.0) == BridgeEvent(1.0, "weather", None, {})


@pytest.mark.parametrize(
    "line", ["", ": ping", "event: x", "data: ", "data: {", "data: 7", 'data: {"at":1}', 'data: {"kind":7}']
)
def test_other_lines_are_no_events(line: str) -> None:
    assert read_event(line, 1.0) is None


@given(st.text())
def test_any_line_is_an_event_or_none(text: str) -> None:
    read_event(text, 0.0)
    read_event("data:" + text, 0.0)


def test_the_clocks_are_compared_by_the_quickest_event() -> None:
    events = [BridgeEvent(5.9, "a", 5.0, {}), BridgeEvent(6.1, "b", 6.0, {}), BridgeEvent(9.0, "c", None, {})]
    assert clock_offset_s(events) == pytest.approx(0.1)
    assert clock_offset_s([]) == 0


def test_a_time_on_another_scale_does_not_move_the_clock() -> None:
    events = [BridgeEvent(at, "a", at - 0.1, {}) for at in (1.0, 2.0, 3.0)] + [BridgeEvent(2.5, "odd", 4921.0, {})]
    assert clock_offset_s(events) == pytest.approx(0.1)
