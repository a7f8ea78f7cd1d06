"""What of a call is nobody's business: masked before it is stored, or when it is shown.

A mask keeps lengths and word boundaries, so that everything counted in words or characters stays right. What is masked
in the store is masked for a process that takes the call over too: its model sees the masks. Whoever wants the calls to
recover whole seals the journals instead, and masks only what is shown.

Numbers are masked wherever they stand, but in what is said, keyed, or told to tools, which has kinds of its own: each
that looks like one (E.164), in a call's variables also its own in whatever spelling, and with them what else the
carrier tells of a person (`Carrier.personal`).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from app.calls.journal import (
    CallAnswered,
    CallBegun,
    CallerPartial,
    CallerSaid,
    DigitKeyed,
    JournalEvent,
    ReplyBegun,
    ReplyEnded,
    ReplyHeard,
    ToolCalled,
    ToolReturned,
    TransferFailed,
    TransferRequested,
)
from telephony.carriers import CARRIERS

E = TypeVar("E", bound=JournalEvent)

_VISIBLE = re.compile(r"\S")
_ALL_BUT_TWO = re.compile(r"\d(?=(?:\D*\d){2})")
_E164 = re.compile(r"(?:\+|%2B)[1-9](?:[ ().\-/]?\d){6,}", re.IGNORECASE)
_PERSONAL_OVER_SIP = frozenset({"caller_name", "diverted_from"})
_TRANSFER = "transfer"
_NOT_DIGITS = re.compile(r"\D")
_TELLING_DIGITS = 7
"""So many of a number's last digits are its own, whatever stands before them: 030…, 0049 30…, +49 30…."""
_SHORTEST_DIGITS = 3
_NAMES = frozenset({"call_id", "carrier", "stream_id", "tool_call_id", "idempotency_key", "kind"})
"""What others know a thing by, and find it again: never masked."""
_CONTENT: Mapping[type[JournalEvent], frozenset[str]] = {
    CallerSaid: frozenset({"text"}),
    CallerPartial: frozenset({"text"}),
    DigitKeyed: frozenset({"digit"}),
    ReplyBegun: frozenset({"text"}),
    ReplyHeard: frozenset({"said"}),
    ReplyEnded: frozenset({"said", "heard"}),
    ToolCalled: frozenset({"said", "arguments"}),
    ToolReturned: frozenset({"content"}),
}
"""Fields of the other kinds."""


class Private(StrEnum):
    """Kinds of what may be masked."""

    WORDS = "words"  # what the caller said
    DIGITS = "digits"  # what he keyed
    NUMBERS = "numbers"  # who called whom and is handed over to whom, but for the last two digits
    REPLIES = "replies"  # what the agent said, and why it hands the caller over
    TOOLS = "tools"  # what tools were asked and what they answered


def mask_number(number: str) -> str:
    """A telephone number whose last two digits can be seen."""
    return _ALL_BUT_TWO.sub("*", number)


def redacted(event: E, private: Collection[Private]) -> E:
    """The event with everything masked that is of these kinds."""
    if Private.NUMBERS in private:
        event = _changed(event, _without_numbers(event))
    return _changed(event, _masked(event, private)) if private else event


def _changed(event: E, changes: dict[str, Any]) -> E:
    return msgspec.structs.replace(event, **changes) if changes else event


# numbers


def _without_numbers(event: JournalEvent) -> dict[str, Any]:
    """The fields that change."""
    left_alone = _NAMES | _CONTENT.get(type(event), frozenset())
    fields = {name: getattr(event, name) for name in event.__struct_fields__ if name not in left_alone}
    masked = {name: _mask_numbers(value) for name, value in fields.items()}
    match event:
        case CallAnswered(carrier=carrier, caller=caller, called=called, variables=variables):
            masked |= {"caller": mask_number(caller), "called": mask_number(called)}
            masked["variables"] = _mask_variables(variables, carrier, (caller, called))
        case CallBegun(caller=caller, called=called):
            masked |= {"caller": mask_number(caller), "called": mask_number(called)}
        case TransferRequested(target=target) | TransferFailed(target=target):
            masked["target"] = mask_number(target)
        case _:
            pass
    return {name: value for name, value in masked.items() if value != fields[name]}


def _mask_numbers(value: Any) -> Any:
    """Whatever looks like a number in a text, or in the texts of something made of them."""
    match value:
        case str():
            return _E164.sub(lambda found: mask_number(found[0]), value)
        case dict():
            return {name: inner if name in _NAMES else _mask_numbers(inner) for name, inner in value.items()}
        case list():
            return [_mask_numbers(inner) for inner in value]
        case _:
            return value


def _mask_variables(variables: Mapping[str, str], carrier: str, numbers: Iterable[str]) -> dict[str, str]:
    personal = CARRIERS[carrier].personal if carrier in CARRIERS else _PERSONAL_OVER_SIP
    own = [digits for number in numbers if "*" not in number and len(digits := _digits(number)) >= _SHORTEST_DIGITS]
    masked = {}
    for name, value in variables.items():
        if name in personal:
            masked[name] = _mask(value)
        elif any(_tells(value, digits) for digits in own):
            masked[name] = mask_number(value)
        else:
            masked[name] = _mask_numbers(value)
    return masked


def _tells(value: str, digits: str) -> bool:
    """The number with these digits is in the value; a short one stands there by itself."""
    if len(digits) < _TELLING_DIGITS:
        return re.search(rf"(?<!\d){digits}(?!\d)", value) is not None
    return digits[-_TELLING_DIGITS:] in _digits(value)


def _digits(number: str) -> str:
    return _NOT_DIGITS.sub("", number)


# everything else


def _masked(event: JournalEvent, private: Collection[Private]) -> dict[str, Any]:
    """The fields that change, of the kinds that are neither numbers nor are in one with them."""
    match event:
        case CallerSaid(text=text, digits=True) if Private.DIGITS in private:
            return {"text": _mask(text)}
        case CallerSaid(text=text, digits=False) | CallerPartial(text=text) if Private.WORDS in private:
            return {"text": _mask(text)}
        case DigitKeyed(digit=digit) if Private.DIGITS in private:
            return {"digit": _mask(digit)}
        case ToolReturned(content=content) if Private.TOOLS in private:
            return {"content": _mask(content)}
        case ToolCalled(said=said, arguments=arguments):
            return {
                "said": _mask(said) if Private.REPLIES in private else said,
                "arguments": dict.fromkeys(arguments, "***") if Private.TOOLS in private else arguments,
            }
        case _:
            return _masked_reply(event) if Private.REPLIES in private else {}


def _masked_reply(event: JournalEvent) -> dict[str, Any]:
    match event:
        case ReplyBegun(text=text, then=then, then_reason=reason):
            return {"text": _mask(text), "then_reason": _mask_reason(then, reason)}
        case ReplyHeard(said=said, then=then, then_reason=reason):
            return {"said": _mask(said), "then_reason": _mask_reason(then, reason)}
        case ReplyEnded(said=said, heard=heard):
            return {"said": _mask(said), "heard": _mask(heard)}
        case TransferRequested(reason=reason):
            return {"reason": _mask(reason)}
        case TransferFailed(asked_for=reason):
            return {"asked_for": _mask(reason)}
        case _:
            return {}


def _mask_reason(then: str, reason: str) -> str:
    """Why somebody is to take over is the model's word; other reasons are ours."""
    return _mask(reason) if then == _TRANSFER else reason


def _mask(text: str) -> str:
    return _VISIBLE.sub("*", text)
