"""The appointment book: one appointment per caller, one caller per slot."""

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.demo.appointments import AppointmentBook
from providers.llm.dialogue.hours import OpeningHours
from telephony.clock import LoopClock

HOURS = OpeningHours.parse({"monday": "09:00-12:00", "tuesday": "09:00-12:00"})
MONDAY = date(2026, 3, 2)
TUESDAY = date(2026, 3, 3)
ANN, BOB = "+15550001", "+15550002"


def book_at(path: Path, now: datetime) -> AppointmentBook:
    return AppointmentBook(path, HOURS, LoopClock(now))


@pytest.fixture
def book(tmp_path: Path) -> AppointmentBook:
    """On a Monday at a quarter past nine."""
    return book_at(tmp_path / "book.db", datetime(2026, 3, 2, 9, 15, tzinfo=UTC))


def run(tool: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(tool)


def test_an_appointment_is_booked_found_moved_and_cancelled(book: AppointmentBook) -> None:
    assert run(book.find_appointment(ANN)) == {"status": "none"}
    at = {"day": "2026-03-03", "time": "10:00"}
    assert run(book.book_appointment(ANN, TUESDAY, time(10))) == {"status": "booked", **at}
    assert run(book.find_appointment(ANN)) == {"status": "found", **at}
    moved = {"day": "2026-03-02", "time": "11:30"}
    assert run(book.move_appointment(ANN, MONDAY, time(11, 30))) == {"status": "moved", **moved}
    assert run(book.cancel_appointment(ANN)) == {"status": "cancelled", **moved}
    assert run(book.cancel_appointment(ANN)) == {"status": "none"}
    assert run(book.move_appointment(ANN, MONDAY, time(11))) == {"status": "none"}


def test_a_taken_slot_offers_the_three_nearest_free_ones(book: AppointmentBook) -> None:
    run(book.book_appointment(ANN, TUESDAY, time(10)))
    assert run(book.book_appointment(BOB, TUESDAY, time(10))) == {
        "status": "taken",
        "day": "2026-03-03",
        "time": "10:00",
        "free": ["09:00", "09:30", "10:30"],
    }


def test_a_second_appointment_is_refused_with_the_first(book: AppointmentBook) -> None:
    run(book.book_appointment(ANN, TUESDAY, time(10)))
    again = run(book.book_appointment(ANN, TUESDAY, time(11)))
    assert again == {"status": "exists", "day": "2026-03-03", "time": "10:00"}


def test_an_appointment_may_be_moved_to_where_it_is_but_not_to_where_another_is(book: AppointmentBook) -> None:
    run(book.book_appointment(ANN, TUESDAY, time(10)))
    run(book.book_appointment(BOB, TUESDAY, time(11)))
    assert run(book.move_appointment(ANN, TUESDAY, time(10)))["status"] == "moved"
    assert run(book.move_appointment(ANN, TUESDAY, time(11)))["status"] == "taken"
    assert run(book.find_appointment(ANN))["time"] == "10:00"


@pytest.mark.parametrize(
    ("day", "at", "status"),
    [
        (MONDAY, time(9), "past"),
        (date(2026, 3, 1), time(10), "past"),
        (date(2026, 3, 4), time(10), "closed"),
        (TUESDAY, time(12), "closed"),
        (TUESDAY, time(8, 30), "closed"),
        (TUESDAY, time(10, 15), "taken"),
    ],
)
def test_what_cannot_be_had_is_refused(day: date, at: time, status: str, book: AppointmentBook) -> None:
    assert run(book.book_appointment(ANN, day, at))["status"] == status
    assert run(book.find_appointment(ANN)) == {"status": "none"}


def test_free_times_are_those_that_are_neither_taken_nor_past(book: AppointmentBook) -> None:
    run(book.book_appointment(ANN, MONDAY, time(10)))
    answer = run(book.free_times(MONDAY))
    assert answer == {"status": "free", "day": "2026-03-02", "times": ["09:30", "10:30", "11:00", "11:30"]}


@pytest.mark.parametrize(("day", "status"), [(date(2026, 3, 4), "closed"), (date(2026, 3, 1), "past")])
def test_a_day_without_times_says_why(day: date, status: str, book: AppointmentBook) -> None:
    assert run(book.free_times(day))["status"] == status


def test_a_full_day_is_full(book: AppointmentBook) -> None:
    for number, at in enumerate(run(book.free_times(TUESDAY))["times"]):
        run(book.book_appointment(f"+1777{number}", TUESDAY, time.fromisoformat(at)))
    assert run(book.free_times(TUESDAY))["status"] == "full"
    assert run(book.book_appointment(ANN, TUESDAY, time(10)))["status"] == "full"


@pytest.mark.parametrize("caller", ["", "anonymous", "Restricted", "+266696687"])
def test_callers_without_a_number_have_no_page_in_the_book(caller: str, book: AppointmentBook) -> None:
    for tool in (
        book.find_appointment(caller),
        book.book_appointment(caller, TUESDAY, time(10)),
        book.move_appointment(caller, TUESDAY, time(10)),
        book.cancel_appointment(caller),
    ):
        assert run(tool) == {"status": "anonymous"}


def test_what_is_over_is_forgotten_and_what_goes_on_is_not(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    early = book_at(path, datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    run(early.book_appointment(ANN, MONDAY, time(9)))
    run(early.book_appointment(BOB, TUESDAY, time(9)))
    assert run(book_at(path, datetime(2026, 3, 2, 9, 20, tzinfo=UTC)).find_appointment(ANN))["status"] == "found"
    assert run(book_at(path, datetime(2026, 3, 3, 0, 10, tzinfo=UTC)).find_appointment(BOB))["status"] == "found"
    assert run(book_at(path, datetime(2026, 3, 3, 0, 10, tzinfo=UTC)).find_appointment(ANN))["status"] == "none"


def test_the_book_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    now = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    run(book_at(tmp_path / "book.db", now).book_appointment(ANN, TUESDAY, time(10)))
    assert run(book_at(tmp_path / "book.db", now).find_appointment(ANN))["time"] == "10:00"


def test_of_many_callers_who_want_one_slot_at_once_one_gets_it(tmp_path: Path) -> None:
    now = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    desks = [book_at(tmp_path / "book.db", now) for _ in range(2)]

    async def rush() -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            wishes = [
                tasks.create_task(desks[number % 2].book_appointment(f"+1555{number}", TUESDAY, time(10)))
                for number in range(12)
            ]
        return [wish.result()["status"] for wish in wishes]

    assert sorted(asyncio.run(rush())) == ["booked"] + ["taken"] * 11


def test_the_file_itself_refuses_two_callers_in_one_slot(book: AppointmentBook, tmp_path: Path) -> None:
    run(book.book_appointment(ANN, TUESDAY, time(10)))
    with closing(sqlite3.connect(tmp_path / "book.db")) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO appointments VALUES (?, '2026-03-03', '10:00')", (BOB,))


wishes = st.tuples(
    st.sampled_from(["book", "move", "cancel"]),
    st.sampled_from([ANN, BOB, "+15550003"]),
    st.sampled_from([MONDAY, TUESDAY]),
    st.sampled_from([time(9), time(10), time(10, 30), time(11, 30)]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(wishes, max_size=12))
def test_the_book_never_holds_two_callers_in_one_slot(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, str, date, time]]
) -> None:
    book = book_at(tmp_path_factory.mktemp("book") / "book.db", datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    expected: dict[str, tuple[str, str]] = {}
    for wish, caller, day, at in done:
        slot = (day.isoformat(), at.isoformat("minutes"))
        free = slot not in expected.values() or expected.get(caller) == slot
        if wish == "cancel":
            run(book.cancel_appointment(caller))
            expected.pop(caller, None)
        elif wish == "book":
            run(book.book_appointment(caller, day, at))
            if caller not in expected and free:
                expected[caller] = slot
        else:
            run(book.move_appointment(caller, day, at))
            if caller in expected and free:
                expected[caller] = slot
    found = {caller: run(book.find_appointment(caller)) for caller in (ANN, BOB, "+15550003")}
    assert {
        caller: (answer["day"], answer["time"]) for caller, answer in found.items() if answer["status"] == "found"
    } == expected
