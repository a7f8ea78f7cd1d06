"""What a session that was taken over owes its caller, and how a reply goes on in the middle."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.journal import (
    CallAnswered,
    CallerPartial,
    CallerSaid,
    DigitKeyed,
    FloorChanged,
    JournalEvent,
    ReplyBegun,
    ReplyEnded,
    ReplyHeard,
    ReplyStarted,
    ToolCalled,
)
from app.conversation.memory import ReplyInProgress, fold
from app.conversation.resumption import Answer, AskAgain, Continued, GoOn, KnownText, Owed, owed, resting_state
from app.conversation.state import CallState, Floor, Phase
from providers.base import LanguageModel, ReplyCompleted, ReplyEvent, ReplyRequest, TextDelta, ToolCall

ANSWERED = CallAnswered(0.0, "CA1", "twilio", "+1", "+2", "2026-03-02T09:00:00+00:00")
GREETED = (
    ReplyBegun(0.1, 1, "greeting", "Hello."),
    ReplyStarted(0.2, 1),
    FloorChanged(0.2, "SPEAKING", "live"),
    ReplyEnded(1.0, 1, "Hello.", "Hello.", "completed"),
    FloorChanged(1.0, "LISTENING", "live"),
)
ASKED = (CallerSaid(2.0, "are you open"), FloorChanged(2.0, "THINKING", "live"))
ANSWERING = (
    ReplyBegun(2.1, 2, "answer"),
    ReplyHeard(2.5, 2, 400, 2, said="We are open today."),
    FloorChanged(2.5, "SPEAKING", "live"),
)
INTERRUPTING = (FloorChanged(2.6, "INTERRUPTED", "live"), CallerPartial(2.7, "but"))


@pytest.mark.parametrize(
    ("events", "due", "state"),
    [
        ((), None, CallState()),
        ((ANSWERED,), None, CallState()),
        ((ANSWERED, GREETED[0]), GoOn, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED), AskAgain, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, CallerPartial(1.5, "are")), AskAgain, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, *ASKED), Answer, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, *ASKED, *ANSWERING), GoOn, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, *ASKED, *ANSWERING, INTERRUPTING[0]), GoOn, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, *ASKED, *ANSWERING, *INTERRUPTING), AskAgain, CallState(Phase.SUSPENDED, Floor.THINKING)),
        ((ANSWERED, *GREETED, DigitKeyed(1.5, "7")), None, CallState(Phase.SUSPENDED, Floor.PROCESSING_SPEECH)),
    ],
)
def test_what_is_due_first(events: tuple[JournalEvent, ...], due: type[Owed] | None, state: CallState) -> None:
    memory = fold(events)
    found = owed(memory)
    assert (type(found) if found is not None else None) == due
    assert resting_state(memory) == state


def test_a_notice_is_finished_whatever_the_caller_said_into_it() -> None:
    notice = ReplyBegun(0.1, 1, "notice", "This call is recorded.", "greet", interruptible=False)
    assert isinstance(owed(fold((ANSWERED, notice, CallerPartial(0.5, "hello")))), GoOn)


# what is known of a reply


@pytest.mark.parametrize(
    ("said", "words", "generated", "heard", "rest"),
    [
        ("We are open today.", 2, True, "We are", "open today."),
        ("We are open tod", 2, False, "We are", "open"),
        ("We are open ", 2, False, "We are", "open"),
        ("We are", 2, False, "We are", ""),
        ("", 0, False, "", ""),
    ],
)
def test_a_word_that_may_be_cut_is_left_to_the_model(
    said: str, words: int, generated: bool, heard: str, rest: str
) -> None:
    known = KnownText.of(ReplyInProgress(2, "answer", said, generated, words=words), "")
    assert (known.heard, known.rest) == (heard, rest)


def test_text_before_a_tool_counts_as_said_even_if_no_other_news_of_it_came() -> None:
    known = KnownText.of(ReplyInProgress(2, "answer", "Let "), "Let me see.")
    assert (known.heard, known.rest, known.since_tools) == ("", "Let me see.", "")


def test_what_was_said_after_the_tools_is_what_the_model_goes_on_from() -> None:
    known = KnownText.of(ReplyInProgress(2, "answer", "Let me see. It is ", words=4), "Let me see.")
    assert known.since_tools == "It is"


# going on


class Model:
    """Says the given deltas."""

    name = "model"

    def __init__(self, *deltas: str) -> None:
        self.deltas = deltas
        self.requests: list[ReplyRequest] = []

    async def __aenter__(self) -> "Model":
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        self.requests.append(request)
        for delta in self.deltas:
            yield TextDelta(delta)
        yield ReplyCompleted()


def told(model: LanguageModel) -> str:
    async def listen() -> str:
        events = [event async for event in model.reply(ReplyRequest((), "Be kind."))]
        assert isinstance(events[-1], ReplyCompleted)
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    return asyncio.run(listen())


@pytest.mark.parametrize(
    ("deltas", "text"),
    [
        (("We are ", "open ", "today ", "until five."), "open today until five."),
        (("We", " are open", " today until", " five."), "open today until five."),
        (("until ", "five."), "open today until five."),
        (("We are closed.",), "open today We are closed."),
        (("We are open today.",), "open today ."),
        (("We are open today",), "open today "),
        (("We are open todayish",), "open today We are open todayish"),
        (("We",), "open today "),
        ((), "open today "),
    ],
)
def test_what_is_known_comes_first_and_is_not_said_twice(deltas: tuple[str, ...], text: str) -> None:
    model = Model(*deltas)
    assert told(Continued(model, "open today", "We are open today", ())) == text
    assert "We are open today" in model.requests[0].instructions
    assert model.requests[0].instructions.startswith("Be kind.")


@given(st.lists(st.sampled_from("We are open until five today".split()), min_size=2, max_size=12), st.data())
def test_a_model_that_says_the_same_again_is_heard_once(words: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(min_value=0, max_value=len(words)))
    text = " ".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(min_value=1, max_value=len(text)), max_size=6)))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    known = " ".join(words[:at])
    again = told(Continued(Model(*deltas), "", known, ()))
    assert again.split() == words[at:]


def test_tools_without_a_result_are_asked_for_again_before_the_model_is() -> None:
    model = Model("It is done.")
    tool = ToolCalled(1.0, 2, "t1", "book", {"day": "Monday"})

    async def listen() -> tuple[list[ReplyEvent], list[ReplyEvent]]:
        continued = Continued(model, "me see.", "", (tool,))
        return (
            [event async for event in continued.reply(ReplyRequest(()))],
            [event async for event in continued.reply(ReplyRequest(()))],
        )

    first, second = asyncio.run(listen())
    assert first == [TextDelta("me see. "), ToolCall("t1", "book", {"day": "Monday"}), ReplyCompleted()]
    assert second == [TextDelta("It is done."), ReplyCompleted()]
    assert len(model.requests) == 1
