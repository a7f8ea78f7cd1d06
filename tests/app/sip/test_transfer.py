"""Handing a SIP call over: by REFER, with an end in time, and back to the agent with the reason if nobody takes it."""

import asyncio

import pytest

from app.calls.journal import CallEnded, ReplyEnded, TransferFailed, TransferProgressed, TransferRequested
from app.conversation.session import CallSession
from app.conversation.state import Phase
from providers.base import AgentMessage, ReplyEvent, ReplyRequest, TextDelta, ToolCall, ToolResult
from telephony.sip.events import Cause
from tests.app.sip.board import Board, board, events, line_of, message_texts, sounding
from tests.calls.world import World
from tests.fakes.sip import FakeCall
from tests.virtual import run

HUMAN = "+15550100009"


def answers(request: ReplyRequest) -> str | list[ReplyEvent]:
    if not request.messages:
        return "Hello."
    last = request.messages[-1]
    if isinstance(last, ToolResult):
        return f"I am sorry, {last.content}."
    return [TextDelta("One moment."), ToolCall("1", "transfer_call", {"reason": "billing"})]


async def transferring(at: Board) -> tuple[CallSession, FakeCall]:
    """A call that the agent has begun to hand over."""
    at.world.llm.answer = answers
    call = at.endpoint.offer()
    session = at.session()
    await at.until(lambda: events(session, ReplyEnded))
    line_of(call).speak(1.0)
    await at.until(lambda: session.state.phase is Phase.TRANSFERRING)
    await asyncio.sleep(0.1)
    return session, call


def desk() -> World:
    return World().with_manners(transfer_to=HUMAN)


def test_somebody_takes_the_call_over() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            assert call.done == ["answer", f"refer {HUMAN}"]
            call.refer_progress(100, "Trying")
            call.refer_progress(180, "Ringing")
            call.refer_ends(200, "OK")
            ended = await at.until_ended(session)
            assert ended.reason == "transferred"
            assert call.done[-1] == "hang up"
            assert call.cause is not None
            assert call.cause.q850 == 16
            assert [event.status for event in events(session, TransferProgressed)] == ["100 Trying", "180 Ringing"]
            assert (events(session, TransferRequested)[0].target, session.handover.reason) == (HUMAN, "billing")
            assert at.counted("transfers", outcome="done") == 1

    run(scene())


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [(486, "Busy Here", "busy"), (408, "", "no answer"), (603, "Decline", "rejected"), (501, "No REFER", "No REFER")],
)
def test_when_nobody_takes_it_the_agent_goes_on_and_says_why(status: int, reason: str, told: str) -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            call.refer_ends(status, reason)
            await at.until_said(session, f"I am sorry, nobody took over: {told}.")
            assert events(session, ReplyEnded)[-1].heard == f"I am sorry, nobody took over: {told}."
            assert events(session, TransferFailed)[0].reason == told
            request = at.world.llm.requests[-1]
            asked, result = request.messages[-2:]
            assert isinstance(asked, AgentMessage)
            assert isinstance(result, ToolResult)
            assert asked.tool_calls[0].name == "transfer_call"
            assert (result.call_id, result.failed) == (asked.tool_calls[0].call_id, True)
            assert session.state.phase is Phase.LIVE
            line_of(call).speak(1.0)  # and the conversation goes on
            await at.until(lambda: call.done.count(f"refer {HUMAN}") == 2)

    run(scene())


def test_a_transfer_without_any_outcome_is_given_up_in_time() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_TRANSFER_S="10") as at:
            session, _ = await transferring(at)
            await at.until(lambda: events(session, TransferFailed), within_s=16.0)
            assert events(session, TransferFailed)[0].reason == "no outcome in time"
            assert session.state.phase is Phase.LIVE

    run(scene())


def test_a_far_end_that_leaves_while_it_calls_the_other_one_has_taken_the_call_over() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            call.refer_progress(100, "Trying")
            await asyncio.sleep(0.1)
            call.peer_ends(Cause(q850=16))
            assert (await at.until_ended(session)).reason == "transferred"
            assert not events(session, TransferFailed)

    run(scene())


def test_a_caller_who_hangs_up_before_anything_came_of_it_was_not_handed_over() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            call.peer_ends(Cause(q850=16))
            assert (await at.until_ended(session)).reason == "carrier: completed"

    run(scene())


def test_a_caller_who_hangs_up_long_after_a_transfer_was_given_up_was_not_handed_over() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_TRANSFER_S="10") as at:
            session, call = await transferring(at)
            call.refer_progress(100, "Trying")
            await at.until(lambda: events(session, TransferFailed), within_s=16.0)
            call.refer_progress(180, "Ringing")  # late
            await asyncio.sleep(1.0)
            call.peer_ends(Cause(q850=16))
            assert (await at.until_ended(session)).reason == "carrier: completed"

    run(scene())


def test_ending_the_call_does_not_wait_for_the_transfer() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            session.end("ended by the API")
            await asyncio.sleep(0.1)
            assert call.over
            assert events(session, CallEnded)[0].reason == "ended by the API"

    run(scene())


def test_what_the_caller_says_meanwhile_is_between_him_and_the_others() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            said = len(session.record.transcript.messages())
            line_of(call).speak(2.0)
            await asyncio.sleep(4.0)
            assert len(session.record.transcript.messages()) == said
            call.refer_ends(486)
            await at.until_said(session, "I am sorry")

    run(scene())


def test_a_far_end_that_still_holds_us_when_the_transfer_fails_hears_about_it_when_it_is_back() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            call.put_on_hold()
            await asyncio.sleep(1.0)
            call.refer_ends(486)
            await asyncio.sleep(5.0)
            assert session.state.phase is Phase.HELD
            assert not sounding(call)
            call.take_back()
            await at.until_said(session, "I am sorry, nobody took over: busy.")

    run(scene())


def test_attended_the_other_one_is_called_first_and_gets_the_call_when_he_is_there() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            session, call = await transferring(at)
            (second,) = at.endpoint.placed
            assert second.peer.user == HUMAN
            second.progress(180, "Ringing")
            await asyncio.sleep(3.0)
            assert call.done == ["answer"]
            second.establish()
            await asyncio.sleep(0.1)
            assert call.done == ["answer", f"refer to {HUMAN}"]
            call.refer_ends(200)
            assert (await at.until_ended(session)).reason == "transferred"
            assert second.over
            assert [event.status for event in events(session, TransferProgressed)] == ["180 Ringing"]

    run(scene())


def test_attended_the_call_stays_with_the_agent_when_the_other_one_is_busy() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            session, call = await transferring(at)
            at.endpoint.placed[0].peer_ends(Cause(486))
            await at.until_said(session, "I am sorry, nobody took over: busy.")
            assert call.done == ["answer"]

    run(scene())


def test_attended_a_caller_who_leaves_takes_the_second_call_with_him() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            session, call = await transferring(at)
            call.peer_ends(Cause(q850=16))
            await at.until_ended(session)
            await asyncio.sleep(0.1)
            assert at.endpoint.placed[0].over

    run(scene())


def test_the_caller_hears_it_ring_while_somebody_is_called_for_him_and_then_nothing_of_it() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            session, call = await transferring(at)
            await asyncio.sleep(2.0)
            assert not sounding(call)  # nothing rings yet
            (second,) = at.endpoint.placed
            second.progress(180, "Ringing")
            await asyncio.sleep(1.0)
            assert sounding(call)
            await asyncio.sleep(2.0)
            assert not sounding(call)  # the pause between two rings
            await asyncio.sleep(4.0)
            assert sounding(call)
            second.peer_ends(Cause(486))
            await asyncio.sleep(0.1)
            await at.until_said(session, "I am sorry, nobody took over: busy.")
            assert line_of(call).clears

    run(scene())


def test_a_far_end_that_holds_us_is_not_rung_at() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            _, call = await transferring(at)
            call.put_on_hold()
            at.endpoint.placed[0].progress(180, "Ringing")
            await asyncio.sleep(1.0)
            assert not sounding(call)

    run(scene())


def test_any_key_brings_a_caller_back_who_does_not_want_to_wait() -> None:
    async def scene() -> None:
        async with board(desk(), SIP_ATTENDED_TRANSFER="true") as at:
            session, call = await transferring(at)
            (second,) = at.endpoint.placed
            second.progress(180, "Ringing")
            await asyncio.sleep(3.0)
            line_of(call).press("7")
            await at.until_said(session, "I am sorry, nobody took over: the caller came back.")
            assert second.over
            assert call.done == ["answer"]
            assert session.state.phase is Phase.LIVE
            await asyncio.sleep(5.0)
            assert "7" not in message_texts(session)
            line_of(call).speak(1.0)  # and he may be handed over all the same
            await at.until(lambda: len(at.endpoint.placed) == 2)

    run(scene())


def test_a_key_does_not_stop_a_transfer_that_the_far_end_does_by_itself() -> None:
    async def scene() -> None:
        async with board(desk()) as at:
            session, call = await transferring(at)
            line_of(call).press("7")
            await asyncio.sleep(1.0)
            assert session.state.phase is Phase.TRANSFERRING
            call.refer_ends(200)
            assert (await at.until_ended(session)).reason == "transferred"

    run(scene())


def test_a_call_can_be_handed_over_from_outside_while_the_agent_speaks() -> None:
    async def scene() -> None:
        async with board(World().with_manners(greeting="Hello there, this is a long greeting.")) as at:
            call = at.endpoint.offer()
            session = at.session()
            await at.until(lambda: sounding(call))
            await asyncio.sleep(0.5)
            session.transfer(HUMAN, "asked for by the API")
            await asyncio.sleep(0.2)
            assert not sounding(call)
            assert call.done == ["answer", f"refer {HUMAN}"]
            assert events(session, ReplyEnded)[0].reason == "interrupted"
            call.refer_ends(200)
            assert (await at.until_ended(session)).reason == "transferred"

    run(scene())
