"""Slots: the blanks that a caller fills. What the file writes as a value becomes a date, a time or a plain word."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from providers.llm.dialogue import spoken
from providers.llm.dialogue.hours import OpeningHours

_WEEKDAYS = tuple(name.lower() for name in spoken.WEEKDAYS)


class SlotKind(StrEnum):
    """What a slot's values are."""

    DAY = "day"  # `+1` (days from today), `monday` (the next one), `next monday` (the one of next week)
    TIME = "time"  # `HH:MM`
    WORD = "word"  # anything; spoken as written


@dataclass(frozen=True, slots=True)
class Today:
    """The day that "tomorrow" counts from, and the present moment, both local and without zone.

    They differ in a call that goes on past midnight: what was said stays what was meant.
    """

    day: date
    now: datetime


def check_value(kind: SlotKind, value: str) -> None:
    """Raise `ValueError` unless `value` is one that `kind` can hold."""
    match kind:
        case SlotKind.DAY:
            resolve(kind, value, date.min)
        case SlotKind.TIME:
            time.fromisoformat(value)
        case SlotKind.WORD:
            pass


def resolve(kind: SlotKind, value: str, today: date) -> str:
    """The value that tools and templates work with: an ISO date, `HH:MM`, or the word. Raises `ValueError`."""
    return _day(value, today).isoformat() if kind is SlotKind.DAY else value


def _day(value: str, today: date) -> date:
    if value.startswith("+"):
        return today + timedelta(days=int(value))
    week, _, weekday = value.rpartition("next ")
    if week or weekday not in _WEEKDAYS:
        raise ValueError(f"{value!r} is neither +1, monday nor next monday")
    ahead = _WEEKDAYS.index(weekday) - today.weekday()
    if value.startswith("next "):
        return today + timedelta(days=ahead + 7)
    return today + timedelta(days=(ahead - 1) % 7 + 1)


def keyed(kind: SlotKind, values: tuple[str, ...], keys: Mapping[str, str], digits: str) -> str | None:
    """The value that a caller keys: by `keys`, or a time as `10`, `230`, `1430`. The earlier of `values` wins."""
    if digits in keys:
        return keys[digits]
    if kind is SlotKind.TIME:
        return next((value for value in values if digits in _time_keys(value)), None)
    return None


def _time_keys(value: str) -> frozenset[str]:
    at = time.fromisoformat(value)
    hours = {at.hour, (at.hour - 1) % 12 + 1}
    written = {f"{hour}" for hour in hours} | {f"{hour:02}" for hour in hours}
    keys = {f"{hour}{at.minute:02}" for hour in written}
    return frozenset(keys if at.minute else keys | written)


def standing(kind: SlotKind, value: str, day: str | None, today: Today, hours: OpeningHours) -> str:
    """Whether a resolved value can be had: `open`, `closed` or `past`. `day` is the ISO date a time belongs to."""
    if kind is SlotKind.WORD:
        return "open"
    at = time.fromisoformat(value) if kind is SlotKind.TIME else None
    on = date.fromisoformat(value) if at is None else date.fromisoformat(day) if day else None
    if on and on < today.day:
        return "past"
    if at and on and datetime.combine(on, at) <= today.now:
        return "past"
    if at is None:
        return "open" if on and hours.on(on) else "closed"
    return "open" if hours.open_at(at, on) else "closed"


def spoken_value(kind: SlotKind, value: str, today: date, full: bool = False) -> str:
    """A resolved value in words."""
    match kind:
        case SlotKind.DAY:
            return spoken.day(date.fromisoformat(value), today, full)
        case SlotKind.TIME:
            return spoken.clock_time(time.fromisoformat(value))
        case SlotKind.WORD:
            return value
