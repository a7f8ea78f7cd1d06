"""The demo as callers meet it: the dialogue and its appointment book, together."""

import asyncio
import json
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from app.demo.appointments import AppointmentBook
from providers.base import AgentMessage, CallerMessage, Message, ReplyRequest, TextDelta, ToolCall, ToolResult, ToolSpec
from providers.llm.dialogue import DEMO, Dialogue, load
from telephony.clock import LoopClock

CLOCK = LoopClock(datetime(2026, 3, 2, 9, 15, tzinfo=UTC))
FILE = load(DEMO)


class Phone:
    """A caller's telephone, connected to the desk."""

    def __init__(self, number: str, book: AppointmentBook) -> None:
        self._number = number
        self._book = book
        self._desk = Dialogue(FILE, CLOCK)
        self._messages: list[Message] = []

    async def say(self, text: str) -> str:
        """What the desk answers."""
        self._messages.append(CallerMessage(text))
        said = ""
        while True:
            tools = tuple(ToolSpec(call.tool, "", {}) for call in FILE.tables.call.values())
            events = [event async for event in self._desk.reply(ReplyRequest(tuple(self._messages), tools=tools))]
            text = "".join(event.text for event in events if isinstance(event, TextDelta))
            calls = tuple(event for event in events if isinstance(event, ToolCall))
            said += f" {text}"
            self._messages.append(AgentMessage(text, tool_calls=calls))
            self._messages += [ToolResult(call.call_id, json.dumps(await self._do(call))) for call in calls]
            if not calls:
                return said

    async def _do(self, call: ToolCall) -> object:
        day = date.fromisoformat(call.arguments.get("day", "2026-03-02"))
        at = time.fromisoformat(call.arguments.get("time", "00:00"))
        match call.name:
            case "find_appointment":
                return await self._book.find_appointment(self._number)
            case "free_times":
                return await self._book.free_times(day)
            case "book_appointment":
                return await self._book.book_appointment(self._number, day, at)
            case "move_appointment":
                return await self._book.move_appointment(self._number, day, at)
            case "cancel_appointment":
                return await self._book.cancel_appointment(self._number)
        return {}


@pytest.fixture
def book(tmp_path: Path) -> AppointmentBook:
    return AppointmentBook(tmp_path / "book.db", FILE.hours, CLOCK)


CALLS: dict[str, list[tuple[str, str, str]]] = {
    "the second caller is offered another time": [
        ("ann", "book an appointment for tomorrow at ten", "Shall I book it"),
        ("bob", "book an appointment for tomorrow at ten", "Shall I book it"),
        ("ann", "yes", "You are booked tomorrow at ten o'clock"),
        ("bob", "yes", "already taken. I could offer nine o'clock, half past nine or half past ten. At what time?"),
        ("bob", "half past ten", "Shall I book it"),
        ("bob", "yes", "You are booked tomorrow at half past ten"),
    ],
    "an appointment is kept from call to call": [
        ("ann", "book an appointment for friday at two", "Shall I book it"),
        ("ann", "yes", "You are booked on Friday at two o'clock"),
        ("ann", "what have i booked", "on Friday at two o'clock"),
        ("ann", "move my appointment to tomorrow at nine", "Shall I move it to nine o'clock tomorrow"),
        ("ann", "yes", "It is moved: you are booked tomorrow at nine o'clock"),
        ("ann", "cancel my appointment", "tomorrow at nine o'clock. Shall I cancel it?"),
        ("ann", "yes", "Your appointment is cancelled"),
        ("ann", "when is my appointment", "You have no appointment"),
    ],
    "free times of a day": [
        ("ann", "what times do you have on friday", "any time from nine to half past two on Friday. At what time?"),
        ("ann", "noon", "Friday the sixth of March, at noon"),
    ],
    "a withheld number cannot book": [
        ("anonymous", "book an appointment for tomorrow at ten", "cannot see your number"),
        ("anonymous", "cancel my appointment", "cannot see your number"),
        ("anonymous", "do i have an appointment", "cannot see your number"),
    ],
}


@pytest.mark.parametrize("title", CALLS)
def test_calls_to_the_desk(title: str, book: AppointmentBook) -> None:
    phones: dict[str, Phone] = {}
    for caller, said, answer in CALLS[title]:
        phone = phones.setdefault(caller, Phone(caller, book))
        assert answer in asyncio.run(phone.say(said)), said
