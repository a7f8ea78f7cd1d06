"""What the recogniser is told."""

from providers.llm.dialogue import DEMO, load
from providers.llm.dialogue.grammar import grammar

DESK = load(DEMO)
HEARD = grammar(DESK)


def test_the_only_public_rule_is_the_turn() -> None:
    public = [line for line in HEARD.jsgf.splitlines() if line.startswith("public")]
    assert HEARD.jsgf.startswith("#JSGF V1.0;\n")
    assert [line.split(" =")[0] for line in public] == ["public <turn>"]


def test_sentences_are_some_thousands_of_plain_lower_case_words() -> None:
    assert 2000 <= len(HEARD.sentences) <= 4000
    assert all(sentence == sentence.lower() == " ".join(sentence.split()) for sentence in HEARD.sentences)
    assert not any(character.isdigit() for sentence in HEARD.sentences for character in sentence)


def test_the_same_file_gives_the_same_sentences() -> None:
    assert grammar(load(DEMO)) == HEARD


def test_every_word_of_the_grammar_is_in_the_sentences() -> None:
    rules = " ".join(line.split(" = ", 1)[1] for line in HEARD.jsgf.splitlines()[2:])
    words = {
        word for word in rules.replace(";", " ").translate(str.maketrans("()[]|", "     ")).split() if word[0] != "<"
    }
    assert words == {word for sentence in HEARD.sentences for word in sentence.split()}
