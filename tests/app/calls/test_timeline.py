"""A call told line by line: what matters to its parties, and what went wrong."""

from app.calls.archive import CallCard
from app.calls.journal import (
    AudioLost,
    CallAnswered,
    CallEnded,
    CallerSaid,
    CallTakenOver,
    FloorChanged,
    JournalGap,
    LegAttached,
    ProviderFailed,
    ReplyEnded,
    ReplyHeard,
    ToolCalled,
    ToolReturned,
    TurnMeasured,
    UnknownEvent,
)
from app.calls.timeline import listing, timeline


def told(*events: object) -> list[str]:
    return [" ".join(line.split()) for line in timeline(events)]  # type: ignore[arg-type]


def test_a_conversation_reads_like_one() -> None:
    assert told(
        CallAnswered(0.0, "CA1", "twilio", "+15550100001", "+15550100002", "2026-03-02T09:00:00.000+00:00"),
        LegAttached(0.1, "MZ1"),
        FloorChanged(0.1, "THINKING", "live"),
        ReplyHeard(1.0, 1, 900, 1),
        ReplyEnded(2.0, 1, "Hello.", "Hello.", "completed"),
        CallerSaid(4.25, "are you open"),
        ToolCalled(4.3, 2, "a", "hours", {"day": "Friday"}),
        ToolReturned(4.4, 2, "a", "yes"),
        ReplyEnded(7.0, 2, "We are open on Friday.", "We are", "interrupted"),
        TurnMeasured(7.0, 2, {}, onset_s=0.456, breaches=["llm took 2.000 s, budget 1 s"]),
        CallerSaid(8.0, "4711", digits=True),
        CallerSaid(9.0, ""),
        CallEnded(65.0, "agent ended the call"),
    ) == [
        "0:00.0 call +15550100001 calls +15550100002 by twilio, 2026-03-02T09:00:00.000+00:00",
        "0:00.1 line connected (MZ1)",
        "0:02.0 agent Hello.",
        "0:04.2 caller are you open",
        "0:04.3 tool hours(day='Friday')",
        "0:04.4 tool = yes",
        "0:07.0 agent We are … [interrupted, unheard: open on Friday.]",
        "0:07.0 answered within 0.46 s; llm took 2.000 s, budget 1 s",
        "0:08.0 caller keys 4711",
        "0:09.0 caller (not understood)",
        "1:05.0 call ended: agent ended the call",
    ]


def test_trouble_is_told() -> None:
    assert told(
        ProviderFailed(1.0, "deepgram", "ProviderTimedOut", "no answer"),
        AudioLost(2.0, 640.0, "reconnect"),
        CallTakenOver(3.0, "b", 2, "its owner is gone"),
        JournalGap(4.0, 7, 3.5, "the store was gone for too long"),
        UnknownEvent(5.0, {"kind": "mood_changed", "at": 5.0}),
    ) == [
        "0:01.0 ! deepgram: ProviderTimedOut: no answer",
        "0:02.0 ! 640 ms of the caller were not recognised: reconnect",
        "0:03.0 call carried on by b, its owner number 2: its owner is gone",
        "0:04.0 ! 7 events since 0:03.5 are not known: the store was gone for too long",
        "0:05.0 ? mood_changed (of a later version)",
    ]


def test_calls_are_listed_one_a_line() -> None:
    live = CallCard("CA2", "twilio", "", "+15550100002", "inbound", "2026-03-02T09:01:00.000+00:00")
    over = CallCard("CA1", "twilio", "+15550100001", "+2", "inbound", "2026-03-02T09:00:00+00:00", True, "done", 61.5)
    heading, first, second = (" ".join(line.split()) for line in listing([live, over]))
    assert heading == "answered lasted caller called call ended because"
    assert first == "2026-03-02 09:01:00 live +15550100002 CA2"
    assert second == "2026-03-02 09:00:00 1:01.5 +15550100001 +2 CA1 done"
