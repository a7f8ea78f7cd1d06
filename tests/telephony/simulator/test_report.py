import json
from dataclasses import replace

from telephony.simulator.bridge import BridgeEvent
from telephony.simulator.report import Recording, TranscriptLine, Verdict
from tests.telephony.simulator.test_judge import GOOD


def test_the_transcript_joins_what_was_said_understood_and_heard_in_order() -> None:
    events = (
        BridgeEvent(3.2, "caller_said", 3.1, {"text": "hello"}),
        BridgeEvent(6.1, "reply_ended", 6.0, {"said": "Good morning to you.", "heard": "Good morning"}),
        BridgeEvent(6.5, "caller_said", 6.4, {}),
        BridgeEvent(9.0, "reply_ended", 9.0, {"said": "Goodbye."}),
        BridgeEvent(9.1, "novelty", None, {"text": "x"}),
    )
    assert replace(GOOD, events=events).transcript == (
        TranscriptLine(2.0, "caller", "Hello."),
        TranscriptLine(3.2, "understood", "hello"),
        TranscriptLine(6.0, "caller", "Stop!"),
        TranscriptLine(6.1, "agent", "Good morning"),
        TranscriptLine(6.5, "understood", ""),
        TranscriptLine(9.0, "agent", "Goodbye."),
    )


def test_the_json_holds_everything_but_the_sound() -> None:
    content = json.loads(replace(GOOD, recording=Recording(b"\xff", b"\xff")).json())
    assert content["placed"] == "2026-03-02T00:00:00Z"
    assert content["ended_by"] == "agent"
    assert content["exchanges"][0]["onset_s"] == 0.5
    assert content["summary"]["onset_s"] == {"count": 2, "p50": 0.65, "p90": 0.77, "p99": 0.797}
    assert content["transcript"][0] == {"at_s": 2.0, "who": "caller", "text": "Hello."}
    assert "recording" not in content


def test_only_what_failed_is_failed() -> None:
    verdicts = tuple(Verdict(1, str(passed), passed, "") for passed in (True, False, None))
    assert replace(GOOD, verdicts=verdicts).failed == (verdicts[1],)
