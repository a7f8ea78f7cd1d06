"""What the caller heard: the playout ledger, one of the three truths of a call.

A reply is a line of samples, counted from 0 at its first one. Three positions move along it, always in this order::

    0 ───────── heard ───────── sent ───────── queued
      in the ear      on its way        with the pacer

`sent` and `queued` are facts. `heard` is an estimate that evidence corrects: the far end plays in real time what it
was sent, so what is still in its buffer is known from the clock; a mark that comes back proves a position; a mark
that comes back later than usual, or not at all, tells that the far end plays later than the clock says.

Why the estimate needs no latency: sound sent at `t` starts to play at `t + d` (d = one way), and a clear sent at `now`
takes effect at `now + d`. Both are shifted by the same `d`, so what plays until the clear arrives is what the clock
says for `now`. Only what is *not* constant counts: the lateness of the last mark beyond the smallest ever seen.

Sans I/O, one object per call and leg; positions are samples of the leg's format.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

_UNPROVEN_LATENESS_S = 0.5
"""Lateness granted to marks before the first one came back: a round trip, generously."""
_MARKS_AWAITED_S = 2.5
"""For the last marks of a reply; longer than a media path may be silent before it is taken for gone, because a reply
that plays into a dead line was not heard."""
_DEAD_LINE_S = 0.5
"""A lost line whose marks were overdue by so much was dead before it was noticed."""
_SENDINGS_KEPT = 256
"""Of which the time is known: five seconds, longer than a line may be dead before it is noticed."""
_MARK_JITTER_S = 0.04
"""Lateness beyond the smallest seen that is still taken for jitter: two frames."""


class Certainty(StrEnum):
    """How `heard` is known."""

    CONFIRMED = "confirmed"  # the far end said so
    ESTIMATED = "estimated"  # the clock says so, within the bounds of the marks


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """One word of a reply and the samples, [start, end), in which it sounds."""

    text: str
    start: int
    end: int


def _middle(word: PlacedWord) -> int:
    """Where a word counts as heard."""
    return (word.start + word.end) // 2


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller heard of a reply: the position, the words up to it, and how well that is known."""

    samples: int
    words: tuple[str, ...]
    certainty: Certainty
    resume_at: int
    """Where to go on: the start of the word that was cut, else the position itself. Never beyond `samples`."""

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class _Mark:
    position: int
    expected_at: float  # when the position plays if the far end is never late


class PlayoutLedger:
    """The positions of one reply at a time; `begin` starts the next.

    Invariant: ``queued >= sent >= heard(now) >= 0``, and `heard` never falls while nothing is cut or resumed. A mark
    echoed after a cut proves nothing (`telephony.carriers.twilio`: a clear echoes all that are outstanding).
    """

    def __init__(self, rate_hz: int, *, marks: bool = True) -> None:
        self._rate_hz = rate_hz
        self._marks_supported = marks
        self._generation = 0
        self._marks_placed = 0
        self._usual_lateness_s: float | None = None
        self._begin()

    def _begin(self) -> None:
        self.queued = 0
        self.sent = 0
        self._floor = 0  # heard for certain, or already reported: heard never falls below
        self._proven = 0
        self._late_s = 0.0
        self.play_end = 0.0
        """When the far end will have played all that was sent, by the clock."""
        self._words: list[PlacedWord] = []
        self._marks: deque[tuple[str, _Mark]] = deque()
        self._echoed_at = float("-inf")
        self._sendings: deque[tuple[float, int]] = deque(maxlen=_SENDINGS_KEPT)  # when, and up to where
        self.underrun_s = 0.0

    def forget_line(self) -> None:
        """The leg is gone: the next one has a lateness of its own."""
        self._usual_lateness_s = None

    def begin(self) -> None:
        """Start the ledger of a new reply; everything outstanding of the one before is void."""
        self._generation += 1
        self._begin()

    @property
    def words(self) -> tuple[PlacedWord, ...]:
        """All words queued so far, in order."""
        return tuple(self._words)

    def queue(self, samples: int, words: tuple[PlacedWord, ...] = ()) -> None:
        """`samples` more wait to be sent; `words`, in reply positions, begin in them."""
        self.queued += samples
        self._words.extend(words)

    def send(self, samples: int, now: float) -> None:
        """`samples` left for the far end. It plays them right after what it still holds."""
        if self.sent + samples > self.queued:
            raise ValueError(f"{samples} samples sent, {self.queued - self.sent} queued")
        if 0.0 < self.play_end < now:
            self.underrun_s += now - self.play_end
        self.play_end = max(self.play_end, now) + samples / self._rate_hz
        self.sent += samples
        self._sendings.append((now, self.sent))

    def mark(self) -> str | None:
        """Name for a mark to place after what was sent so far; None if the far end knows no marks."""
        if not self._marks_supported:
            return None
        self._marks_placed += 1
        name = f"{self._generation}.{self._marks_placed}"
        self._marks.append((name, _Mark(self.sent, self.play_end)))
        return name

    def mark_reached(self, name: str, now: float) -> bool:
        """The far end echoed a mark. False when it proves nothing: unknown, of a reply before, or voided by a cut."""
        if all(name != placed for placed, _ in self._marks):
            return False
        while True:  # marks come in order: those before it were lost, and are proven with it
            placed, mark = self._marks.popleft()
            if placed == name:
                break
        self._proven = max(self._proven, mark.position)
        self._echoed_at = now
        lateness = now - mark.expected_at
        if self._usual_lateness_s is None or lateness < self._usual_lateness_s:
            self._usual_lateness_s = lateness
        excess = lateness - self._usual_lateness_s
        self._late_s = excess if excess > _MARK_JITTER_S else 0.0
        return True

    def buffered_s(self, now: float) -> float:
        """Seconds of sound that the far end still holds, by the clock."""
        return max(0.0, self.play_end - now)

    def _overdue_s(self, now: float) -> float:
        """By how much the oldest outstanding mark is later than usual; 0 if none is."""
        if not self._marks:
            return 0.0
        _, oldest = self._marks[0]
        usual = _UNPROVEN_LATENESS_S if self._usual_lateness_s is None else self._usual_lateness_s
        return max(0.0, now - oldest.expected_at - usual)

    def heard(self, now: float, *, commit: bool = True) -> int:
        """Samples of the reply that the caller has heard by `now`. Not to `commit` to it: it may still fall, when a
        late mark tells better."""
        late_s = self._late_s
        overdue_s = self._overdue_s(now)
        if overdue_s > max(late_s, _MARK_JITTER_S):
            late_s = overdue_s
        unplayed = max(0.0, self.play_end + late_s - now) * self._rate_hz
        estimate = self.sent - round(unplayed) if self.sent else 0
        position = max(self._floor, self._proven, min(estimate, self.sent))
        if commit:
            self._floor = position
        return position

    def progress(self, now: float) -> tuple[int, int]:
        """Samples and words heard by `now`, for the record; commits to nothing."""
        position = self.heard(now, commit=False)
        words = bisect_right(self._words, position, key=_middle) if position else 0
        return position, words

    def unheard_words_s(self, now: float) -> float:
        """How long the words queued so far still take to be heard; without words, the sound. Commits to nothing."""
        end = self._words[-1].end if self._words else self.queued
        return max(0, end - self.heard(now, commit=False)) / self._rate_hz

    def finished(self, now: float) -> bool:
        """Everything queued was sent and heard, as the far end confirms it, or long enough ago if it cannot."""
        if self.sent < self.queued:
            return False
        if self._marks_supported and self._proven < self.queued:
            return now >= self.finish_expected_at()
        return self.heard(now) >= self.queued

    def finish_expected_at(self) -> float:
        """When `finished` turns true at the latest, if nothing more is queued: marks that never come are not awaited
        for ever."""
        grace = _MARKS_AWAITED_S if self._marks_supported else 0.0
        return self.play_end + grace

    def peek(self, now: float) -> Heard:
        """What was heard up to now, without cutting."""
        return self._heard_to(self.heard(now))

    def _heard_to(self, position: int) -> Heard:
        words: list[str] = []
        resume_at = position
        for word in self._words:
            if position and (word.start + word.end) // 2 <= position:
                words.append(word.text)
            if word.start < position < word.end:
                resume_at = word.start
        certainty = Certainty.CONFIRMED if position == self._proven else Certainty.ESTIMATED
        return Heard(position, tuple(words), certainty, resume_at)

    def cut(self, now: float, *, lost: bool = False, alive_at: float | None = None) -> Heard:
        """The far end is being cleared: freeze `heard`. Marks still outstanding are void from here on. `lost`: the line
        is gone; if it was dead for longer than was noticed, only that was heard which is proven, or had arrived while
        it was alive: `alive_at` something came in over it for the last time."""
        dead = lost and self._overdue_s(now) > _DEAD_LINE_S
        heard = self._heard_to(self._arrived(alive_at) if dead else self.heard(now))
        if dead:
            self._floor = heard.samples
        self._generation += 1
        self._marks.clear()
        self._sendings.clear()
        self.sent = heard.samples
        self.play_end = 0.0
        self._late_s = 0.0
        return heard

    def _arrived(self, alive_at: float | None) -> int:
        """Samples that had surely arrived before the line went dead: the far end played them in any case. What came in
        at a time had left after what had been sent a round trip earlier arrived."""
        if alive_at is None or self._usual_lateness_s is None:
            return self._proven
        if self._overdue_s(alive_at) > _MARK_JITTER_S:  # by then it was dead already in the other direction
            alive_at = self._echoed_at
        sent_by = alive_at - self._usual_lateness_s - self._late_s
        return max(self._proven, *(position for at, position in self._sendings if at <= sent_by), 0)

    def resume(self, position: int) -> None:
        """After a cut: sending goes on from `position`, at most the position cut at."""
        if position > self.sent:
            raise ValueError(f"cannot resume at {position}: only {self.sent} samples were heard")
        self.sent = position
        self._floor = min(self._floor, position)
        self._proven = min(self._proven, position)
