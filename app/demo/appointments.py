"""The appointment book of the demo desk, and the tools that a conversation keeps it with.

One appointment per caller, kept by number; half-hour slots within the desk's opening hours. The tools answer with a
`status` and what belongs to it, as the dialogue file `appointments.toml` expects; their docstrings are written for
language models, which read them.
"""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TypedDict

from providers.llm.dialogue.hours import OpeningHours
from telephony.clock import Clock

SLOT = timedelta(minutes=30)

ANONYMOUS = frozenset({"", "anonymous", "private", "restricted", "unavailable", "unknown", "+266696687"})
"""What carriers send in place of a number that is withheld; the last spells ANONYMOUS on a keypad (Twilio)."""

_OFFERED = 3
"""Free times offered in place of one that is taken: more than three are not remembered."""

_BUSY_S = 2.0
"""How long a write waits for another process's; then `sqlite3.OperationalError`."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS appointments (
    caller TEXT PRIMARY KEY,
    day TEXT NOT NULL,
    time TEXT NOT NULL,
    UNIQUE (day, time)
)
"""


class Answer(TypedDict, total=False):
    """What a tool answers: `status` always, days as ISO dates and times as HH:MM where there are any."""

    status: str
    day: str
    time: str
    free: list[str]
    times: list[str]


class AppointmentBook:
    """The book in the SQLite file at `path`, which is created. Safe for any number of processes at once.

    Every operation is one transaction on a connection of its own, in a thread, so that no call waits for a disk.
    """

    def __init__(self, path: Path, hours: OpeningHours, clock: Clock) -> None:
        self._path = path
        self._hours = hours
        self._clock = clock
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)

    # Tools

    async def find_appointment(self, caller: str) -> Answer:
        """Look up the caller's appointment. Status: found (with day and time), none, or anonymous."""
        return await asyncio.to_thread(self._find, caller)

    async def free_times(self, day: date) -> Answer:
        """List the free times of a day. Status: free (with times), full, closed or past."""
        return await asyncio.to_thread(self._free_times, day)

    async def book_appointment(self, caller: str, day: date, time: time) -> Answer:
        """Book an appointment for the caller, on the hour or half hour. Confirm day and time with the caller first.

        Status: booked; taken (with the nearest free times of that day); full (nothing left that day); closed; past;
        exists (with the day and time of the one the caller already has); or anonymous.
        """
        return await asyncio.to_thread(self._book, caller, datetime.combine(day, time))

    async def move_appointment(self, caller: str, day: date, time: time) -> Answer:
        """Move the caller's appointment, on the hour or half hour. Confirm day and time with the caller first.

        Status: moved; none (there is no appointment); taken (with the nearest free times of that day); full (nothing
        left that day); closed; past; or anonymous.
        """
        return await asyncio.to_thread(self._move, caller, datetime.combine(day, time))

    async def cancel_appointment(self, caller: str) -> Answer:
        """Cancel the caller's appointment. Confirm with the caller first.

        Status: cancelled (with the day and time that are free again), none, or anonymous.
        """
        return await asyncio.to_thread(self._cancel, caller)

    # Transactions

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time; what lies in the past is forgotten first."""
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                over = self._now() - SLOT
                connection.execute("DELETE FROM appointments WHERE (day, time) <= (?, ?)", (_day(over), _time(over)))
                yield connection

    def _now(self) -> datetime:
        return self._clock.today().replace(tzinfo=None)

    def _find(self, caller: str) -> Answer:
        if _is_anonymous(caller):
            return Answer(status="anonymous")
        with self._transaction() as connection:
            held = _held(connection, caller)
        return _when("found", held) if held else Answer(status="none")

    def _free_times(self, day: date) -> Answer:
        refused = self._refused(datetime.combine(day, time.max))
        if refused:
            return refused
        with self._transaction() as connection:
            free = self._free(connection, day)
        if not free:
            return Answer(status="full", day=day.isoformat())
        return Answer(status="free", day=day.isoformat(), times=[_time(at) for at in free])

    def _book(self, caller: str, at: datetime) -> Answer:
        if _is_anonymous(caller):
            return Answer(status="anonymous")
        with self._transaction() as connection:
            held = _held(connection, caller)
            if held:
                return _when("exists", held)
            refused = self._refused_at(connection, at)
            if refused:
                return refused
            connection.execute("INSERT INTO appointments VALUES (?, ?, ?)", (caller, _day(at), _time(at)))
        return _when("booked", at)

    def _move(self, caller: str, at: datetime) -> Answer:
        if _is_anonymous(caller):
            return Answer(status="anonymous")
        with self._transaction() as connection:
            held = _held(connection, caller)
            if held is None:
                return Answer(status="none")
            refused = self._refused_at(connection, at) if at != held else None
            if refused:
                return refused
            connection.execute(
                "UPDATE appointments SET day = ?, time = ? WHERE caller = ?", (_day(at), _time(at), caller)
            )
        return _when("moved", at)

    def _cancel(self, caller: str) -> Answer:
        if _is_anonymous(caller):
            return Answer(status="anonymous")
        with self._transaction() as connection:
            held = _held(connection, caller)
            connection.execute("DELETE FROM appointments WHERE caller = ?", (caller,))
        return _when("cancelled", held) if held else Answer(status="none")

    # Rules

    def _refused(self, at: datetime) -> Answer | None:
        if at <= self._now():
            return Answer(status="past")
        return None if self._hours.on(at.date()) else Answer(status="closed", day=_day(at))

    def _refused_at(self, connection: sqlite3.Connection, at: datetime) -> Answer | None:
        """Why `at` cannot be had. Times that are no beginning of a slot count as taken."""
        refused = self._refused(at)
        if refused is None and not self._hours.open_at(at.time(), at.date()):
            refused = Answer(status="closed", day=_day(at))
        if refused:
            return refused
        free = self._free(connection, at.date())
        if at in free:
            return None
        if not free:
            return Answer(status="full", day=_day(at))
        nearest = sorted(sorted(free, key=lambda other: abs(other - at))[:_OFFERED])
        return Answer(status="taken", day=_day(at), time=_time(at), free=[_time(other) for other in nearest])

    def _free(self, connection: sqlite3.Connection, day: date) -> list[datetime]:
        taken = {
            row[0] for row in connection.execute("SELECT time FROM appointments WHERE day = ?", (day.isoformat(),))
        }
        return [at for at in self._slots(day) if at > self._now() and _time(at) not in taken]

    def _slots(self, day: date) -> Iterator[datetime]:
        opening = self._hours.on(day)
        if opening is None:
            return
        at = datetime.combine(day, opening.opens)
        while at + SLOT <= datetime.combine(day, opening.closes):
            yield at
            at += SLOT


def _held(connection: sqlite3.Connection, caller: str) -> datetime | None:
    row = connection.execute("SELECT day, time FROM appointments WHERE caller = ?", (caller,)).fetchone()
    return datetime.fromisoformat(f"{row[0]}T{row[1]}") if row else None


def _is_anonymous(caller: str) -> bool:
    return caller.strip().lower() in ANONYMOUS


def _when(status: str, at: datetime) -> Answer:
    return Answer(status=status, day=_day(at), time=_time(at))


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _time(at: datetime) -> str:
    return at.strftime("%H:%M")
