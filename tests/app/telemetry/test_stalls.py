"""A loop that stands still is told of while it does, with the place."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.telemetry.stalls import StallWatch

LONG_S = 0.05
PATIENCE_S = 30.0


@contextmanager
def watching() -> Iterator[tuple[StallWatch, list[EventDict]]]:
    with capture_logs() as told, StallWatch(LONG_S) as watch:
        yield watch, told


def stand_still_until(told: list[EventDict], count: int) -> None:
    given_up_at = time.monotonic() + PATIENCE_S
    while len(told) < count and time.monotonic() < given_up_at:
        time.sleep(0.001)


def test_where_the_loop_stands_still_is_told_while_it_does_and_once() -> None:
    with watching() as (watch, told):
        watch.beat(0.0)
        stand_still_until(told, 1)
        watch.beat(1.25)
    stands, stood = told
    assert stands["event"] == "event loop stands still"
    assert "stand_still_until" in str(stands["where"]).split(" < ")[0]
    assert (stood["event"], stood["late_s"], stood["whole_process"]) == ("event loop stood still", 1.25, False)


def test_a_second_stall_is_told_as_well() -> None:
    with watching() as (watch, told):
        for count in (1, 3):
            stand_still_until(told, count)
            watch.beat(1.0)
    assert [entry["event"] for entry in told] == ["event loop stands still", "event loop stood still"] * 2


def test_a_process_that_was_stopped_as_a_whole_had_nobody_to_see_where() -> None:
    with capture_logs() as told:
        StallWatch().beat(2.5)
    (stood,) = told
    assert (stood["event"], stood["late_s"], stood["whole_process"]) == ("event loop stood still", 2.5, True)
