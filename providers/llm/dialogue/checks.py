"""What makes the tables of a dialogue file a dialogue: every name stands for something, every phrase can be said."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from string import Formatter
from typing import TypeVar

from providers.llm.dialogue import slots
from providers.llm.dialogue.phrases import (
    Phrase,
    SlotPhrase,
    Vocabulary,
    first_words,
    parse,
    references,
)
from providers.llm.dialogue.slots import SlotKind
from providers.llm.dialogue.tables import Call, DialogueTables, Outcome, Rule

YES, NO, INFORM, REPEAT = "yes", "no", "inform", "repeat"
BUILT_IN = frozenset({YES, NO, INFORM, REPEAT})
"""Intents whose meaning is built in (inform: slots alone); a file gives them phrases only."""

FACTS = frozenset({"hours", "clock", "date"})
"""Blanks that need neither a slot nor a tool."""

_T = TypeVar("_T")


class Mistake(Exception):
    """Something in the tables that cannot work: where it is, and what to do about it."""

    def __init__(self, key: str, remedy: str) -> None:
        super().__init__(key, remedy)
        self.key = key
        self.remedy = remedy


def attempt(key: str, make: Callable[[], _T]) -> _T:
    """What `make` returns; its `ValueError` is a `Mistake` at `key`."""
    try:
        return make()
    except ValueError as error:
        raise Mistake(key, str(error)) from error


# Phrases


def vocabulary(tables: DialogueTables) -> Vocabulary:
    """The fragments and slots, read. Raises `Mistake`."""
    for name in tables.fragments.keys() & tables.slots.keys():
        raise Mistake(f"fragments.{name}", "is a slot, too; give one of them another name")
    known = tables.fragments.keys() | tables.slots.keys()
    fragments = {name: _phrase(f"fragments.{name}", text, known) for name, text in tables.fragments.items()}
    spoken: dict[str, tuple[SlotPhrase, ...]] = {}
    for name, slot in tables.slots.items():
        spoken[name] = tuple(
            SlotPhrase(value, _phrase(f"slots.{name}.values.{value}", text, tables.fragments.keys()))
            for value, texts in slot.values.items()
            for text in texts
        )
    names = Vocabulary(fragments, spoken)
    for name in fragments:
        _refuse_circle(name, (), fragments)
    for name, ways in spoken.items():
        for way in ways:
            _refuse_empty(f"slots.{name}.values.{way.value}", way.phrase, names)
    return names


def phrase(key: str, text: str, names: Vocabulary) -> Phrase:
    """The phrase at `key`. Raises `Mistake`: notation, unknown names, or it can be matched by silence."""
    found = _phrase(key, text, names.fragments.keys() | names.slots.keys())
    _refuse_empty(key, found, names)
    return found


def _phrase(key: str, text: str, known: Collection[str]) -> Phrase:
    found = attempt(key, partial(parse, text))
    for name in sorted(references(found) - set(known)):
        raise Mistake(key, f"<{name}> is not known here; add it under [fragments] or [slots]")
    return found


def _refuse_circle(name: str, path: tuple[str, ...], fragments: Mapping[str, Phrase]) -> None:
    if name in path:
        raise Mistake(f"fragments.{name}", f"contains itself: {' -> '.join((*path, name))}; break the circle")
    for inner in references(fragments[name]) & fragments.keys():
        _refuse_circle(inner, (*path, name), fragments)


def _refuse_empty(key: str, found: Phrase, names: Vocabulary) -> None:
    if first_words(found, names)[1]:
        raise Mistake(key, "can be said by saying nothing; leave at least one word outside of [ ]")


# What leads where


def check(tables: DialogueTables) -> None:
    """Raise the first `Mistake` in anything but phrases."""
    for problem in (_slots, _intents, _steps, _ways, _texts):
        for key, remedy in problem(tables):
            raise Mistake(key, remedy)


_Problems = Iterator[tuple[str, str]]


def _slots(tables: DialogueTables) -> _Problems:
    for name, slot in tables.slots.items():
        for value in slot.values:
            attempt(f"slots.{name}.values.{value}", partial(slots.check_value, slot.kind, value))
        for digits, value in slot.keys.items():
            if value not in slot.values:
                yield f"slots.{name}.keys.{digits}", f"{value!r} is none of slots.{name}.values"
        if not slot.ask:
            yield f"slots.{name}.ask", "needs at least one text"


def _intents(tables: DialogueTables) -> _Problems:
    for name in (YES, NO):
        if name not in tables.intents:
            yield f"intents.{name}", "is missing; questions need it"
    for name, intent in tables.intents.items():
        if not intent.phrases:
            yield f"intents.{name}.phrases", "needs at least one phrase"
        ways = bool(intent.answers) + bool(intent.steps) + intent.drops
        if name in BUILT_IN and ways:
            yield f"intents.{name}", "has a meaning of its own; give it phrases only"
        if name not in BUILT_IN and ways != 1:
            yield f"intents.{name}", "needs one of answers, steps and drops"
    if not tables.reject.say:
        yield "reject.say", "needs at least one text"


def _steps(tables: DialogueTables) -> _Problems:
    kinds = (tables.slots, tables.confirm, tables.call)
    for name, intent in tables.intents.items():
        for step in intent.steps:
            count = sum(step in kind for kind in kinds)
            if count != 1:
                remedy = "must be a slot, a [confirm.…] or a [call.…]" if count == 0 else "is the name of two steps"
                yield f"intents.{name}.steps", f"{step!r} {remedy}"
    for name, call in tables.call.items():
        for argument, source in call.arguments.items():
            if source not in tables.slots and quoted(source) is None:
                yield f"call.{name}.arguments.{argument}", f"{source!r} is no slot; put a plain text in quotes: \"'…'\""


def quoted(source: str) -> str | None:
    """The text of an argument that is written in its own quotes; None for one that names a slot."""
    return source[1:-1] if len(source) >= 2 and source[0] == source[-1] == "'" else None


def _ways(tables: DialogueTables) -> _Problems:
    """Every name that something leads to."""
    leads: list[tuple[str, str, Collection[str], str]] = [
        ("closing", tables.closing, tables.offer, "offer"),
        ("reject.offer", tables.reject.offer, tables.offer, "offer"),
    ]
    leads += [(f"keys.{digits}", intent, tables.intents, "intent") for digits, intent in tables.keys.items()]
    leads += [
        (f"intents.{name}.offer", intent.offer, tables.offer, "offer")
        for name, intent in tables.intents.items()
        if intent.offer
    ]
    begun = tables.intents.keys() - BUILT_IN
    for name, offer in tables.offer.items():
        leads += [(f"offer.{name}.yes", offer.yes, begun, "intent"), (f"offer.{name}.no", offer.no, begun, "intent")]
    for name, confirm in tables.confirm.items():
        leads += [(f"confirm.{name}.forget", slot, tables.slots, "slot") for slot in confirm.forget]
    for name, call in tables.call.items():
        for number, outcome in enumerate(call.outcomes):
            key = f"call.{name}.outcomes[{number}]"
            leads += _outcome_leads(key, outcome, tables)
            if bool(outcome.forget) + bool(outcome.offer) + bool(outcome.start) + outcome.finish > 1:
                yield key, "leads to several places; keep one of forget, offer, start and finish"
    for key, target, known, kind in leads:
        if target not in known:
            yield key, f"{target!r} is no {kind} of this file"


def _outcome_leads(key: str, outcome: Outcome, tables: DialogueTables) -> list[tuple[str, str, Collection[str], str]]:
    tasks = [name for name, intent in tables.intents.items() if intent.steps]
    leads: list[tuple[str, str, Collection[str], str]] = [
        (f"{key}.forget", slot, tables.slots, "slot") for slot in outcome.forget
    ]
    if outcome.offer:
        leads.append((f"{key}.offer", outcome.offer, tables.offer, "offer"))
    if outcome.start:
        leads.append((f"{key}.start", outcome.start, tasks, "intent with steps"))
    return leads


# Texts

_ANYTIME = ("greeting", "failed")
"""Texts that are said when no slot is filled and no tool has answered."""


def _texts(tables: DialogueTables) -> _Problems:
    """Blanks and facts that nothing ever fills."""
    for key, text in _all_texts(tables):
        try:
            blanks = blanks_of(text)
        except ValueError as error:
            yield key, f"{text!r}: {error}; write a blank as {{name}}"
            continue
        for blank in blanks:
            if blank not in FACTS and (key in _ANYTIME or not _is_blank(blank, tables)):
                yield key, f"nothing fills the blank {{{blank}}}"
    for key, rule in _all_rules(tables):
        for fact in rule.when:
            if not _is_fact(fact, tables):
                yield f"{key}.when", f"{fact!r} is no fact; facts are a slot, SLOT.is, CALL.FIELD, {_listed(FACTS)}"


def blanks_of(text: str) -> list[str]:
    """The names of the blanks in a text. Raises `ValueError` for braces that do not match."""
    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


def _is_blank(name: str, tables: DialogueTables) -> bool:
    head, _, tail = name.partition(".")
    if head in tables.slots:
        return tail == "" or (tail in ("full", "hours") and tables.slots[head].kind is SlotKind.DAY)
    return name in FACTS or (head in tables.call and tail.isidentifier())


def _is_fact(name: str, tables: DialogueTables) -> bool:
    head, _, tail = name.partition(".")
    return (head in tables.slots and tail in ("", "is")) or name in FACTS or (head in tables.call and bool(tail))


def _all_rules(tables: DialogueTables) -> Iterator[tuple[str, Rule]]:
    for name, intent in tables.intents.items():
        yield from _numbered(f"intents.{name}.answers", intent.answers)
    for name, slot in tables.slots.items():
        yield from _numbered(f"slots.{name}.refuse", slot.refuse)


def _all_texts(tables: DialogueTables) -> Iterator[tuple[str, str]]:
    yield "greeting", tables.greeting
    yield "dropped", tables.dropped
    yield "failed", tables.failed
    yield from _numbered("reject.say", tables.reject.say)
    yield "reject.hint", tables.reject.hint
    for key, rule in _all_rules(tables):
        yield f"{key}.say", rule.say
    for name, slot in tables.slots.items():
        yield from _numbered(f"slots.{name}.ask", slot.ask)
    for name, confirm in tables.confirm.items():
        yield f"confirm.{name}.say", confirm.say
        yield f"confirm.{name}.refused", confirm.refused
    for name, offer in tables.offer.items():
        yield f"offer.{name}.say", offer.say
    for name, call in tables.call.items():
        yield from _call_texts(name, call)


def _call_texts(name: str, call: Call) -> Iterator[tuple[str, str]]:
    yield f"call.{name}.say", call.say
    yield f"call.{name}.absent", call.absent
    yield f"call.{name}.failed", call.failed
    for number, outcome in enumerate(call.outcomes):
        yield f"call.{name}.outcomes[{number}].say", outcome.say


def _numbered(key: str, items: Iterable[_T]) -> Iterator[tuple[str, _T]]:
    for number, item in enumerate(items):
        yield f"{key}[{number}]", item


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
