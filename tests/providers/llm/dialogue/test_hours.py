"""Opening hours."""

from datetime import date, time

import pytest

from providers.llm.dialogue.hours import OpeningHours

DESK = OpeningHours.parse(
    {"monday": "09:00-17:00", "tuesday": "09:00-17:00", "thursday": "09:00-17:00", "friday": "08:30-12:00"}
)


def test_days_of_equal_hours_that_follow_each_other_are_said_together() -> None:
    assert (
        str(DESK)
        == "Monday to Tuesday from nine to five, Thursday from nine to five and Friday from half past eight to noon"
    )


def test_a_day_that_is_not_named_is_closed() -> None:
    assert DESK.on(date(2026, 3, 4)) is None


@pytest.mark.parametrize(
    ("at", "day", "is_open"),
    [
        (time(9), date(2026, 3, 2), True),
        (time(16, 59), date(2026, 3, 2), True),
        (time(17), date(2026, 3, 2), False),
        (time(8, 30), date(2026, 3, 2), False),
        (time(8, 30), date(2026, 3, 6), True),
        (time(10), date(2026, 3, 4), False),
        (time(8, 30), None, True),
        (time(18), None, False),
    ],
)
def test_open_from_the_first_minute_up_to_the_last(at: time, day: date | None, is_open: bool) -> None:
    assert DESK.open_at(at, day) is is_open


@pytest.mark.parametrize("table", [{"someday": "09:00-17:00"}, {"monday": "17:00-09:00"}, {"monday": "nine to five"}])
def test_hours_that_cannot_be_are_refused(table: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"weekday|ends before|isoformat"):
        OpeningHours.parse(table)
