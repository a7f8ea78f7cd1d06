from dataclasses import replace

import pytest

from telephony.simulator.measure import Gap
from telephony.simulator.narrator import Narrator, summary
from telephony.simulator.notices import (
    AgentFellSilent,
    AgentSpeaks,
    BridgeReported,
    CallerFellSilent,
    CallerPressed,
    CallerSpeaks,
    CallOver,
    CarrierWarned,
    Notice,
    VerbFollowed,
)
from telephony.simulator.report import Pace, Verdict
from tests.telephony.simulator.test_judge import GOOD


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (CallerSpeaks(1.5, "Hello.", False), "   1.50  caller  “Hello.”"),
        (CallerSpeaks(1.5, "Stop!", True), "   1.50  caller  barges in: “Stop!”"),
        (CallerPressed(2.0, "#"), "   2.00  caller  presses #"),
        (AgentSpeaks(2.0, 0.612, True), "   2.00  agent   speaks after 612 ms  ▇▇▇▇▇▇"),
        (AgentFellSilent(2.0, 0.21), "   2.00  agent   stops 210 ms after the barge-in"),
        (VerbFollowed(0.0, "Hangup"), "   0.00  carrier Hangup"),
        (CarrierWarned(0.0, 31951, "odd"), "   0.00  carrier warning 31951: odd"),
        (CallOver(9.0, "time_limit"), "   9.00          call ended by the time limit"),
        (BridgeReported(3.0, "caller_said", {"text": "hello"}), "   3.00  bridge  understood “hello”"),
        (
            BridgeReported(3.0, "reply_ended", {"said": "We open at nine.", "heard": "We open at nine."}),
            "   3.00  bridge  said “We open at nine.”",
        ),
        (
            BridgeReported(3.0, "reply_ended", {"said": "We open at nine.", "heard": "We open"}),
            "   3.00  bridge  said “We open at nine.”, of which was heard “We open”",
        ),
        (
            BridgeReported(
                3.0,
                "turn_measured",
                {
                    "stamps": {
                        "speech_ended": 1.65,
                        "turn_ended": 1.97,
                        "asr_complete": 2.0,
                        "llm_first_token": 2.1,
                        "tts_first_chunk": 2.15,
                    },
                    "breaches": ["asr_finalization"],
                },
            ),
            "   3.00  bridge  turn end 320 ms · transcript 30 ms · first token 100 ms · first speech 50 ms"
            " · over budget: asr_finalization",
        ),
    ],
)
def test_what_happens_is_told_in_a_line(notice: Notice, line: str) -> None:
    assert Narrator().tell(notice) == line


@pytest.mark.parametrize(
    "notice",
    [
        CallerFellSilent(1.0),
        AgentSpeaks(2.0, 0.6, False),
        AgentFellSilent(2.0, None),
        BridgeReported(1.0, "caller_partial", {}),
        BridgeReported(1.0, "turn_measured", {"stamps": {"asr_complete": None}}),
        BridgeReported(1.0, "turn_measured", {}),
        BridgeReported(1.0, "novelty", {"text": "x"}),
    ],
)
def test_small_matters_are_not_told(notice: Notice) -> None:
    assert Narrator().tell(notice) is None


def test_the_status_shows_who_speaks_and_what_is_being_understood() -> None:
    narrator = Narrator()
    narrator.tell(CallerSpeaks(1.0, "Hello.", False))
    narrator.tell(BridgeReported(1.2, "caller_partial", {"text": "hel"}))
    assert narrator.status(1.25) == "   1.25  ● caller  ○ agent  … hel"
    narrator.tell(CallerFellSilent(1.5))
    narrator.tell(BridgeReported(1.6, "caller_said", {"text": "hello"}))
    narrator.tell(AgentSpeaks(2.0, 0.5, True))
    assert narrator.status(2.0) == "   2.00  ○ caller  ● agent  "


def test_the_summary_of_a_good_call_is_short() -> None:
    assert list(summary([replace(GOOD, verdicts=(Verdict(1, "it works", True, "yes"),))])) == [
        "  answers   2: p50 650 ms  p90 770 ms  p99 797 ms",
        "  barge-ins 1: p50 200 ms  p90 200 ms  p99 200 ms",
        "  gaps      none",
        "  expected  1 met, 0 failed, 0 not to be judged",
    ]


def test_the_summary_names_each_failure_and_what_was_measured() -> None:
    bad = replace(
        GOOD,
        exchanges=(),
        gaps=(Gap(1.0, 0.06),),
        pace=Pace(100, 5, 31.0),
        verdicts=(Verdict(2, "the agent answers within 800 ms", False, "900 ms"), Verdict(2, "x", None, "no API")),
    )
    assert list(summary([bad])) == [
        "  answers   none",
        "  barge-ins none",
        "  gaps      1, the longest 60 ms",
        "  pace      5.0% of our frames were late, by up to 31 ms: judge with care",
        "  expected  0 met, 1 failed, 1 not to be judged",
        "  FAILED    step 2: the agent answers within 800 ms; measured: 900 ms",
        "  not judged: no API",
    ]


def test_the_summary_of_many_calls_counts_and_names_the_failed_ones() -> None:
    failed = replace(GOOD, call_sid="CA2", verdicts=(Verdict(None, "2 answers", False, "1"),))
    lines = list(summary([GOOD, failed]))
    assert lines[0] == "2 calls, 1 with failed expectations"
    assert lines[1].startswith("  answers   4:")
    assert lines[-1] == "  FAILED    CA2: 2 answers; measured: 1"
