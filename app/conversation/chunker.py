"""A reply's text, as it streams, in pieces that can be spoken.

The first piece leaves as early as it makes sense (a sentence, or a clause of some length), the later ones grow, so
that the voice has context and few requests are made. A cut comes only after punctuation that is followed by a space,
and never inside a number, an abbreviation, an address or a URL. Concatenated, the pieces are the text.
"""

_SENTENCE_ENDS = ".!?…"
_CLAUSE_ENDS = ",;:—–"
_CLOSERS = "\"')]”’"
_FIRST_CLAUSE_CHARS = 20
_CLAUSE_CHARS = 140
_MAX_CHARS = 320
_MIN_SENTENCE_CHARS = (0, 30, 60, 90)

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e a.m p.m approx inc ltd co dept ext u.s u.k".split()
)  # not "no": people answer with it


class Chunker:
    """Feed text with `push`, take pieces; `flush` at the end gives what is left."""

    def __init__(self) -> None:
        self._text = ""
        self._searched = 0
        self._given = 0

    def push(self, text: str) -> list[str]:
        """Pieces that became speakable by this text, in order."""
        self._text += text
        pieces = []
        while (end := self._boundary()) is not None:
            pieces.append(self._text[:end])
            self._text = self._text[end:]
            self._searched = 0
            self._given += 1
        return pieces

    def withdraw(self, characters: int) -> int:
        """Forget so many characters at the end, as far as they were not given away; how many were forgotten."""
        forgotten = min(characters, len(self._text))
        self._text = self._text[: len(self._text) - forgotten]
        self._searched = min(self._searched, len(self._text))
        return forgotten

    def flush(self) -> list[str]:
        """The rest of the text; nothing if only white space is left."""
        rest, self._text, self._searched = self._text, "", 0
        return [rest] if rest.strip() else []

    def _boundary(self) -> int | None:
        """Index after the first acceptable cut, its white space included; None if there is none yet."""
        text = self._text
        while True:
            space = next((i for i in range(self._searched, len(text)) if text[i].isspace()), None)
            if space is None:
                self._searched = len(text)
                return None
            after = next((i for i in range(space, len(text)) if not text[i].isspace()), None)
            if after is None:  # what follows decides, and has not come yet
                return None
            if self._may_cut(text[:space], text[after]):
                return after
            self._searched = after

    def _may_cut(self, before: str, following: str) -> bool:
        length = len(before.strip())
        core = before.rstrip(_CLOSERS)
        if not length or not core:
            return False
        if core[-1] in _SENTENCE_ENDS:
            if core[-1] == "." and (_is_abbreviated(core) or following.islower()):
                return False
            return length >= _MIN_SENTENCE_CHARS[min(self._given, len(_MIN_SENTENCE_CHARS) - 1)]
        if core[-1] in _CLAUSE_ENDS and not (core[-2:-1].isdigit() and following.isdigit()):
            return length >= (_CLAUSE_CHARS if self._given else _FIRST_CLAUSE_CHARS)
        return length >= _MAX_CHARS and not (core[-1].isdigit() and following.isdigit())


def _is_abbreviated(text: str) -> bool:
    word = text.split()[-1].rstrip(".").lower().lstrip("(\"'“‘")
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
