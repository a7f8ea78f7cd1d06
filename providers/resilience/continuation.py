"""The text of a reply that one model began and another goes on with: nothing twice, and no unfinished word. No I/O.

A model that is asked to go on may begin anew, or repeat the last words to find its place. So what it adds is read by
sentences: one that was said before is dropped, and of the first new one the words that were said already.
"""

import re
from itertools import pairwise

_SENTENCE = re.compile(r".*?[.!?…]+[\"')\]”’]*(?=\s)\s*", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[^\W\d])[.!?…]+[\"')\]”’]*$")
_WORD = re.compile(r"\S+")
_LEAST_REPEATED = 2
"""Fewer words than that agree by chance."""


def settled(said: str) -> str:
    """`said` without a last word that may be unfinished; one that ends a sentence is not."""
    if not said or said[-1].isspace() or _SENTENCE_END.search(said):
        return said
    return said[: max(said.rfind(space) for space in " \n\t") + 1]


def whole_sentences(said: str) -> str:
    """`said` up to its last whole sentence; empty if there is none."""
    sentences = sentences_of(said)
    if sentences and not _ends_sentence(sentences[-1]):
        sentences.pop()
    return "".join(sentences)


def sentences_of(text: str) -> list[str]:
    """The text cut behind each sentence; the last may be unfinished."""
    ends = [0, *(match.end() for match in _SENTENCE.finditer(text))]
    parts = [text[begin:end] for begin, end in pairwise(ends)]
    return [*parts, text[ends[-1] :]] if text[ends[-1] :] else parts


class Continuation:
    """What a model adds to `said`. Feed it the text, take what is new; `flush` at the end."""

    def __init__(self, said: str) -> None:
        sentences = sentences_of(said)
        unfinished = sentences.pop() if sentences and not _ends_sentence(sentences[-1]) else ""
        self._said = {tuple(_words(sentence)) for sentence in sentences}
        self._unfinished = _words(unfinished)
        self._first = True
        self._apart = bool(said) and not said[-1].isspace()
        self._text = ""

    def feed(self, text: str) -> str:
        """What of the text so far is new and complete."""
        self._text += text
        new = []
        while (match := _SENTENCE.match(self._text)) is not None:
            new.append(self._new(match.group()))
            self._text = self._text[match.end() :]
        return "".join(new)

    def flush(self) -> str:
        """The rest, which may be no whole sentence."""
        rest, self._text = self._text, ""
        return self._new(rest)

    def _new(self, sentence: str) -> str:
        words = _words(sentence)
        if not words or (len(words) >= _LEAST_REPEATED and tuple(words) in self._said):
            return ""
        if self._first:
            self._first = False
            sentence = _without(sentence, _repeated(self._unfinished, words)).lstrip()
            return f" {sentence}" if sentence and self._apart else sentence
        return sentence


def _repeated(unfinished: list[str], words: list[str]) -> int:
    """How many of the `words` at their beginning repeat the end of what is unfinished."""
    for length in range(len(unfinished), 0, -1):
        whole = length == len(unfinished)
        if (whole or length >= _LEAST_REPEATED) and unfinished[-length:] == words[:length]:
            return length
    return 0


def _without(text: str, words: int) -> str:
    """The text behind so many words."""
    for match in _WORD.finditer(text):
        if not words:
            return text[match.start() :]
        words -= bool(_plain(match.group()))
    return "" if not words else text


def _words(text: str) -> list[str]:
    return [plain for word in text.split() if (plain := _plain(word))]


def _plain(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()


def _ends_sentence(text: str) -> bool:
    return _SENTENCE_END.search(text.rstrip()) is not None
