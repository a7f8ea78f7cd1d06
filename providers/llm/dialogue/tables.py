"""A dialogue file as written: its tables and keys, typed. What they mean together is checked in `file`.

::

    greeting                       the first words
    closing                        the offer after a finished task ("anything else?")
    dropped, failed                what is said when a task is given up, and when a tool breaks down
    before, after                  phrases that may surround any other ("well", "please")
    [hours]                        weekday = "09:00-17:00"; a day not named is closed
    [keys]                         digits = intent
    [fragments]                    name = phrase, used as <name>
    [slots.NAME]                   a blank that callers fill; a step of that name asks for it
    [confirm.NAME]                 a step: a question that must be answered with yes
    [call.NAME]                    a step: a tool, and what follows from its answer
    [offer.NAME]                   a question whose yes and whose no each begin an intent
    [intents.NAME]                 what callers want: phrases, and answers or steps
    [reject]                       what is said to what nobody expected

A *rule* is ``{ when = { "day.is" = "closed" }, say = "…" }``; of several, the first one is said whose facts hold and
whose blanks can all be filled. Blanks in a text: ``{day}``, ``{day.full}`` and ``{day.hours}`` of a filled slot,
``{call.field}`` of a tool's answer, and ``{hours}``, ``{clock}``, ``{date}``. A fact is named like a blank and
compared before it is put into words; ``SLOT.is`` is open, closed or past.
"""

from collections.abc import Mapping

import msgspec

from providers.llm.dialogue.slots import SlotKind


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: a key that is not listed here is a mistake."""


class Rule(_Table, frozen=True, kw_only=True):
    """`say`, if all of `when` holds."""

    say: str
    when: Mapping[str, str] = {}


class Slot(_Table, frozen=True, kw_only=True):
    kind: SlotKind
    values: Mapping[str, tuple[str, ...]]
    """Value -> the phrases that mean it."""
    ask: tuple[str, ...]
    """How it is asked for; then how it is asked again, the last one from then on."""
    keys: Mapping[str, str] = {}
    """Digits -> value. Times are understood without (`10`, `230`, `1430`)."""
    refuse: tuple[Rule, ...] = ()
    """Rules that turn a value down, and say why."""


class Intent(_Table, frozen=True, kw_only=True):
    """One of `answers`, `steps` and `drops`; none of them for the intents in `file.BUILT_IN`."""

    phrases: tuple[str, ...]
    answers: tuple[Rule, ...] = ()
    steps: tuple[str, ...] = ()
    drops: bool = False
    """The task in progress is given up."""
    offer: str = ""
    """The question to end on after an answer, outside of a task."""


class Confirm(_Table, frozen=True, kw_only=True):
    say: str
    refused: str = ""
    """What is said after a no."""
    forget: tuple[str, ...] = ()
    """Slots to ask for again after a no; none of them: a no gives the task up."""


class Outcome(_Table, frozen=True, kw_only=True):
    """What follows when the tool's answer has this `status`: the next step, unless one of the others is given."""

    status: str
    say: str
    forget: tuple[str, ...] = ()
    """Slots to ask for again, and all steps after them to do again."""
    offer: str = ""
    """The question to end on instead."""
    start: str = ""
    """The intent to go on with; what slots hold stays."""
    finish: bool = False
    """The task is over."""


class Call(_Table, frozen=True, kw_only=True):
    tool: str
    absent: str
    """What is said where there is no such tool."""
    arguments: Mapping[str, str] = {}
    """Argument -> the slot whose value it is, or a text in its own quotes."""
    say: str = ""
    """What is said before the call."""
    outcomes: tuple[Outcome, ...] = ()
    """None: the conversation does not wait for the answer, and nothing more is said."""
    failed: str = ""
    """What is said when the tool breaks down, if not what the whole file says."""


class Offer(_Table, frozen=True, kw_only=True):
    """A question whose yes and whose no each begin an intent; what slots hold stays."""

    say: str
    yes: str
    no: str


class Reject(_Table, frozen=True, kw_only=True):
    say: tuple[str, ...]
    """What is said the first, second, … time in a row."""
    hint: str = ""
    """What is said after it, where no question is open."""
    offer: str
    """The offer after these."""


class DialogueTables(_Table, frozen=True, kw_only=True):
    """The whole file."""

    greeting: str
    closing: str
    dropped: str
    failed: str
    reject: Reject
    intents: Mapping[str, Intent]
    before: str = ""
    after: str = ""
    hours: Mapping[str, str] = {}
    keys: Mapping[str, str] = {}
    fragments: Mapping[str, str] = {}
    slots: Mapping[str, Slot] = {}
    confirm: Mapping[str, Confirm] = {}
    call: Mapping[str, Call] = {}
    offer: Mapping[str, Offer] = {}
