"""What is private is masked, and nothing else; lengths and word boundaries stay."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.journal import (
    KEPT,
    PASSING,
    CallAnswered,
    CallBegun,
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
    TransferFailed,
    TransferRequested,
    UnknownEvent,
    encode,
)
from app.calls.redaction import Private, mask_number, redacted
from telephony.carrier import WebhookRequest
from telephony.carriers.twilio import TWILIO
from tests.journals import EVENTS

SECRETS = {
    Private.WORDS: (CallerSaid(1.0, "hello there"), CallerPartial(1.0, "hello")),
    Private.DIGITS: (CallerSaid(1.0, "4711", digits=True), DigitKeyed(1.0, "4")),
    Private.NUMBERS: (
        CallAnswered(0.0, "CA1", "twilio", "+15550100001", "+15550100002", ""),
        CallBegun(0.0, "CA1", "sip", "4711", "+15550100002", "outbound", ""),
        TransferFailed(1.0, "4712", "", "busy"),
    ),
    Private.REPLIES: (
        ReplyBegun(1.0, 1, "greeting", "Good day"),
        ReplyHeard(1.0, 1, 100, 1, said_from=0, said="Good day"),
        ReplyEnded(1.0, 1, "Good day", "Good", "interrupted"),
        ReplyHeard(1.0, 1, 100, 1, then="transfer", then_reason="Anna is angry"),
        TransferRequested(1.0, "Anna is angry"),
        TransferFailed(1.0, "", "Anna is angry", "busy"),
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


NUMBER = "+4915112345678"
NAMES = {"call_id", "carrier", "stream_id", "tool_call_id", "idempotency_key"}
TEXTS: dict[Any, Any] = {
    str: f"it was {NUMBER}, or so",
    dict[str, Any]: {"a": NUMBER, "b": [{"c": f"tel:{NUMBER}"}]},
    dict[str, str]: {"a": f"sip:{NUMBER}@example.net"},
    dict[str, float | str]: {"a": NUMBER},
    list[str]: [NUMBER],
}
NOTHING: dict[Any, Any] = {int: 1, float: 1.0, bool: False}


def with_a_number_everywhere(kind: type[JournalEvent]) -> JournalEvent:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    told = {name: TEXTS[field.type] for name, field in fields.items() if field.type in TEXTS and name not in NAMES}
    needed = {name: NOTHING.get(field.type, {}) for name, field in fields.items() if field.required}
    return kind(**needed | dict.fromkeys(NAMES & fields.keys(), "CA1") | told)


@pytest.mark.parametrize("kind", [*get_args(KEPT | PASSING), UnknownEvent])
def test_no_event_of_any_kind_tells_a_number(kind: type[JournalEvent]) -> None:
    event = with_a_number_everywhere(kind)
    shown = encode(redacted(event, set(Private))).decode()
    assert "1234567" not in shown


def test_what_the_carrier_tells_of_the_caller_is_masked_and_the_rest_is_kept() -> None:
    form = {
        "CallSid": "CA" + "0" * 32,
        "From": NUMBER,
        "Caller": NUMBER,
        "To": "+4930999",
        "Called": "sip:+4930999@example.net:5060",
        "CallerName": "MAX MUSTER",
        "FromCity": "KIEL",
        "CallerZip": "10115",
        "ForwardedFrom": "+15550100009",
        "SipHeader_X-Dialled": "0151 12345678",
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
        "customer": "81",
    }
    offered = TWILIO.webhooks.call_offered(WebhookRequest("POST", "https://x/voice", {}, tuple(form.items())))
    answered = CallAnswered(
        0.0, offered.call_id, "twilio", offered.caller, offered.called, "", variables=dict(offered.variables)
    )
    masked = redacted(answered, {Private.NUMBERS})
    shown = encode(masked).decode()
    for secret in ("4915112345678", "12345678", "4930999", "MAX", "KIEL", "10115", "1555010"):
        assert secret not in shown, secret
    for kept in ("CallSid", "ApiVersion", "Direction", "customer"):
        assert masked.variables[kept] == form[kept]
    assert masked.variables["From"] == masked.caller == "+***********78"


def test_a_short_number_is_masked_where_it_stands_by_itself() -> None:
    variables = {"dialled": "sip:471@example.net", "order": "24710"}
    answered = CallAnswered(0.0, "CA1", "sip", "471", "12", "", variables=variables)
    assert redacted(answered, {Private.NUMBERS}).variables == {"dialled": "sip:*71@example.net", "order": "24710"}


def test_why_we_end_a_call_is_no_word_of_the_models() -> None:
    begun = ReplyBegun(1.0, 1, "goodbye", "Bye", "end", "silence")
    assert redacted(begun, {Private.REPLIES}).then_reason == "silence"
