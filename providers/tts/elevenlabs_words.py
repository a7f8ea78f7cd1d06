"""Where words sound: the vendor's character times, matched with the words of the text that was sent.

The vendor may skip an alignment, or align a text that it normalised ("10:30" became "ten thirty"). Whatever it sends,
each word comes out once and in order. Characters that it returns as they were written are believed to the sample;
what lies between them has its share of the time by letters. Until a first alignment came, a slow speaker is assumed,
so that no word is taken for heard too early.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from providers.base import SpokenWord

_SLOW_LETTER_MS = 75  # ordinary speech has 60 to 70 ms a letter, spaces left out
_SMALLEST_MATCH = 3  # letters that agree by chance are hardly ever that many
_WINDOW = 40  # letters of the text that one chunk's alignment may skip


@dataclass(frozen=True, slots=True)
class TimedCharacter:
    """A character as the vendor says it, in ms from the first sample of its chunk."""

    text: str
    start_ms: float
    duration_ms: float


class WordTimes:
    """The words of one utterance. Text goes in by `add`, audio by `place`, which hands out the words that begin in it.

    *Letters* are all characters but white space.
    """

    def __init__(self, rate_hz: int) -> None:
        self.placed = 0
        """Words handed out so far."""
        self.exact = True
        """All audio so far had an alignment, and it was the text's."""
        self._rate_hz = rate_hz
        self._letters = ""
        self._words: list[tuple[str, int]] = []  # and the index of their first letter
        self._starts: list[int] = []  # of the letters that are timed, in samples of the utterance; never falling
        self._ends: list[int] = []
        self._samples = 0
        self._aligned_until = 0  # samples, white space included; 0 before the first alignment

    @property
    def known(self) -> int:
        """Words of the text so far."""
        return len(self._words)

    @property
    def samples(self) -> int:
        """Audio so far."""
        return self._samples

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Words of the text that are not handed out yet."""
        return tuple(word for word, _ in self._words[self.placed :])

    def add(self, text: str) -> None:
        """`text` is on its way to the vendor; words do not go on from one text to the next."""
        for word in text.split():
            self._words.append((word, len(self._letters)))
            self._letters += word

    def place(self, samples: int, alignment: Sequence[TimedCharacter] | None) -> tuple[SpokenWord, ...]:
        """The words that begin in the next `samples`, by the alignment that came with them."""
        begin, end = self._samples, self._samples + samples
        self._samples = end
        if alignment:
            self._match(begin, alignment)
        elif begin < end and begin >= self._aligned_until:  # no character that began before is still sounding
            self.exact = False
            if not self._aligned_until:
                self._assume(end)
        words = []
        while self.placed < len(self._words):
            word, first = self._words[self.placed]
            if first >= len(self._starts) or self._starts[first] >= end:
                break
            start = max(0, self._starts[first] - begin)
            words.append(SpokenWord(word, start, max(start, self._end(first + len(word), end) - begin)))
            self.placed += 1
        return tuple(words)

    def rest(self) -> tuple[SpokenWord, ...]:
        """What remains when there is no more audio, placed at its end."""
        words = tuple(SpokenWord(word, 0, 0) for word in self.unplaced)
        self.placed = len(self._words)
        return words

    def _end(self, letter: int, received: int) -> int:
        """Where the word before `letter` ends. One that goes on in audio to come is assumed to hurry: it must not
        seem to last beyond the utterance."""
        timed = len(self._ends)
        if not self._aligned_until:
            return min(received, self._ends[min(letter, timed) - 1])
        if letter <= timed:
            return self._ends[letter - 1]
        return received + (letter - timed) * self._ends[-1] // timed // 2

    def _assume(self, end: int) -> None:
        letter_samples = self._rate_hz * _SLOW_LETTER_MS // 1000
        while len(self._starts) < len(self._letters) and self._time() < end:
            self._append(self._time(), self._time() + letter_samples)

    def _match(self, begin: int, alignment: Sequence[TimedCharacter]) -> None:
        self._aligned_until = max(1, self._aligned_until, *(self._span(begin, one)[1] for one in alignment))
        spoken = [character for character in alignment if character.text and not character.text.isspace()]
        text = [character.text for character in spoken]
        cursor = len(self._starts)
        if self._letters[cursor : cursor + len(text)] == "".join(text) and all(len(one) == 1 for one in text):
            blocks = [(0, 0, len(text))]
        else:
            self.exact = False
            blocks = list(self._blocks(text, cursor))
        for theirs, ours, size in blocks:
            times = [self._span(begin, character) for character in spoken[theirs : theirs + size]]
            if times:
                self._fill(cursor + ours, times[0][0])
            for start, end in times:
                self._append(start, end)

    def _blocks(self, text: list[str], cursor: int) -> Iterator[tuple[int, int, int]]:
        window = list(self._letters[cursor : cursor + 2 * len(text) + _WINDOW])
        least = min(_SMALLEST_MATCH, len(text))
        for block in SequenceMatcher(None, text, window, autojunk=False).get_matching_blocks():
            if block.size >= max(1, least):
                yield block.a, block.b, block.size

    def _fill(self, letter: int, until: int) -> None:
        """Time the letters before `letter` evenly, from the last that is timed to `until`."""
        start, missing = self._time(), letter - len(self._starts)
        room = max(0, until - start)
        for number in range(missing):
            self._append(start + room * number // missing, start + room * (number + 1) // missing)

    def _span(self, begin: int, character: TimedCharacter) -> tuple[int, int]:
        start = begin + round(character.start_ms * self._rate_hz / 1000)
        return start, start + round(character.duration_ms * self._rate_hz / 1000)

    def _time(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _append(self, start: int, end: int) -> None:
        """Times never fall, whatever the vendor says."""
        start = max(start, self._starts[-1] if self._starts else 0)
        self._starts.append(start)
        self._ends.append(max(start, end, self._time()))
