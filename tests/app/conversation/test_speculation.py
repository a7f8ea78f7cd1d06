"""When two requests mean the same."""

from dataclasses import replace

import pytest

from app.conversation.speculation import same_meaning
from providers.base import AgentMessage, CallerMessage, ReplyRequest, ToolSpec

BASE = ReplyRequest(
    (AgentMessage("Hello."), CallerMessage("Are you open today?")),
    "Be brief.",
    (ToolSpec("book", "Book.", {}),),
    {"caller": "+1", "now": "10:00:00"},
)


def asking(text: str, *, digits: bool = False) -> ReplyRequest:
    return replace(BASE, messages=(BASE.messages[0], CallerMessage(text, digits)))


def test_spelling_and_the_time_of_day_do_not_matter() -> None:
    assert same_meaning(BASE, replace(asking("are you open, today"), variables={"caller": "+1", "now": "10:00:01"}))


@pytest.mark.parametrize(
    "confirmed",
    [
        asking("are you open"),
        asking("Are you open today?", digits=True),
        replace(BASE, messages=(AgentMessage("Hello", interrupted=True), BASE.messages[1])),
        replace(BASE, messages=BASE.messages[1:]),
        replace(BASE, messages=()),
        replace(BASE, messages=(*BASE.messages, AgentMessage("Yes."))),
        replace(BASE, tools=()),
        replace(BASE, instructions="Be long."),
        replace(BASE, variables={"caller": "+2", "now": "10:00:00"}),
    ],
)
def test_other_words_context_tools_instructions_and_facts_do(confirmed: ReplyRequest) -> None:
    assert not same_meaning(BASE, confirmed)
