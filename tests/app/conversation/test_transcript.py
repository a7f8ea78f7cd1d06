"""The transcript is a fold over any journal, and what a model is told holds only what was heard."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.journal import (
    CallAnswered,
    CallerSaid,
    JournalEvent,
    ReplyEnded,
    ReplyStarted,
    ToolCalled,
    ToolReturned,
    TransferFailed,
)
from app.conversation.results import CANCELLED_RESULT, UNKNOWN_RESULT
from app.conversation.transcript import Transcript
from providers.base import AgentMessage, CallerMessage, ToolCall, ToolResult

WORDS = st.lists(st.sampled_from("we are open on Monday then".split()), max_size=5)


@st.composite
def replies(draw: st.DrawFn, turn: int) -> list[JournalEvent]:
    """A whole reply as the session records it: text, rounds of tools that may stay unanswered, an end."""
    events: list[JournalEvent] = [ReplyStarted(at=0.0, turn=turn)]
    said: list[str] = []
    for round_number in range(draw(st.integers(0, 2))):
        before = draw(WORDS)
        said += before
        names = [f"{turn}.{round_number}.{n}" for n in range(draw(st.integers(1, 2)))]
        for n, name in enumerate(names):
            text = "" if n else " ".join(before)
            events.append(ToolCalled(at=0.0, turn=turn, tool_call_id=name, name="look", arguments={}, said=text))
        answered = draw(st.permutations(names))[: draw(st.integers(0, len(names)))]
        events += [ToolReturned(at=0.0, turn=turn, tool_call_id=name, content="found") for name in answered]
        if len(answered) < len(names):
            break
    else:
        said += draw(WORDS)
    heard = said[: draw(st.integers(0, len(said)))]
    reason = draw(st.sampled_from(("completed", "interrupted", "failed", "lost")))
    events.append(ReplyEnded(at=0.0, turn=turn, said=" ".join(said), heard=" ".join(heard), reason=reason))
    return events


@st.composite
def journals(draw: st.DrawFn) -> list[JournalEvent]:
    """A prefix of a call."""
    events: list[JournalEvent] = [
        CallAnswered(at=0.0, call_id="CA1", carrier="twilio", caller="", called="", answered_at="")
    ]
    for turn in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.integers(0, 2))):
            digits = draw(st.booleans())
            events.append(CallerSaid(at=0.0, text="42" if digits else " ".join(draw(WORDS)), digits=digits))
        events += draw(replies(turn))
    return events[: draw(st.integers(0, len(events)))]


@given(journals())
def test_any_prefix_of_a_journal_gives_a_valid_context(journal: list[JournalEvent]) -> None:
    messages = Transcript.fold(journal).messages()
    assert not any(isinstance(a, CallerMessage) and isinstance(b, CallerMessage) for a, b in pairwise(messages))
    asked = [call.call_id for message in messages if isinstance(message, AgentMessage) for call in message.tool_calls]
    assert [message.call_id for message in messages if isinstance(message, ToolResult)] == asked
    assert len(set(asked)) == len(asked)
    for before, after in pairwise([None, *messages]):
        if isinstance(after, ToolResult):
            assert isinstance(before, ToolResult) or (isinstance(before, AgentMessage) and before.tool_calls)
        if isinstance(after, AgentMessage):
            assert after.text or after.tool_calls
    for message, following in pairwise([*messages, None]):
        if isinstance(message, AgentMessage) and message.tool_calls:
            assert isinstance(following, ToolResult)


@given(journals())
def test_the_context_holds_exactly_the_words_that_were_heard(journal: list[JournalEvent]) -> None:
    ended = [event for event in journal if isinstance(event, ReplyEnded)]
    whole = journal[: max((n for n, event in enumerate(journal) if isinstance(event, ReplyEnded)), default=-1) + 1]
    messages = Transcript.fold(whole).messages()
    told = [word for message in messages if isinstance(message, AgentMessage) for word in message.text.split()]
    assert told == [word for event in ended for word in event.heard.split()]


@given(journals())
def test_every_tool_that_ran_stays_in_the_context(journal: list[JournalEvent]) -> None:
    results = {m.call_id: m.content for m in Transcript.fold(journal).messages() if isinstance(m, ToolResult)}
    for event in journal:
        if isinstance(event, ToolCalled):
            assert event.tool_call_id in results
    for event in journal:
        if isinstance(event, ToolReturned):
            assert results[event.tool_call_id] == event.content


def ended(said: str, heard: str, turn: int = 1) -> ReplyEnded:
    return ReplyEnded(at=0.0, turn=turn, said=said, heard=heard, reason="interrupted")


def called(name: str, said: str = "", turn: int = 1) -> ToolCalled:
    return ToolCalled(at=0.0, turn=turn, tool_call_id=name, name="look", arguments={"day": "Monday"}, said=said)


def returned(name: str, content: str = "free", turn: int = 1) -> ToolReturned:
    return ToolReturned(at=0.0, turn=turn, tool_call_id=name, content=content)


CALL = ToolCall("a", "look", {"day": "Monday"})


def test_a_reply_cut_at_a_word_is_told_as_cut() -> None:
    assert Transcript.fold([ended("We are open on Monday.", "We are")]).messages() == (AgentMessage("We are", True),)


def test_a_reply_that_nobody_heard_never_happened() -> None:
    journal = [CallerSaid(at=0.0, text="I would"), ended("Yes?", ""), CallerSaid(at=0.0, text="like to book")]
    assert Transcript.fold(journal).messages() == (CallerMessage("I would like to book"),)


def test_the_tool_of_a_reply_that_nobody_heard_did_happen() -> None:
    journal = [CallerSaid(at=0.0, text="book it"), called("a"), returned("a", "booked"), ended("It is done.", "")]
    assert Transcript.fold(journal).messages() == (
        CallerMessage("book it"),
        AgentMessage("", False, (CALL,)),
        ToolResult("a", "booked"),
    )


@pytest.mark.parametrize(("idempotent", "told"), [(False, UNKNOWN_RESULT), (True, CANCELLED_RESULT)])
def test_of_a_tool_that_was_cut_off_nobody_knows_unless_it_does_its_work_once(idempotent: bool, told: str) -> None:
    begun = msgspec.structs.replace(called("a", "Let me see."), idempotent=idempotent)
    assert Transcript.fold([begun, ended("Let me see.", "Let me")]).messages() == (
        AgentMessage("Let me", True, (CALL,)),
        ToolResult("a", told, failed=True),
    )


def test_of_two_tools_side_by_side_the_one_that_returned_has_its_result() -> None:
    journal = [called("a"), called("b"), returned("b"), ended("", "")]
    assert Transcript.fold(journal).messages()[1:] == (
        ToolResult("a", UNKNOWN_RESULT, failed=True),
        ToolResult("b", "free"),
    )


def test_a_second_result_for_a_tool_call_is_passed_over() -> None:
    journal = [called("a"), returned("a", "first"), returned("a", "second"), ended("Done.", "Done.")]
    results = [m for m in Transcript.fold(journal).messages() if isinstance(m, ToolResult)]
    assert results == [ToolResult("a", "first")]


def test_text_before_and_after_a_tool_are_messages_around_its_result() -> None:
    journal = [called("a", "Let me see."), returned("a"), ended("Let me see. It is free.", "Let me see. It is")]
    assert Transcript.fold(journal).messages() == (
        AgentMessage("Let me see.", False, (CALL,)),
        ToolResult("a", "free"),
        AgentMessage("It is", True),
    )


def test_a_reply_in_progress_shows_its_tools_to_its_own_next_request() -> None:
    journal = [CallerSaid(at=0.0, text="when?"), called("a", "Let me see."), returned("a")]
    assert Transcript.fold(journal).messages() == (
        CallerMessage("when?"),
        AgentMessage("Let me see.", False, (CALL,)),
        ToolResult("a", "free"),
    )


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        (CallerSaid(at=0.0, text="I would"), CallerSaid(at=0.0, text="like"), CallerMessage("I would like")),
        (
            CallerSaid(at=0.0, text="4", digits=True),
            CallerSaid(at=0.0, text="2", digits=True),
            CallerMessage("4 2", True),
        ),
        (CallerSaid(at=0.0, text="it is"), CallerSaid(at=0.0, text="42", digits=True), CallerMessage("it is 42")),
        (CallerSaid(at=0.0, text=""), CallerSaid(at=0.0, text="hello"), CallerMessage("hello")),
    ],
)
def test_what_the_caller_says_in_pieces_is_one_message(
    first: CallerSaid, second: CallerSaid, joined: CallerMessage
) -> None:
    assert Transcript.fold([first, second]).messages() == (joined,)


def test_a_hand_over_that_failed_is_a_tool_call_with_its_reason_for_the_model_to_tell() -> None:
    events: list[JournalEvent] = [
        CallerSaid(1.0, "a human please"),
        ReplyEnded(2.0, 1, "One moment.", "One moment.", "completed"),
        TransferFailed(9.0, "+15550100009", "billing", "busy"),
        ReplyEnded(12.0, 2, "The line is busy.", "The line is busy.", "completed"),
    ]
    before, asked, result, after = Transcript.fold(events).messages()[1:]
    assert isinstance(asked, AgentMessage)
    assert isinstance(result, ToolResult)
    (call,) = asked.tool_calls
    assert (call.name, call.arguments) == ("transfer_call", {"reason": "billing"})
    assert result == ToolResult(call.call_id, "nobody took over: busy", failed=True)
    assert [message.text for message in (before, after)] == ["One moment.", "The line is busy."]  # type: ignore[union-attr]
