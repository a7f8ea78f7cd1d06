"""What a dialogue knows at one moment, as facts to compare and as words to say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from string import Formatter
from typing import Any

from providers.llm.dialogue import slots, spoken
from providers.llm.dialogue.file import DialogueFile
from providers.llm.dialogue.slots import SlotKind, Today
from providers.llm.dialogue.state import Line
from providers.llm.dialogue.tables import Rule


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts and blanks of a dialogue file: see `tables`. `values` are resolved slots, `answers` those of tools."""

    dialogue: DialogueFile
    today: Today
    values: Mapping[str, str]
    answers: Mapping[str, Mapping[str, Any]]

    def first(self, rules: Iterable[Rule]) -> Line | None:
        """The first of `rules` that holds and can be said."""
        for rule in rules:
            if all(self._holds(fact, wanted) for fact, wanted in rule.when.items()):
                line = self.line(rule.say)
                if line is not None:
                    return line
        return None

    def line(self, text: str) -> Line | None:
        """`text` with its blanks filled; None if one of them has no value."""
        said = ""
        essential = 0
        for literal, blank, _, _ in Formatter().parse(text):
            said += literal
            if blank is not None:
                words = self.words(blank)
                if words is None:
                    return None
                said += words
                essential = len(said.split())
        return Line(said, essential or (len(said.split()) + 1) // 2)

    def _holds(self, fact: str, wanted: str) -> bool:
        value = self.value(fact)
        return value is not None if wanted == "*" else value == wanted

    def value(self, fact: str) -> str | None:
        """A fact as it is compared: resolved slot values, SLOT.is, or a field of a tool's answer."""
        head, _, tail = fact.partition(".")
        if head not in self.dialogue.tables.slots:
            answer = self.answers.get(head, {}).get(tail)
            return None if answer is None else str(answer)
        if head not in self.values or not tail:
            return self.values.get(head)
        kind = self.dialogue.tables.slots[head].kind
        return slots.standing(kind, self.values[head], self._day(), self.today, self.dialogue.hours)

    def _day(self) -> str | None:
        """The day that times belong to: the only one that a caller gives in a task."""
        days = (name for name, slot in self.dialogue.tables.slots.items() if slot.kind is SlotKind.DAY)
        return next((self.values[name] for name in days if name in self.values), None)

    def words(self, blank: str) -> str | None:
        """What fills `blank`; None if nothing does."""
        match blank.split("."):
            case ["hours"]:
                return str(self.dialogue.hours)
            case ["clock"]:
                return spoken.clock(self.today.now.time())
            case ["date"]:
                return spoken.dated(self.today.day)
            case [slot, *form] if slot in self.dialogue.tables.slots:
                return self._slot_words(slot, form)
            case [call, field]:
                return _answer_words(self.answers.get(call, {}).get(field), self.today.day)
        return None

    def _slot_words(self, slot: str, form: list[str]) -> str | None:
        value = self.values.get(slot)
        if value is None:
            return None
        kind = self.dialogue.tables.slots[slot].kind
        if form == ["hours"]:
            opening = self.dialogue.hours.on(date.fromisoformat(value))
            return str(opening) if opening else None
        return slots.spoken_value(kind, value, self.today.day, full=form == ["full"])


def _answer_words(value: Any, today: date) -> str | None:
    """A field of a tool's answer, read by its shape: an ISO date, `HH:MM`, a list of times, or plain text."""
    match value:
        case str() if _is(date, value):
            return spoken.day(date.fromisoformat(value), today)
        case str() if _is(time, value):
            return spoken.clock_time(time.fromisoformat(value))
        case [*times] if times and all(isinstance(at, str) and _is(time, at) for at in times):
            return spoken.times([time.fromisoformat(at) for at in times])
        case str() if value:
            return value
    return None


def _is(kind: type[date] | type[time], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True
