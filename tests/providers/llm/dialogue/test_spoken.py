"""Days, times and lists as people say them."""

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.llm.dialogue import spoken

MONDAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("day", "short", "full"),
    [
        (date(2026, 3, 2), "today", "today, Monday the second of March"),
        (date(2026, 3, 3), "tomorrow", "tomorrow, Tuesday the third of March"),
        (date(2026, 3, 6), "on Friday", "on Friday the sixth of March"),
        (date(2026, 3, 9), "on Monday the ninth of March", "on Monday the ninth of March"),
        (date(2026, 2, 20), "on Friday the twentieth of February", "on Friday the twentieth of February"),
        (date(2026, 3, 31), "on Tuesday the thirty-first of March", "on Tuesday the thirty-first of March"),
    ],
)
def test_a_day_is_named_as_near_as_it_is(day: date, short: str, full: str) -> None:
    assert spoken.day(day, MONDAY) == short
    assert spoken.day(day, MONDAY, full=True) == full


@pytest.mark.parametrize(
    ("at", "appointment", "watch"),
    [
        (time(9), "nine o'clock", "nine o'clock in the morning"),
        (time(9, 5), "nine oh five", "nine oh five in the morning"),
        (time(12), "noon", "twelve o'clock in the afternoon"),
        (time(14, 30), "half past two", "two thirty in the afternoon"),
        (time(21, 42), "nine forty-two", "nine forty-two in the evening"),
        (time(0, 15), "twelve fifteen", "twelve fifteen at night"),
    ],
)
def test_a_time_is_said_in_words(at: time, appointment: str, watch: str) -> None:
    assert spoken.clock_time(at) == appointment
    assert spoken.clock(at) == watch


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ([], ""),
        (["10:00"], "ten o'clock"),
        (["11:00", "09:30"], "half past nine or eleven o'clock"),
        (["09:00", "09:30", "10:00", "15:00"], "any time from nine to ten or three o'clock"),
        (["09:00", "09:30", "12:00"], "nine o'clock, half past nine or noon"),
    ],
)
def test_free_times_are_drawn_together_in_the_order_of_the_clock(at: list[str], said: str) -> None:
    assert spoken.times([time.fromisoformat(text) for text in at]) == said


@given(st.dates(), st.dates(), st.times())
def test_no_digit_reaches_the_voice(day: date, today: date, at: time) -> None:
    said = [spoken.day(day, today, full=True), spoken.clock(at), spoken.clock_time(at), spoken.times([at])]
    assert not any(character.isdigit() for text in said for character in text)
