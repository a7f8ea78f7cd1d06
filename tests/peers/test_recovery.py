"""Five real calls for each fault, against real processes: nobody is lost, no word is skipped, none said a third time.

The same with more calls, and with the times: `python -m benchmarks recovery`.
"""

import asyncio

import pytest

from benchmarks.outages import FAULTS, CannotBreak
from benchmarks.recovery import Outcome, trial

CALLS = 5
TRIED = tuple(name for name in FAULTS if name != "stop")
"""Standing still takes long to be noticed, and is tested in virtual time."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome | CannotBreak]:
    """All faults side by side, each with a bridge of its own: most of a call is waiting."""

    async def attempt(fault: str, up: asyncio.Event) -> Outcome | CannotBreak:
        try:
            return await trial(fault, CALLS, seed=7, up=up)
        except CannotBreak as reason:
            return reason
        finally:
            up.set()

    async def all_trials() -> dict[str, Outcome | CannotBreak]:
        trials = {}
        async with asyncio.TaskGroup() as group:
            for fault in TRIED:  # bridges that start at the same time hold each other up, and live calls with them
                up = asyncio.Event()
                trials[fault] = group.create_task(attempt(fault, up))
                await up.wait()
        return {fault: task.result() for fault, task in trials.items()}

    return asyncio.run(all_trials())


def as_it_should_be(outcome: Outcome) -> bool:
    noticed = (outcome.lost, outcome.never_heard, outcome.caller_lost, outcome.wrong_context, outcome.incomplete)
    return noticed == (0, 0, 0, 0, 0) and outcome.heard_twice <= outcome.faults_felt


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", TRIED)
def test_callers_notice_little(fault: str, outcomes: dict[str, Outcome | CannotBreak]) -> None:
    outcome = outcomes[fault]
    if isinstance(outcome, CannotBreak):
        pytest.skip(str(outcome))
    unfelt = FAULTS[fault].felt and not outcome.faults_felt
    if unfelt or not as_it_should_be(outcome):  # of two dozen processes at once more may break, or less: now alone
        outcome = asyncio.run(trial(fault, CALLS, seed=8, up=asyncio.Event()))
    assert outcome.calls == CALLS
    if FAULTS[fault].felt:
        assert outcome.faults_felt, "nothing was disturbed: the test says nothing"
    assert as_it_should_be(outcome), outcome.problems
