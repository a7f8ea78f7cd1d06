"""The journal keeps what happened, in order, and survives a trip through JSON."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given

from app.calls import journal
from app.calls.journal import (
    KEPT,
    PASSING,
    CallAnswered,
    CallEnded,
    CallerPartial,
    CallerSaid,
    FloorChanged,
    Journal,
    JournalEvent,
    LegAttached,
    ToolCalled,
    UnknownEvent,
    decode,
    encode,
    to_json,
)
from tests.journals import EVENTS


@given(EVENTS)
def test_every_event_comes_back_as_it_was_written(event: JournalEvent) -> None:
    assert decode(encode(event)) == event


def test_every_event_is_either_kept_or_passing() -> None:
    kinds = {
        kind
        for kind in vars(journal).values()
        if isinstance(kind, type) and issubclass(kind, JournalEvent) and kind is not JournalEvent
    }
    assert kinds == {*get_args(KEPT), *get_args(PASSING), UnknownEvent}
    assert not set(get_args(KEPT)) & set(get_args(PASSING))


def test_an_event_of_a_later_version_is_carried_along_as_it_is() -> None:
    line = b'{"kind":"mood_changed","at":3.5,"mood":"better"}'
    event = decode(line)
    assert event == UnknownEvent(3.5, {"kind": "mood_changed", "at": 3.5, "mood": "better"})
    assert encode(event) == line


def test_an_event_whose_fields_have_changed_is_carried_along_too() -> None:
    line = b'{"kind":"call_ended","at":1.0,"reason":{"by":"us"}}'
    assert decode(line) == UnknownEvent(1.0, {"kind": "call_ended", "at": 1.0, "reason": {"by": "us"}})


def test_a_known_event_with_more_fields_than_we_know_is_read_without_them() -> None:
    assert decode(b'{"kind":"call_ended","at":1.0,"reason":"done","by":"us"}') == CallEnded(1.0, "done")


def test_an_event_on_paper_names_its_kind() -> None:
    assert msgspec.json.decode(encode(CallerSaid(at=1.5, text="hello"))) == {
        "kind": "caller_said",
        "at": 1.5,
        "text": "hello",
        "digits": False,
    }


HALF = "w\udce9re \ud83d"
WHOLE = "w\N{REPLACEMENT CHARACTER}re \N{REPLACEMENT CHARACTER}"


def test_text_that_is_none_is_written_as_far_as_it_goes() -> None:
    assert decode(encode(LegAttached(at=1.0, stream_id=HALF))) == LegAttached(1.0, WHOLE)
    called = ToolCalled(at=1.0, turn=1, tool_call_id="a", name="look", arguments={HALF: [HALF, {"n": HALF}, 1]})
    assert decode(encode(called)) == ToolCalled(1.0, 1, "a", "look", {WHOLE: [WHOLE, {"n": WHOLE}, 1]})
    assert msgspec.json.decode(encode(UnknownEvent(1.0, {"at": 1.0, "said": HALF}))) == {"at": 1.0, "said": WHOLE}
    assert to_json({"said": HALF, "events": [msgspec.Raw(b'{"at":1}')]}) == (
        f'{{"said":"{WHOLE}","events":[{{"at":1}}]}}'.encode()
    )


@pytest.mark.parametrize("line", [b"", b"{}", b'{"kind": "weather"}', b'{"kind": "call_ended"}', b"[]", b"\xff"])
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(line)


def test_what_a_partial_and_the_floor_tell_is_told_and_not_kept_in_memory() -> None:
    book, told = Journal(), []
    book.listen(told.append)
    events = [
        CallAnswered(at=0.0, call_id="CA1", carrier="twilio", caller="", called="", answered_at=""),
        CallerPartial(at=0.5, text="he"),
        FloorChanged(at=0.6, floor="THINKING", phase="live"),
        CallEnded(at=1.0, reason="done"),
    ]
    for event in events:
        book.append(event)
    assert told == events
    assert book.events == [events[0], events[3]]


def test_a_listener_hears_what_comes_until_it_leaves() -> None:
    book, first, second = Journal(), [], []
    leave = book.listen(first.append)
    book.append(CallerSaid(at=1.0, text="one"))
    book.listen(second.append)
    book.append(CallerSaid(at=2.0, text="two"))
    leave()
    book.append(CallerSaid(at=3.0, text="three"))
    assert [event.text for event in first] == ["one", "two"]
    assert [event.text for event in second] == ["two", "three"]


def test_a_listener_may_leave_while_it_is_told() -> None:
    book, told = Journal(), []

    def once(event: JournalEvent) -> None:
        told.append(event)
        leave()

    leave = book.listen(once)
    book.listen(told.append)
    book.append(CallEnded(at=1.0, reason="done"))
    assert len(told) == 2
    book.append(CallEnded(at=2.0, reason="done"))
    assert len(told) == 3


def test_events_cannot_be_changed() -> None:
    event = ToolCalled(at=1.0, turn=1, tool_call_id="a", name="look", arguments={})
    with pytest.raises(AttributeError):
        event.name = "other"  # type: ignore[misc]
