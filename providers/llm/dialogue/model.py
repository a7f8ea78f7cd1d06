"""The dialogue as a `LanguageModel`: words out of a written file instead of a cloud."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from providers.base import Grammar, ProviderContext, ReplyCompleted, ReplyEvent, ReplyRequest, TextDelta, ToolCall
from providers.errors import ProviderMisconfigured
from providers.llm.dialogue.file import DEMO, DialogueFile, DialogueFileError, load
from providers.llm.dialogue.grammar import grammar
from providers.llm.dialogue.policy import Policy
from providers.llm.dialogue.slots import Today
from providers.llm.dialogue.understanding import Listener
from telephony.clock import Clock


class Dialogue:
    """Leads a conversation by a dialogue file; holds nothing between replies, so any process can carry a call on.

    Of a request it reads the messages, the names of the tools, and two variables: `now`, the local time (ISO 8601),
    and `today`, the local date at the start of the call, from which "tomorrow" counts even past midnight. Without
    them it asks the clock. Instructions are for models that can be instructed.

    The tools that a file names answer a JSON object whose `status` the file knows; a failed result, or any other
    answer, is apologised for.
    """

    name = "dialogue"
    continues = False
    """It gives whole replies of its own, and cannot go on with another's."""

    def __init__(self, file: DialogueFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._listener = Listener(file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def grammar(self) -> Grammar:
        """What callers may say, for a recogniser that must be told."""
        return grammar(self._file)

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream one reply word by word, then the tool call if there is one; never raises for what a caller said."""
        policy = Policy(
            self._file, self._listener, self._today(request.variables), frozenset(tool.name for tool in request.tools)
        )
        state = policy.after(request.messages)
        words = state.plan.line.text.split()
        for number, word in enumerate(words, 1):
            yield TextDelta(word if number == len(words) else f"{word} ")
            await self._clock.sleep_until(self._clock.now())  # others speak, too
        call = policy.call(state)
        if call is not None:
            tool, arguments = call
            yield ToolCall(f"dialogue-{len(request.messages)}", tool, arguments)
        yield ReplyCompleted()

    def _today(self, variables: Mapping[str, str]) -> Today:
        now = _parsed(variables.get("now", "")) or self._clock.today()
        day = _parsed(variables.get("today", "")) or now
        return Today(day.date(), now.replace(tzinfo=None))


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def create(context: ProviderContext) -> Dialogue:
    """The dialogue in `DIALOGUE_FILE`, or the demo. Raises `ProviderMisconfigured`."""
    path = Path(context.environment.get("DIALOGUE_FILE") or DEMO)
    try:
        return Dialogue(load(path), context.clock)
    except DialogueFileError as error:
        raise ProviderMisconfigured(Dialogue.name, "DIALOGUE_FILE", str(error)) from error
