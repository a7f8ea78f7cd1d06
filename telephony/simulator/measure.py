"""What the caller's ear measured: answers, barge-ins, gaps. Pure functions over samples of the call."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from telephony.simulator.caller import Spoken
from telephony.simulator.ear import PHRASE_BREAK_SAMPLES, Phrase
from telephony.simulator.playout import Run
from telephony.simulator.sound import samples_of_ms, seconds

GAP_SAMPLES = samples_of_ms(20)
"""A playout that runs dry for longer than this inside speech is heard as a gap."""
STRETCH_BREAK_SAMPLES = samples_of_ms(700)
"""A playout that stays dry for this long has come to the end of a stretch of speech."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One utterance of the caller and what came of it, in seconds of the call, to the sample.

    `onset_s`: from the last audible sample of the caller to the first audible one of the answer. `stop_s`: from the
    first audible sample of the caller to the last audible one of what the agent was saying, None if he said nothing.
    `gone_on_s`: from the last audible sample of the caller until the agent is heard: 0 if he was all the time.
    `cut_in`: the agent began to speak into the utterance.
    """

    number: int
    step: int
    text: str
    from_s: float
    until_s: float
    answered_at_s: float | None
    answered_until_s: float | None
    onset_s: float | None
    stop_s: float | None
    cut_in: bool
    gone_on_s: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """The playout was empty for `length_s` in the middle of the agent's speech."""

    at_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of `count` values, by linear interpolation."""

    count: int
    p50: float
    p90: float
    p99: float


def exchanges(spoken: Sequence[Spoken], phrases: Sequence[Phrase]) -> tuple[Exchange, ...]:
    """What the agent did about each utterance. A phrase answers the last utterance that ended before it began."""
    found = []
    for index, words in enumerate(spoken):
        until = spoken[index + 1].start if index + 1 < len(spoken) else math.inf
        answer = [phrase for phrase in phrases if words.end <= phrase.start < until]
        during = [phrase for phrase in phrases if words.start <= phrase.start < words.end]
        found.append(
            Exchange(
                number=index + 1,
                step=words.step,
                text=words.text,
                from_s=seconds(words.start),
                until_s=seconds(words.end),
                answered_at_s=seconds(answer[0].start) if answer else None,
                answered_until_s=seconds(answer[-1].end) if answer else None,
                onset_s=seconds(answer[0].start - words.end) if answer else None,
                stop_s=_stop_s(words, phrases),
                cut_in=bool(during) and not _interrupted(words, phrases),
                gone_on_s=_gone_on_s(words, phrases),
            )
        )
    return tuple(found)


def _interrupted(words: Spoken, phrases: Sequence[Phrase]) -> bool:
    """Whether the agent was speaking when the caller began; a barge-in that hits the pause between two phrases counts,
    a caller who takes his turn quickly does not."""
    tolerance = PHRASE_BREAK_SAMPLES if words.interrupting else 0
    return any(phrase.start < words.start < phrase.end + tolerance for phrase in phrases)


def _stop_s(words: Spoken, phrases: Sequence[Phrase]) -> float | None:
    """Phrases that begin while the caller still speaks belong to what he interrupts; later ones are the answer."""
    if not _interrupted(words, phrases):
        return None
    last = max(phrase.end for phrase in phrases if phrase.start < words.end)
    return seconds(max(0, last - words.start))


def _gone_on_s(words: Spoken, phrases: Sequence[Phrase]) -> float | None:
    after = next((phrase for phrase in phrases if phrase.end > words.end), None)
    return None if after is None else seconds(max(0, after.start - words.end))


def gaps(runs: Sequence[Run], spoken: Sequence[Spoken]) -> tuple[Gap, ...]:
    """Where the playout of one stream ran dry inside a stretch of speech: not after a `clear`, not around a turn of
    the caller's, and not so long that the speech had rather come to its end."""
    found = []
    for before, after in pairwise(runs):
        dry = after.start - before.end
        turn = any(words.start < after.start and words.end > before.end for words in spoken)
        if GAP_SAMPLES < dry < STRETCH_BREAK_SAMPLES and not before.cut and not turn:
            found.append(Gap(seconds(before.end), seconds(dry)))
    return tuple(found)


def percentiles(values: Iterable[float | None]) -> Percentiles | None:
    """Of the values that there are; None if there are none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return Percentiles(len(known), *(_percentile(known, share) for share in (0.5, 0.9, 0.99)))


def _percentile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
