"""What a reply is for, how it ends, and what the call does then: the words that journal, session and turn share."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from providers.base import SpeechChunk


class TurnReason(StrEnum):
    """Why a reply ended. Exactly one for each."""

    COMPLETED = "completed"  # heard to its end
    INTERRUPTED = "interrupted"  # the caller took the floor
    CANCELLED = "cancelled"  # never audible, and not wanted any more
    FAILED = "failed"  # a provider let us down
    LOST = "lost"  # the call ended under it


class Then(StrEnum):
    """What the call does once the reply was heard."""

    LISTEN = "listen"
    GREET = "greet"
    END = "end"
    TRANSFER = "transfer"


class Purpose(StrEnum):
    """What a reply is for: an answer of the model's, or which phrase of our own."""

    ANSWER = "answer"
    NOTICE = "notice"
    GREETING = "greeting"
    REPROMPT = "reprompt"
    APOLOGY = "apology"
    GOODBYE = "goodbye"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """How a reply ended: what it said, what of it the caller heard."""

    number: int
    said: str
    heard: str
    reason: TurnReason


@dataclass(frozen=True, slots=True)
class Phrase:
    """A reply that needs no model: its text, and its speech if that is at hand already (in `audio` of the leg)."""

    text: str
    speech: tuple[SpeechChunk, ...] = ()


async def once(text: str) -> AsyncIterator[str]:
    """A reply's text, if it is complete from the start."""
    yield text
