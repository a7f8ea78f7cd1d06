"""A call goes on whichever process dies, and nobody speaks twice: in virtual time, with a common store."""

import asyncio
from base64 import b64encode
from copy import deepcopy
from typing import Any

import pytest

from app.calls.errors import TokenRejected
from app.calls.journal import (
    CallEnded,
    CallerSaid,
    CallTakenOver,
    JournalEvent,
    LegDetached,
    ReplyEnded,
    ReplyHeard,
    ToolCalled,
)
from app.calls.recovery import RecoverySettings
from app.calls.redaction import Private
from app.calls.seal import Seal
from app.calls.store.base import Batch, Lease
from app.calls.store.errors import StoreError, StoreMisconfigured, StoreUnavailable
from app.calls.store.memory import MemoryStore
from app.conversation.memory import fold
from app.conversation.results import UNKNOWN_RESULT
from app.conversation.state import Floor, Phase
from app.conversation.tools import CallContext, Toolbox, tool
from providers.base import AgentMessage, CallerMessage, ReplyRequest, TextDelta, ToolCall, ToolResult
from telephony.audio import TELEPHONE
from telephony.carrier import CallStatus, Dial, HangUp, MediaStarted, OpenStream
from telephony.carriers.twilio import TWILIO
from telephony.errors import CallGone, ControlUnreachable
from tests.app.calls.town import Process, Town, offered, town
from tests.calls.world import World
from tests.doubles import Line
from tests.virtual import run

LONG = "We are open from Monday to Friday, from nine in the morning until half past five in the afternoon."
QUESTION = "what are your opening hours"


def answers(request: ReplyRequest) -> str:
    return LONG if request.messages else "Hello."


def a_world(**manners: Any) -> World:
    world = World().with_manners(**manners)
    world.llm.answer = answers
    return world


def of(events: list[JournalEvent], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def asked(here: Town, at: Process, line: Line) -> None:
    """The greeting is over and the caller has asked his question; the answer is audible."""
    session = at.session()
    assert session is not None
    await here.until(lambda: of(session.record.journal.events, ReplyEnded))
    line.speak(1.0)
    await here.until(lambda: session.state.floor is Floor.SPEAKING)


@pytest.mark.parametrize("after_s", [0.1, 0.7, 1.5, 3.0, 4.6])
def test_a_killed_processs_reply_goes_on_from_the_heard_word_in_another(after_s: float) -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            await asyncio.sleep(after_s)
            session = first.session()
            assert session is not None
            session.progress()
            assert session.record.memory.reply is not None
            heard = len(session.record.memory.reply.heard.split())
            first.kill()
            again = await here.after(second)
            taken = second.session()
            assert taken is not None
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2, within_s=12.0)
            ended = of(taken.record.journal.events, ReplyEnded)[-1]
            assert (ended.said, ended.heard, ended.reason) == (LONG, LONG, "completed")
            words = LONG.split()
            sound_s = len(again.heard) * 0.02
            rest_s = sum((len(word) + 1) * 0.06 for word in words[heard:])
            assert rest_s - 0.1 <= sound_s <= rest_s + (len(words[heard - 1]) + 1) * 0.06 + 0.5 if heard else True
            assert taken.record.transcript.messages() == (
                AgentMessage("Hello."),
                CallerMessage(QUESTION),
                AgentMessage(LONG),
            )

    run(scene())


def test_a_reply_that_was_half_made_is_finished_without_repeating_what_is_known() -> None:
    async def scene() -> None:
        async with town() as here:
            slow = a_world()
            slow.llm.tokens_per_s = 5.0
            first, second = await here.start("first", slow), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            await asyncio.sleep(0.7)
            first.kill()
            await here.after(second)
            taken = second.session()
            assert taken is not None
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2)
            assert of(taken.record.journal.events, ReplyEnded)[-1].said == LONG
            assert "Go on exactly after these words" in second.world.llm.requests[-1].instructions

    run(scene())


def test_what_the_caller_said_last_is_answered_by_the_next_process() -> None:
    async def scene() -> None:
        async with town() as here:
            slow = a_world()
            slow.llm.first_token_s = 3.0
            first, second = await here.start("first", slow), await here.start("second", a_world())
            line = await here.ring(first)
            session = first.session()
            assert session is not None
            await here.until(lambda: of(session.record.journal.events, ReplyEnded))
            line.speak(1.0)
            await here.until(lambda: of(session.record.journal.events, CallerSaid))
            await asyncio.sleep(0.5)
            first.kill()
            await here.after(second)
            taken = second.session()
            assert taken is not None
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2, within_s=12.0)
            assert [event.text for event in of(taken.record.journal.events, CallerSaid)] == [QUESTION]
            assert of(taken.record.journal.events, ReplyEnded)[-1].heard == LONG

    run(scene())


@pytest.mark.parametrize("talking", [True, False])
def test_what_the_caller_said_while_nobody_listened_is_asked_for_again(talking: bool) -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            session = first.session()
            assert session is not None
            await here.until(lambda: of(session.record.journal.events, ReplyEnded))
            if talking:
                line.speak(3.0)
            await asyncio.sleep(1.0)
            first.kill()
            await here.after(second)
            taken = second.session()
            assert taken is not None
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2)
            assert of(taken.record.journal.events, ReplyEnded)[-1].heard == first.world.manners.ask_again
            assert taken.offered == offered()

    run(scene())


@pytest.mark.parametrize("bridge", ["Here I am again.", ""])
def test_a_caller_who_is_never_asked_again_is_listened_to_by_the_next_process(bridge: str) -> None:
    async def scene() -> None:
        async with town() as here:
            world = a_world(ask_again="", bridge=bridge)
            first, second = await here.start("first", a_world()), await here.start("second", world)
            await here.ring(first)
            session = first.session()
            assert session is not None
            await here.until(lambda: of(session.record.journal.events, ReplyEnded))
            await asyncio.sleep(1.0)
            first.kill()
            line = await here.after(second)
            taken = second.session()
            assert taken is not None
            await asyncio.sleep(3.0)
            assert taken.state.floor is Floor.LISTENING
            line.speak(1.0)
            await here.until(lambda: of(taken.record.journal.events, ReplyEnded)[-1].heard == LONG, within_s=12.0)
            heard = [event.heard for event in of(taken.record.journal.events, ReplyEnded)]
            assert heard == ["Hello.", *filter(None, [bridge]), LONG]

    run(scene())


def test_a_greeting_that_nobody_heard_is_said_by_the_process_where_the_stream_lands() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            decision = await first.switchboard.answer(TWILIO, offered())
            await here.connect(second, decision)
            assert first.session() is None
            taken = second.session()
            assert taken is not None
            await here.until(lambda: of(taken.record.journal.events, ReplyEnded))
            assert of(taken.record.journal.events, ReplyEnded)[0].heard == "Hello."
            assert len(first.directory) == 0 and list(first.directory.sessions()) == []

    run(scene())


async def begins_again(here: Town, at: Process) -> None:
    """The carrier asks what to do with the call, and its caller is greeted."""
    await here.after(at)
    begun = at.session()
    assert begun is not None and begun.offered == offered()
    await here.until(lambda: of(begun.record.journal.events, ReplyEnded))
    assert of(await here.journal(), ReplyEnded)[0].heard == "Hello."


def test_a_call_that_is_masked_in_the_store_goes_on_all_the_same() -> None:
    async def scene() -> None:
        async with town() as here:
            here.private = (Private.NUMBERS, Private.TOOLS)
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            await asyncio.sleep(1.5)
            first.kill()
            await here.after(second)
            taken = second.session()
            assert taken is not None
            assert (taken.call_id, taken.carrier, taken.offered.caller) == ("CA1", "twilio", "+*********01")
            assert taken.offered.variables == {"customer": "81"}
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2, within_s=12.0)
            ended = of(taken.record.journal.events, ReplyEnded)[-1]
            assert (ended.said, ended.heard, ended.reason) == (LONG, LONG, "completed")

    run(scene())


def test_a_call_whose_process_died_before_anything_was_stored_begins_again() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await here.ring(first)
            first.kill()
            assert not await here.store.read("CA1")
            await begins_again(here, second)

    run(scene())


def test_one_whose_process_died_before_it_had_a_lease_begins_again_too() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            first.wire.cut = True
            decision = await first.switchboard.answer(TWILIO, offered())
            first.kill()
            assert isinstance(decision, OpenStream)
            with pytest.raises(TokenRejected, match="nobody knows"):
                await second.switchboard.serve(
                    TWILIO, decision.token, MediaStarted("CA1", "MZ1", {}, TELEPHONE), Line(here.clock)
                )
            await begins_again(here, second)

    run(scene())


def test_one_that_is_over_does_not_begin_again() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            lease = await here.store.acquire("CA1", "somebody", 4.0)
            await here.store.append([Batch("CA1", lease.fence, 0, (), ended=True)])
            assert await first.switchboard.after(TWILIO, offered()) == HangUp()

    run(scene())


def test_a_living_owner_gives_the_call_up_and_keeps_silent() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            await asyncio.sleep(1.0)
            line.drop()
            began = here.clock.now()
            await here.after(first, second)
            assert here.clock.now() - began < 0.5
            assert first.session() is None
            taken = second.session()
            assert taken is not None
            await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2)
            assert of(taken.record.journal.events, ReplyEnded)[-1].heard == LONG
            events = await here.journal()
            assert [event.fence for event in of(events, CallTakenOver)] == [2]
            assert not of(events, CallEnded)

    run(scene())


def test_a_process_that_nobody_knows_to_be_dead_loses_its_calls_with_its_leases() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            first.kill(known=False)
            began = here.clock.now()
            await here.after(second)
            assert here.clock.now() - began <= here.settings.lease_s + 0.1

    run(scene())


def test_a_process_that_comes_back_late_makes_no_more_sound_and_writes_no_more() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            first.wire.running.clear()
            await asyncio.sleep(here.settings.lease_s + 0.3)  # with what the carrier had already
            assert not line.sounding()
            sounds = len(line.heard)
            await here.after(second)
            first.wire.running.set()
            await here.until(lambda: first.session() is None)
            assert line.closed
            assert len(line.heard) == sounds
            events = await here.journal()
            assert [event.owner for event in of(events, CallTakenOver)] == ["second"]
            assert not of(events, CallEnded)

    run(scene())


def test_a_call_whose_process_died_and_for_which_no_carrier_asks_is_brought_back() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await asked(here, first, await here.ring(first))
            first.kill(known=False)
            await here.until(lambda: here.control.redirected, within_s=15.0)
            assert here.control.redirected == [("CA1", "https://bridge.example.net/twilio/after")]
            await here.after(second)

    run(scene())


def test_a_lease_without_a_call_is_claimed_by_nobody_and_forgotten_in_time() -> None:
    async def scene() -> None:
        async with town() as here:
            here.store = MemoryStore(here.clock, keep_s=900.0)
            first = await here.start("first", a_world())
            await here.start("second", a_world())
            await here.start("third", a_world())
            await first.switchboard.answer(TWILIO, offered())
            first.kill()
            await asyncio.sleep(600.0)
            holder = await here.store.holder("CA1")
            assert holder is not None and holder.lease == Lease("CA1", "first", 1)
            await asyncio.sleep(900.0)
            assert await here.store.holder("CA1") is None

    run(scene())


def test_a_call_that_cannot_be_read_is_claimed_by_nobody() -> None:
    async def scene() -> None:
        async with town() as here:
            here.seal = Seal([b64encode(bytes(32)).decode()])
            first = await here.start("first", a_world())
            here.seal = Seal([b64encode(bytes([1] * 32)).decode()])
            await here.start("second", a_world())
            await here.ring(first)
            await asyncio.sleep(1.0)
            first.kill()
            await asyncio.sleep(120.0)
            holder = await here.store.holder("CA1")
            assert holder is not None and holder.lease.fence == 1

    run(scene())


def test_a_stream_for_a_call_of_which_nothing_is_stored_leaves_no_lease_that_lasts() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            with pytest.raises(TokenRejected, match="nobody knows"):
                await first.switchboard.custody.take_over("CA1", "test")
            holder = await here.store.holder("CA1")
            assert holder is not None and holder.remaining_s <= 0

    run(scene())


def test_who_is_cut_off_before_he_has_stored_anything_keeps_his_call() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            decision = await first.switchboard.answer(TWILIO, offered())
            first.wire.cut = True
            line = await here.connect(first, decision)
            await asyncio.sleep(here.settings.lease_s * 3)
            first.wire.cut = False
            await asyncio.sleep(here.settings.lease_s)
            assert first.session() is not None and second.session() is None
            assert not line.closed and not here.control.redirected
            assert of(await here.journal(), ReplyEnded)
            lease = first.writer.lease("CA1")
            assert lease is not None and lease.fence == 1

    run(scene())


def test_leases_without_calls_do_not_delay_the_rescue_of_a_call() -> None:
    async def scene() -> None:
        async with town() as here:
            for number in range(250):
                await here.store.acquire(f"ghost{number}", "dead", 0.0)
            first = await here.start("first", a_world())
            second = await here.start("second", a_world())
            await asked(here, first, await here.ring(first))
            first.kill(known=False)
            await here.until(lambda: here.control.redirected, within_s=15.0)
            assert second.session() is not None

    run(scene())


def test_a_lease_that_was_without_a_call_is_looked_at_again_when_it_was_renewed() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            decision = await first.switchboard.answer(TWILIO, offered())
            first.wire.cut = True
            await here.connect(first, decision)
            await asyncio.sleep(here.settings.lease_s * 3)
            first.wire.cut = False
            await asyncio.sleep(here.settings.lease_s)
            first.kill(known=False)
            await here.until(second.session, within_s=10.0)

    run(scene())


# a machine that is cut off from the store, and no other


async def taken_from_the_one_cut_off(here: Town) -> tuple[Process, Process, Line]:
    """A call whose process cannot reach the store, and that another one has taken for abandoned."""
    first, second = await here.start("first", a_world()), await here.start("second", a_world())
    line = await here.ring(first)
    await asyncio.sleep(1.0)
    first.wire.cut = True
    await here.until(second.session)
    return first, second, line


def test_who_was_cut_off_with_the_caller_on_the_line_gets_his_call_back() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second, line = await taken_from_the_one_cut_off(here)
            session = first.session()
            await asked(here, first, line)
            first.wire.cut = False
            await here.until(lambda: second.session() is None)
            await asyncio.sleep(10.0)
            assert first.session() is session is not None and not line.closed
            events = await here.journal()
            assert [(event.owner, event.fence) for event in of(events, CallTakenOver)] == [("second", 2), ("first", 3)]
            assert [event.text for event in of(events, CallerSaid)] == [QUESTION]
            assert of(events, ReplyEnded)[-1].heard == LONG
            assert not of(events, CallEnded)
            memory = fold(events)
            assert (memory.phase, memory.stream_id) == (Phase.LIVE, "MZ1")
            holder = await here.store.holder("CA1")
            assert holder is not None and holder.lease == first.writer.lease("CA1") and holder.remaining_s > 0

    run(scene())


def test_a_call_that_is_perhaps_elsewhere_is_left_and_not_ended_when_no_stream_comes() -> None:
    async def scene() -> None:
        async with town(RecoverySettings(grace_s={"twilio": 3.0})) as here:
            first, second, line = await taken_from_the_one_cut_off(here)
            await here.until(lambda: here.control.redirected)
            line.drop()
            again = await here.after(first)
            await asyncio.sleep(20.0)
            assert second.session() is None and len(here.control.redirected) == 2
            assert not of(await here.journal(), CallEnded)
            session = first.session()
            assert session is not None and session.state.phase is Phase.LIVE
            first.wire.cut = False
            await asyncio.sleep(10.0)
            assert first.session() is session and second.session() is None and not again.closed
            assert isinstance(await first.switchboard.after(TWILIO, offered()), OpenStream)
            again.close()
            await first.switchboard.status(TWILIO, CallStatus("CA1", "completed", ended=True))
            assert of(await here.journal(), CallEnded)[0].reason == "carrier: completed"

    run(scene())


def test_who_stops_ends_no_call_that_is_perhaps_elsewhere() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second, line = await taken_from_the_one_cut_off(here)
            second.stop()
            await asyncio.sleep(here.settings.lease_s)
            first.wire.cut = False
            await asyncio.sleep(10.0)
            session = first.session()
            assert session is not None and session.state.phase is Phase.LIVE and not line.closed
            assert not of(await here.journal(), CallEnded)

    run(scene())


def test_who_was_cut_off_makes_no_sound_while_he_asks_and_drops_a_call_that_has_a_line_elsewhere() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second, line = await taken_from_the_one_cut_off(here)
            await asked(here, first, line)
            again = await here.after(second)
            renew, since = here.store.renew, [0]

            async def noted(*arguments: Any) -> Any:
                refused = await renew(*arguments)
                since[0] = since[0] or (bool(refused) and len(line.heard))
                return refused

            here.store.renew = noted  # type: ignore[method-assign]
            first.wire.cut = False
            await here.until(lambda: first.session() is None)
            assert since[0] and len(line.heard) - since[0] <= 12  # what the carrier had already
            assert line.closed and not again.closed
            taken = second.session()
            assert taken is not None and taken.state.phase is Phase.LIVE
            assert [event.owner for event in of(await here.journal(), CallTakenOver)] == ["second"]

    run(scene())


def test_a_caller_who_hangs_up_while_his_call_is_asked_back_has_hung_up() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second, _ = await taken_from_the_one_cut_off(here)
            session = first.session()
            second.wire.running.clear()  # it hears of nothing for a while
            first.wire.cut = False
            await asyncio.sleep(0.9)
            assert session is not None and first.session() is session
            session.caller_gone("completed")
            second.wire.running.set()
            await asyncio.sleep(3.0)
            assert first.session() is None and second.session() is None
            assert of(await here.journal(), CallEnded)[0].reason == "carrier: completed"

    run(scene())


def test_an_abandoned_call_that_nobody_has_is_taken_twice_and_ended_when_its_time_is_up() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world(limit_s=1800.0))
            here.control.failure = ControlUnreachable("slow")
            await asked(here, first, await here.ring(first))
            first.kill(known=False)
            await asyncio.sleep(1200.0)
            events = await here.journal()
            assert len(of(events, CallTakenOver)) == 2 and not of(events, CallEnded)
            assert second.session() is None
            await asyncio.sleep(900.0)
            assert len(of(await here.journal(), CallEnded)) == 1

    run(scene())


def test_an_abandoned_call_whose_owner_is_dead_for_sure_is_ended_when_no_stream_comes() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            await here.start("second", a_world())
            await asked(here, first, await here.ring(first))
            first.kill()
            await asyncio.sleep(60.0)
            assert of(await here.journal(), CallEnded)[0].reason == "no media"

    run(scene())


def test_a_lost_call_whose_stream_comes_straight_back_is_carried_on() -> None:
    """Although the session that lost it has not cleared up yet."""

    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            lost = first.session()
            assert lost is not None
            line.drop()
            await here.until(lambda: lost.state.phase is Phase.SUSPENDED)
            await here.store.release(Lease("CA1", "first", 1))
            lease = await here.store.acquire("CA1", "second", here.settings.lease_s)
            await here.store.release(lease)
            first.switchboard.custody.lose("CA1")
            assert first.session() is None
            await first.switchboard.custody.take_over("CA1", "its stream came here")
            taken = first.session()
            assert taken is not None and taken is not lost
            await asyncio.sleep(1.0)
            assert first.session() is taken

    run(scene())


def test_a_lost_stream_for_which_no_carrier_asks_is_brought_back_at_most_three_times() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            line = await here.ring(first)
            here.control.failure = ControlUnreachable("slow")
            line.drop()
            await asyncio.sleep(1.0)
            assert not here.control.redirected
            await asyncio.sleep(20.0)
            assert len(here.control.redirected) == 3
            await here.until(lambda: first.session() is None, within_s=20.0)

    run(scene())


def test_a_lost_call_that_the_carrier_knows_no_more_ends() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            line = await here.ring(first)
            here.control.failure = CallGone("CA1")
            line.drop()
            await here.until(lambda: first.session() is None, within_s=4.0)
            assert of(await here.journal(), CallEnded)[0].reason == "carrier: gone"

    run(scene())


def test_a_deployment_hands_every_call_over_and_loses_none() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            calls = [f"CA{number}" for number in range(10)]
            lines = {call: await here.ring(first, call) for call in calls}
            await asyncio.sleep(3.0)

            async def follow(call: str) -> None:
                await here.until(lambda: lines[call].closed)
                await here.after(second, call_id=call)

            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(follow(call))
                await first.switchboard.custody.drain(1.0, lambda: False, successor=True)
            assert len(first.directory) == 0
            assert len(second.directory) == 10
            assert first.directory.refusal() is not None

    run(scene())


def test_a_lease_that_is_given_up_while_it_is_being_renewed_is_given_up() -> None:
    async def scene() -> None:
        async with town(RecoverySettings(recall_s=60.0)) as here:
            renew = here.store.renew

            async def slowly(*arguments: Any) -> Any:
                await asyncio.sleep(0.5)
                return await renew(*arguments)

            here.store.renew = slowly  # type: ignore[method-assign]
            first = await here.start("first", a_world())
            calls = [f"CA{number}" for number in range(10)]
            for call in calls:
                await here.ring(first, call)
            await asyncio.sleep(1.0)
            for call in calls:
                await first.switchboard.custody.hand_over(call)
                await asyncio.sleep(0.15)
            await asyncio.sleep(1.0)
            holders = [await here.store.holder(call) for call in calls]
            assert all(holder is not None and holder.remaining_s <= 0 for holder in holders)

    run(scene())


def test_calls_that_were_handed_over_and_that_nobody_asks_for_are_not_taken_back() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            await here.ring(first)
            await here.ring(first, "CA2")
            await first.switchboard.custody.drain(1.0, lambda: False, successor=True)
            await asyncio.sleep(5.0)
            assert len(first.directory) == 0
            await here.start("second", a_world())
            await here.until(lambda: len(here.control.redirected) == 2)
            assert len(first.directory) == 0

    run(scene())


def test_without_a_successor_a_drained_process_keeps_its_calls() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            await here.ring(first)
            await first.switchboard.custody.drain(1.0, lambda: False, successor=False)
            assert first.session() is not None

    run(scene())


def test_a_stream_and_the_search_for_lost_calls_take_a_call_over_once() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await asked(here, first, await here.ring(first))
            first.kill(known=False)
            await asyncio.sleep(here.settings.lease_s + 0.1)
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(second.switchboard.custody.take_over("CA1", "test"))
            assert [event.fence for event in of(await here.journal(), CallTakenOver)] == [2]

    run(scene())


# tools


class Bookings:
    """What a tool has done, and for how long it holds up who asks."""

    def __init__(self, *, idempotent: bool) -> None:
        self.keys: list[str] = []
        self.takes_s = 60.0
        bookings = self

        @tool(idempotent=idempotent, deadline_s=600.0)
        async def book(day: str, context: CallContext) -> str:
            """Book an appointment."""
            bookings.keys.append(context.idempotency_key)
            await asyncio.sleep(bookings.takes_s)
            return f"booked for {day}"

        self.toolbox = Toolbox([book])


def books(request: ReplyRequest) -> Any:
    last = request.messages[-1] if request.messages else None
    match last:
        case CallerMessage():
            return [TextDelta("Let me see. "), ToolCall("t1", "book", {"day": "Monday"})]
        case ToolResult(content=content):
            return f"Result: {content}"
        case _:
            return "Hello."


async def interrupted_tool(idempotent: bool) -> tuple[Bookings, list[JournalEvent], Process]:
    bookings = Bookings(idempotent=idempotent)
    worlds = [World(toolbox=bookings.toolbox).with_manners(filler="") for _ in range(2)]
    for world in worlds:
        world.llm.answer = books
    async with town() as here:
        first, second = await here.start("first", worlds[0]), await here.start("second", worlds[1])
        line = await here.ring(first)
        session = first.session()
        assert session is not None
        await here.until(lambda: of(session.record.journal.events, ReplyEnded))
        line.speak(1.0)
        await here.until(lambda: bookings.keys)
        await asyncio.sleep(2.0)
        first.kill()
        bookings.takes_s = 0.1
        await here.after(second)
        taken = second.session()
        assert taken is not None
        await here.until(lambda: len(of(taken.record.journal.events, ReplyEnded)) == 2)
        return bookings, list(taken.record.journal.events), second


def test_an_idempotent_tool_in_flight_is_run_again_under_its_key() -> None:
    async def scene() -> None:
        bookings, events, second = await interrupted_tool(idempotent=True)
        assert bookings.keys == ["CA1/2/t1"] * 2
        assert len(of(events, ToolCalled)) == 1
        assert of(events, ReplyEnded)[-1].heard == 'Let me see. Result: "booked for Monday"'
        assert second.world.llm.requests[-1].messages[-1] == ToolResult("t1", '"booked for Monday"')

    run(scene())


def test_of_any_other_tool_in_flight_the_model_is_told_that_nobody_knows() -> None:
    async def scene() -> None:
        bookings, _, second = await interrupted_tool(idempotent=False)
        assert len(bookings.keys) == 1
        assert second.world.llm.requests[-1].messages[-1] == ToolResult("t1", UNKNOWN_RESULT, failed=True)

    run(scene())


# requests that land elsewhere


def test_a_repeated_webhook_at_another_process_is_the_same_call() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await first.switchboard.answer(TWILIO, offered())
            again = await second.switchboard.answer(TWILIO, offered())
            assert isinstance(again, OpenStream)
            assert len(second.directory) == 0
            await here.connect(first, again)

    run(scene())


def test_a_token_is_good_once_in_all_processes_together() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            decision = await first.switchboard.answer(TWILIO, offered())
            assert isinstance(decision, OpenStream)
            await here.connect(first, decision)
            started = MediaStarted("CA1", "MZ9", {}, TELEPHONE)
            with pytest.raises(TokenRejected, match="used"):
                await second.switchboard.serve(TWILIO, decision.token, started, Line(here.clock))

    run(scene())


def test_the_end_of_a_call_is_known_to_every_process() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await here.ring(first)
            await second.switchboard.status(TWILIO, CallStatus("CA1", "completed", ended=True))
            await here.until(lambda: first.session() is None, within_s=1.0)
            await here.journal()
            assert await second.switchboard.after(TWILIO, offered()) == HangUp()
            assert await second.switchboard.answer(TWILIO, offered()) == HangUp()

    run(scene())


def test_the_end_of_a_call_whose_process_died_is_recorded() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            await here.ring(first)
            await asyncio.sleep(0.5)
            first.kill()
            await second.switchboard.status(TWILIO, CallStatus("CA1", "completed", ended=True))
            await asyncio.sleep(0.5)
            assert of(await here.journal(), CallEnded)[0].reason == "carrier: completed"

    run(scene())


def test_a_transfer_is_dialled_by_whichever_process_is_asked() -> None:
    async def scene() -> None:
        world = a_world(transfer_to="+15550100009")
        world.llm.answer = lambda request: [TextDelta("One moment."), ToolCall("1", "transfer_call", {"reason": "x"})]
        async with town() as here:
            first = await here.start("first", world)
            second = await here.start("second", a_world(transfer_to="+15550100009"))
            line = await here.ring(first)
            await here.until(lambda: line.closed)
            await asyncio.sleep(0.2)
            assert await second.switchboard.after(TWILIO, offered()) == Dial("+15550100009")

    run(scene())


def test_a_call_can_be_hung_up_from_any_process() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            assert await second.switchboard.end("CA1", "ended by the API")
            await here.until(lambda: line.closed, within_s=1.0)
            assert not await second.switchboard.end("CA7", "ended by the API")

    run(scene())


def test_a_stream_for_a_call_that_nobody_knows_is_refused() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            token = first.directory.open_stream(TWILIO, "CA7").token
            with pytest.raises(TokenRejected, match="nobody knows"):
                await first.switchboard.serve(
                    TWILIO, token, MediaStarted("CA7", "MZ9", {}, TELEPHONE), Line(here.clock)
                )

    run(scene())


# a store that is gone


def test_without_a_store_calls_come_and_go_on() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            first.wire.cut = True
            line = await here.ring(first)
            await asked(here, first, line)
            session = first.session()
            assert session is not None
            await asyncio.sleep(here.settings.lease_s * 3)
            assert session.state.phase is Phase.LIVE
            assert of(session.record.journal.events, ReplyEnded)[-1].heard == LONG
            first.wire.cut = False
            await asyncio.sleep(6.0)
            assert of(await here.journal(), ReplyHeard)

    run(scene())


def test_a_store_that_hangs_keeps_no_caller_waiting_and_learns_of_the_call_when_it_answers() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            first.wire.running.clear()
            began = here.clock.now()
            line = await here.ring(first)
            assert here.clock.now() - began < 0.2
            await asked(here, first, line)
            first.wire.running.set()
            await asyncio.sleep(0.5)
            assert of(await here.journal(), ReplyHeard)
            lease = first.writer.lease("CA1")
            assert lease is not None and lease.fence == 1
            assert first.session() is not None

    run(scene())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("answers_again", [True, False])
def test_a_caller_who_is_gone_before_the_store_has_answered_stops_nothing_else(answers_again: bool) -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            first.wire.running.clear()
            line = await here.ring(first)
            line.drop()
            await asyncio.sleep(1.0 if answers_again else 30.0)
            first.wire.running.set()
            assert of(await here.journal(), LegDetached)

    run(scene())


def test_a_process_that_cannot_reach_the_store_goes_on_speaking_and_one_that_was_away_does_not() -> None:
    async def scene() -> None:
        async with town(RecoverySettings(lease_s=1.0)) as here:
            first = await here.start("first", a_world())
            line = await here.ring(first)
            first.wire.cut = True
            await asked(here, first, line)
            before = len(line.heard)
            await asyncio.sleep(2.0)
            assert len(line.heard) - before > 80

    run(scene())


def test_processes_agree_on_tokens_again_after_the_store_was_restarted_empty() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            here.store = first.wire.store = MemoryStore(here.clock)
            await asyncio.sleep(4.0)
            second = await here.start("second", a_world())
            await here.connect(second, await first.switchboard.answer(TWILIO, offered()))

    run(scene())


def test_a_process_that_started_without_its_store_shares_tokens_once_it_is_there() -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world(), cut=True)
            second = await here.start("second", a_world())
            first.wire.cut = False
            await asyncio.sleep(4.0)
            await here.connect(second, await first.switchboard.answer(TWILIO, offered()))

    run(scene())


@pytest.mark.parametrize("remembered", ["nothing", "the owner before"])
def test_a_call_in_which_nothing_happens_is_kept_when_the_store_came_back_without_it(remembered: str) -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await here.journal()
            past = deepcopy(here.store._calls)
            owner = first
            if remembered == "the owner before":
                first.kill()
                owner, line = second, await here.after(second)
            session = owner.session()
            assert session is not None
            await here.until(lambda: of(session.record.journal.events, ReplyEnded))
            await here.journal()
            here.store._calls = past if remembered == "the owner before" else {}
            for _ in range(6):
                await asyncio.sleep(here.settings.lease_s / 2)
                holder = await here.store.holder("CA1")
                assert holder is not None and holder.lease.owner == owner.name and holder.remaining_s > 0
            assert owner.session() is session and session.state.phase is Phase.LIVE
            assert not line.closed and not here.control.redirected
            assert of(await here.journal(), ReplyEnded) == of(session.record.journal.events, ReplyEnded)

    run(scene())


def test_after_the_store_was_away_the_living_keep_their_calls() -> None:
    async def scene() -> None:
        async with town() as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            first.wire.cut = second.wire.cut = True
            await asyncio.sleep(here.settings.lease_s * 3)
            second.wire.cut = False  # it finds the store again a little earlier than the first
            await asyncio.sleep(2.0)
            first.wire.cut = False
            await asyncio.sleep(here.settings.lease_s * 3)
            assert first.session() is not None and second.session() is None
            assert not line.closed and not here.control.redirected

    run(scene())


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), StoreMisconfigured("no more allowed")])
def test_whatever_the_store_says_calls_go_on(failure: StoreError) -> None:
    async def scene() -> None:
        async with town() as here:
            first = await here.start("first", a_world())
            line = await here.ring(first)
            first.wire.failure, first.wire.cut = failure, True
            await asked(here, first, line)
            await asyncio.sleep(here.settings.lease_s * 3)
            await here.ring(first, "CA2")
            session = first.session()
            assert session is not None and session.state.phase is Phase.LIVE
            first.wire.cut = False

    run(scene())
