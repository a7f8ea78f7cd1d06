"""When a desk is open: one stretch a day, the same every week."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time

from providers.llm.dialogue import spoken

CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class OpenFrom:
    """A day's opening: from `opens` up to and without `closes`."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> "OpenFrom | None":
        """`09:00-17:00`, or None for `closed`. Raises `ValueError`."""
        if text == CLOSED:
            return None
        opens, _, closes = text.partition("-")
        opening = cls(time.fromisoformat(opens.strip()), time.fromisoformat(closes.strip()))
        if opening.opens >= opening.closes:
            raise ValueError(f"{text!r} ends before it begins")
        return opening

    def __str__(self) -> str:
        return spoken.span(self.opens, self.closes)


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """Seven days from Monday on; None is a day on which the desk is closed."""

    week: tuple[OpenFrom | None, ...]

    @classmethod
    def parse(cls, table: Mapping[str, str]) -> "OpeningHours":
        """From weekday names in lower case; a day that is not named is closed. Raises `ValueError`."""
        known = {name.lower() for name in spoken.WEEKDAYS}
        for name in table:
            if name not in known:
                raise ValueError(f"{name!r} is no weekday")
        return cls(tuple(OpenFrom.parse(table.get(name.lower(), CLOSED)) for name in spoken.WEEKDAYS))

    def on(self, day: date) -> OpenFrom | None:
        return self.week[day.weekday()]

    def open_at(self, at: time, day: date | None = None) -> bool:
        """Whether the desk is open at that time of `day`, or of any day at all."""
        openings = self.week if day is None else (self.on(day),)
        return any(opening is not None and opening.opens <= at < opening.closes for opening in openings)

    def __str__(self) -> str:
        """The week in words, days of equal hours drawn together."""
        groups: list[tuple[list[str], OpenFrom]] = []
        previous: OpenFrom | None = None
        for name, opening in zip(spoken.WEEKDAYS, self.week, strict=True):
            if opening is not None and opening == previous:
                groups[-1][0].append(name)
            elif opening is not None:
                groups.append(([name], opening))
            previous = opening
        return spoken.listed([f"{_days(names)} {opening}" for names, opening in groups], "and")


def _days(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
