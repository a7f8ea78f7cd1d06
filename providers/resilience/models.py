"""Several language models as one: who fails is replaced, in mid-reply too, and no sentence is said twice.

Text goes out as it comes. When the model that gave it dies, another one (or the same, asked again) gets the
conversation with what was said so far and goes on from there; an unfinished word is withdrawn first. Tool calls are
kept back until the reply is whole, so that those of a reply that broke are never made twice.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from random import Random
from typing import Self

from providers.base import (
    AgentMessage,
    CallerMessage,
    Grammar,
    LanguageModel,
    Progress,
    ProviderContext,
    ProviderSwitched,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    TextDelta,
    ToolCall,
    ToolResult,
    UsageReported,
)
from providers.errors import ProviderError, ProviderMalformed, ProviderUnavailable
from providers.resilience.continuation import Continuation, settled, whole_sentences
from providers.resilience.deadlines import Deadlines, read
from providers.resilience.race import Race, Stream
from providers.resilience.roster import Member, Roster
from telephony.tasks import TaskGroup

_AHEAD = 64
"""Events of a model that may wait for the turn."""
_GO_ON = CallerMessage(
    "(The line broke within your reply. Go on from exactly there, beginning with the next word, and repeat nothing.)"
)
_ENOUGH_CHARACTERS = 60
"""A reply that nobody can finish may end behind a sentence if so much was said; else the call had better apologise."""
_BROKEN_OFF = "broken_off"
"""Stop reason of a reply that nobody could finish, and that ends with a whole sentence."""


class ModelChain:
    """`LanguageModel` by one or several models. Those that cannot go on with another's words (they say so by a
    `continues` that is false) are asked for whole replies only."""

    def __init__(
        self, models: Sequence[LanguageModel], context: ProviderContext, deadlines: Deadlines | None = None
    ) -> None:
        """Raises `ProviderMisconfigured` for a deadline that is no number."""
        self.roster = Roster("llm", models, context.clock, context.instruments)
        self.name = self.roster.name
        self._deadlines = deadlines or read("llm", context.environment)
        self._random = Random()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for member in self.roster.members:
                await stack.enter_async_context(member.provider)
            self._group: TaskGroup = await stack.enter_async_context(TaskGroup())
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    def grammar(self) -> Grammar | None:
        """What the first model expects to hear, if it can say so."""
        first = self.roster.members[0].provider
        grammar: Grammar | None = first.grammar() if hasattr(first, "grammar") else None
        return grammar

    def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream one reply, whoever gives it. Fails when nobody can, or with what was said cut at a clause.

        A reply that nobody finished, yet of which whole sentences were said, ends behind them, with the stop reason
        `broken_off`.
        """
        return _Reply(self.roster, self._deadlines, self._group, request, self._random).events()


class _Reply:
    """One reply, and what was said of it so far."""

    def __init__(
        self,
        roster: Roster[LanguageModel],
        deadlines: Deadlines,
        group: TaskGroup,
        request: ReplyRequest,
        random: Random,
    ) -> None:
        self._race: Race[LanguageModel, ReplyEvent] = Race(
            roster, deadlines, group, self._ask, ahead=_AHEAD, random=random
        )
        self._roster = roster
        self._request = request
        self._said = ""
        self._tools: list[ToolCall] = []
        self._completed: ReplyCompleted | None = None

    async def events(self) -> AsyncGenerator[ReplyEvent, None]:
        try:
            async with aclosing(self._race.events()) as events:
                async for event in events:
                    if (told := self._take(event)) is not None:
                        yield told
        except ProviderError as error:
            kept = whole_sentences(self._said)
            if self._tools or len(kept) < _ENOUGH_CHARACTERS:
                raise
            self._roster.instruments.count("replies_broken_off", provider=error.provider)
            yield ProviderSwitched(error, "", self._said[len(kept) :])
            yield ReplyCompleted(_BROKEN_OFF, provider=error.provider)
            return
        for call in self._tools:
            yield call
        if self._completed is not None:
            yield self._completed

    def _take(self, event: ReplyEvent) -> ReplyEvent | None:
        """What of the event is told now."""
        match event:
            case TextDelta(text):
                if not self._said:
                    self._bar_those_who_cannot_go_on()
                self._said += text
                return event
            case ToolCall():
                self._tools.append(event)
            case ReplyCompleted():
                self._completed = event
            case ProviderSwitched():
                self._tools.clear()
                kept = settled(self._said)
                withdrawn, self._said = self._said[len(kept) :], kept
                return replace(event, withdrawn=withdrawn)
            case UsageReported() | Progress():
                return event
        return None

    def _bar_those_who_cannot_go_on(self) -> None:
        for member in self._roster.members:
            if not getattr(member.provider, "continues", True):
                self._race.bar(member)

    def _ask(self, member: Member[LanguageModel]) -> Stream[ReplyEvent]:
        said = settled(self._said)
        request = self._request
        if said.strip():
            request = replace(request, messages=(*request.messages, AgentMessage(said.strip()), _GO_ON))
        return Stream(_whole_reply(member, request, said))


async def _whole_reply(
    member: Member[LanguageModel], request: ReplyRequest, said: str
) -> AsyncGenerator[ReplyEvent, None]:
    """The member's reply, which goes on after `said`. Raises if it ends without being complete, or leaves the caller
    without a word; to what tools returned there may be nothing to add."""
    continuation = Continuation(said) if said.strip() else None
    answered = continuation is not None or _is_told_results(request)
    async with aclosing(member.provider.reply(request)) as events:
        async for event in events:
            match event:
                case TextDelta(text) if continuation is not None:
                    new = continuation.feed(text)
                    yield TextDelta(new) if new else Progress("working")
                case ReplyCompleted() if not answered:
                    raise ProviderMalformed(member.name, "a reply without a word")
                case ReplyCompleted():
                    if continuation is not None and (rest := continuation.flush()):
                        yield TextDelta(rest)
                    yield replace(event, provider=member.name)
                    return
                case _:
                    answered = answered or _says_something(event)
                    yield event
    raise ProviderUnavailable(member.name, "the stream ended before the reply did")


def _is_told_results(request: ReplyRequest) -> bool:
    return bool(request.messages) and isinstance(request.messages[-1], ToolResult)


def _says_something(event: ReplyEvent) -> bool:
    return isinstance(event, ToolCall) or (isinstance(event, TextDelta) and bool(event.text.strip()))
