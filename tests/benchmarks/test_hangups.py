"""Calls that come and go while the event loop is busy leave the process alive."""

import argparse

import pytest

from benchmarks import hangups


@pytest.mark.peer
def test_short_calls_at_a_high_rate_all_end_and_crash_nothing() -> None:
    pytest.importorskip("pjsua2", reason="pjsua2 is not installed: make sip builds it")
    told = argparse.Namespace(runs=1, calls=200, rate=100.0, length_s=0.7, busy=0.5)
    report = hangups.measure(told)
    ((_, ended_as, calls, ends, failed, frames, _),) = report.tables[0].rows
    assert (ended_as, calls, ends, failed) == ("in order", 200, 400, 0), report.text()
    assert isinstance(frames, int) and frames > 200 * 35  # each of both ends hears about 0.7 s, 50 frames a second
