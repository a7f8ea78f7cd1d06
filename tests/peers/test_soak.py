"""A soak of two minutes: calls come and go, workers stand still and die, and nothing is left behind.

Longer, and with more calls: `python -m benchmarks soak`.
"""

import asyncio

import pytest

from benchmarks.soak import soak


@pytest.mark.timeout(300)
def test_calls_and_faults_leave_nothing_behind() -> None:
    soaked = asyncio.run(soak(calls=20, for_s=120.0, every_s=4.0, seed=3))
    outcome = soaked.outcome
    assert outcome.calls >= 60 and len(soaked.faults) > 1, "nothing was disturbed: the test says nothing"
    noticed = (outcome.lost, outcome.caller_lost, outcome.wrong_context, outcome.incomplete)
    assert noticed == (0, 0, 0, 0), outcome.problems
    before, after = soaked.before, soaked.after
    assert before is not None and after is not None
    assert after.calls == 0
    assert after.tasks <= before.tasks + 2
    assert after.descriptors <= before.descriptors + 8
    assert soaked.growth_mb() < 10.0
