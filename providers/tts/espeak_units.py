"""What goes into eSpeak at once, and what comes out of it: clauses without their silence, words as they were written.

eSpeak reports where its own words begin, which are not ours: it reads "10:30" as several and "on the" as one. Where it
agrees with the text it is believed; the words between have their share of the time by their place in the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from providers.base import SpokenWord
from providers.tts.espeak_library import RATE_HZ, Synthesis

MOST_CHARACTERS = 250
"""Of one unit: about 15 s of speech, rendered in less than 10 ms."""

_WORD = re.compile(r"\S+")
# Where a text that is too long is cut, best first: behind a sentence, behind a clause, between words.
_CUTS = tuple(re.compile(pattern) for pattern in (r"[.!?…]+[\"'”’)\]]*\s", r"[,;:—–][\"'”’)\]]*\s", r"\s"))

_SOFTEST = 100  # 50 dB below full scale: what is softer is silence
_BEFORE_SAMPLES = 20 * RATE_HZ // 1000  # kept in front of the first sound, for its soft beginning
_AFTER_SAMPLES = 10 * RATE_HZ // 1000


@dataclass(frozen=True, slots=True)
class Unit:
    """Text to render at once, and the words that begin in it with their places."""

    text: str
    words: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """Speech from its first sound to its last, the words in it, and how much silence followed; mute without samples."""

    samples: NDArray[np.int16]
    words: tuple[SpokenWord, ...]
    pause_samples: int


def units(text: str) -> Iterator[Unit]:
    """`text`, all of it but empty space, cut where it hurts least. A word longer than a unit goes on in the next."""
    start = 0
    while start < len(text):
        end = _cut(text, start)
        if text[start:end].strip():
            yield Unit(text[start:end], tuple(_words(text, start, end)))
        start = end


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """The words that begin in this part of `text`, whole, with their places in the part."""
    for match in _WORD.finditer(text, start, end):
        at = match.start()
        whole = match if match.end() < end else _WORD.match(text, at)
        if whole and (at == 0 or text[at - 1].isspace()):
            yield at - start, whole.group()


def _cut(text: str, start: int) -> int:
    end = start + MOST_CHARACTERS
    if end >= len(text):
        return len(text)
    for pattern in _CUTS:
        ends = [match.end() for match in pattern.finditer(text, start, end)]
        if ends:
            return ends[-1]
    return end


def clauses(unit: Unit, synthesis: Synthesis) -> Iterator[Clause]:
    """The clauses of a unit. Together they hold each of its words once, in order."""
    text_start = sample_start = 0
    for number, spoken in enumerate(synthesis.clauses, 1):
        text_end = len(unit.text) if number == len(synthesis.clauses) else max(text_start, spoken.text_end)
        words = [(at, word) for at, word in unit.words if text_start <= at < text_end]
        samples = synthesis.samples[sample_start : spoken.sample_end]
        voiced = _voiced(samples)
        places = [(text_start, 0)]
        for at, sample in spoken.words:
            places.append((at, min(max(0, sample - sample_start - voiced.start), voiced.stop - voiced.start)))
        places.append((text_end, voiced.stop - voiced.start))
        yield Clause(samples[voiced], _timed(words, places), len(samples) - voiced.stop)
        text_start, sample_start = text_end, spoken.sample_end


def _voiced(samples: NDArray[np.int16]) -> slice:
    """From the first sound to the last; empty, at the start, if there is none."""
    (loud,) = np.nonzero(np.abs(samples.astype(np.int32)) > _SOFTEST)
    if not len(loud):
        return slice(0, 0)
    return slice(max(0, int(loud[0]) - _BEFORE_SAMPLES), min(len(samples), int(loud[-1]) + 1 + _AFTER_SAMPLES))


def _timed(words: list[tuple[int, str]], places: list[tuple[int, int]]) -> tuple[SpokenWord, ...]:
    """`words`, whose times never fall, from eSpeak's `places`: pairs of text position and sample, the last the end.

    A place within a word is taken for its beginning, unless that is known already.
    """
    positions = [at for at, _ in words]
    known = places[:1]
    for position, sample in places[1:-1]:
        place = max((at for at in positions if at <= position), default=-1)
        if place > known[-1][0]:
            known.append((place, max(sample, known[-1][1])))
    known.append(places[-1])
    times = np.interp(positions, [position for position, _ in known], [sample for _, sample in known])
    starts = [int(time) for time in times]
    stops = [*starts, places[-1][1]][1:]
    return tuple(SpokenWord(word, start, stop) for (_, word), start, stop in zip(words, starts, stops, strict=True))
