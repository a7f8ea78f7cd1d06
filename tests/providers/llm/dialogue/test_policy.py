"""The dialogue as a fold: whatever the messages are, there is a next reply, and it is always the same one."""

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.base import AgentMessage, CallerMessage, Message, ToolCall, ToolResult
from providers.llm.dialogue import DEMO, load
from providers.llm.dialogue.grammar import grammar
from providers.llm.dialogue.policy import Policy
from providers.llm.dialogue.slots import Today, resolve
from providers.llm.dialogue.understanding import Listener

DESK = load(DEMO)
LISTENER = Listener(DESK)
SENTENCES = sorted(set(grammar(DESK).sentences))
TOOLS = sorted({call.tool for call in DESK.tables.call.values()})

texts = (
    st.sampled_from(SENTENCES)
    | st.sampled_from(["yes", "no", "tomorrow at ten", "book an appointment", ""])
    | st.text(max_size=20)
)
statuses = sorted({outcome.status for call in DESK.tables.call.values() for outcome in call.outcomes})
answers = st.fixed_dictionaries(
    {"status": st.sampled_from([*statuses, "unheard of"])},
    optional={
        "day": st.sampled_from(["2026-03-04", "today", 7]),
        "time": st.sampled_from(["10:00", "later", None]),
        "free": st.lists(st.sampled_from(["09:00", "16:30"]), max_size=2),
        "times": st.lists(st.sampled_from(["09:00", "09:30", "10:00"]), max_size=3),
    },
)
calls = st.builds(ToolCall, st.sampled_from("abc"), st.sampled_from(TOOLS), st.just({}))
messages: st.SearchStrategy[Message] = (
    st.builds(CallerMessage, texts)
    | st.builds(CallerMessage, st.text("0123456789*#", max_size=4), st.just(True))
    | st.builds(AgentMessage, texts, st.booleans(), st.lists(calls, max_size=2).map(tuple))
    | st.builds(ToolResult, st.sampled_from("abc"), answers.map(json.dumps) | st.text(max_size=5), st.booleans())
)


def policy() -> Policy:
    return Policy(DESK, LISTENER, Today(date(2026, 3, 2), datetime(2026, 3, 2, 9, 10)), frozenset(TOOLS))  # noqa: DTZ001


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, max_size=12))
def test_every_prefix_of_any_messages_has_a_reply(history: list[Message]) -> None:
    for length in range(len(history) + 1):
        state = policy().after(history[:length])
        call = policy().call(state)
        assert call is None or call[0] in TOOLS
        if history[:length] and isinstance(history[length - 1], CallerMessage) and state.calling is None:
            assert state.plan.line.text or call


class Caller:
    """A call as it really goes: what the agent owes is said, possibly cut, and its tools are answered."""

    def __init__(self) -> None:
        self.history: list[Message] = []

    def say(self, text: str, heard_share: float, answer: dict[str, Any]) -> None:
        self.history.append(CallerMessage(text))
        for _ in range(4):
            state = policy().after(self.history)
            words = state.plan.line.text.split()
            heard = " ".join(words[: round(len(words) * heard_share)])
            call = policy().call(state)
            made = (ToolCall(f"c{len(self.history)}", *call),) if call and heard_share == 1 else ()
            self.history.append(AgentMessage(heard, heard_share < 1, made))
            if not made:
                return
            self.history.append(ToolResult(made[0].call_id, json.dumps(answer)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(texts, st.sampled_from([0.0, 0.5, 1.0, 1.0]), answers), max_size=10))
def test_nothing_is_booked_moved_or_cancelled_without_a_yes_to_a_question_that_was_heard(
    turns: list[tuple[str, float, dict[str, Any]]],
) -> None:
    caller = Caller()
    for turn in turns:
        caller.say(*turn)
    for at, message in enumerate(caller.history):
        if not isinstance(message, AgentMessage) or not message.tool_calls:
            continue
        (call,) = message.tool_calls
        if call.name not in ("book_appointment", "move_appointment", "cancel_appointment"):
            continue
        before = caller.history[:at]
        said = before.pop()
        assert isinstance(said, CallerMessage)
        understood = LISTENER.understand(said.text)
        assert understood is not None
        assert understood.intent == "yes"
        heard = before.pop()
        assert isinstance(heard, AgentMessage)
        assert "Shall I" in heard.text
        state = policy().after([*before, heard])
        for name, value in call.arguments.items():
            assert value == state.slots[name]


def test_a_reply_depends_on_the_messages_alone(desk: Callable[..., Any]) -> None:
    call = desk()
    for text in ("book an appointment", "friday", "at noon"):
        call.hear(text)
    first, again = policy().after(call.messages), policy().after(tuple(call.messages))
    assert first == again
    assert first.slots == {"day": resolve(DESK.tables.slots["day"].kind, "friday", policy().today.day), "time": "12:00"}
