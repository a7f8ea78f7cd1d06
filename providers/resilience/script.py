"""The text of one utterance as it becomes known, for several speakers: each reads it from a place of its own."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from telephony.clock import Clock

_WORD = re.compile(r"\S+")


class Script:
    """Reads `text` piece by piece, no piece before a speaker wants it. Words never go on from a piece to the next."""

    def __init__(self, text: AsyncIterator[str]) -> None:
        self.words: list[str] = []
        """Of all pieces so far."""
        self.complete = False
        self.failure: Exception | None = None
        """What `text` raised; for whoever gave it."""
        self.pieces: list[tuple[str, int]] = []
        """Each with the number of its first word."""
        self._text = text
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()

    async def read(self) -> None:
        """Fetch what is wanted, until the text ends."""
        try:
            await self._wanted.wait()
            async for piece in self._text:
                self.pieces.append((piece, len(self.words)))
                self.words += piece.split()
                self._wanted.clear()
                self._tell()
                await self._wanted.wait()
        except Exception as failure:  # noqa: BLE001 - foreign code: what the text raises belongs to its own speaker
            self.failure = failure
        self.complete = True
        self._tell()

    async def piece(self, number: int) -> tuple[str, int] | None:
        """A piece and the number of its first word; None behind the last. Fetches no more than this one."""
        while number >= len(self.pieces) and not self.complete:
            self._wanted.set()
            await self._news.wait()
        return self.pieces[number] if number < len(self.pieces) else None

    def _tell(self) -> None:
        """Wake those who wait now; the next to come waits for the next news."""
        self._news.set()
        self._news = asyncio.Event()


class Reader:
    """One speaker's way through a script, from word number `first` on."""

    def __init__(self, script: Script, first: int, clock: Clock, on_debt: Callable[[], None]) -> None:
        """`on_debt` is called when the speaker begins to owe speech."""
        self.given = False
        """A word was handed over."""
        self.exhausted = False
        """The speaker knows that there is no more."""
        self._script = script
        self._first = first
        self._clock = clock
        self._on_debt = on_debt
        self._owed_since = clock.now() if first < len(script.words) else None

    def owed_since(self) -> float | None:
        """Since when the speaker owes speech: from a piece until he asks for the next, and from the last to his end.

        One who reads ahead owes nothing meanwhile: what he waits for may be more text.
        """
        return self._owed_since

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The pieces, the first one without the words before `first`."""
        number = 0
        while (known := await self._script.piece(number)) is not None:
            text = _from_word(*known, self._first)
            number += 1
            self.given = self.given or bool(text.strip())
            if any(map(str.isalnum, text)):  # of all else there may be nothing to hear
                self._owe()
            if text:
                yield text
            self._owed_since = None
        self.exhausted = True
        if self.given:
            self._owe()

    def _owe(self) -> None:
        self._owed_since = self._clock.now()
        self._on_debt()


def _from_word(text: str, first_word: int, wanted: int) -> str:
    """`text`, whose first word has the number `first_word`, from word `wanted` on."""
    if wanted <= first_word:
        return text
    starts = [match.start() for match in _WORD.finditer(text)]
    skipped = wanted - first_word
    return text[starts[skipped] :] if skipped < len(starts) else ""
