import pytest

from telephony.simulator.faults import Fault
from telephony.simulator.report import EndedBy
from tests.telephony.simulator.fake_bridge import STREAM, FakeBridge, MediaSession
from tests.telephony.simulator.placing import AFTER, AWAIT, ONLY_STREAM, WITH_AFTER, leave_at_once, listen_only, place

HANG_UP = "wait_ms = 200 | hang_up = true"


def verbs(
    documents: dict[str, list[str | int]], steps: str = AWAIT, **line: object
) -> tuple[list[str], FakeBridge, EndedBy]:
    bridge = FakeBridge(leave_at_once, documents)
    report = place(bridge, steps, **line)
    return [verb for _, verb in report.verbs], bridge, report.ended_by


def test_the_verbs_of_a_document_are_followed_in_order_and_its_end_ends_the_call() -> None:
    followed, _, ended_by = verbs(
        {"/twilio/voice": ['<Response><Say>Hi.</Say><Pause length="0.1"/><Gather/></Response>']}
    )
    assert followed == ["Say 'Hi.'", "Pause 0.1 s", "end of the document"]
    assert ended_by is EndedBy.AGENT


def test_the_carriers_own_voice_is_heard_as_long_as_its_text_takes() -> None:
    bridge = FakeBridge(leave_at_once, {"/twilio/voice": ["<Response><Say>0123456789</Say></Response>"]})
    report = place(bridge, AWAIT)
    assert report.recording is not None
    assert report.recording.agent.count(0xFF) < len(report.recording.agent) / 3
    assert len(report.recording.agent) / 8000 > 0.5


def test_a_dialled_party_is_named_and_its_action_decides_what_follows() -> None:
    followed, bridge, _ = verbs(
        {
            "/twilio/voice": ['<Response><Dial action="/done">+15550100003</Dial><Say>unused</Say></Response>'],
            "/done": ["<Response><Hangup/></Response>"],
        }
    )
    assert followed == ["Dial +15550100003", "Hangup"]
    assert bridge.forms("/done")[0]["DialCallStatus"] == "completed"


def test_with_an_action_the_rest_of_the_document_is_not_used() -> None:
    connect = STREAM.replace("<Connect>", '<Connect action="/action">').replace("{then}", "<Say>unused</Say>")
    followed, bridge, _ = verbs({"/twilio/voice": [connect], "/action": ["<Response><Hangup/></Response>"]})
    assert followed[-1] == "Hangup"
    assert bridge.forms("/action")[0]["CallStatus"] == "in-progress"


def test_a_rejected_call_is_reported_as_such() -> None:
    followed, bridge, _ = verbs({"/twilio/voice": ['<Response><Reject reason="busy"/></Response>']})
    assert followed == ["Reject busy"]
    assert bridge.forms("/twilio/status")[0]["CallStatus"] == "busy"


@pytest.mark.parametrize("answer", [500, "<Response>"])
def test_without_a_usable_document_the_call_ends(answer: str | int) -> None:
    _, bridge, ended_by = verbs({"/twilio/voice": [answer]})
    assert ended_by is EndedBy.CARRIER
    assert bridge.forms("/twilio/status")[0]["CallStatus"] == "failed"


def test_the_fallback_is_asked_with_the_error() -> None:
    followed, bridge, _ = verbs(
        {"/twilio/voice": [500], "/fallback": ["<Response><Hangup/></Response>"]}, fallback_path="/fallback"
    )
    assert followed == ["Hangup"]
    (form,) = bridge.forms("/fallback")
    assert (form["ErrorCode"], form["ErrorUrl"]) == ("11200", bridge.url + "/twilio/voice")


def test_a_bridge_that_redirects_for_ever_is_given_up() -> None:
    followed, _, ended_by = verbs({"/twilio/voice": ["<Response><Redirect/></Response>"]})
    assert followed[-1] == "gave up after 100 documents"
    assert ended_by is EndedBy.CARRIER


def test_a_plain_websocket_is_refused_unless_allowed() -> None:
    bridge = FakeBridge(leave_at_once, dict(WITH_AFTER))
    report = place(bridge, AWAIT, allow_plain_ws=False)
    assert [warning.code for warning in report.warnings] == [31922]
    assert bridge.sessions == []
    assert report.verbs[-1][1] == "Hangup"


def test_a_secure_stream_of_the_public_address_is_opened_where_the_bridge_is() -> None:
    documents = {"/twilio/voice": [STREAM.replace("{ws}", "wss://bridge.example.net").replace("{then}", "")]}
    bridge = FakeBridge(leave_at_once, dict(documents))
    report = place(bridge, AWAIT, public_url="https://bridge.example.net", allow_plain_ws=False)
    assert report.failed == ()
    assert bridge.upgrades[0]["host"] == "bridge.example.net"


def test_stream_callbacks_tell_its_start_and_its_end() -> None:
    stream = STREAM.replace("/media", '/media" name="leg-a" statusCallback="{http}/events').replace("{then}", "")

    async def wait_a_little(session: MediaSession) -> None:
        for _ in range(10):
            await session.receive()

    bridge = FakeBridge(wait_a_little, {"/twilio/voice": [stream]})
    report = place(bridge, AWAIT)
    forms = bridge.forms("/events")
    assert [form["StreamEvent"] for form in forms] == ["stream-started", "stream-stopped"]
    assert {(form["StreamName"], form["StreamSid"]) for form in forms} == {("leg-a", report.streams[0].stream_sid)}


def test_fault_a_failed_handshake_is_told_and_the_next_verb_follows() -> None:
    stream = STREAM.replace("/media", '/media" statusCallback="{http}/events').replace("{then}", AFTER)
    bridge = FakeBridge(leave_at_once, {**WITH_AFTER, "/twilio/voice": [stream]})
    report = place(bridge, AWAIT, faults=frozenset({Fault.HANDSHAKE_FAILS}))
    assert [warning.code for warning in report.warnings] == [31920]
    (form,) = bridge.forms("/events")
    assert form["StreamEvent"] == "stream-error"
    assert form["StreamError"]
    assert report.verbs[-1][1] == "Hangup"


def test_fault_the_voice_webhook_comes_twice_for_one_call() -> None:
    bridge = FakeBridge(leave_at_once, dict(ONLY_STREAM))
    report = place(bridge, AWAIT, head='faults = ["duplicate_webhook"]')
    assert [form["CallSid"] for form in bridge.forms("/twilio/voice")] == [report.call_sid] * 2
    assert len(bridge.sessions) == 1


def test_fault_statuses_come_out_of_order_and_the_end_before_the_stop() -> None:
    bridge = FakeBridge(listen_only, dict(ONLY_STREAM))
    place(bridge, HANG_UP, faults=frozenset({Fault.OUT_OF_ORDER_STATUS}))
    told = [(form["CallStatus"], form["SequenceNumber"]) for form in bridge.forms("/twilio/status")]
    assert told == [("completed", "2"), ("in-progress", "1"), ("ringing", "0")]


def test_fault_a_stream_without_a_stop() -> None:
    async def listen(session: MediaSession) -> None:
        while True:
            await session.receive()

    bridge = FakeBridge(listen, dict(ONLY_STREAM))
    report = place(bridge, HANG_UP, faults=frozenset({Fault.NO_STOP}))
    assert bridge.sessions[0].messages[-1]["event"] == "media"
    assert report.streams[0].close_code == 1000


def test_fault_unknown_events_do_not_end_the_stream() -> None:
    bridge = FakeBridge(listen_only, dict(ONLY_STREAM))
    place(bridge, "wait_ms = 1200 | hang_up = true", faults=frozenset({Fault.UNKNOWN_EVENT}))
    assert "telemetry" in {message["event"] for message in bridge.sessions[0].messages}
