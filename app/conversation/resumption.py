"""Carrying a call on that another process carried until now: what is owed to the caller, told from the memory alone.

Nothing is owed before there is a stream to pay it over, so a session that was taken over begins as suspended; when its
first leg is attached it does the one thing that is due:

* a reply that was in progress goes on with the word after the last one heard, whether all of it was made or not;
* a turn of the caller's that had no answer yet is answered;
* where the caller had the floor, what he said meanwhile went nowhere: he is asked for it again.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, Self, assert_never

from app.calls.journal import ToolCalled
from app.conversation.memory import ReplyInProgress, SessionMemory
from app.conversation.record import CallRecord
from app.conversation.reply import Purpose
from app.conversation.state import CallState, Floor, Phase
from app.telemetry.latency import LatencyMetrics
from providers.base import LanguageModel, ReplyCompleted, ReplyEvent, ReplyRequest, TextDelta, ToolCall


@dataclass(frozen=True, slots=True)
class GoOn:
    """With the reply that was in progress."""

    reply: ReplyInProgress


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller said last."""


@dataclass(frozen=True, slots=True)
class AskAgain:
    """The caller, for what he said meanwhile."""


Owed = GoOn | Answer | AskAgain


def owed(memory: SessionMemory) -> Owed | None:
    """What is due when the caller can be talked to again; None: nothing but to go on listening, or the greeting."""
    if (memory.turns == 0 and not memory.unanswered) or memory.digits:
        return None
    spoke = bool(memory.half_said) or memory.floor is Floor.PROCESSING_SPEECH
    if memory.reply is not None and not (spoke and memory.reply.interruptible):
        return GoOn(memory.reply)
    if memory.unanswered and memory.floor is Floor.THINKING and not spoke:
        return Answer()
    return AskAgain()


def resting_state(memory: SessionMemory) -> CallState:
    """The state of a session that waits for its first leg after a take-over."""
    if memory.answered is None or (memory.turns == 0 and not memory.unanswered and not memory.digits):
        return CallState()
    if memory.digits:
        return CallState(Phase.SUSPENDED, Floor.PROCESSING_SPEECH)
    return CallState(Phase.SUSPENDED, Floor.LISTENING if owed(memory) is None else Floor.THINKING)


class Speaker(Protocol):
    """The agent's side of the call, as far as debts are paid with it."""

    def go_on(self, reply: ReplyInProgress) -> None: ...

    def think(self, metrics: LatencyMetrics) -> None: ...

    def say(self, purpose: Purpose, text: str) -> None: ...


def pay(due: Owed, speaker: Speaker, record: CallRecord, ask_again: str) -> None:
    """Do what is due, now that the caller can be talked to. Without words to ask again in, nothing is asked."""
    lost = record.memory.lost_reply(record.at())
    if lost is not None and not isinstance(due, GoOn):
        record.add(lost)
    match due:
        case GoOn(reply):
            speaker.go_on(reply)
        case Answer():
            speaker.think(LatencyMetrics())
        case AskAgain():
            if ask_again:
                speaker.say(Purpose.RECOVERY, ask_again)
        case _:
            assert_never(due)


@dataclass(frozen=True, slots=True)
class KnownText:
    """A reply as far as it is made: what was heard of it, and the rest. Words, one space between."""

    heard: str
    rest: str
    covered: str = ""
    """Its beginning, up to its last tool call."""

    @classmethod
    def of(cls, reply: ReplyInProgress, covered: str) -> "KnownText":
        """`covered` is what the tools of the reply say came before them: news of it may have outrun the reply's own."""
        covered = " ".join(covered.split())
        words = reply.said.split()
        if not reply.generated and reply.said and not reply.said[-1].isspace() and len(words) > reply.words:
            words.pop()  # it may have been cut in the middle
        words += covered.split()[len(words) :]
        return cls(" ".join(words[: reply.words]), " ".join(words[reply.words :]), covered)

    @property
    def since_tools(self) -> str:
        """What was said after the last tool call."""
        words = f"{self.heard} {self.rest}".split()
        return " ".join(words[len(self.covered.split()) :])


class Continued:
    """A `LanguageModel` that carries on with a reply of which a part is known already.

    First comes what is known and was not heard. Then tools that had no result yet are asked for again, under their old
    ids; without any, the model goes on: it is told what it has said, and if it begins with that all the same, that is
    left out.
    """

    def __init__(self, model: LanguageModel, rest: str, known: str, tools: Iterable[ToolCalled]) -> None:
        """`rest`: of the known part, what was not heard; `known`: of the whole reply, what the model has said since
        its last tool call, for it to go on from."""
        self.name = model.name
        self._model = model
        self._rest = rest
        self._known = known
        self._tools = tuple(tools)
        self._first = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """The model is not ours to close."""

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        known = ""
        if self._first:
            self._first, known = False, self._known
            if self._rest:
                yield TextDelta(f"{self._rest} ")
            for tool in self._tools:
                yield ToolCall(tool.tool_call_id, tool.name, tool.arguments)
            if self._tools:
                yield ReplyCompleted()
                return
        if known:
            request = replace(request, instructions=f"{request.instructions}\n{_go_on_after(known)}".strip())
        async with aclosing(self._model.reply(request)) as events:
            async for event in _without(known, events):
                yield event


def _go_on_after(known: str) -> str:
    return f'The line broke while you were saying: "{known}". Go on exactly after these words; do not repeat them.'


async def _without(known: str, events: AsyncGenerator[ReplyEvent, None]) -> AsyncGenerator[ReplyEvent, None]:
    """The events; their text without `known` at its beginning, if it is there whole."""
    begun = "" if known else None  # what has come so far and may yet turn out to be known
    async for event in events:
        if begun is None or not isinstance(event, TextDelta):
            yield event
            continue
        begun += event.text
        words = " ".join(begun.split())
        if known.startswith(words):
            continue
        news = words[len(known) :]
        if words.startswith(known) and not news[0].isalnum():
            begun = news.lstrip() + (" " if begun[-1].isspace() else "")
        yield TextDelta(begun)
        begun = None
