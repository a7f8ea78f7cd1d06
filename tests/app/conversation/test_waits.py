"""What a wait will be, by what waits were."""

from app.conversation.waits import RecentWaits
from app.telemetry.latency import LatencyMetrics


def reply(model_s: float, voice_s: float) -> LatencyMetrics:
    return LatencyMetrics(
        llm_started=1.0, llm_first_token=1.0 + model_s, tts_started=5.0, tts_first_chunk=5.0 + voice_s
    )


def test_nothing_known_is_no_wait() -> None:
    assert RecentWaits().expected_s(("book",)) == 0.0


def test_model_voice_and_the_slowest_tool_add_up() -> None:
    waits = RecentWaits()
    waits.measured(reply(0.5, 0.25))
    waits.tool_returned("book", 2.0)
    waits.tool_returned("look", 1.0)
    assert waits.expected_s() == 0.75
    assert waits.expected_s(("look", "book")) == 2.75


def test_a_call_believes_its_process_until_it_has_seen_enough_itself() -> None:
    process = RecentWaits()
    for _ in range(9):
        process.measured(reply(0.5, 0.0))
    call = RecentWaits(process)
    call.measured(reply(2.0, 0.0))
    assert call.expected_s() == 0.5
    call.measured(reply(2.0, 0.0))
    call.measured(reply(2.0, 0.0))
    assert call.expected_s() == 2.0
    assert process.expected_s() == 0.5


def test_a_reply_that_never_began_tells_nothing() -> None:
    waits = RecentWaits()
    waits.measured(LatencyMetrics(llm_started=1.0))
    assert waits.expected_s() == 0.0
