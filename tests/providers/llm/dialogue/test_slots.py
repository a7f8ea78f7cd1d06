"""Slot values: from what the file writes, or a caller keys, to dates and times."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.llm.dialogue.hours import OpeningHours
from providers.llm.dialogue.slots import SlotKind, Today, check_value, keyed, resolve, standing

WEEK = OpeningHours.parse({"monday": "09:00-17:00", "friday": "09:00-12:00"})
MONDAY_TEN = Today(date(2026, 3, 2), datetime(2026, 3, 2, 10, 0))  # noqa: DTZ001 - local and without zone, by contract


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("+0", "2026-03-02"),
        ("+2", "2026-03-04"),
        ("tuesday", "2026-03-03"),
        ("sunday", "2026-03-08"),
        ("monday", "2026-03-09"),
        ("next monday", "2026-03-09"),
        ("next sunday", "2026-03-15"),
    ],
)
def test_days_count_from_the_day_of_the_call(value: str, day: str) -> None:
    assert resolve(SlotKind.DAY, value, date(2026, 3, 2)) == day


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.sampled_from(["monday", "thursday", "sunday"]))
def test_a_weekday_is_the_next_one_and_never_today(today: date, weekday: str) -> None:
    day = date.fromisoformat(resolve(SlotKind.DAY, weekday, today))
    assert 1 <= (day - today).days <= 7
    assert day.strftime("%A").lower() == weekday


@pytest.mark.parametrize(
    ("kind", "value"), [(SlotKind.DAY, "someday"), (SlotKind.DAY, "+x"), (SlotKind.DAY, "next"), (SlotKind.TIME, "ten")]
)
def test_a_value_of_the_wrong_kind_is_refused(kind: SlotKind, value: str) -> None:
    with pytest.raises(ValueError, match=value.strip("+")):
        check_value(kind, value)


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        ("10", "10:00"),
        ("1030", "10:30"),
        ("2", "14:00"),
        ("14", "14:00"),
        ("02", "14:00"),
        ("230", "14:30"),
        ("1430", "14:30"),
        ("99", None),
        ("", None),
    ],
)
def test_a_time_is_keyed_by_either_clock(digits: str, value: str | None) -> None:
    assert keyed(SlotKind.TIME, ("10:00", "10:30", "14:00", "14:30"), {}, digits) == value


def test_keys_of_the_file_come_first() -> None:
    assert keyed(SlotKind.DAY, ("monday", "friday"), {"5": "friday"}, "5") == "friday"
    assert keyed(SlotKind.DAY, ("monday", "friday"), {"5": "friday"}, "6") is None


@pytest.mark.parametrize(
    ("kind", "value", "day", "expected"),
    [
        (SlotKind.DAY, "2026-03-06", None, "open"),
        (SlotKind.DAY, "2026-03-03", None, "closed"),
        (SlotKind.DAY, "2026-03-01", None, "past"),
        (SlotKind.TIME, "11:00", "2026-03-02", "open"),
        (SlotKind.TIME, "10:00", "2026-03-02", "past"),
        (SlotKind.TIME, "13:00", "2026-03-06", "closed"),
        (SlotKind.TIME, "13:00", None, "open"),
        (SlotKind.TIME, "18:00", None, "closed"),
        (SlotKind.WORD, "blue", None, "open"),
    ],
)
def test_whether_a_value_can_be_had(kind: SlotKind, value: str, day: str | None, expected: str) -> None:
    assert standing(kind, value, day, MONDAY_TEN, WEEK) == expected
