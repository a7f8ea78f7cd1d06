import json

import pytest

from telephony.simulator.faults import Network
from tests.telephony.simulator.fake_bridge import STREAM, FakeBridge, MediaSession, tone
from tests.telephony.simulator.placing import AWAIT, ONLY_STREAM, leave_at_once, place

AGAIN = {
    "/twilio/voice": [STREAM.replace("{then}", "<Redirect>/again</Redirect>")],
    "/again": [STREAM.replace("{then}", "")],
}


def test_a_dropped_connection_is_followed_by_the_next_verb_and_a_fresh_stream() -> None:
    async def agent(session: MediaSession) -> None:
        if len(bridge.sessions) == 1:
            await session.receive_until("stop")

    bridge = FakeBridge(agent, dict(AGAIN))
    report = place(bridge, AWAIT, network=Network(drop_at_s=0.2))
    first, second = report.streams
    assert (first.closed_by, first.close_code) == ("network", 1006)
    assert (second.closed_by, second.close_code) == ("agent", 1000)
    assert first.stream_sid != second.stream_sid
    assert {session.start["callSid"] for session in bridge.sessions} == {report.call_sid}


def test_a_slow_network_delays_both_directions_and_keeps_their_order() -> None:
    async def agent(session: MediaSession) -> None:
        await session.play(tone(100))
        await session.mark("a")
        await session.mark("b")
        assert (await session.receive_until("mark"))["mark"]["name"] == "a"
        assert (await session.receive_until("mark"))["mark"]["name"] == "b"

    bridge = FakeBridge(agent, dict(ONLY_STREAM))
    report = place(bridge, AWAIT, head="[network]\ndelay_ms = 60\njitter_ms = 30")
    assert report.failed == ()
    assert report.greeting_s is not None
    assert report.greeting_s >= 0.12  # `start` on the way out, the sound on the way back
    numbers = [int(message["sequenceNumber"]) for message in bridge.sessions[0].messages[1:]]
    assert numbers == sorted(numbers)


def test_a_stall_holds_the_sound_back_and_loses_none() -> None:
    async def agent(session: MediaSession) -> None:
        for _ in range(3):
            await session.play(tone(100))
            await session.receive()
        await session.mark("end")
        await session.receive_until("mark")

    bridge = FakeBridge(agent, dict(ONLY_STREAM))
    report = place(bridge, AWAIT, head="[network]\n[[network.stalls]]\nat_s = 0\nfor_ms = 300")
    assert report.streams[0].heard_s == pytest.approx(0.3)
    assert report.greeting_s is not None
    assert report.greeting_s >= 0.3


def test_wrong_messages_are_reported_as_twilio_reports_them() -> None:
    async def agent(session: MediaSession) -> None:
        await session.socket.send_bytes(b"\x00" * 160)
        await session.socket.send_text("{")
        await session.socket.send_text(
            json.dumps({"event": "media", "streamSid": "MZ-foreign", "media": {"payload": ""}})
        )
        await leave_at_once(session)

    report = place(FakeBridge(agent, dict(ONLY_STREAM)), AWAIT)
    assert [warning.code for warning in report.warnings] == [31950, 31951]
    assert report.streams[0].foreign_stream == 1


def test_sound_that_the_end_of_the_stream_cut_off_is_reported() -> None:
    async def agent(session: MediaSession) -> None:
        await session.play(tone(5000))

    report = place(FakeBridge(agent, dict(ONLY_STREAM)), AWAIT)
    assert report.streams[0].unplayed_s > 0
