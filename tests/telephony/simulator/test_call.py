import asyncio
import base64
import json

import pytest

from telephony.clock import MonotonicClock
from telephony.simulator.call import place_call
from telephony.simulator.line import Line
from telephony.simulator.notices import AgentSpeaks, BridgeReported, CallOver, Notice, VerbFollowed
from telephony.simulator.report import EndedBy
from telephony.simulator.signature import sign
from telephony.simulator.sound import audible_span
from tests.telephony.simulator.fake_bridge import FakeBridge, MediaSession, tone
from tests.telephony.simulator.placing import AWAIT, ONLY_STREAM, WITH_AFTER, leave_at_once, listen_only, place, script


async def greet_and_leave(session: MediaSession) -> None:
    await session.play(tone(300))
    await session.mark("greeting")
    await session.receive_until("mark")


def test_a_call_is_answered_heard_and_left_by_the_agent() -> None:
    bridge = FakeBridge(greet_and_leave, dict(WITH_AFTER))
    report = place(bridge, AWAIT, auth_token="secret")
    assert report.ended_by is EndedBy.AGENT
    assert report.failed == ()
    assert [verb.split()[0] for _, verb in report.verbs] == ["Connect", "stream", "Redirect", "Hangup"]
    (stream,) = report.streams
    assert (stream.closed_by, stream.close_code, stream.unplayed_s) == ("agent", 1000, 0)
    assert [(mark.name, mark.cleared) for mark in stream.marks] == [("greeting", False)]
    assert stream.heard_s == pytest.approx(0.3)
    assert report.greeting_s is not None
    assert 0 <= report.greeting_s < report.duration_s
    assert report.gaps == ()


def test_webhooks_and_the_upgrade_are_signed() -> None:
    bridge = FakeBridge(leave_at_once, dict(WITH_AFTER))
    place(bridge, AWAIT, auth_token="secret", caller="+15550100009")
    for path in ("/twilio/voice", "/twilio/after", "/twilio/status"):
        (form,) = bridge.forms(path)
        headers = next(headers for posted, _, headers in bridge.posts if posted == path)
        assert headers["x-twilio-signature"] == sign("secret", bridge.url + path, form.items())
        assert form["From"] == "+15550100009"
    (upgrade,) = bridge.upgrades
    assert upgrade["x-twilio-signature"] == sign("secret", bridge.url.replace("http", "ws") + "/media")
    assert bridge.posts[1][2]["cookie"] == "visited=yes"


def test_frames_are_sent_each_20_ms_from_the_first_moment_to_the_last_with_string_counters() -> None:
    bridge = FakeBridge(listen_only, dict(ONLY_STREAM))
    report = place(bridge, "wait_ms = 600 | hang_up = true")
    messages = bridge.sessions[0].messages
    assert [message["event"] for message in messages[:2]] == ["connected", "start"]
    assert messages[-1]["event"] == "stop"
    media = [message for message in messages if message["event"] == "media"]
    assert 0 < len(media) <= report.pace.frames
    assert [message["sequenceNumber"] for message in messages[1:]] == [str(n) for n in range(1, len(messages))]
    assert [message["media"]["chunk"] for message in media] == [str(n) for n in range(1, len(media) + 1)]
    stamps = [int(message["media"]["timestamp"]) for message in media]
    assert stamps == [stamps[0] + 20 * index for index in range(len(media))]
    assert report.streams[0].frames_sent == len(media)


def test_a_caller_who_hangs_up_says_stop_closes_and_reports_the_status() -> None:
    bridge = FakeBridge(listen_only, dict(WITH_AFTER))
    report = place(bridge, "wait_ms = 100 | hang_up = true")
    assert (report.ended_by, report.failed) == (EndedBy.CALLER, ())
    assert (report.streams[0].closed_by, report.streams[0].close_code) == ("caller", 1000)
    assert bridge.forms("/twilio/after") == []
    (status,) = bridge.forms("/twilio/status")
    assert (status["CallStatus"], status["CallSid"], status["CallDuration"]) == ("completed", report.call_sid, "0")


def test_keys_are_sent_as_digits() -> None:
    async def greet(session: MediaSession) -> None:
        await session.play(tone(100))
        await session.receive_until("stop")

    bridge = FakeBridge(greet, dict(ONLY_STREAM))
    place(bridge, 'listen = true | press = "7#" | hang_up = true')
    digits = [message["dtmf"]["digit"] for message in bridge.sessions[0].messages if message["event"] == "dtmf"]
    assert digits == ["7", "#"]


async def answer_and_be_cleared(session: MediaSession) -> None:
    """Plays ten seconds and clears them at the first sound of the caller."""
    await session.play(tone(10_000))
    await session.mark("long")
    while True:
        message = await session.receive()
        if message["event"] == "media" and audible_span(_payload(message)):
            await session.send("clear")
            break
    await session.receive_until("mark")
    await session.receive_until("stop")


def _payload(message: dict[str, dict[str, str]]) -> bytes:
    return base64.b64decode(message["media"]["payload"])


def test_a_barge_in_is_measured_and_the_call_is_recorded_as_heard() -> None:
    bridge = FakeBridge(answer_and_be_cleared, dict(ONLY_STREAM))
    watched: list[Notice] = []
    report = place(bridge, 'say = "stop"\ninterrupt_after_ms = 300 | wait_ms = 300 | hang_up = true', watched)
    (exchange,) = report.exchanges
    assert exchange.stop_s is not None
    assert exchange.stop_s > 0
    assert report.stop_s is not None
    assert report.stop_s.count == 1
    assert report.streams[0].marks[0].cleared
    recording = report.recording
    assert recording is not None
    assert len(recording.caller) == len(recording.agent) == 160 * report.pace.frames
    said, heard = audible_span(recording.caller), audible_span(recording.agent)
    assert said is not None
    assert heard is not None
    assert said[0] == round(exchange.from_s * 8000)
    assert heard[1] == round((exchange.from_s + exchange.stop_s) * 8000)
    assert any(isinstance(notice, AgentSpeaks) for notice in watched)
    assert isinstance(watched[-1], CallOver)


def test_the_bridges_events_are_followed_and_judged() -> None:
    events = [
        {"kind": "caller_said", "at": 0.3, "text": "stop it"},
        {"kind": "novelty", "at": 0.4},
        {"kind": "call_ended", "at": 0.5, "reason": "caller"},
    ]
    bridge = FakeBridge(listen_only, dict(ONLY_STREAM), events=events)
    watched: list[Notice] = []
    report = place(bridge, 'say = "stop"\nnot_understood = ["go"] | hang_up = true', watched, api_token="t")
    assert report.events_offered
    assert [event.kind for event in report.events] == ["caller_said", "novelty", "call_ended"]
    assert [notice.kind for notice in watched if isinstance(notice, BridgeReported)] == [e["kind"] for e in events]
    assert report.failed == ()
    assert any("'go'" in verdict.expected and verdict.passed for verdict in report.verdicts)


def test_without_a_call_api_the_call_goes_on_by_ear() -> None:
    report = place(FakeBridge(leave_at_once, dict(ONLY_STREAM)), AWAIT)
    assert not report.events_offered
    assert report.failed == ()


def test_nobody_there_ends_the_call_as_failed_and_tells_which_expectation() -> None:
    async def scenario() -> None:
        report = await place_call(Line("http://127.0.0.1:9"), script("listen = true"), MonotonicClock())
        assert report.ended_by is EndedBy.CARRIER
        assert {warning.code for warning in report.warnings} == {11205}
        assert [verdict.measured for verdict in report.failed] == ["ended by the carrier before its first step"]

    asyncio.run(scenario())


def test_the_carrier_ends_a_call_that_lasts_too_long() -> None:
    report = place(FakeBridge(listen_only, dict(ONLY_STREAM)), "wait_ms = 60000", time_limit_s=0.3)
    assert report.ended_by is EndedBy.TIME_LIMIT
    assert report.failed != ()


def test_many_calls_at_once_are_kept_apart() -> None:
    async def scenario() -> None:
        bridge = FakeBridge(greet_and_leave, dict(WITH_AFTER))
        async with bridge.serve():
            line = Line(bridge.url, allow_plain_ws=True, record=False)
            async with asyncio.TaskGroup() as tasks:
                calls = [tasks.create_task(place_call(line, script(AWAIT), MonotonicClock())) for _ in range(20)]
        reports = [call.result() for call in calls]
        assert len({report.call_sid for report in reports}) == 20
        assert {session.start["callSid"] for session in bridge.sessions} == {report.call_sid for report in reports}
        assert all(report.failed == () and report.recording is None for report in reports)
        assert all(report.streams[0].heard_s == pytest.approx(0.3) for report in reports)

    asyncio.run(scenario())


def test_the_report_is_written_as_json_without_the_sound() -> None:
    report = place(FakeBridge(greet_and_leave, dict(WITH_AFTER)), AWAIT)
    content = json.loads(report.json())
    assert content["call_sid"] == report.call_sid
    assert content["streams"][0]["marks"][0]["name"] == "greeting"
    assert content["summary"] == {"onset_s": None, "stop_s": None}
    assert "recording" not in content


def test_a_watcher_is_told_which_verbs_are_followed() -> None:
    watched: list[Notice] = []
    place(FakeBridge(leave_at_once, dict(WITH_AFTER)), AWAIT, watched)
    verbs = [notice.verb.split()[0] for notice in watched if isinstance(notice, VerbFollowed)]
    assert verbs == ["Connect", "stream", "Redirect", "Hangup"]
