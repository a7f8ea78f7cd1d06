import pytest

from telephony.simulator.bridge import BridgeEvent
from telephony.simulator.measure import Exchange
from telephony.simulator.stages import stamps_by_exchange


def exchange(number: int, from_s: float, until_s: float) -> Exchange:
    return Exchange(number, number, "words", from_s, until_s, until_s + 0.5, until_s + 2, 0.5, None, False)


def measured(at_s: float, **stamps: float | None) -> BridgeEvent:
    return BridgeEvent(at_s + 0.1, "turn_measured", at_s, {"stamps": stamps})


EXCHANGES = [exchange(1, 1.0, 2.0), exchange(2, 5.0, 6.0)]


def test_stamps_go_to_the_utterance_that_they_answer_on_the_callers_time() -> None:
    events = [
        measured(0.5, tts_first_chunk=0.2),
        measured(4.0, asr_complete=2.2, llm_started=2.2, tts_first_chunk=2.4, llm_complete=None),
        measured(9.0, asr_complete=6.2),
    ]
    found = stamps_by_exchange(events, EXCHANGES)
    assert set(found) == {1, 2}
    assert found[1] == {
        name: pytest.approx(at)
        for name, at in {"asr_complete": 2.3, "llm_started": 2.3, "tts_first_chunk": 2.5}.items()
    }


def test_a_discarded_reply_gives_way_to_the_one_that_sounded() -> None:
    events = [
        measured(3.0, llm_started=1.8, llm_first_token=1.9),
        measured(4.0, llm_started=2.2, tts_first_chunk=2.4),
    ]
    assert stamps_by_exchange(events, EXCHANGES)[1]["llm_started"] == pytest.approx(2.3)


@pytest.mark.parametrize("fields", [{}, {"stamps": None}, {"stamps": {"asr_complete": "late"}}, {"stamps": {}}])
def test_events_without_stamps_are_passed_over(fields: dict[str, object]) -> None:
    assert stamps_by_exchange([BridgeEvent(4.0, "turn_measured", 4.0, fields)], EXCHANGES) == {}
