"""Replies begun before the caller's turn is confirmed, each behind a gate.

What the caller has probably said goes to the model at once; its reply (and, by setting, the speech of its first piece)
is made and waits. When the turn is confirmed and means the same, the reply is what it would have been, only earlier:
`Draft` stands in front of model and voice, and the turn takes from it what it would have asked them for. When the turn
means something else, the draft is closed, and nobody but the counters knows of it: no state was entered, nothing was
journalled, no tool was run. A tool that a draft asks for is an event like any other, and waits in it until a turn runs
it.

One draft at a time. What it may cost is bounded by the turn and by the minute, and counted.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.conversation.drafts import Draft, Spawn
from app.conversation.ear import Hint, spoken_words
from providers.base import CallerMessage, LanguageModel, ReplyRequest, TextToSpeech
from telephony.audio import AudioFormat
from telephony.clock import Clock

_MINUTE_S = 60.0
_PASSING_VARIABLES = frozenset({"now"})
"""Differ between two requests that mean the same."""


class Counters(Protocol):
    """Where the cost of all calls is counted."""

    def count(self, name: str, **labels: str) -> None: ...

    def add(self, name: str, amount: float, **labels: str) -> None: ...


class Depth(StrEnum):
    """How much of a reply is made before the turn is confirmed."""

    OFF = "off"
    TEXT = "text"
    SPEECH = "speech"


@dataclass(frozen=True, slots=True)
class SpeculationSettings:
    """When drafts are begun, and how many."""

    depth: Depth = Depth.TEXT
    least: Hint = Hint.COMPLETE
    """What it takes to begin one."""
    most_per_turn: int = 8
    most_per_minute: int = 30
    apart_s: float = 0.25
    """Words that are only stable begin a draft so long after the last one, and never the last of a turn."""


@dataclass(slots=True)
class SpeculationCost:
    """What speculation came to in one call. Tokens are pieces of text as the model streamed them; characters went to
    the voice."""

    started: int = 0
    used: int = 0
    discarded: int = 0
    wasted_tokens: int = 0
    wasted_characters: int = 0


def same_meaning(drafted: ReplyRequest, confirmed: ReplyRequest) -> bool:
    """A reply to the one is a reply to the other: context, tools and instructions are equal, and the caller's last
    words are, but for their spelling."""
    if not (drafted.messages and confirmed.messages) or drafted.messages[:-1] != confirmed.messages[:-1]:
        return False
    guessed, said = drafted.messages[-1], confirmed.messages[-1]
    if not (isinstance(guessed, CallerMessage) and isinstance(said, CallerMessage)):
        return False
    return (
        spoken_words(guessed.text) == spoken_words(said.text)
        and guessed.digits == said.digits
        and drafted.tools == confirmed.tools
        and drafted.instructions == confirmed.instructions
        and _lasting(drafted) == _lasting(confirmed)
    )


def _lasting(request: ReplyRequest) -> dict[str, str]:
    return {name: value for name, value in request.variables.items() if name not in _PASSING_VARIABLES}


class Speculation:
    """One call's drafts: at most one. Synchronous; a draft works in tasks of the call."""

    def __init__(
        self,
        settings: SpeculationSettings,
        model: LanguageModel,
        voice: TextToSpeech,
        clock: Clock,
        counters: Counters,
        spawn: Spawn,
    ) -> None:
        self.cost = SpeculationCost()
        self._settings = settings
        self._model = model
        self._voice = voice
        self._clock = clock
        self._counters = counters
        self._spawn = spawn
        self.draft: Draft | None = None
        """The one in flight."""
        self._words = ""  # that it answers, as they were recognised
        self._this_turn = 0
        self._started_at: deque[float] = deque(maxlen=settings.most_per_minute)

    def consider(self, words: str, hint: Hint, request: Callable[[], ReplyRequest], audio: AudioFormat) -> None:
        """The caller has probably said this. A draft that answers it stays; one that does not is worth nothing."""
        if words == self._words:
            return
        if self.draft is not None:
            if spoken_words(words) == spoken_words(self._words):
                self._words = words
                return
            self._drop()
        if hint >= self._settings.least and self._affordable(hint):
            self._start(words, request(), audio)

    def confirm(self, request: Callable[[], ReplyRequest]) -> Draft | None:
        """The turn is over: the draft that answers it, if there is one. It is the caller's to close."""
        draft = self.draft
        if draft is None or draft.failed or not same_meaning(draft.request, request()):
            self.forget()
            return None
        self.draft = None
        self.forget()
        self.cost.used += 1
        self._counters.count("speculations", outcome="used")
        return draft

    def forget(self) -> None:
        """Nobody will confirm it: the turn took another way, or is over."""
        if self.draft is not None:
            self._drop()
        self._words = ""
        self._this_turn = 0

    def waste_speech(self, characters: int) -> None:
        """So many characters were spoken in vain."""
        self.cost.wasted_characters += characters
        self._counters.add("speculation_wasted_characters", characters)

    def _affordable(self, hint: Hint) -> bool:
        settings, started, now = self._settings, self._started_at, self._clock.now()
        if len(started) == settings.most_per_minute and now - started[0] < _MINUTE_S:
            return False
        if hint is not Hint.STABLE:
            return self._this_turn < settings.most_per_turn
        apart = not self._this_turn or now - started[-1] >= settings.apart_s
        return apart and self._this_turn < settings.most_per_turn - 1

    def _start(self, words: str, request: ReplyRequest, audio: AudioFormat) -> None:
        self._this_turn += 1
        self._started_at.append(self._clock.now())
        self._words = words
        self.draft = Draft(request, self._model, self._clock, self._spawn)
        if self._settings.depth is Depth.SPEECH:
            self.draft.prepare_speech(self._voice, audio, self._spawn)
        self.cost.started += 1
        self._counters.count("speculations", outcome="started")

    def _drop(self) -> None:
        draft, self.draft, self._words = self.draft, None, ""
        if draft is None:
            return
        draft.close()
        self.cost.discarded += 1
        self.cost.wasted_tokens += draft.tokens
        self._counters.count("speculations", outcome="discarded")
        self._counters.add("speculation_wasted_tokens", draft.tokens)
        self.waste_speech(draft.characters)
