"""What every carrier in `CARRIERS` promises, whoever it is. A new carrier is covered by being registered.

Its golden wire files are `tests/wire/{carrier}/*.jsonl`. A line is a message of the carrier (`in`, or `in_bytes` in
base64) with the `events` it makes or the reason for which it is `malformed`; or a message of ours (`out`) with the
`command` that it says; or a `note`.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.audio import AudioFormat
from telephony.carrier import (
    AudioReceived,
    CallOffered,
    CallStatus,
    CarrierCommand,
    CarrierProtocol,
    ClearAudio,
    Dial,
    HangUp,
    MediaStarted,
    OpenStream,
    PlaceMark,
    PlayAudio,
    WebhookRequest,
)
from telephony.carriers import CARRIERS
from telephony.errors import MalformedMessage, OurFault, SignatureRejected

WIRE = Path(__file__).parents[1] / "wire"
COMMANDS = {command.__name__: command for command in (PlayAudio, PlaceMark, ClearAudio)}
WIRE_FILES = [path for name in CARRIERS for path in sorted((WIRE / name).glob("*.jsonl"))]

carriers = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=list(CARRIERS))


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        yield {"line": number, **json.loads(line)}


def messages_of(carrier: str) -> list[str]:
    return [line["in"] for path in (WIRE / carrier).glob("*.jsonl") for line in lines_of(path) if "in" in line]


def started(carrier: str) -> tuple[CarrierProtocol, MediaStarted]:
    """A protocol that has seen the first valid start of the carrier's wire files."""
    for message in messages_of(carrier):
        protocol = CARRIERS[carrier].protocol()
        try:
            events = protocol.receive(message, 0.0)
        except MalformedMessage:
            continue
        if events and isinstance(events[0], MediaStarted):
            return protocol, events[0]
    raise AssertionError(f"no wire file of {carrier} has a start")


def answer_or_blame(ask: Callable[[], object]) -> object:
    """The answer, or the reason for which the message was malformed. Nothing else may be raised."""
    try:
        return ask()
    except MalformedMessage as malformed:
        return malformed.reason


def is_label(reason: object) -> bool:
    return isinstance(reason, str) and re.fullmatch("[a-z0-9_]+", reason) is not None


def as_written(event: object) -> dict[str, Any]:
    return {"type": type(event).__name__, **msgspec.to_builtins(event)}


@pytest.mark.parametrize("path", WIRE_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_wire_file_makes_its_events_and_its_commands_make_the_wire(path: Path) -> None:
    protocol = CARRIERS[path.parent.name].protocol()
    for line in lines_of(path):
        if "note" in line:
            continue
        where = f"{path.name}:{line['line']}"
        if "out" in line:
            fields = line["command"]
            command = msgspec.convert({k: v for k, v in fields.items() if k != "type"}, COMMANDS[fields["type"]])
            assert protocol.send(command) == line["out"], where
            continue
        message = line["in"] if "in" in line else b64decode(line["in_bytes"])
        if "malformed" in line:
            with pytest.raises(MalformedMessage) as caught:
                protocol.receive(message, 0.0)
            assert caught.value.reason == line["malformed"], where
        else:
            assert [as_written(event) for event in protocol.receive(message, 0.0)] == line["events"], where


@carriers
def test_has_wire_files_and_is_registered_under_its_name(carrier: Any) -> None:
    assert CARRIERS[carrier.name] is carrier
    assert re.fullmatch("[a-z][a-z0-9-]*", carrier.name), "the name is a path segment and a metric label"
    assert any(path.parent.name == carrier.name for path in WIRE_FILES)
    assert all(re.fullmatch("[A-Z][A-Z0-9_]*", variable) for variable in carrier.secret_variables)
    assert carrier.secret_variables


@carriers
@pytest.mark.parametrize("command", [PlayAudio(b"\xff" * 160), PlaceMark("m"), ClearAudio()])
def test_sending_before_the_start_is_our_fault(carrier: Any, command: CarrierCommand) -> None:
    with pytest.raises(OurFault):
        carrier.protocol().send(command)


@carriers
def test_a_start_brings_the_token_home_and_names_its_audio(carrier: Any) -> None:
    _, start = started(carrier.name)
    assert start.call_id
    assert start.stream_id
    assert isinstance(start.audio, AudioFormat)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@st.composite
def near_messages(draw: st.DrawFn, carrier: str) -> str | bytes:
    """A wire message with a stretch of it replaced, or one of its values."""
    message = draw(st.sampled_from(messages_of(carrier)))
    if draw(st.booleans()):
        start, end = sorted((draw(st.integers(0, len(message))), draw(st.integers(0, len(message)))))
        return message[:start] + draw(st.text(max_size=12)) + message[end:]
    try:
        fields = json.loads(message)
    except ValueError:
        return message.encode()
    if not isinstance(fields, dict) or not fields:
        return message
    fields[draw(st.sampled_from(sorted(fields)))] = draw(json_values)
    return json.dumps(fields)


def any_message(carrier: str) -> st.SearchStrategy[str | bytes]:
    return (
        st.text(alphabet=st.characters(exclude_categories=()))
        | st.binary()
        | near_messages(carrier)
        | json_values.map(json.dumps)
    )


@carriers
@given(data=st.data())
def test_any_message_makes_events_or_is_malformed(carrier: Any, data: st.DataObject) -> None:
    protocol = started(carrier.name)[0] if data.draw(st.booleans()) else carrier.protocol()
    for message in data.draw(st.lists(any_message(carrier.name), max_size=5)):
        outcome = answer_or_blame(lambda message=message: protocol.receive(message, 0.0))
        assert isinstance(outcome, tuple) or is_label(outcome)


@carriers
@given(data=st.data())
def test_nothing_happens_before_the_start(carrier: Any, data: st.DataObject) -> None:
    protocol = carrier.protocol()
    for message in data.draw(st.lists(st.sampled_from(messages_of(carrier.name)), max_size=20)):
        try:
            events = protocol.receive(message, 0.0)
        except MalformedMessage:
            continue
        if events:
            assert isinstance(events[0], MediaStarted)
            return


@carriers
@pytest.mark.parametrize(
    "message",
    [
        pytest.param('{"event":"x","a":' + "[" * 60_000, id="nested arrays"),
        pytest.param('{"event":"media","media":' + '{"a":' * 10_000, id="nested objects"),
        pytest.param("[" * 1_000_000, id="a megabyte"),
        pytest.param('{"event":"media","media":{"timestamp":"' + "9" * 20_000 + '"}}', id="a huge number"),
        pytest.param('{"event":"\ud800"}', id="half a surrogate pair"),
        pytest.param(b"\xff\xfe" * 40_000, id="binary"),
    ],
)
def test_hostile_messages_are_malformed_or_nothing(carrier: Any, message: str | bytes) -> None:
    protocol, _ = started(carrier.name)
    try:
        assert protocol.receive(message, 0.0) == ()
    except MalformedMessage:
        return


@carriers
@given(payload=st.binary(max_size=4000))
def test_commands_are_never_taken_for_events_of_a_call(carrier: Any, payload: bytes) -> None:
    """A far end that sends our own messages back must not make us hear ourselves."""
    protocol, _ = started(carrier.name)
    try:
        events = protocol.receive(protocol.send(PlayAudio(payload)), 0.0)
    except MalformedMessage:
        return
    assert not any(isinstance(event, AudioReceived) for event in events)


texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=200)
decisions = st.one_of(
    st.builds(
        OpenStream,
        media_url=st.from_regex(r"wss://[a-z.]{1,20}/[a-z&<>\"]{0,10}", fullmatch=True),
        after_url=texts,
        token=texts,
    ),
    st.builds(HangUp, say=texts),
    st.builds(Dial, target=texts, say=texts),
)


@carriers
@given(decision=decisions)
def test_any_decision_makes_a_document(carrier: Any, decision: OpenStream | HangUp | Dial) -> None:
    document = carrier.webhooks.document(decision)
    document.body.encode()
    if document.content_type.endswith("xml"):
        ElementTree.fromstring(document.body)
    else:
        json.loads(document.body)


webhook_requests = st.builds(
    WebhookRequest,
    method=st.sampled_from(["GET", "POST"]),
    url=st.builds("https://bridge.example.net{}".format, st.from_regex(r"/[!-~]{0,40}", fullmatch=True)),
    headers=st.dictionaries(st.from_regex("[a-z-]{1,30}", fullmatch=True), texts, max_size=4),
    form=st.lists(st.tuples(texts, texts), max_size=8).map(tuple),
    body=st.binary(max_size=200),
)


@carriers
@given(request=webhook_requests)
def test_a_request_without_signature_is_rejected(carrier: Any, request: WebhookRequest) -> None:
    with pytest.raises(SignatureRejected) as rejected:
        carrier.webhooks.authenticate(request, ("a-secret",))
    assert rejected.value.remedy


@carriers
@given(request=webhook_requests)
def test_any_request_makes_a_call_or_is_malformed(carrier: Any, request: WebhookRequest) -> None:
    for read, kind in ((carrier.webhooks.call_offered, CallOffered), (carrier.webhooks.call_status, CallStatus)):
        outcome = answer_or_blame(lambda read=read: read(request))
        assert isinstance(outcome, kind) or is_label(outcome)
