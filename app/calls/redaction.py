"""What of a call is nobody's business: masked before it is stored, or when it is shown.

A mask keeps lengths and word boundaries, so that everything counted in words or characters stays right. What is masked
in the store is masked for a process that takes the call over too: its model sees the masks. Whoever wants the calls to
recover whole seals the journals instead, and masks only what is shown.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from app.calls.journal import (
    CallAnswered,
    CallerPartial,
    CallerSaid,
    DigitKeyed,
    JournalEvent,
    ReplyBegun,
    ReplyEnded,
    ReplyHeard,
    ToolCalled,
    ToolReturned,
)

E = TypeVar("E", bound=JournalEvent)

_VISIBLE = re.compile(r"\S")
_ALL_BUT_TWO = re.compile(r"\d(?=(?:\D*\d){2})")


class Private(StrEnum):
    """Kinds of what may be masked."""

    WORDS = "words"  # what the caller said
    DIGITS = "digits"  # what he keyed
    NUMBERS = "numbers"  # who called whom, but for the last two digits
    REPLIES = "replies"  # what the agent said
    TOOLS = "tools"  # what tools were asked and what they answered


def mask_number(number: str) -> str:
    """A telephone number whose last two digits can be seen."""
    return _ALL_BUT_TWO.sub("*", number)


def redacted(event: E, private: Collection[Private]) -> E:
    """The event with everything masked that is of these kinds."""
    changes = _masked(event, private) if private else None
    return msgspec.structs.replace(event, **changes) if changes else event


def _masked(event: JournalEvent, private: Collection[Private]) -> dict[str, Any] | None:
    match event:
        case CallAnswered(caller=caller, called=called) if Private.NUMBERS in private:
            return {"caller": mask_number(caller), "called": mask_number(called)}
        case CallerSaid(text=text, digits=True) if Private.DIGITS in private:
            return {"text": _mask(text)}
        case CallerSaid(text=text, digits=False) | CallerPartial(text=text) if Private.WORDS in private:
            return {"text": _mask(text)}
        case DigitKeyed(digit=digit) if Private.DIGITS in private:
            return {"digit": _mask(digit)}
        case ReplyBegun(text=text) if Private.REPLIES in private:
            return {"text": _mask(text)}
        case ReplyHeard(said=said) if Private.REPLIES in private:
            return {"said": _mask(said)}
        case ReplyEnded(said=said, heard=heard) if Private.REPLIES in private:
            return {"said": _mask(said), "heard": _mask(heard)}
        case ToolReturned(content=content) if Private.TOOLS in private:
            return {"content": _mask(content)}
        case ToolCalled(said=said, arguments=arguments):
            return {
                "said": _mask(said) if Private.REPLIES in private else said,
                "arguments": dict.fromkeys(arguments, "***") if Private.TOOLS in private else arguments,
            }
        case _:
            return None


def _mask(text: str) -> str:
    return _VISIBLE.sub("*", text)
