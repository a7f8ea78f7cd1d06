"""The smallest automaton: the same sentences, no state too many."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from providers.stt.pocketsphinx.automaton import Automaton, Transition, smallest

states = st.integers(0, 5)
transitions = st.lists(st.builds(Transition, states, states, st.sampled_from(["a", "b", None])), max_size=12)
sentences = st.lists(st.sampled_from("ab"), max_size=5)


def accepts(steps: list[Transition], start: int, final: int, sentence: list[str]) -> bool:
    """The long way round: all states that can be reached."""

    def by_nothing(reached: set[int]) -> set[int]:
        while more := {step.target for step in steps if step.word is None and step.source in reached} - reached:
            reached |= more
        return reached

    reached = by_nothing({start})
    for word in sentence:
        reached = by_nothing({step.target for step in steps if step.word == word and step.source in reached})
    return final in reached


@given(transitions, sentences)
def test_it_accepts_the_same_sentences(steps: list[Transition], sentence: list[str]) -> None:
    assert smallest(0, 1, steps).accepts(sentence) == accepts(steps, 0, 1, sentence)


@given(transitions)
def test_no_two_states_accept_the_same_sentences(steps: list[Transition]) -> None:
    automaton = smallest(0, 1, steps)
    # Two states of n that differ at all differ on a sentence shorter than n.
    tails = [tail for length in range(min(len(automaton.rows), 8)) for tail in itertools.product("ab", repeat=length)]
    futures = {
        tuple(Automaton(state, automaton.rows, automaton.final).accepts(tail) for tail in tails)
        for state in range(len(automaton.rows))
    }
    assert len(futures) == len(automaton.rows) or len(automaton.rows) > 8


def test_copies_of_a_rule_become_one() -> None:
    copies = [Transition(0, first, word) for first, word in ((1, "book"), (2, "move"))]
    copies += [Transition(first, 10, "it") for first in (1, 2)]
    assert len(smallest(0, 10, copies).rows) == 3


def test_a_word_that_leads_nowhere_is_not_accepted() -> None:
    automaton = smallest(0, 1, [Transition(0, 1, "a")])
    assert automaton.accepts(["a"])
    assert not automaton.accepts(["b"])
    assert not automaton.accepts([])
    assert not automaton.accepts(["a", "a"])
