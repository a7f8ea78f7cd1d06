"""What a dialogue expects to hear, written for a recogniser that must be told."""

from math import ceil, log2

from providers.base import Grammar
from providers.llm.dialogue import phrases
from providers.llm.dialogue.file import DialogueFile

_SENTENCES = 3000
"""Enough that every pair of words that can follow each other does so; few enough to load in milliseconds."""

_PLAIN = 3
"""Weight of a phrase without choices; each doubling of what can be said with a phrase adds 1. Measured: 1 and 6 make
the recogniser lose a turn in a hundred."""


def grammar(dialogue: DialogueFile) -> Grammar:
    """The dialogue's grammar: JSGF of everything that can be said, and sentences of it, the same ones every time."""
    return Grammar(jsgf=_jsgf(dialogue), sentences=_sentences(dialogue))


def _jsgf(dialogue: DialogueFile) -> str:
    names = dialogue.names
    rules = {name: phrases.jsgf(phrase) for name, phrase in names.fragments.items()}
    rules |= {slot: " | ".join(phrases.jsgf(way.phrase) for way in ways) for slot, ways in names.slots.items()}
    intents = {
        f"intent_{name}": " | ".join(phrases.jsgf(phrase) for phrase in options)
        for name, options in dialogue.intents.items()
    }
    turn = " | ".join(f"<{name}>" for name in intents)
    before = f"[{phrases.jsgf(dialogue.before)}] " if dialogue.before else ""
    after = f" [{phrases.jsgf(dialogue.after)}]" if dialogue.after else ""
    lines = ["#JSGF V1.0;", "grammar dialogue;", f"public <turn> = {before}({turn}){after};"]
    lines += [f"<{name}> = {body};" for name, body in (rules | intents).items()]
    return "\n".join(lines) + "\n"


def _sentences(dialogue: DialogueFile) -> tuple[str, ...]:
    """Each phrase by the logarithm of what can be said with it, so that neither the short nor the rich ones drown."""
    names = dialogue.names
    weights = {
        phrase: _PLAIN + log2(phrases.ways(phrase, names))
        for options in dialogue.intents.values()
        for phrase in options
    }
    scale = _SENTENCES / sum(weights.values())
    sampler = phrases.Sampler(names)
    return tuple(
        sampler.sentence(dialogue.surrounded(phrase) if number % _SURROUNDED == 0 else phrase)
        for phrase, weight in weights.items()
        for number in range(ceil(weight * scale))
    )


_SURROUNDED = 6
"""One sentence in so many has something before or after it."""
