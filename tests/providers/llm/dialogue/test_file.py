"""Loading a dialogue file: a mistake is found at once, and said where it is."""

from pathlib import Path

import pytest

from providers.llm.dialogue import DEMO, DialogueFileError, load
from providers.llm.dialogue.file import read

# A whole dialogue in a few lines: what a user's own file may look like.
SMALL = """
greeting = "Pizza, hello."
closing = "more"
dropped = "Never mind."
failed = "The oven is broken."

[slots.topping]
kind = "word"
values = { cheese = ["cheese"], mushrooms = ["mushrooms | [some] fungi"] }
keys = { 1 = "cheese" }
ask = ["With what?"]

[confirm.order]
say = "A pizza with {topping}?"
forget = ["topping"]

[call.bake]
tool = "bake"
absent = "We have no oven."
arguments = { topping = "topping", size = "'large'" }
outcomes = [{ status = "done", say = "It takes {bake.minutes}." }]

[offer.more]
say = "Anything else?"
yes = "help"
no = "help"

[reject]
say = ["What?"]
offer = "more"

[keys]
9 = "help"

[intents.pizza]
phrases = ["[a] pizza [with <topping>]"]
steps = ["topping", "order", "bake"]

[intents.help]
phrases = ["help"]
answers = [{ say = "Say pizza." }]

[intents.yes]
phrases = ["yes"]

[intents.no]
phrases = ["no"]
"""
HERE = Path("mine.toml")


def test_the_demo_is_a_dialogue() -> None:
    assert load(DEMO).tables.greeting.startswith("Hello")


def test_a_small_file_is_a_dialogue() -> None:
    dialogue = read(SMALL, HERE)
    assert set(dialogue.intents) == {"pizza", "help", "yes", "no"}


@pytest.mark.parametrize(
    ("wrong", "right", "key", "remedy"),
    [
        ('greeting = "Pizza, hello."', "greeting = 1", "greeting", "Expected `str`"),
        ('greeting = "Pizza, hello."', "", "", "missing required field `greeting`"),
        ('greeting = "Pizza, hello."', 'greeting = "Hi"\ncolour = "red"', "", "unknown field `colour`"),
        ('"Pizza, hello."', '"Pizza, {name}."', "greeting", "nothing fills the blank {name}"),
        ('"Pizza, hello."', '"Pizza, {topping}."', "greeting", "nothing fills the blank {topping}"),
        ('"Pizza, hello."', '"Pizza {"', "greeting", "write a blank as {name}"),
        ('kind = "word"', 'kind = "colour"', "slots.topping.kind", "Invalid enum value"),
        ('kind = "word"', 'kind = "day"', "slots.topping.values.cheese", "neither +1, monday nor next monday"),
        ('ask = ["With what?"]', "ask = []", "slots.topping.ask", "at least one text"),
        ('keys = { 1 = "cheese" }', 'keys = { 1 = "ham" }', "slots.topping.keys.1", "'ham' is none of"),
        ("[some] fungi", "[some]", "slots.topping.values.mushrooms", "leave at least one word outside"),
        ("[some] fungi", "<some> fungi", "slots.topping.values.mushrooms", "<some> is not known"),
        ("[a] pizza [with <topping>]", "[a] Pizza", "intents.pizza.phrases[0]", "unexpected 'Pizza'"),
        ("[a] pizza [with <topping>]", "[a] pizza [with <ham>]", "intents.pizza.phrases[0]", "<ham> is not known"),
        ("[a] pizza [with <topping>]", "[pizza]", "intents.pizza.phrases[0]", "saying nothing"),
        ('phrases = ["help"]', "phrases = []", "intents.help.phrases", "at least one phrase"),
        ('answers = [{ say = "Say pizza." }]', "", "intents.help", "needs one of answers, steps and drops"),
        (
            '{ say = "Say pizza." }',
            '{ say = "Say.", when = { mood = "bad" } }',
            "intents.help.answers[0].when",
            "no fact",
        ),
        ('phrases = ["yes"]', 'phrases = ["yes"]\ndrops = true', "intents.yes", "phrases only"),
        ("[intents.no]", "[intents.nope]\ndrops = true", "intents.no", "is missing"),
        ('"order", "bake"]', '"order", "eat"]', "intents.pizza.steps", "'eat' must be a slot"),
        (
            "[confirm.order]",
            "[confirm.topping]\nsay = 'x'\n[confirm.order]",
            "intents.pizza.steps",
            "name of two steps",
        ),
        ('topping = "topping", size', 'topping = "ham", size', "call.bake.arguments.topping", "'ham' is no slot"),
        ('forget = ["topping"]', 'forget = ["ham"]', "confirm.order.forget", "'ham' is no slot"),
        ('closing = "more"', 'closing = "less"', "closing", "'less' is no offer"),
        ('yes = "help"', 'yes = "yes"', "offer.more.yes", "'yes' is no intent"),
        ('9 = "help"', '9 = "hell"', "keys.9", "'hell' is no intent"),
        (
            'say = "It takes {bake.minutes}."',
            'say = "", finish = true, offer = "more"',
            "call.bake.outcomes[0]",
            "leads to several places",
        ),
        ('say = "It takes {bake.minutes}."', 'say = "", start = "help"', "call.bake.outcomes[0].start", "with steps"),
        ("[intents.help]", "[fragments]\na = 'x <b>'\nb = 'y <a>'\n[intents.help]", "fragments.a", "break the circle"),
        ("[intents.help]", "[fragments]\ntopping = 'x'\n[intents.help]", "fragments.topping", "is a slot, too"),
        ("[intents.help]", "[hours]\nfunday = '09:00-17:00'\n[intents.help]", "hours", "no weekday"),
        ("[intents.help]", "[intents.help", "", "is no TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(wrong: str, right: str, key: str, remedy: str) -> None:
    assert wrong in SMALL
    with pytest.raises(DialogueFileError) as caught:
        read(SMALL.replace(wrong, right, 1), HERE)
    assert caught.value.key == key
    assert remedy in caught.value.remedy
    assert caught.value.path == HERE
    assert str(caught.value).startswith("mine.toml: ")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DialogueFileError, match=r"mine\.toml: cannot be read .*; DIALOGUE_FILE must name a text file"):
        load(path)
