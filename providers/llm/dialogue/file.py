"""Loading a dialogue file: what it says is checked whole, once, so that no call meets a mistake in it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from providers.llm.dialogue import checks
from providers.llm.dialogue.hours import OpeningHours
from providers.llm.dialogue.phrases import Optional, Phrase, Sequence, Vocabulary
from providers.llm.dialogue.tables import Call, Confirm, DialogueTables, Intent, Offer, Slot

_T = TypeVar("_T")

DEMO = Path(__file__).parent.parent / "dialogues" / "appointments.toml"
"""The appointment desk that answers when no other file is named."""


class DialogueFileError(Exception):
    """A dialogue file that cannot be used; its writer's fault. `key` is where in it, `remedy` what to do about it."""

    def __init__(self, path: Path, key: str, remedy: str) -> None:
        super().__init__(f"{path}: {key}: {remedy}" if key else f"{path}: {remedy}")
        self.path = path
        self.key = key
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class DialogueFile:
    """A checked dialogue: every name in it stands for something, and every phrase can be said."""

    tables: DialogueTables
    names: Vocabulary
    intents: Mapping[str, tuple[Phrase, ...]]
    before: Phrase | None
    after: Phrase | None
    hours: OpeningHours

    def surrounded(self, phrase: Phrase) -> Phrase:
        """`phrase` with what may be said before and after it."""
        before = (Optional(self.before),) if self.before else ()
        after = (Optional(self.after),) if self.after else ()
        return Sequence((*before, phrase, *after))


def load(path: Path) -> DialogueFile:
    """The dialogue in the file at `path`. Raises `DialogueFileError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DialogueFileError(path, "", f"cannot be read ({error}); DIALOGUE_FILE must name a text file") from error
    return read(text, path)


def read(text: str, path: Path) -> DialogueFile:
    """The dialogue in `text`; `path` is where errors say it is. Raises `DialogueFileError`."""
    try:
        return _checked(_converted(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise DialogueFileError(path, "", f"is no TOML: {error}") from error
    except checks.Mistake as mistake:
        raise DialogueFileError(path, mistake.key, mistake.remedy) from mistake


_NAMED_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "slots": Slot,
    "intents": Intent,
    "confirm": Confirm,
    "call": Call,
    "offer": Offer,
}


def _converted(raw: dict[str, Any]) -> DialogueTables:
    """The tables, typed. Those that a writer names are looked at one by one, so that an error can name them."""
    for kind, table in _NAMED_TABLES.items():
        named = raw.get(kind, {})
        for name, value in named.items() if isinstance(named, dict) else ():
            _convert(value, table, f"{kind}.{name}")
    return _convert(raw, DialogueTables, "")


def _convert(value: object, table: type[_T], key: str) -> _T:
    try:
        return msgspec.convert(value, table)
    except msgspec.ValidationError as error:
        remedy, _, inner = str(error).partition(" - at `$")
        raise checks.Mistake((key + inner.rstrip("`")).lstrip("."), remedy) from error


def _checked(tables: DialogueTables) -> DialogueFile:
    names = checks.vocabulary(tables)
    intents = {
        name: tuple(checks.phrase(f"intents.{name}.phrases[{n}]", text, names) for n, text in enumerate(intent.phrases))
        for name, intent in tables.intents.items()
    }
    before = checks.phrase("before", tables.before, names) if tables.before else None
    after = checks.phrase("after", tables.after, names) if tables.after else None
    hours = checks.attempt("hours", partial(OpeningHours.parse, tables.hours))
    checks.check(tables)
    return DialogueFile(tables, names, intents, before, after, hours)
