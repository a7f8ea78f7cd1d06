"""Where a dialogue stands: values only. `policy` says how one state follows from another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """Words to say. `essential`: how many of them must have been heard for the line to have been understood: up to
    the last value that was filled in, or half of a line without values."""

    text: str = ""
    essential: int = 0

    def then(self, line: "Line") -> "Line":
        """Both, one after the other; what is essential is the second's, and everything before it."""
        if not self.text or not line.text:
            return line if line.text else self
        return Line(f"{self.text} {line.text}", len(self.text.split()) + line.essential)


@dataclass(frozen=True, slots=True)
class SlotAsked:
    slot: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ConfirmAsked:
    step: str


@dataclass(frozen=True, slots=True)
class OfferAsked:
    offer: str


Question = SlotAsked | ConfirmAsked | OfferAsked


@dataclass(frozen=True, slots=True)
class Plan:
    """One reply: what to say, the question that it ends on, and the [call.…] that follows it."""

    line: Line = field(default_factory=Line)
    question: Question | None = None
    call: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A dialogue after some messages.

    `done` holds confirmed questions and answered calls, `answers` what the calls answered, `calling` the call that was
    made and waits for its result under `call_id`. `heard`: the caller heard what is essential of `plan`.
    """

    task: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    done: frozenset[str] = frozenset()
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    heard: bool = False
    calling: str | None = None
    call_id: str = ""
    misses: int = 0
