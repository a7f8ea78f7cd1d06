"""What is private is masked, and nothing else; lengths and word boundaries stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.journal import (
    CallAnswered,
    CallEnded,
    CallerPartial,
    CallerSaid,
    DigitKeyed,
    JournalEvent,
    ReplyBegun,
    ReplyEnded,
    ReplyHeard,
    ToolCalled,
    ToolReturned,
    encode,
)
from app.calls.redaction import Private, mask_number, redacted
from tests.journals import EVENTS

SECRETS = {
    Private.WORDS: (CallerSaid(1.0, "hello there"), CallerPartial(1.0, "hello")),
    Private.DIGITS: (CallerSaid(1.0, "4711", digits=True), DigitKeyed(1.0, "4")),
    Private.NUMBERS: (CallAnswered(0.0, "CA1", "twilio", "+15550100001", "+15550100002", ""),),
    Private.REPLIES: (
        ReplyBegun(1.0, 1, "greeting", "Good day"),
        ReplyHeard(1.0, 1, 100, 1, said_from=0, said="Good day"),
        ReplyEnded(1.0, 1, "Good day", "Good", "interrupted"),
    ),
    Private.TOOLS: (ToolCalled(1.0, 1, "a", "find", {"name": "Anna"}), ToolReturned(1.0, 1, "a", "found Anna")),
}


@pytest.mark.parametrize("kind", Private)
def test_each_kind_masks_its_own_events_and_no_others(kind: Private) -> None:
    for other, events in SECRETS.items():
        for event in events:
            assert (redacted(event, {kind}) != event) is (other is kind), event


def test_masks_keep_lengths_and_words() -> None:
    assert redacted(CallerSaid(1.0, "hello there"), {Private.WORDS}) == CallerSaid(1.0, "***** *****")
    ended = redacted(ReplyEnded(1.0, 1, "We are open", "We are", "interrupted"), {Private.REPLIES})
    assert (ended.said, ended.heard) == ("** *** ****", "** ***")


def test_what_was_said_before_a_tool_is_the_agents_and_its_arguments_are_the_tools() -> None:
    called = ToolCalled(1.0, 1, "a", "find", {"name": "Anna"}, said="One moment")
    assert redacted(called, {Private.REPLIES}).said == "*** ******"
    assert redacted(called, {Private.REPLIES}).arguments == {"name": "Anna"}
    assert redacted(called, {Private.TOOLS}).said == "One moment"
    assert redacted(called, {Private.TOOLS}).arguments == {"name": "***"}


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+15550100001", "+*********01"),
        ("sip:4711@example.net", "sip:**11@example.net"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_of_a_number_the_last_two_digits_can_be_seen(number: str, masked: str) -> None:
    assert mask_number(number) == masked


@given(EVENTS, st.sets(st.sampled_from(Private)))
def test_every_event_can_be_masked_and_stored_and_once_is_enough(event: JournalEvent, private: set[Private]) -> None:
    once = redacted(event, private)
    assert type(once) is type(event) and once.at == event.at
    assert redacted(once, private) == once
    assert encode(once)


def test_nothing_private_nothing_masked() -> None:
    event = CallEnded(1.0, "done")
    assert redacted(event, ()) is event
    assert redacted(event, set(Private)) is event
