"""A call without a line: what the session does around a dialogue, and nothing more."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.base import (
    AgentMessage,
    CallerMessage,
    Message,
    ReplyCompleted,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from providers.llm.dialogue import DEMO, Dialogue, load
from telephony.clock import LoopClock

MONDAY = datetime(2026, 3, 2, 9, 10, tzinfo=UTC)
TOOLS = (
    "find_appointment",
    "free_times",
    "book_appointment",
    "move_appointment",
    "cancel_appointment",
    "transfer_call",
    "end_call",
)
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "find_appointment": {"status": "none"},
    "free_times": {"status": "free", "day": "2026-03-04", "times": ["09:00", "10:00", "10:30", "11:00", "16:30"]},
    "book_appointment": {"status": "booked", "day": "2026-03-03", "time": "10:00"},
    "move_appointment": {"status": "moved", "day": "2026-03-03", "time": "10:00"},
    "cancel_appointment": {"status": "cancelled", "day": "2026-03-03", "time": "10:00"},
    "transfer_call": {"status": "transferred"},
    "end_call": {"status": "ended"},
}


@dataclass
class Desk:
    """A conversation with a dialogue. `answers` is what each tool says; None fails."""

    dialogue: Dialogue
    answers: dict[str, Mapping[str, Any] | None] = field(default_factory=lambda: dict(ANSWERS))
    tools: tuple[str, ...] = TOOLS
    variables: dict[str, str] = field(default_factory=lambda: {"now": "2026-03-02T09:10:00+01:00"})
    messages: list[Message] = field(default_factory=list)

    def reply(self) -> tuple[str, list[ToolCall]]:
        """One reply to the messages so far; nothing is recorded."""

        async def streamed() -> tuple[str, list[ToolCall]]:
            specs = tuple(ToolSpec(name, "", {}) for name in self.tools)
            request = ReplyRequest(tuple(self.messages), tools=specs, variables=self.variables)
            events = [event async for event in self.dialogue.reply(request)]
            assert isinstance(events.pop(), ReplyCompleted)
            words = [event.text for event in events if isinstance(event, TextDelta)]
            assert all(len(word.split()) == 1 for word in words)
            return "".join(words), [event for event in events if isinstance(event, ToolCall)]

        return asyncio.run(streamed())

    def hear(self, text: str, digits: bool = False) -> str:
        """The caller says or keys `text`: everything that the agent says to it, tools answered on the way."""
        self.messages.append(CallerMessage(text, digits))
        said = ""
        while True:
            text, calls = self.reply()
            said = f"{said} {text}".strip()
            self.messages.append(AgentMessage(text, tool_calls=tuple(calls)))
            self.messages += map(self._result, calls)
            if not calls or calls[-1].name in ("end_call", "transfer_call"):
                return said

    def _result(self, call: ToolCall) -> ToolResult:
        answer = self.answers[call.name]
        return ToolResult(call.call_id, json.dumps(answer), failed=answer is None)

    def cut(self, heard: str) -> None:
        """Of the agent's last message the caller heard only this."""
        last = self.messages[-1]
        assert isinstance(last, AgentMessage)
        assert last.text.startswith(heard)
        self.messages[-1] = AgentMessage(heard, True, last.tool_calls)

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Every tool call so far."""
        agents = (message for message in self.messages if isinstance(message, AgentMessage))
        return [(call.name, dict(call.arguments)) for message in agents for call in message.tool_calls]


@pytest.fixture(scope="session")
def demo() -> Dialogue:
    return Dialogue(load(DEMO), LoopClock(MONDAY))


@pytest.fixture
def desk(demo: Dialogue) -> Callable[..., Desk]:
    """A new call to the demo, with changed tool answers where given."""

    def call(**answers: Mapping[str, Any] | None) -> Desk:
        desk = Desk(demo)
        desk.answers |= answers
        return desk

    return call
