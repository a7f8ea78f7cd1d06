"""SIP calls are let in or refused, become sessions, and end for reasons that both sides are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from app.calls.directory import Directory
from app.calls.journal import (
    CallAnswered,
    CallBegun,
    CallEnded,
    CallerSaid,
    LegAttached,
    LegHeld,
    LegResumed,
    MediaMeasured,
    ReplyEnded,
)
from app.conversation.session import CallSession
from app.conversation.state import Phase
from app.sip.calls import SipCalls
from app.sip.dialler import Order
from app.sip.errors import NotNow
from app.sip.settings import SipSettings
from telephony.sip.contracts import EndpointObserver
from telephony.sip.errors import EndpointFailed
from telephony.sip.events import CallHeld, Cause, Party, TrunkState, TrunkStatus
from telephony.sip.settings import EndpointSettings
from tests.app.sip.board import TRUNK, Board, board, events, kinds, line_of, sounding
from tests.calls.world import World
from tests.fakes.sip import FakeEndpoint
from tests.virtual import run


def test_a_call_is_answered_at_once_and_greeted() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            assert call.done == ["answer"]  # before anything was awaited
            session = at.session()
            await at.until(lambda: events(session, ReplyEnded))
            assert kinds(session)[:2] == ["CallAnswered", "LegAttached"]
            line_of(call).speak(1.0)
            await at.until(lambda: events(session, CallerSaid))
            assert len(events(session, LegAttached)) == 1
            call.peer_ends(Cause(q850=16))
            ended = await at.until_ended(session)
            assert (ended.reason, ended.cause) == ("carrier: completed", 16)
            assert at.counted("calls_answered", carrier="sip") == 1

    run(scene())


def test_who_calls_and_what_the_carrier_says_about_it_are_variables_of_the_call() -> None:
    async def scene() -> None:
        async with board() as at:
            at.endpoint.offer(
                diverted_from="+15550100077",
                diversion_reason="no-answer",
                headers={"x-account": "7", "x-long": "y" * 999},
            )
            offered = at.session().offered
            assert (offered.caller, offered.called, offered.direction) == ("+15550100001", "+15550100002", "inbound")
            variables = dict(offered.variables)
            assert len(variables.pop("x-long")) == 256
            assert variables == {
                "x-account": "7",
                "direction": "inbound",
                "trunk": "sip",
                "sip_call_id": "c-81@198.51.100.7",
                "caller_name": "Ana",
                "caller_asserted": "yes",
                "diverted_from": "+15550100077",
                "diversion_reason": "no-answer",
            }
            assert "@" not in offered.call_id

    run(scene())


def test_a_caller_who_does_not_want_to_be_shown_is_not() -> None:
    async def scene() -> None:
        async with board() as at:
            at.endpoint.offer(private=True)
            offered = at.session().offered
            assert offered.caller == "anonymous"
            assert "caller_name" not in offered.variables

    run(scene())


def test_a_header_cannot_pass_for_what_the_carrier_says() -> None:
    async def scene() -> None:
        async with board() as at:
            at.endpoint.offer(headers={"trunk": "other", "caller_asserted": "yes"}, asserted=False)
            assert at.session().offered.variables["trunk"] == "sip"
            assert at.session().offered.variables["caller_asserted"] == "no"

    run(scene())


async def refused(at: Board, **changes: object) -> tuple[Cause, dict[str, str]]:
    """Offer a call that is not let in."""
    await asyncio.sleep(0.1)
    opened, sessions = at.world.stt.opened, len(at.directory)
    call = at.endpoint.offer(**changes)
    await asyncio.sleep(0.1)
    assert call.done == ["reject"]
    assert call.cause is not None
    assert (at.world.stt.opened, len(at.directory)) == (opened, sessions), "nothing is opened for a stranger"
    return call.cause, dict(call.headers)


def test_a_number_that_is_not_ours_is_refused_counted_and_logged_without_its_digits() -> None:
    async def scene() -> None:
        async with board(SIP_NUMBERS="+15550100002, +1555020*") as at:
            with capture_logs() as logs:
                cause, _ = await refused(at, called="+15559999999")
            assert (cause.status, cause.q850) == (404, 1)
            assert at.counted("sip_calls_refused", trunk="sip", reason="number") == 1
            (line,) = [entry for entry in logs if entry["event"] == "SIP call refused"]
            assert (line["called"], line["source"], line["reason"]) == ("…99", "198.51.100.7", "number")
            for called in ("15550100002", "+15550201234"):
                assert at.endpoint.offer(called=called).done == ["answer"]

    run(scene())


def test_too_many_calls_a_second_from_one_source_are_refused_and_others_are_not() -> None:
    async def scene() -> None:
        async with board(SIP_CALLS_PER_S="2") as at:
            assert [at.endpoint.offer().done for _ in range(3)] == [["answer"]] * 2 + [["reject"]]
            cause, headers = await refused(at)
            assert (cause.status, headers) == (503, {"Retry-After": "1"})
            assert at.endpoint.offer(source="203.0.113.9:5060").done == ["answer"]
            await asyncio.sleep(1.0)
            assert at.endpoint.offer().done == ["answer"]

    run(scene())


def test_too_many_calls_at_once_from_one_source_are_refused_until_one_ends() -> None:
    async def scene() -> None:
        async with board(SIP_CALLS_PER_SOURCE="1") as at:
            first = at.endpoint.offer()
            await refused(at)
            first.peer_ends()
            await at.until_ended(at.session())
            assert at.endpoint.offer().done == ["answer"]

    run(scene())


def test_a_full_bridge_and_one_that_goes_down_refuse_calls() -> None:
    async def scene() -> None:
        async with board(max_calls=1) as at:
            at.endpoint.offer()
            cause, headers = await refused(at)
            assert (cause.status, cause.q850, headers) == (503, 34, {"Retry-After": "5"})
            at.directory.accepting = False
            cause, _ = await refused(at)
            assert (cause.status, cause.q850) == (503, 41)

    run(scene())


def test_an_invitation_that_the_endpoint_refused_is_counted_and_logged() -> None:
    async def scene() -> None:
        async with board() as at:
            with capture_logs() as logs:
                at.sip_calls.invitation_refused("192.0.2.66:5060", "stranger", 7)
            assert at.counted("sip_invitations_refused", reason="stranger") == 7
            assert [(entry["source"], entry["count"]) for entry in logs] == [("192.0.2.66", 7)]

    run(scene())


def test_an_announcement_is_heard_out_before_the_answer_and_the_greeting_after_it() -> None:
    async def scene() -> None:
        world = World().with_manners(greeting="Hello there.")
        async with board(world, SIP_ANNOUNCEMENT="This call may be recorded.") as at:
            call = at.endpoint.offer()
            session = at.session()
            assert call.done == ["early media"]
            await at.until(lambda: sounding(call))
            assert session.state.phase is Phase.RINGING
            assert world.stt.opened == 0
            line_of(call).speak(0.5)  # nobody listens yet
            await at.until(lambda: call.answered)
            announced = len(line_of(call).heard)
            assert announced > 20
            await at.until(lambda: events(session, ReplyEnded))
            assert kinds(session)[:3] == ["CallBegun", "CallAnswered", "LegAttached"]
            assert events(session, ReplyEnded)[0].heard == "Hello there."
            assert not events(session, CallerSaid)
            assert len(line_of(call).heard) > announced

    run(scene())


def test_a_caller_who_leaves_during_the_announcement_is_never_answered() -> None:
    async def scene() -> None:
        async with board(SIP_ANNOUNCEMENT="This call may be recorded.") as at:
            call = at.endpoint.offer()
            session = at.session()
            await at.until(lambda: sounding(call))
            call.peer_ends(Cause(487))
            ended = await at.until_ended(session)
            assert (ended.reason, ended.cause) == ("carrier: cancelled", 16)
            assert not events(session, CallAnswered)
            assert call.done == ["early media"]

    run(scene())


def test_a_call_that_we_end_is_ended_with_its_cause() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            session = at.session()
            await at.until(lambda: events(session, ReplyEnded))
            session.end("ended by the API")
            ended = await at.until_ended(session)
            assert call.done == ["answer", "hang up"]
            assert call.cause is not None
            assert call.cause.q850 == ended.cause == 16

    run(scene())


@pytest.mark.parametrize(
    ("cause", "reason", "q850"),
    [
        (Cause(q850=17), "carrier: busy", 17),
        (Cause(q850=38), "carrier: cause 38", 38),
        (Cause(), "carrier: completed", 16),
    ],
)
def test_why_they_hang_up_is_on_record(cause: Cause, reason: str, q850: int) -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            await asyncio.sleep(1)
            call.peer_ends(cause)
            ended = await at.until_ended(at.session())
            assert (ended.reason, ended.cause) == (reason, q850)

    run(scene())


def test_the_calls_media_was_measured() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            await asyncio.sleep(1)
            call.peer_ends()
            session = at.session()
            await at.until_ended(session)
            (measured,) = events(session, MediaMeasured)
            assert measured.facts["codec"] == "PCMU"
            assert (measured.facts["packets_lost"], measured.facts["mos"]) == (5.0, 4.2)
            assert isinstance(session.record.journal.events[-1], CallEnded)

    run(scene())


def test_a_call_that_nobody_can_think_in_ends_with_a_temporary_failure() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            await asyncio.sleep(1)
            at.session().end("providers failed")
            await at.until_ended(at.session())
            assert call.cause is not None
            assert (call.cause.q850, call.cause.text) == (41, "temporary failure")

    run(scene())


# hold


async def speaking(at: Board) -> CallSession:
    """A call whose agent is in the middle of a long answer."""
    at.world.llm.answer = lambda request: (
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
        if request.messages
        else "Hello."
    )
    call = at.endpoint.offer()
    session = at.session()
    await at.until(lambda: events(session, ReplyEnded))
    line_of(call).speak(1.0)
    await at.until(lambda: not sounding(call))
    await at.until(lambda: sounding(call))
    await asyncio.sleep(1.0)
    return session


def test_on_hold_the_agent_falls_silent_and_goes_on_from_the_heard_word_when_the_peer_is_back() -> None:
    async def scene() -> None:
        async with board() as at:
            session = await speaking(at)
            call = at.endpoint._all[0]
            call.put_on_hold()
            await asyncio.sleep(0.15)
            assert session.state.phase is Phase.HELD
            assert not sounding(call)
            held_at, opened = len(line_of(call).heard), at.world.stt.opened
            line_of(call).speak(5.0)  # music
            await asyncio.sleep(120.0)
            assert len(line_of(call).heard) == held_at
            assert session.state.phase is Phase.HELD
            call.take_back()
            await at.until(lambda: len(events(session, ReplyEnded)) == 2)
            reply = events(session, ReplyEnded)[1]
            assert (reply.reason, reply.heard) == ("completed", reply.said)
            assert len(events(session, CallerSaid)) == 1, "the music was no turn"
            assert at.world.stt.opened == opened, "the recogniser was kept"
            assert len(events(session, LegHeld)) == len(events(session, LegResumed)) == 1

    run(scene())


def test_a_caller_held_for_ever_is_hung_up_on() -> None:
    async def scene() -> None:
        async with board(SIP_HOLD_S="60") as at:
            session = await speaking(at)
            at.endpoint._all[0].put_on_hold()
            await at.until(lambda: events(session, CallEnded), within_s=62)
            assert events(session, CallEnded)[0].reason == "held too long"

    run(scene())


def test_a_peer_that_hangs_up_while_it_holds_us_ends_the_call() -> None:
    async def scene() -> None:
        async with board() as at:
            session = await speaking(at)
            call = at.endpoint._all[0]
            call.put_on_hold()
            await asyncio.sleep(1.0)
            call.peer_ends(Cause(q850=16))
            assert (await at.until_ended(session)).reason == "carrier: completed"

    run(scene())


def test_the_state_of_each_trunk_is_known_and_its_changes_are_logged() -> None:
    async def scene() -> None:
        async with board() as at:
            assert [status.state for status in at.sip_calls.trunks()] == [TrunkState.UP]
            with capture_logs() as logs:
                at.sip_calls.trunk_changed(TrunkStatus("sip", TrunkState.DOWN, 503, "gone", 2.0))
            assert (logs[0]["log_level"], logs[0]["state"], logs[0]["status"]) == ("warning", "down", 503)
            assert at.counted("sip_trunk_changes", trunk="sip", state="down") == 1

    run(scene())


def test_a_bridge_that_goes_down_signs_off_and_refuses_new_calls() -> None:
    async def scene() -> None:
        async with board() as at:
            await at.sip_calls.close_door()
            assert at.endpoint.unregistered
            assert at.endpoint.refusing is not None
            assert at.endpoint.refusing.status == 503

    run(scene())


def test_calls_that_live_when_the_process_ends_are_hung_up() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer(caller=Party("sip:ana@x.example", "ana"))
            session = at.session()
            await at.until(lambda: events(session, ReplyEnded))
        assert call.cause is not None
        assert (call.cause.q850, call.cause.text) == (41, "out of service")
        assert events(session, CallEnded)[0].reason == "the bridge stops"
        assert not events(session, CallBegun)

    run(scene())


def test_calls_that_live_when_the_process_drains_go_on_and_are_said_goodbye_to_at_its_end() -> None:
    async def scene() -> None:
        async with board() as at:
            call = at.endpoint.offer()
            session = at.session()
            at.directory.before_drain = at.sip_calls.close_door
            await at.until(lambda: events(session, ReplyEnded))
            began = at.world.clock.now()
            await at.directory.drain(5.0)
            assert at.endpoint.refusing is not None
            assert at.world.clock.now() == pytest.approx(began + 5.0, abs=0.2)
            assert session.state.phase is Phase.LIVE
            await at.directory.dismiss()
            assert events(session, ReplyEnded)[-1].heard == at.world.manners.closing
            assert events(session, CallEnded)[0].reason == "the bridge stops"
            assert call.cause is not None
            assert call.cause.q850 == 41

    run(scene())


class _Taken:
    """An endpoint whose port somebody else has, for so many tries."""

    def __init__(self, tries: int, world: World) -> None:
        self.tries, self.world, self.tried = tries, world, 0

    @asynccontextmanager
    async def __call__(self, settings: EndpointSettings, observer: EndpointObserver) -> AsyncIterator[FakeEndpoint]:
        self.tried += 1
        if self.tried <= self.tries:
            raise EndpointFailed("UDP 5060", "address in use")
        async with FakeEndpoint(settings, observer, self.world.clock).run() as endpoint:
            yield endpoint


def sip_calls(world: World, directory: Directory, taken: _Taken, workers: int) -> SipCalls:
    settings = SipSettings.load(TRUNK, 10)
    assert settings is not None
    return SipCalls(settings.share(0, workers), directory, world.services(), taken)


def test_a_taken_port_ends_the_start_of_a_process_that_is_alone() -> None:
    async def scene() -> None:
        world = World()
        async with Directory(world.services(), public_url="https://x.example") as directory:
            with pytest.raises(EndpointFailed, match="address in use"):
                async with sip_calls(world, directory, _Taken(1, world), 1):
                    pass

    run(scene())


def test_a_worker_waits_for_the_port_of_the_one_that_it_replaces() -> None:
    async def scene() -> None:
        world = World()
        async with Directory(world.services(), public_url="https://x.example") as directory:
            taken = _Taken(3, world)
            async with sip_calls(world, directory, taken, 2) as calls:
                assert [trunk.state for trunk in calls.trunks()] == [TrunkState.STARTING]
                with pytest.raises(NotNow, match="not up yet"):
                    calls.dial(Order("+15550100003"))
                await asyncio.sleep(7.0)
                assert taken.tried == 4
                assert [trunk.state for trunk in calls.trunks()] == [TrunkState.UP]

    run(scene())


def test_a_bug_ends_the_one_call_that_it_hit() -> None:
    async def scene() -> None:
        async with board() as at:
            one, other = at.endpoint.offer(), at.endpoint.offer()
            await asyncio.sleep(0.5)
            first, second = at.directory.sessions()
            one.tell(CallHeld())
            first.hold = None  # type: ignore[method-assign, assignment]
            await at.until(lambda: one.over)
            assert one.cause is not None
            assert one.cause.q850 == 41
            assert events(first, CallEnded)[0].reason == "crashed"
            assert second.state.phase is Phase.LIVE
            assert not other.over
            assert at.counted("calls_crashed") == 1

    run(scene())
