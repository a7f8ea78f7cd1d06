"""Days, times and lists in the words that an English speaker would use; no digit reaches the voice."""

from collections.abc import Sequence
from datetime import date, time, timedelta

# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_TENS = ("", "", "twenty", "thirty", "forty", "fifty")
_ORDINAL = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
    "twenty": "twentieth",
    "thirty": "thirtieth",
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: off
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)
# fmt: on

APPOINTMENT_SPACING = timedelta(minutes=30)
"""Free times this far apart are one run: "from nine to eleven", not "nine, half past nine, ten, …"."""


def cardinal(number: int) -> str:
    """`number`, 0 to 59, in words."""
    if number < len(_SMALL):
        return _SMALL[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")


def ordinal(number: int) -> str:
    """`number`, 1 to 59, as an ordinal in words."""
    head, dash, last = cardinal(number).rpartition("-")
    return head + dash + _ORDINAL.get(last, f"{last}th")


def day(value: date, today: date, full: bool = False) -> str:
    """When a thing happens: "tomorrow", "on Friday", "on Monday the ninth of March"; `full` always has the date."""
    ahead = (value - today).days
    if ahead in (0, 1):
        near = ("today", "tomorrow")[ahead]
        return f"{near}, {dated(value)}" if full else near
    return f"on {dated(value)}" if full or not 1 < ahead < 7 else f"on {WEEKDAYS[value.weekday()]}"


def dated(value: date) -> str:
    """ "Friday the sixth of March"."""
    return f"{WEEKDAYS[value.weekday()]} the {ordinal(value.day)} of {_MONTHS[value.month - 1]}"


def clock_time(value: time) -> str:
    """An appointment's time: "ten o'clock", "half past two", "noon"."""
    hour = cardinal((value.hour - 1) % 12 + 1)
    if value.minute == 30:
        return f"half past {hour}"
    if value.minute:
        return f"{hour} {_minute(value)}"
    return "noon" if value.hour == 12 else f"{hour} o'clock"


def clock(value: time) -> str:
    """What a watch says, to the minute: "nine oh five in the morning"."""
    hour = cardinal((value.hour - 1) % 12 + 1)
    return f"{hour} {_minute(value)} {part_of_day(value)}"


def _minute(value: time) -> str:
    if value.minute == 0:
        return "o'clock"
    return f"oh {cardinal(value.minute)}" if value.minute < 10 else cardinal(value.minute)


def part_of_day(value: time) -> str:
    if 5 <= value.hour < 12:
        return "in the morning"
    if 12 <= value.hour < 18:
        return "in the afternoon"
    return "in the evening" if 18 <= value.hour < 22 else "at night"


def times(values: Sequence[time]) -> str:
    """Times to choose from, in order of the clock, runs drawn together: "nine o'clock or any time from eleven
    to half past four"."""
    runs: list[list[time]] = []
    for value in sorted(values):
        if runs and _minutes(value) - _minutes(runs[-1][-1]) == APPOINTMENT_SPACING.seconds // 60:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts: list[str] = []
    for run in runs:
        if len(run) > 2:
            parts.append(f"any time {span(run[0], run[-1])}")
        else:
            parts += map(clock_time, run)
    return listed(parts, "or")


def span(start: time, end: time) -> str:
    """ "from nine to half past four"."""
    return f"from {clock_time(start)} to {clock_time(end)}".replace(" o'clock", "")


def _minutes(value: time) -> int:
    return value.hour * 60 + value.minute


def listed(parts: Sequence[str], conjunction: str) -> str:
    """ "a", "a or b", "a, b or c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"
