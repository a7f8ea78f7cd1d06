import asyncio
import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.media import MediaEndpoint
from app.web.security import CarrierGate
from app.web.websocket_leg import MediaLimits
from telephony.carrier import AudioReceived, CarrierEvent, MediaStopped
from telephony.carriers.twilio import TWILIO
from telephony.clock import LoopClock
from telephony.leg import Leg
from tests.app.web.doubles import (
    CALL,
    STREAM,
    ScriptedPlayout,
    SocketPeer,
    TallyCounters,
    TokenBook,
    media,
    run_virtual,
    start,
    websocket_scope,
)

SECRET = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://bridge.example.net"
LIMITS = MediaLimits()
OTHER_CALL = "CA22222222222222222222222222222222"
STOP = f'{{"event":"stop","streamSid":"{STREAM}"}}'


class Bridge:
    """The media endpoint in front of a token book that has issued `token-0` for `CALL`."""

    def __init__(self, *secrets: str, limits: MediaLimits = LIMITS) -> None:
        self.calls = TokenBook()
        self.calls.tokens["token-0"] = CALL
        self.counters = TallyCounters()
        gate = CarrierGate(TWILIO, PUBLIC, secrets)
        self.endpoint = MediaEndpoint(TWILIO, gate, self.calls, LoopClock(), self.counters, limits)

    async def connect(self, peer: SocketPeer, **changes: Any) -> None:
        await self.endpoint(websocket_scope(**changes), peer.receive, peer.send)

    def refused(self, reason: str) -> int:
        return self.counters.of("media_sockets_refused", carrier="twilio", reason=reason)


def test_a_started_stream_reaches_its_call() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says('{"event":"connected"}', start(), media(1), STOP)
        peer.says_goodbye()
        await bridge.connect(peer)
        assert bridge.calls.events == {CALL: [AudioReceived(b"\xff" * 4, 20), MediaStopped()]}
        assert peer.sent == [{"type": "websocket.accept"}]

    run_virtual(scenario())


def test_the_socket_is_closed_when_the_session_is_done() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()

        async def speak(call_id: str, leg: Leg) -> None:
            asyncio.get_running_loop().call_later(1, leg.close)
            await leg.play(ScriptedPlayout())

        bridge.calls.conversation = speak
        peer.says(start())
        await bridge.connect(peer)
        assert peer.close_code == 1000
        assert bridge.calls.serving == 0

    run_virtual(scenario())


# The upgrade


def test_a_foreign_upgrade_is_refused_before_accept_and_told_why() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        await bridge.connect(peer, headers=[("host", "localhost"), ("origin", "https://evil.example")])
        first, body = peer.sent
        assert (first["type"], first["status"]) == ("websocket.http.response.start", 403)
        assert b"TWILIO_AUTH_TOKEN" in body["body"]
        assert bridge.refused("foreign_origin") == 1

    run_virtual(scenario())


def test_a_server_without_denial_responses_still_refuses() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(SECRET), SocketPeer()
        await bridge.connect(peer, extensions={})
        assert [message["type"] for message in peer.sent] == ["websocket.close"]
        assert bridge.refused("signature") == 1

    run_virtual(scenario())


def test_a_signed_upgrade_is_accepted_from_anywhere() -> None:
    digest = hmac.new(SECRET.encode(), b"wss://bridge.example.net/twilio/media", hashlib.sha1).digest()
    header = ("x-twilio-signature", base64.b64encode(digest).decode())

    async def scenario() -> None:
        for path, accepted in (("/twilio/media", True), ("/twilio/media?a=1", False), ("/twilio/medi%61", False)):
            bridge, peer = Bridge(SECRET), SocketPeer()
            peer.says(start())
            asyncio.get_running_loop().call_later(1, peer.hangs_up)
            await bridge.connect(peer, path=path, headers=[header], client=("203.0.113.9", 1))
            assert (peer.sent[0]["type"] == "websocket.accept") is accepted
            assert bridge.refused("signature") == (0 if accepted else 1)

    run_virtual(scenario())


def test_a_peer_that_is_gone_before_the_answer_leaves_nothing() -> None:
    async def scenario() -> None:
        for changes in ({}, {"client": ("203.0.113.9", 1)}):
            bridge, peer = Bridge(), SocketPeer()
            peer.disconnected = True
            await bridge.connect(peer, **changes)
            assert peer.sent == []

    run_virtual(scenario())


def test_a_peer_that_does_not_take_the_answer_is_left() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.writable.clear()
        await bridge.connect(peer)
        assert peer.sent == []
        assert asyncio.get_running_loop().time() == pytest.approx(LIMITS.send_within_s, abs=0.01)

    run_virtual(scenario())


@pytest.mark.parametrize(("messages", "code"), [(["?"] * 50, 1008), ([], 1000)], ids=["unusable", "silent"])
def test_the_close_code_tells_a_broken_stream_from_an_ended_one(messages: list[str], code: int) -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says(start(), *messages)
        await bridge.connect(peer)
        assert peer.close_code == code

    run_virtual(scenario())


def test_too_many_waiting_sockets_are_refused_and_started_ones_do_not_count() -> None:
    async def scenario() -> None:
        bridge = Bridge(limits=MediaLimits(waiting_sockets=2))
        live, *waiting = (SocketPeer() for _ in range(3))
        late, later = SocketPeer(), SocketPeer()
        async with asyncio.TaskGroup() as group:
            group.create_task(bridge.connect(live))
            live.says(start())
            await asyncio.sleep(0.1)
            for peer in waiting:
                group.create_task(bridge.connect(peer))
            await asyncio.sleep(0.1)
            await bridge.connect(late)
            assert late.sent[0]["status"] == 503
            waiting[0].hangs_up()
            await asyncio.sleep(0.1)
            group.create_task(bridge.connect(later))
        assert later.sent[0]["type"] == "websocket.accept"
        assert bridge.refused("crowded") == 1

    run_virtual(scenario())


# The start


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ['{"event":"connected"}'],
        [media(1), media(2)],
        ["nonsense", b"binary"],
        [start().replace("audio/x-mulaw", "audio/x-l16")],
        [start(call="CA1")],
    ],
    ids=["nothing", "connected", "media", "nonsense", "wrong format", "no call"],
)
def test_a_socket_without_a_valid_start_is_closed_in_time(messages: list[str | bytes]) -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says(*messages)
        await bridge.connect(peer)
        assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.01)
        assert peer.close_code == 1008
        assert bridge.refused("no_start") == 1
        assert bridge.calls.tokens == {"token-0": CALL}

    run_virtual(scenario())


def test_messages_without_a_start_do_not_win_time() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        loop = asyncio.get_running_loop()
        for number in range(20):
            loop.call_later(number * 0.9, peer.says, '{"event":"connected"}')
        await bridge.connect(peer)
        assert loop.time() == pytest.approx(5.0, abs=0.01)

    run_virtual(scenario())


def test_a_flood_of_nonsense_is_closed_at_once() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says(*["?"] * 50)
        await bridge.connect(peer)
        assert asyncio.get_running_loop().time() < 1
        assert peer.close_code == 1008

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (start(token="guessed"), "unknown_token"),
        (start(token=""), "no_token"),
        (start().replace('"token":"token-0"', ""), "no_token"),
        (start(call=OTHER_CALL), "other_call"),
    ],
)
def test_a_start_without_the_right_token_is_closed(message: str, reason: str) -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says(message)
        await bridge.connect(peer)
        assert peer.close_code == 1008
        assert bridge.refused(reason) == 1
        assert bridge.calls.events == {}

    run_virtual(scenario())


def test_a_token_opens_one_stream_only() -> None:
    async def scenario() -> None:
        bridge = Bridge()
        first, second = SocketPeer(), SocketPeer()
        async with asyncio.TaskGroup() as group:
            for peer in (first, second):
                peer.says(start())
                group.create_task(bridge.connect(peer))
        assert sorted([first.close_code, second.close_code]) == [1000, 1008]  # type: ignore[type-var]
        assert bridge.refused("unknown_token") == 1

    run_virtual(scenario())


# Several sockets


def test_the_newest_stream_of_a_call_wins() -> None:
    async def scenario() -> None:
        bridge = Bridge()
        bridge.calls.tokens["token-1"] = CALL
        old, new = SocketPeer(), SocketPeer()
        async with asyncio.TaskGroup() as group:
            group.create_task(bridge.connect(old))
            old.says(start("token-0"), media(1))
            await asyncio.sleep(0.1)
            group.create_task(bridge.connect(new))
            new.says(start("token-1", stream="MZother"), media(1, stream="MZother"))
            await asyncio.sleep(0.1)
            assert (old.close_code, new.close_code) == (1000, None)
            new.says(media(2, stream="MZother"))
            await asyncio.sleep(0.1)
            new.hangs_up()
        assert len(bridge.calls.events[CALL]) == 3
        assert bridge.calls.serving == 0

    run_virtual(scenario())


@given(swaps=st.permutations(range(6)))
def test_two_calls_never_reach_each_others_session(swaps: list[int]) -> None:
    """Six calls, each start carrying another's token: only those that got their own are served."""

    async def scenario() -> None:
        bridge = Bridge()
        calls = [f"CA{number:032x}" for number in range(6)]
        bridge.calls.tokens = {f"token-{number}": call for number, call in enumerate(calls)}
        peers = [SocketPeer() for _ in calls]
        async with asyncio.TaskGroup() as group:
            for number, (peer, call) in enumerate(zip(peers, calls, strict=True)):
                group.create_task(bridge.connect(peer))
                own = base64.b64encode(bytes([number])).decode()
                peer.says(start(f"token-{swaps[number]}", call), media(1, own))
            await asyncio.sleep(0.1)
            for peer in peers:
                peer.hangs_up()
        kept = [number for number, swapped in enumerate(swaps) if number == swapped]
        assert bridge.calls.events == {calls[number]: [AudioReceived(bytes([number]), 20)] for number in kept}
        assert [number for number, peer in enumerate(peers) if peer.close_code == 1008] == [
            number for number in range(6) if number not in kept
        ]

    run_virtual(scenario())


# When things go wrong


def test_an_error_in_the_session_closes_its_socket_and_no_other() -> None:
    async def scenario() -> None:
        bridge = Bridge()
        bridge.calls.tokens["token-1"] = OTHER_CALL
        sound, broken = SocketPeer(), SocketPeer()

        async def fail_once(call_id: str, leg: Leg) -> None:
            if call_id == OTHER_CALL:
                raise ZeroDivisionError
            await bridge.calls.listen(call_id, leg)

        bridge.calls.conversation = fail_once
        async with asyncio.TaskGroup() as group:
            group.create_task(bridge.connect(sound))
            sound.says(start("token-0"))
            broken.says(start("token-1", OTHER_CALL))
            with pytest.raises(ZeroDivisionError):
                await bridge.connect(broken)
            assert (sound.close_code, broken.close_code) == (None, 1011)
            sound.hangs_up()
        assert bridge.calls.serving == 0

    run_virtual(scenario())


def test_an_error_in_a_session_that_plays_leaves_no_writer_behind() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()

        async def fail_while_playing(call_id: str, leg: Leg) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(leg.play(ScriptedPlayout()))
                await asyncio.sleep(1)
                raise ZeroDivisionError

        bridge.calls.conversation = fail_while_playing
        peer.says(start())
        with pytest.raises(ExceptionGroup):
            await bridge.connect(peer)
        assert peer.close_code == 1011

    run_virtual(scenario())


@pytest.mark.parametrize("started", [True, False])
def test_a_server_that_stops_cancels_its_sockets_and_they_are_closed(started: bool) -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        async with asyncio.TaskGroup() as group:
            socket = group.create_task(bridge.connect(peer))
            if started:
                peer.says(start())
            await asyncio.sleep(0.1)
            socket.cancel()
        assert socket.cancelled()
        assert peer.close_code == 1011
        assert bridge.calls.serving == 0

    run_virtual(scenario())


def test_messages_after_the_close_are_not_read() -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()

        async def one_event(call_id: str, leg: Leg) -> None:
            def take(event: CarrierEvent) -> None:
                bridge.calls.events[call_id] = [event]
                leg.close()

            await leg.listen(take)

        bridge.calls.conversation = one_event
        peer.says(start(), media(1), media(2), media(3))
        await bridge.connect(peer)
        assert peer.close_code == 1000
        assert len(bridge.calls.events[CALL]) == 1
        assert peer.inbox.qsize() == 2

    run_virtual(scenario())


@given(
    messages=st.lists(
        st.one_of(
            st.text(max_size=30),
            st.binary(max_size=30),
            st.sampled_from(
                [start(), start(call=OTHER_CALL), start("x"), media(1), media(2), media(1), STOP, "{}", "?"]
            ),
        ),
        max_size=30,
    ),
    then_hangs_up=st.booleans(),
)
def test_any_messages_end_in_a_close_and_leave_nothing(messages: list[str | bytes], then_hangs_up: bool) -> None:
    async def scenario() -> None:
        bridge, peer = Bridge(), SocketPeer()
        peer.says(*messages)
        if then_hangs_up:
            peer.says_goodbye()
        await bridge.connect(peer)
        assert asyncio.get_running_loop().time() < 10
        assert peer.close_code in ((None, 1008) if then_hangs_up else (1000, 1008))
        assert bridge.calls.serving == 0
        assert set(bridge.calls.events) <= {CALL}

    run_virtual(scenario())
