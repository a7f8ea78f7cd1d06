"""Whole conversations with the demo desk, and what a reply must be."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.base import (
    AgentMessage,
    CallerMessage,
    ProviderContext,
    ReplyCompleted,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from providers.errors import ProviderMisconfigured
from providers.llm.dialogue import Dialogue, create
from telephony.clock import LoopClock

HUMAN = ("transfer_call", {"reason": "the caller asked for a person"})
FOUND = {"status": "found", "day": "2026-03-04", "time": "15:30"}

# Caller ("#" is keyed), what the agent's answer contains in this order, the tool calls made meanwhile (None: any).
Turns = list[tuple[str, list[str], list[tuple[str, dict[str, str]]] | None]]

CONVERSATIONS: dict[str, tuple[dict[str, Any], Turns]] = {
    "an appointment is booked step by step": (
        {},
        [
            ("i would like to book an appointment", ["Which day"], [("find_appointment", {})]),
            ("tomorrow", ["what time"], []),
            ("at ten o'clock", ["tomorrow, Tuesday the third of March, at ten o'clock", "Shall I book"], []),
            (
                "yes please",
                ["booked tomorrow at ten o'clock", "anything else"],
                [("book_appointment", {"day": "2026-03-03", "time": "10:00"})],
            ),
            ("no thank you", ["Goodbye"], [("end_call", {})]),
        ],
    ),
    "an appointment is booked in one sentence of a large-vocabulary recogniser": (
        {},
        [
            (
                "Hi, I'd like to book an appointment for next Wednesday at 2:30 PM, if that's possible.",
                ["on Wednesday the eleventh of March, at half past two"],
                [("find_appointment", {})],
            ),
            ("Yes.", ["booked"], [("book_appointment", {"day": "2026-03-11", "time": "14:30"})]),
        ],
    ),
    "a no to the confirmation asks again": (
        {},
        [
            ("book an appointment for thursday at nine", ["on Thursday the fifth of March, at nine"], None),
            ("no", ["not then", "Which day"], []),
            ("friday at noon", ["Friday the sixth of March, at noon"], []),
            ("yes", ["booked"], [("book_appointment", {"day": "2026-03-06", "time": "12:00"})]),
        ],
    ),
    "a correction instead of a yes is confirmed again": (
        {},
        [
            ("book an appointment for thursday at nine", ["Thursday"], None),
            ("no friday", ["Friday the sixth of March, at nine"], []),
            ("make it half past nine", ["Friday the sixth of March, at half past nine"], []),
            ("yes", ["booked"], [("book_appointment", {"day": "2026-03-06", "time": "09:30"})]),
        ],
    ),
    "a taken time offers the nearest free ones": (
        {"book_appointment": {"status": "taken", "free": ["09:30", "11:00"]}},
        [
            ("an appointment tomorrow at ten", ["Shall I book"], None),
            (
                "yes",
                ["ten o'clock tomorrow is already taken", "half past nine or eleven o'clock", "what time"],
                [("book_appointment", {"day": "2026-03-03", "time": "10:00"})],
            ),
            ("eleven", ["tomorrow, Tuesday the third of March, at eleven o'clock"], []),
        ],
    ),
    "closed days and hours are turned down at once": (
        {},
        [
            ("book an appointment for sunday", ["closed on Sunday", "Monday to Thursday from nine to five"], None),
            ("tomorrow at six", ["not open at six o'clock tomorrow", "from nine to five", "what time"], []),
            ("today at nine", ["nine o'clock has passed", "what time"], []),
        ],
    ),
    "who already has an appointment is offered to move it": (
        {"find_appointment": FOUND},
        [
            (
                "book an appointment for tomorrow at ten",
                ["already have an appointment, on Wednesday at half past three", "move it instead"],
                [("find_appointment", {})],
            ),
            ("yes please", ["move it to ten o'clock tomorrow"], [("find_appointment", {})]),
            ("yes", ["moved"], [("move_appointment", {"day": "2026-03-03", "time": "10:00"})]),
        ],
    ),
    "an offer is taken up by naming a time": (
        {"find_appointment": FOUND},
        [
            ("an appointment please", ["move it instead"], None),
            ("thursday at nine", ["move it to nine o'clock on Thursday the fifth"], [("find_appointment", {})]),
        ],
    ),
    "an appointment is moved": (
        {"find_appointment": FOUND},
        [
            ("move my appointment to friday", ["on Wednesday at half past three", "what time"], None),
            ("one o'clock", ["move it to one o'clock on Friday the sixth of March"], []),
            ("yes", ["moved"], [("move_appointment", {"day": "2026-03-06", "time": "13:00"})]),
        ],
    ),
    "an appointment is cancelled after a yes": (
        {"find_appointment": FOUND},
        [
            (
                "cancel my appointment",
                ["on Wednesday at half past three", "Shall I cancel"],
                [("find_appointment", {})],
            ),
            ("yes", ["is cancelled"], [("cancel_appointment", {})]),
        ],
    ),
    "an appointment stays after a no": (
        {"find_appointment": FOUND},
        [("i can't come", ["Shall I cancel"], None), ("no", ["stays", "anything else"], [])],
    ),
    "nothing to cancel": (
        {},
        [("cancel my appointment", ["no appointment", "nothing to cancel"], [("find_appointment", {})])],
    ),
    "the caller's own appointment is looked up": (
        {"find_appointment": FOUND},
        [("when is my appointment", ["appointment on Wednesday at half past three"], [("find_appointment", {})])],
    ),
    "who has no appointment is offered one": (
        {},
        [("do i have an appointment", ["no appointment", "make one"], None), ("yes", ["Which day"], None)],
    ),
    "free times lead to a booking": (
        {},
        [
            (
                "what times do you have on wednesday",
                ["nine o'clock, any time from ten to eleven or half past four on Wednesday", "what time"],
                [("free_times", {"day": "2026-03-04"}), ("find_appointment", {})],
            ),
            ("half past four", ["Wednesday the fourth of March, at half past four"], []),
        ],
    ),
    "questions are answered in the middle of a task, which goes on": (
        {},
        [
            ("book an appointment for tomorrow", ["what time"], None),
            ("what's the weather like", ["no window", "what time"], []),
            ("are you open on saturday", ["closed on Saturday", "what time"], []),
            ("two", ["tomorrow, Tuesday the third of March, at two o'clock"], []),
        ],
    ),
    "opening hours": (
        {},
        [
            ("what are your opening hours", ["Monday to Thursday from nine to five and Friday from nine to three"], []),
            ("when are you open on friday", ["from nine to three on Friday"], []),
            ("hours", ["Monday to Thursday"], []),
        ],
    ),
    "small talk": (
        {},
        [
            ("Hello, how are you today?", ["very well"], []),
            ("What's the weather like?", ["no window"], []),
            ("Can you tell me the time?", ["nine ten in the morning"], []),
            ("what is the date", ["Monday the second of March"], []),
            ("are you a robot", ["offline demo of Sidetone", "no cloud model"], []),
            ("help", ["opening hours"], []),
            ("thank you", ["welcome", "anything else"], []),
            ("yes", ["What can I do"], []),
        ],
    ),
    "the keypad is enough": (
        {"find_appointment": {"status": "none"}},
        [
            ("book an appointment", ["Which day"], None),
            ("#3", ["what time"], []),
            ("#1430", ["Wednesday the fourth of March, at half past two"], []),
            ("#2", ["not then", "Which day"], []),
            ("#5", ["what time"], []),
            ("#10", ["Friday the sixth of March, at ten o'clock"], []),
            ("#1", ["booked"], [("book_appointment", {"day": "2026-03-06", "time": "10:00"})]),
            ("#0", ["colleague"], [HUMAN]),
        ],
    ),
    "what is not understood is turned down differently each time, then a person is offered": (
        {},
        [
            ("lorem ipsum dolor", ["did not understand", "You can say"], []),
            ("sit amet", ["still did not understand", "You can say"], []),
            ("", ["Shall I put you through"], []),
            ("yes", ["put you through"], [HUMAN]),
        ],
    ),
    "what is not understood in a task is asked again in other words": (
        {},
        [
            ("book an appointment", ["Which day would you like?"], None),
            ("lorem ipsum", ["did not understand", "Please tell me a day"], []),
            ("tomorrow", ["what time"], []),
            ("lorem ipsum", ["I am sorry, I did not understand that. Please tell me a full or half hour"], []),
        ],
    ),
    "a task can be given up": (
        {},
        [
            ("book an appointment for tomorrow", ["what time"], None),
            ("never mind", ["leave it at that", "anything else"], []),
            ("no", ["Goodbye"], [("end_call", {})]),
        ],
    ),
    "repeat": (
        {},
        [
            ("book an appointment for tomorrow at ten", ["Shall I book"], None),
            ("can you repeat that", ["tomorrow, Tuesday the third of March, at ten o'clock", "Shall I book"], []),
            ("yes", ["booked"], [("book_appointment", {"day": "2026-03-03", "time": "10:00"})]),
        ],
    ),
    "a person": ({}, [("can i speak to a human", ["colleague"], [HUMAN])]),
    "goodbye": ({}, [("goodbye", ["Goodbye"], [("end_call", {})])]),
}


@pytest.mark.parametrize("title", CONVERSATIONS)
def test_conversation(title: str, desk: Callable[..., Any]) -> None:
    answers, turns = CONVERSATIONS[title]
    call = desk(**answers)
    for caller, wanted, tools in turns:
        made = len(call.calls())
        said = call.hear(caller.removeprefix("#"), digits=caller.startswith("#"))
        at = 0
        for part in wanted:
            assert part in said[at:], f"{caller!r}: {said!r}"
            at = said.index(part, at) + len(part)
        if tools is not None:
            assert call.calls()[made:] == tools


def booking(desk: Callable[..., Any]) -> Any:
    """A call in which the booking of tomorrow at ten was just to be confirmed."""
    call = desk()
    assert "Shall I book it?" in call.hear("book an appointment for tomorrow at ten")
    return call


@pytest.mark.parametrize("heard", ["", "That is", "That is tomorrow, Tuesday the third of March,"])
def test_a_yes_to_a_confirmation_that_was_not_heard_confirms_nothing(heard: str, desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.cut(heard)
    said = call.hear("yes")
    assert "That is tomorrow, Tuesday the third of March, at ten o'clock. Shall I book it?" in said
    assert ("book_appointment", {"day": "2026-03-03", "time": "10:00"}) not in call.calls()


def test_a_yes_that_cuts_the_question_after_its_values_confirms(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.cut("That is tomorrow, Tuesday the third of March, at ten o'clock. Shall")
    assert "booked" in call.hear("yes")


def test_a_reply_of_which_nothing_was_heard_may_be_missing(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages.pop()
    assert "Shall I book it?" in call.hear("yes")


def test_a_yes_to_words_that_were_not_the_dialogues_confirms_nothing(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages.append(AgentMessage("Hello, are you still there?"))
    assert "Shall I book it?" in call.hear("yes")


def test_a_correction_counts_even_if_the_question_was_not_heard(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.cut("That is tomorrow,")
    assert "Friday the sixth of March, at ten o'clock" in call.hear("no friday")


def test_a_call_that_was_cut_off_before_it_was_made_needs_a_new_yes(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages += [CallerMessage("yes"), AgentMessage("", interrupted=True)]
    assert "not then" in call.hear("no")
    assert [name for name, _ in call.calls()] == ["find_appointment"]


def test_an_outcome_that_was_not_heard_is_told_again(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.hear("yes")
    call.cut("You are")
    assert "You are booked tomorrow at ten o'clock" in call.hear("lorem ipsum")


def test_a_caller_who_speaks_while_a_tool_works_does_not_start_it_twice(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages.append(CallerMessage("yes"))
    text, (made,) = call.reply()
    call.messages += [AgentMessage(text, tool_calls=(made,)), CallerMessage("what's the weather like")]
    text, calls = call.reply()
    assert "no window" in text
    assert calls == []
    call.messages += [
        AgentMessage(text),
        ToolResult(made.call_id, '{"status": "booked", "day": "2026-03-03", "time": "10:00"}'),
    ]
    assert "You are booked tomorrow at ten o'clock" in call.reply()[0]


def test_a_tool_that_was_called_is_not_called_again_by_asking_for_another_reply(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages.append(CallerMessage("yes"))
    text, (made,) = call.reply()
    call.messages.append(AgentMessage(text, tool_calls=(made,)))
    assert call.reply()[1] == []


@pytest.mark.parametrize("content", [None, "[]", "nonsense", '{"status": "unheard of"}', '{"status": "booked"}'])
def test_a_tool_that_fails_or_babbles_is_apologised_for(content: str | None, desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.messages.append(CallerMessage("yes"))
    text, (made,) = call.reply()
    call.messages += [
        AgentMessage(text, tool_calls=(made,)),
        ToolResult(made.call_id, content or "boom", failed=content is None),
    ]
    text, calls = call.reply()
    assert "does not answer at the moment. Is there anything else" in text
    assert calls == []


def test_a_transfer_that_fails_is_admitted(desk: Callable[..., Any]) -> None:
    call = desk(transfer_call=None)
    assert "put you through" in call.hear("operator")
    assert "nobody can take your call" in call.reply()[0]


def test_nothing_is_said_after_a_goodbye_that_worked(desk: Callable[..., Any]) -> None:
    call = desk()
    call.hear("goodbye")
    assert call.reply() == ("", [])


@pytest.mark.parametrize(
    ("tool", "caller", "said"),
    [
        ("book_appointment", "book an appointment", "cannot book appointments"),
        ("move_appointment", "move my appointment", "cannot move appointments"),
        ("cancel_appointment", "cancel my appointment", "cannot cancel appointments"),
        ("find_appointment", "when is my appointment", "cannot look into"),
        ("free_times", "when are you free", "cannot look into"),
        ("transfer_call", "operator", "nobody on this line"),
        ("end_call", "goodbye", "Goodbye!"),
    ],
)
def test_what_needs_a_tool_that_is_absent_is_honestly_refused(
    tool: str, caller: str, said: str, desk: Callable[..., Any]
) -> None:
    call = desk()
    call.tools = tuple(name for name in call.tools if name != tool)
    assert said in call.hear(caller)
    assert call.calls() == []


def test_tomorrow_stays_the_day_that_was_meant_when_midnight_passes(desk: Callable[..., Any]) -> None:
    call = desk()
    call.variables = {"today": "2026-03-02", "now": "2026-03-02T23:59:50"}
    assert "Tuesday the third of March" in call.hear("book an appointment for tomorrow at ten")
    call.variables["now"] = "2026-03-03T00:00:10"
    call.hear("yes")
    assert call.calls()[-1] == ("book_appointment", {"day": "2026-03-03", "time": "10:00"})


@pytest.mark.parametrize("variables", [{}, {"now": "half past nonsense"}])
def test_the_clock_is_asked_where_the_call_does_not_know_the_time(
    variables: dict[str, str], desk: Callable[..., Any]
) -> None:
    call = desk()
    call.variables = variables
    assert "nine ten in the morning" in call.hear("what time is it")


def test_the_agent_greets_when_nobody_has_spoken(desk: Callable[..., Any]) -> None:
    assert desk().reply()[0].startswith("Hello, this is the Sidetone demo desk")


def test_a_call_can_be_carried_on_by_another_process(desk: Callable[..., Any], demo: Dialogue) -> None:
    call = booking(desk)
    call.dialogue = create(ProviderContext({}, LoopClock()))
    assert "booked" in call.hear("yes")


async def closed_early(dialogue: Dialogue) -> list[object]:
    events: list[object] = []
    reply = dialogue.reply(ReplyRequest(()))
    async for event in reply:
        events.append(event)
        if len(events) == 3:
            break
    await reply.aclose()
    return events


def test_closing_a_reply_stops_it(demo: Dialogue) -> None:
    assert asyncio.run(closed_early(demo)) == [TextDelta("Hello, "), TextDelta("this "), TextDelta("is ")]


def test_others_run_between_the_words_of_a_reply(demo: Dialogue) -> None:
    async def interleaved() -> list[str]:
        order: list[str] = []

        async def talk(name: str) -> None:
            async for event in demo.reply(ReplyRequest((CallerMessage("hours"),))):
                if not isinstance(event, ReplyCompleted):
                    order.append(name)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk("a"))
            tasks.create_task(talk("b"))
        return order

    order = asyncio.run(interleaved())
    assert order[:6] == ["a", "b"] * 3


def test_call_ids_are_distinct_within_a_call(desk: Callable[..., Any]) -> None:
    call = booking(desk)
    call.hear("yes")
    ids = [
        made.call_id for message in call.messages if isinstance(message, AgentMessage) for made in message.tool_calls
    ]
    assert len(ids) == 2
    assert len(set(ids)) == 2


def test_a_broken_dialogue_file_is_the_settings_fault(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("greeting = 1")
    with pytest.raises(ProviderMisconfigured) as caught:
        create(ProviderContext({"DIALOGUE_FILE": str(path)}, LoopClock()))
    assert caught.value.variable == "DIALOGUE_FILE"
    assert str(path) in caught.value.remedy


def test_the_goodbye_comes_before_the_call_that_ends_and_the_end_comes_last(demo: Dialogue) -> None:
    async def kinds() -> list[type]:
        request = ReplyRequest((CallerMessage("goodbye"),), tools=(ToolSpec("end_call", "", {}),))
        return [type(event) async for event in demo.reply(request)]

    assert asyncio.run(kinds()) == [TextDelta] * 5 + [ToolCall, ReplyCompleted]
