"""The notation in which a dialogue file writes what callers say, and the four things done with a phrase.

The notation is that of JSGF (W3C note, June 2000) without its weights and tags, so that whoever knows one knows the
other::

    (book | make) an appointment [for me] [<when>]

words in lower case, `[x]` may be left out, `(a | b)` is a choice, and `<name>` stands for a fragment or a slot.
A phrase is matched against words, written as JSGF, sampled into sentences, and asked which words it can begin with.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import assert_never

WORD = r"(?:[a-z]\.){2,}|[a-z]+(?:'[a-z]+)*"
"""A word, as a regular expression: letters, inner apostrophes (`o'clock`), or an abbreviation with dots (`a.m.`)."""

_TOKEN = re.compile(rf"\s*(?:{WORD}|<[a-z][a-z0-9_]*>|[()\[\]|])")


class PhraseError(ValueError):
    """A phrase that breaks the notation; its writer's fault. The message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str


@dataclass(frozen=True, slots=True)
class Reference:
    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    phrase: "Phrase"


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple["Phrase", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple["Phrase", ...]


Phrase = Word | Reference | Optional | Sequence | Choice


# Reading


def parse(text: str) -> Phrase:
    """The phrase that `text` writes. Raises `PhraseError`."""
    reader = _Reader(text)
    phrase = reader.choice()
    if reader.token:
        raise PhraseError(f"{text!r}: {reader.token!r} closes nothing")
    return phrase


def _tokens(text: str) -> list[str]:
    tokens = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise PhraseError(f"{text!r}: unexpected {text[at:].strip()[:12]!r}; write words in lower case")
        tokens.append(found.group().strip())
        at = found.end()
    return tokens


class _Reader:
    """Recursive descent, one token ahead; the empty token is the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), ""]
        self._at = 0

    @property
    def token(self) -> str:
        return self._tokens[self._at]

    def choice(self) -> Phrase:
        options = [self._sequence()]
        while self.token == "|":
            self._at += 1
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Phrase:
        parts = []
        while self.token not in ("", "|", ")", "]"):
            parts.append(self._part())
        if not parts:
            raise self._missing("a word")
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _part(self) -> Phrase:
        token = self.token
        self._at += 1
        if token == "(":
            return self._closed(")")
        if token == "[":
            return Optional(self._closed("]"))
        if token.startswith("<"):
            return Reference(token[1:-1])
        return Word(token)

    def _closed(self, bracket: str) -> Phrase:
        inner = self.choice()
        if self.token != bracket:
            raise self._missing(repr(bracket))
        self._at += 1
        return inner

    def _missing(self, what: str) -> PhraseError:
        return PhraseError(f"{self._text!r}: {what} is missing before {self.token or 'its end'}")


def references(phrase: Phrase) -> frozenset[str]:
    """Names of the fragments and slots that `phrase` uses itself."""
    match phrase:
        case Word():
            return frozenset()
        case Reference(name):
            return frozenset({name})
        case Optional(inner):
            return references(inner)
        case Sequence(parts) | Choice(parts):
            return frozenset[str]().union(*map(references, parts))
        case _:
            assert_never(phrase)


# Meaning


@dataclass(frozen=True, slots=True)
class SlotPhrase:
    """One way to say one value of a slot."""

    value: str
    phrase: Phrase


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the names in phrases stand for. `parse`d phrases only; every reference known and none circular."""

    fragments: Mapping[str, Phrase]
    slots: Mapping[str, tuple[SlotPhrase, ...]]

    def meaning(self, name: str) -> tuple[Phrase, ...]:
        """The alternatives that `<name>` stands for."""
        if name in self.fragments:
            return (self.fragments[name],)
        return tuple(spoken.phrase for spoken in self.slots[name])


Slots = tuple[tuple[str, str], ...]
"""Slot values in the order they were said: (slot, value as the file writes it)."""


def matches(phrase: Phrase, words: tuple[str, ...], at: int, names: Vocabulary) -> Iterator[tuple[int, Slots]]:
    """Every way in which `phrase` matches words from `at` on: where it ends, and the slots filled on the way."""
    match phrase:
        case Word(text):
            if at < len(words) and words[at] == text:
                yield at + 1, ()
        case Reference(name):
            yield from _match_name(name, words, at, names)
        case Optional(inner):
            yield from matches(inner, words, at, names)
            yield at, ()
        case Choice(options):
            for option in options:
                yield from matches(option, words, at, names)
        case Sequence(parts):
            yield from _match_parts(parts, words, at, names)
        case _:
            assert_never(phrase)


def _match_name(name: str, words: tuple[str, ...], at: int, names: Vocabulary) -> Iterator[tuple[int, Slots]]:
    if name in names.fragments:
        yield from matches(names.fragments[name], words, at, names)
        return
    for spoken in names.slots[name]:
        for end, _ in matches(spoken.phrase, words, at, names):
            yield end, ((name, spoken.value),)


def _match_parts(
    parts: tuple[Phrase, ...], words: tuple[str, ...], at: int, names: Vocabulary
) -> Iterator[tuple[int, Slots]]:
    if not parts:
        yield at, ()
        return
    for middle, head in matches(parts[0], words, at, names):
        for end, tail in _match_parts(parts[1:], words, middle, names):
            yield end, head + tail


def first_words(phrase: Phrase, names: Vocabulary) -> tuple[frozenset[str], bool]:
    """The words that `phrase` can begin with, and whether it can also be empty."""
    match phrase:
        case Word(text):
            return frozenset({text}), False
        case Reference(name):
            return first_words(_choice(names.meaning(name)), names)
        case Optional(inner):
            return first_words(inner, names)[0], True
        case Choice(options):
            firsts = [first_words(option, names) for option in options]
            return frozenset[str]().union(*(first for first, _ in firsts)), any(empty for _, empty in firsts)
        case Sequence(parts):
            found: frozenset[str] = frozenset()
            for part in parts:
                first, empty = first_words(part, names)
                found |= first
                if not empty:
                    return found, False
            return found, True
        case _:
            assert_never(phrase)


def _choice(options: tuple[Phrase, ...]) -> Phrase:
    return options[0] if len(options) == 1 else Choice(options)


# Writing


def jsgf(phrase: Phrase) -> str:
    """`phrase` as the right side of a JSGF rule."""
    match phrase:
        case Word(text):
            return text
        case Reference(name):
            return f"<{name}>"
        case Optional(inner):
            return f"[{jsgf(inner)}]"
        case Choice(options):
            return "(" + " | ".join(map(jsgf, options)) + ")"
        case Sequence(parts):
            return " ".join(map(jsgf, parts))
        case _:
            assert_never(phrase)


def ways(phrase: Phrase, names: Vocabulary) -> int:
    """In how many ways `phrase` can be said."""
    match phrase:
        case Word():
            return 1
        case Reference(name):
            return sum(ways(meaning, names) for meaning in names.meaning(name))
        case Optional(inner):
            return 1 + ways(inner, names)
        case Choice(options):
            return sum(ways(option, names) for option in options)
        case Sequence(parts):
            return prod(ways(part, names) for part in parts)
        case _:
            assert_never(phrase)


class Sampler:
    """Says phrases, each time differently, in the same order every time.

    Choices are drawn from a shuffled bag without putting back, so that every option turns up as often as any other:
    a word that a recogniser was never shown is a word that it never hears.
    """

    def __init__(self, names: Vocabulary) -> None:
        self._names = names
        self._random = random.Random(0)
        self._bags: dict[Phrase, list[Phrase | None]] = {}

    def sentence(self, phrase: Phrase) -> str:
        return " ".join(self._words(phrase))

    def _words(self, phrase: Phrase) -> list[str]:
        match phrase:
            case Word(text):
                return [text]
            case Sequence(parts):
                return [word for part in parts for word in self._words(part)]
            case Reference(name):
                chosen = self._draw(phrase, self._names.meaning(name))
            case Choice(options):
                chosen = self._draw(phrase, options)
            case Optional(inner):
                chosen = self._draw(phrase, (inner, inner, None, None, None))
            case _:
                assert_never(phrase)
        return self._words(chosen) if chosen else []

    def _draw(self, phrase: Phrase, options: tuple[Phrase | None, ...]) -> Phrase | None:
        bag = self._bags.setdefault(phrase, [])
        if not bag:
            bag.extend(options)
            self._random.shuffle(bag)
        return bag.pop()
