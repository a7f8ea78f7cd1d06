"""A caller whose SIP line died with its process dials again, and gets the conversation that he lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from app.calls.archive import CallArchive
from app.calls.journal import CallTakenOver, ReplyEnded
from app.calls.recovery import RecoverySettings
from app.calls.returning import Returning
from app.sip.calls import CARRIER, SipCalls
from app.sip.settings import SipSettings
from telephony.clock import LoopClock
from telephony.sip.contracts import EndpointObserver
from telephony.sip.settings import EndpointSettings
from tests.app.calls.town import Process, Town, town
from tests.app.sip.board import TRUNK, events, line_of
from tests.calls.world import World
from tests.fakes.sip import FakeCall, FakeEndpoint
from tests.virtual import run

WAITS = RecoverySettings(grace_s={CARRIER: 120.0})
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def talker() -> World:
    world = World()
    world.llm.answer = lambda request: LONG if request.messages else "Hello."
    return world


@asynccontextmanager
async def line(process: Process, clock: LoopClock | None = None, **variables: str) -> AsyncIterator[FakeEndpoint]:
    """A SIP endpoint at this process."""
    settings = SipSettings.load({**TRUNK, **variables}, 10)
    assert settings is not None
    store: Any = process.wire
    lost = Returning(
        process.switchboard,
        store,
        CallArchive(store),
        clock or process.world.clock,
        outlived=lambda owner: owner in process.town.known_dead,
        within_s=120.0,
    )
    made: list[FakeEndpoint] = []

    def endpoint(set_: EndpointSettings, observer: EndpointObserver) -> AbstractAsyncContextManager[FakeEndpoint]:
        made.append(FakeEndpoint(set_, observer, process.world.clock))
        return made[0].run()

    async with SipCalls(settings, process.directory, process.services, endpoint, lost):
        yield made[0]


async def lost_call(at: Town, process: Process, endpoint: FakeEndpoint) -> tuple[FakeCall, str]:
    """A call whose agent is in the middle of an answer."""
    call = endpoint.offer()
    await at.until(lambda: list(process.directory.sessions()))
    (session,) = process.directory.sessions()
    await at.until(lambda: events(session, ReplyEnded))
    line_of(call).speak(1.0)
    await at.until(lambda: session.state.floor == "SPEAKING")
    await asyncio.sleep(1.5)
    return call, session.call_id


def test_the_reply_goes_on_where_it_was_heard_last_in_another_process() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            first, second = await at.start("one", talker()), await at.start("two", talker())
            async with line(second) as there:
                async with line(first) as here:
                    _, call_id = await lost_call(at, first, here)
                    first.kill()
                call = there.offer()
                await at.until(lambda: second.session(call_id), within_s=1.0)
                session = second.session(call_id)
                assert session is not None
                assert call.done == ["answer"]
                await at.until(lambda: len(events(session, ReplyEnded)) >= 2)
                reply = events(session, ReplyEnded)[1]
                assert (reply.reason, reply.heard) == ("completed", LONG)
                assert events(session, CallTakenOver)[0].reason == "its caller dialled again"
                call.peer_ends()
                await at.until(lambda: second.session(call_id) is None)
                assert session.end_reason == "carrier: completed"

    run(scene())


def test_a_lost_call_that_was_picked_up_meanwhile_waits_for_its_caller() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            first, second = await at.start("one", talker()), await at.start("two", talker())
            async with line(second) as there:
                async with line(first) as here:
                    _, call_id = await lost_call(at, first, here)
                    first.kill(known=False)
                await asyncio.sleep(90.0)
                session = second.session(call_id)
                assert session is not None
                assert session.state.phase == "suspended"
                there.offer()
                await at.until(lambda: session.state.phase == "live", within_s=1.0)
                assert len(list(second.directory.sessions())) == 1

    run(scene())


def test_another_caller_and_a_call_that_lives_are_left_alone() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            only = await at.start("one", talker())
            async with line(only) as here:
                await lost_call(at, only, here)
                here.offer()  # the same caller, on a second line
                here.offer(called="+15550100099")
                await at.until(lambda: len(list(only.directory.sessions())) == 3, within_s=1.0)

    run(scene())


def test_a_call_that_was_lost_long_ago_stays_lost() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            first, second = await at.start("one", talker()), await at.start("two", talker())
            much_later = LoopClock(datetime(2026, 3, 2, 9, 10, tzinfo=UTC))
            async with line(second, much_later) as there:
                async with line(first) as here:
                    _, call_id = await lost_call(at, first, here)
                    first.kill()
                there.offer()
                await at.until(lambda: list(second.directory.sessions()), within_s=1.0)
                assert second.session(call_id) is None

    run(scene())


def test_a_store_that_is_gone_costs_a_new_caller_no_time() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            only = await at.start("one", talker())
            async with line(only) as here:
                only.wire.running.clear()
                call = here.offer()
                began = at.clock.now()
                await at.until(lambda: call.answered)
                assert at.clock.now() - began <= 0.05
                only.wire.running.set()

    run(scene())


def test_by_setting_the_caller_is_called_back() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            first, second = await at.start("one", talker()), await at.start("two", talker())
            async with line(second, SIP_CALL_BACK="true") as there:
                async with line(first) as here:
                    _, call_id = await lost_call(at, first, here)
                    first.kill()
                await at.until(lambda: there.placed)
                (call,) = there.placed
                assert call.request is not None
                assert (call.request.target, call.request.caller) == ("+15550100001", "+15550100002")
                session = second.session(call_id)
                assert session is not None
                assert session.state.phase == "suspended"
                call.establish()
                await at.until(lambda: len(events(session, ReplyEnded)) >= 2)
                assert events(session, ReplyEnded)[1].heard == LONG
                await asyncio.sleep(3.0)
                assert len(there.placed) == 1

    run(scene())


def test_a_caller_who_does_not_answer_may_still_dial_again() -> None:
    async def scene() -> None:
        async with town(WAITS) as at:
            first, second = await at.start("one", talker()), await at.start("two", talker())
            async with line(second, SIP_CALL_BACK="true") as there:
                async with line(first) as here:
                    _, call_id = await lost_call(at, first, here)
                    first.kill()
                await at.until(lambda: there.placed)
                there.placed[0].peer_ends()
                await asyncio.sleep(3.0)
                session = second.session(call_id)
                assert session is not None
                there.offer()
                await at.until(lambda: session.state.phase == "live", within_s=1.0)
                assert len(there.placed) == 1

    run(scene())
