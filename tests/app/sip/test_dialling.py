"""Calls that we place: they ring, are answered or not, and only then does anybody speak or listen."""

import asyncio

import pytest

from app.calls.journal import CallAnswered, CallBegun, CallerSaid, CallRinging, ReplyEnded
from app.conversation.state import Phase
from app.sip.dialler import Order
from app.sip.errors import DialRefused, NotAllowed, NotNow
from telephony.sip.events import Cause, TrunkState, TrunkStatus
from tests.app.sip.board import board, events, kinds, line_of, sounding
from tests.calls.world import World
from tests.virtual import run

TO = "+1 555-010 0003"


def test_nothing_is_opened_or_said_until_the_call_is_answered() -> None:
    async def scene() -> None:
        async with board(World().with_manners(greeting="Hello there.")) as at:
            session = at.sip_calls.dial(Order(TO, variables={"order": "17"}))
            (call,) = at.endpoint.placed
            assert call.request is not None
            assert (call.request.trunk, call.request.target) == ("sip", "+15550100003")
            assert session.offered.variables == {"order": "17", "direction": "outbound", "trunk": "sip"}
            assert (session.offered.caller, session.offered.called) == ("bridge", "+15550100003")
            call.progress(180, "Ringing")
            await asyncio.sleep(5.0)
            assert session.state.phase is Phase.RINGING
            assert at.world.stt.opened == 0
            call.establish()
            await at.until(lambda: events(session, ReplyEnded))
            assert kinds(session)[:4] == ["CallBegun", "CallRinging", "CallAnswered", "LegAttached"]
            assert events(session, CallAnswered)[0].at == pytest.approx(5.0, abs=0.1)
            assert events(session, CallRinging)[0].status == "180 Ringing"
            assert events(session, CallBegun)[0].direction == "outbound"
            assert events(session, ReplyEnded)[0].heard == "Hello there."
            line_of(call).speak(1.0)
            await at.until(lambda: events(session, CallerSaid))

    run(scene())


def test_what_early_media_says_is_not_taken_for_the_one_we_called() -> None:
    async def scene() -> None:
        async with board() as at:
            session = at.sip_calls.dial(Order(TO))
            (call,) = at.endpoint.placed
            call.progress(183, "Session Progress")
            line = call.open_media(early=True)
            line.speak(6.0)
            await asyncio.sleep(8.0)
            assert not sounding(call)
            call.establish()
            await at.until(lambda: events(session, ReplyEnded))
            await asyncio.sleep(2.0)
            assert not events(session, CallerSaid)

    run(scene())


@pytest.mark.parametrize(
    ("cause", "reason", "q850"),
    [
        (Cause(486), "carrier: busy", 17),
        (Cause(480), "carrier: no answer", 18),
        (Cause(408), "carrier: no answer", 19),
        (Cause(404, 1), "carrier: unknown number", 1),
        (Cause(603), "carrier: rejected", 21),
        (Cause(488), "carrier: no common codec or encryption", 65),
        (Cause(502), "carrier: unavailable", 41),
        (Cause(420), "carrier: refused, 420", None),
    ],
)
def test_why_nobody_answered_is_on_record(cause: Cause, reason: str, q850: int | None) -> None:
    async def scene() -> None:
        async with board() as at:
            session = at.sip_calls.dial(Order(TO))
            await asyncio.sleep(1.0)
            at.endpoint.placed[0].peer_ends(cause)
            ended = await at.until_ended(session)
            assert (ended.reason, ended.cause) == (reason, q850)
            assert not events(session, CallAnswered)
            assert at.world.stt.opened == 0

    run(scene())


def test_a_call_that_rings_can_be_cancelled() -> None:
    async def scene() -> None:
        async with board() as at:
            session = at.sip_calls.dial(Order(TO))
            await asyncio.sleep(1.0)
            session.end("ended by the API")
            assert (await at.until_ended(session)).reason == "ended by the API"
            assert at.endpoint.placed[0].done == ["hang up"]

    run(scene())


def test_a_call_that_nobody_answers_or_refuses_is_given_up() -> None:
    async def scene() -> None:
        async with board(SIP_RING_S="20") as at:
            session = at.sip_calls.dial(Order(TO))
            call = at.endpoint.placed[0]
            assert call.request is not None
            assert call.request.answer_within_s == 20.0
            await at.until(lambda: call.over, within_s=31)
            assert (await at.until_ended(session)).reason == "no answer"

    run(scene())


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (Order("+33144556677"), "destination"),
        (Order("sip:ana@elsewhere.example"), "destination"),
        (Order("+15550100003\r\nX: y"), "destination"),
        (Order(TO, trunk="other"), "trunk"),
        (Order(TO, caller="1\r\nX: y"), "malformed"),
    ],
)
def test_what_may_not_be_called_is_not(order: Order, reason: str) -> None:
    async def scene() -> None:
        async with board() as at:
            with pytest.raises(NotAllowed) as refused:
                at.sip_calls.dial(order)
            assert refused.value.reason == reason
            assert at.counted("dials_refused", reason=reason) == 1
            assert (at.endpoint.placed, len(at.directory)) == ([], 0)

    run(scene())


def test_calls_are_placed_no_faster_than_the_trunk_takes_them() -> None:
    async def scene() -> None:
        async with board(SIP_DIALS_PER_S="1") as at:
            at.sip_calls.dial(Order(TO))
            with pytest.raises(NotNow, match="no more calls this second"):
                at.sip_calls.dial(Order(TO))
            await asyncio.sleep(1.0)
            at.sip_calls.dial(Order(TO))

    run(scene())


@pytest.mark.parametrize("state", [TrunkState.DOWN, TrunkState.REJECTED, TrunkState.CLOSED])
def test_nothing_is_placed_over_a_trunk_that_is_not_there(state: TrunkState) -> None:
    async def scene() -> None:
        async with board() as at:
            at.endpoint.states["sip"] = TrunkStatus("sip", state, 503, "Service Unavailable")
            with pytest.raises(NotNow, match=f"trunk sip is {state}: 503 Service Unavailable") as refused:
                at.sip_calls.dial(Order(TO))
            assert refused.value.reason == "trunk_down"

    run(scene())


def test_a_full_bridge_places_no_call() -> None:
    async def scene() -> None:
        async with board(max_calls=1) as at:
            at.endpoint.offer()
            with pytest.raises(DialRefused) as refused:
                at.sip_calls.dial(Order(TO))
            assert refused.value.reason == "busy"
            assert at.endpoint.placed == []

    run(scene())


def test_the_first_trunk_that_may_call_a_destination_is_taken() -> None:
    async def scene() -> None:
        two = {
            "SIP_SERVER": "",
            "SIP_TRUNKS": "office,carrier",
            "SIP_OFFICE_SERVER": "10.0.0.5",
            "SIP_OFFICE_DESTINATIONS": "2",
            "SIP_CARRIER_SERVER": "sip.carrier.example",
            "SIP_CARRIER_CALLER": "+15550100002",
        }
        async with board(**two) as at:
            at.sip_calls.dial(Order("217"))
            at.sip_calls.dial(Order("+4930123456"))
            trunks = [(call.trunk, call.request.target) for call in at.endpoint.placed if call.request]
            assert trunks == [("office", "217"), ("carrier", "+4930123456")]
            assert [session.offered.caller for session in at.directory.sessions()] == ["bridge", "+15550100002"]

    run(scene())
