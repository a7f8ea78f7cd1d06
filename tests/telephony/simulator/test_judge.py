from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from telephony.simulator.bridge import BridgeEvent
from telephony.simulator.caller import Caller, Missed
from telephony.simulator.judge import judge
from telephony.simulator.measure import Exchange, Gap
from telephony.simulator.report import CallReport, EndedBy, Pace, Verdict
from telephony.simulator.script import read_script

SCRIPT = """
title = "t"
[[step]]
listen = true
begins_within_ms = 1000
[[step]]
say = "hello"
answer_within_ms = 800
understood = ["hello there"]
not_understood = ["goodbye"]
[[step]]
say = "stop"
stop_within_ms = 300
[[step]]
await_hang_up = true
[expect]
answers = 2
gaps_at_most = 0
answer_p90_ms = 900
"""
FIRST = Exchange(1, 2, "Hello.", 2.0, 3.0, 3.5, 5.0, 0.5, None, False)
SECOND = Exchange(2, 3, "Stop!", 6.0, 6.4, 7.2, 9.0, 0.8, 0.2, False)
HEARD = BridgeEvent(3.2, "caller_said", 3.1, {"text": "well Hello there"})
GOOD = CallReport(
    call_sid="CA1",
    url="http://127.0.0.1:8080",
    script="t",
    placed=datetime(2026, 3, 2, tzinfo=UTC),
    answered_after_s=0.01,
    duration_s=10.0,
    ended_by=EndedBy.AGENT,
    greeting_s=0.4,
    exchanges=(FIRST, SECOND),
    gaps=(),
    verbs=(),
    webhooks=(),
    streams=(),
    warnings=(),
    events=(HEARD, BridgeEvent(6.5, "caller_said", 6.4, {"text": "goodbye"})),
    events_offered=True,
    pace=Pace(500, 0, 0.1),
)


def verdicts(script: str = SCRIPT, step: int = 4, missed: Missed | None = None, **changes: Any) -> tuple[Verdict, ...]:
    caller = Caller(read_script(script, Path()))
    caller.listened[1] = 0.4
    caller.step = step
    caller.missed += [missed] if missed else []
    return judge(read_script(script, Path()), caller, replace(GOOD, **changes))


def failed(**changes: Any) -> list[tuple[int | None, str]]:
    return [(verdict.step, verdict.measured) for verdict in verdicts(**changes) if verdict.passed is False]


def test_a_call_as_expected_meets_every_expectation() -> None:
    judged = verdicts()
    assert [verdict.passed for verdict in judged] == [True] * 9
    assert [verdict.step for verdict in judged] == [1, 2, 2, 2, 3, None, None, None, None]


def test_a_slow_answer_fails_with_what_was_measured() -> None:
    assert failed(exchanges=(replace(FIRST, onset_s=0.85), SECOND)) == [(2, "850 ms")]


def test_no_answer_and_no_stop_fail() -> None:
    assert failed(exchanges=(replace(FIRST, onset_s=None), replace(SECOND, stop_s=None))) == [
        (2, "it did not"),
        (3, "it did not"),
        (None, "1"),
    ]


def test_words_count_only_within_their_turn_and_as_whole_words() -> None:
    assert failed(events=(replace(HEARD, at_s=6.2),)) == [(2, "it understood ''")]
    assert failed(events=(replace(HEARD, fields={"text": "hello therefore"}),)) == [
        (2, "it understood 'hello therefore'")
    ]
    assert failed(events=(replace(HEARD, fields={"text": "Goodbye, hello there"}),)) == [
        (2, "it understood 'Goodbye, hello there'")
    ]


def test_without_a_call_api_words_are_not_judged() -> None:
    unjudged = [verdict for verdict in verdicts(events=(), events_offered=False) if verdict.passed is None]
    assert [verdict.measured for verdict in unjudged] == ["the bridge offers no call API"] * 2


def test_what_the_caller_waited_for_in_vain_fails() -> None:
    assert failed(missed=Missed(3, "the agent speaks", "silent for 900 ms")) == [(3, "silent for 900 ms")]


@pytest.mark.parametrize(
    ("ended_by", "step", "measured"),
    [
        (EndedBy.AGENT, 3, "ended by the agent in step 3 of 4"),
        (EndedBy.CARRIER, 0, "ended by the carrier before its first step"),
        (EndedBy.TIME_LIMIT, 4, "ended by the time limit in step 4 of 4"),
    ],
)
def test_a_call_that_ends_too_early_fails(ended_by: EndedBy, step: int, measured: str) -> None:
    assert failed(ended_by=ended_by, step=step) == [(None, measured)]


def test_gaps_and_slow_answers_of_the_whole_call_fail() -> None:
    assert failed(gaps=(Gap(4.0, 0.06),), exchanges=(FIRST, replace(SECOND, onset_s=1.4))) == [
        (None, "60 ms at 4.00 s"),
        (None, "1310 ms"),
    ]


def test_an_agent_that_does_not_go_on_after_a_backchannel_is_told_off() -> None:
    script = SCRIPT.replace("stop_within_ms = 300", "goes_on_within_ms = 700")
    assert failed(script=script, exchanges=(FIRST, replace(SECOND, gone_on_s=0.6))) == []
    assert failed(script=script, exchanges=(FIRST, replace(SECOND, gone_on_s=0.9))) == [(3, "900 ms")]
    assert failed(script=script, exchanges=(FIRST, SECOND)) == [(3, "it did not")]
