"""The smallest automaton of a grammar.

A JSGF compiler copies a rule wherever it is used: the demo's grammar becomes 9,000 states and 120,000 transitions, at
190 ms of CPU for a second of speech. The smallest automaton that accepts the same sentences has 250 and 1,700, and
takes 25 ms.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transition:
    """From one state to another by a word; None: by nothing."""

    source: int
    target: int
    word: str | None


@dataclass(frozen=True, slots=True)
class Automaton:
    """Deterministic: `rows[state]` maps a word to the next state. Starts in `start`; may end in `final`."""

    start: int
    rows: tuple[Mapping[str, int], ...]
    final: frozenset[int]

    def accepts(self, words: Iterable[str]) -> bool:
        """Whether `words` are a whole sentence of the grammar."""
        state: int | None = self.start
        for word in words:
            state = self.rows[state].get(word) if state is not None else None
        return state in self.final


def smallest(start: int, final: int, transitions: Iterable[Transition]) -> Automaton:
    """The automaton with the fewest states that accepts the same sentences."""
    return _merged(_hopeful(_deterministic(start, final, transitions)))


def _deterministic(start: int, final: int, transitions: Iterable[Transition]) -> Automaton:
    """Sets of states as states (the subset construction)."""
    by_word: dict[int, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    by_nothing: dict[int, list[int]] = defaultdict(list)
    for step in transitions:
        if step.word is None:
            by_nothing[step.source].append(step.target)
        else:
            by_word[step.source][step.word].add(step.target)

    first = _reached({start}, by_nothing)
    numbers = {first: 0}
    found = [first]
    rows: list[dict[str, int]] = []
    for states in found:  # grows while it is walked
        targets: dict[str, set[int]] = defaultdict(set)
        for state in states:
            for word, reached in by_word[state].items():
                targets[word] |= reached
        row = {}
        for word, reached in targets.items():
            closed = _reached(reached, by_nothing)
            if closed not in numbers:
                numbers[closed] = len(found)
                found.append(closed)
            row[word] = numbers[closed]
        rows.append(row)
    return Automaton(0, tuple(rows), frozenset(number for states, number in numbers.items() if final in states))


def _reached(states: set[int], steps: Mapping[int, Iterable[int]]) -> frozenset[int]:
    """`states`, and all that `steps` lead to from them."""
    reached = set(states)
    waiting = list(states)
    while waiting:
        for state in steps.get(waiting.pop(), ()):
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    return frozenset(reached)


def _hopeful(automaton: Automaton) -> Automaton:
    """Without the transitions to states from which no sentence ends."""
    before: dict[int, set[int]] = defaultdict(set)
    for state, row in enumerate(automaton.rows):
        for target in row.values():
            before[target].add(state)
    ending = _reached(set(automaton.final), before)
    rows = tuple({word: target for word, target in row.items() if target in ending} for row in automaton.rows)
    return Automaton(automaton.start, rows, automaton.final)


def _merged(automaton: Automaton) -> Automaton:
    """States that lead to the same sentences as one (Moore's partition refinement)."""
    classes = [int(state in automaton.final) for state in range(len(automaton.rows))]
    count = len(set(classes))
    while True:
        signatures: dict[object, int] = {}
        classes = [
            signatures.setdefault(
                (classes[state], frozenset((word, classes[target]) for word, target in row.items())), len(signatures)
            )
            for state, row in enumerate(automaton.rows)
        ]
        if len(signatures) == count:
            break
        count = len(signatures)
    rows: list[Mapping[str, int]] = [{}] * count
    for state, row in enumerate(automaton.rows):
        rows[classes[state]] = {word: classes[target] for word, target in row.items()}
    return Automaton(classes[automaton.start], tuple(rows), frozenset(classes[state] for state in automaton.final))
