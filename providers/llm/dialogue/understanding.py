"""From what a caller said to what he wants."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from providers.llm.dialogue import spoken
from providers.llm.dialogue.checks import BUILT_IN, INFORM
from providers.llm.dialogue.file import DialogueFile
from providers.llm.dialogue.phrases import WORD, Phrase, Slots, first_words, matches

_LONGEST_TURN = 60
"""Words of a turn beyond which it is not looked at: nobody asks for an appointment in more."""

_UNDERSTOOD_SHARE = 0.5
"""Share of a turn's words that must belong to known phrases, where it is not one phrase as a whole."""


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a turn says: an intent of the file, and the slots filled, with values as the file writes them."""

    intent: str
    slots: Slots = ()


class Listener:
    """Understands what the callers of one dialogue say. Pure: the same words always mean the same."""

    def __init__(self, dialogue: DialogueFile) -> None:
        self._names = dialogue.names
        self._tasks = frozenset(name for name, intent in dialogue.tables.intents.items() if intent.steps)
        self._fillers = tuple(phrase for phrase in (dialogue.before, dialogue.after) if phrase)
        said = [(name, phrase) for name, options in dialogue.intents.items() for phrase in options]
        self._parts = [self._indexed(name, phrase) for name, phrase in said]
        self._wholes = [self._indexed(name, dialogue.surrounded(phrase)) for name, phrase in said]
        # A reply looks at every turn of the call again; all but the last were parsed for the reply before.
        self._parse = lru_cache(maxsize=4096)(self._understand)

    def understand(self, text: str) -> Understanding | None:
        """What `text` says; None when it is outside of the dialogue."""
        return self._parse(words_of(text))

    def _indexed(self, intent: str, phrase: Phrase) -> tuple[str, Phrase, frozenset[str]]:
        return intent, phrase, first_words(phrase, self._names)[0]

    def _understand(self, words: tuple[str, ...]) -> Understanding | None:
        if not words or len(words) > _LONGEST_TURN:
            return None
        for found, end in self._at(0, words, self._wholes):
            if end == len(words):
                return found
        return self._spotted(words)

    def _at(
        self, at: int, words: tuple[str, ...], phrases: list[tuple[str, Phrase, frozenset[str]]]
    ) -> Iterator[tuple[Understanding, int]]:
        """Every one of `phrases` that begins at `at`, in the order of the file, and where it ends."""
        for intent, phrase, firsts in phrases:
            if words[at] in firsts:
                for end, slots in matches(phrase, words, at, self._names):
                    yield Understanding(intent, slots), end

    def _spotted(self, words: tuple[str, ...]) -> Understanding | None:
        """Known phrases among unknown words: what recognisers of a large vocabulary hear of real callers."""
        found: list[Understanding] = []
        at = understood = fillers = 0
        while at < len(words):
            filler = max(
                (end for phrase in self._fillers for end, _ in matches(phrase, words, at, self._names)), default=at
            )
            part, end = max(self._at(at, words, self._parts), key=lambda match: match[1], default=(None, at))
            if part and end > filler:
                found.append(part)
                understood += end - at
            else:
                end = max(filler, at + 1)
                fillers += filler - at
            at = end
        if not found or understood < (len(words) - fillers) * _UNDERSTOOD_SHARE:
            return None
        return self._joined(found)

    def _joined(self, found: list[Understanding]) -> Understanding:
        """One meaning of several phrases: a task before an answer before a yes or no, the later before the earlier."""
        slots = tuple(slot for part in found for slot in part.slots)
        leading = max(enumerate(found), key=lambda part: (self._rank(part[1].intent), part[0]))[1]
        if slots and leading.intent in BUILT_IN:
            return Understanding(INFORM, slots)
        return Understanding(leading.intent, slots)

    def _rank(self, intent: str) -> int:
        return 2 if intent in self._tasks else intent not in BUILT_IN


# Words

_TOKEN = re.compile(rf"{WORD}|\d+")
_HALF_OF_DAY = re.compile(r"(?<=\d)\s*([ap])\.?\s?m\b\.?")
_FULL_HOUR = re.compile(r"\b(\d{1,2}):00(?!\d)")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a transcript as phrases write them: lower case, no punctuation, "10:30 AM" as ten thirty a.m."""
    text = _FULL_HOUR.sub(r"\1", text.lower().replace("’", "'"))
    return tuple(map(_spelled, _TOKEN.findall(_HALF_OF_DAY.sub(r" \1.m. ", text))))


def _spelled(token: str) -> str:
    return spoken.cardinal(int(token)) if token.isdecimal() and int(token) < 60 else token
