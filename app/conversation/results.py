"""What the model is told of a tool: the value as JSON, or what is known of a run that was cut off."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic

NOBODY_KNOWS = (
    "it is not known whether it was done. Do not call it again without asking the caller; check first if you can."
)
UNKNOWN_RESULT = f"unknown: this tool was cut off while it worked, so {NOBODY_KNOWS}"
"""Of a tool that may have had its effect: an interruption or a dead process cuts off the wait, not the deed."""

CANCELLED_RESULT = (
    "cancelled: this tool was cut off before there was a result. It may be called again with the same arguments."
)
"""Of a tool that does its work once however often it is called."""


def encoded(value: Any) -> str:
    """A tool's value as JSON, the nearest there is to it; what no JSON can say is told as its text. Never raises: what
    was done is done, whatever its value looks like."""
    for candidate in (lambda: value, lambda: str(value), lambda: "done, but the result cannot be told"):
        try:
            return msgspec.json.encode(candidate(), enc_hook=_plain).decode()
        except Exception:  # noqa: BLE001 - foreign code: a value's own methods may raise anything
            continue
    raise AssertionError("because: the last candidate is a plain text")


def _plain(value: Any) -> Any:
    """What `msgspec` does not know, as something that it does."""
    match value:
        case pydantic.BaseModel():
            return value.model_dump()
        case Mapping():
            return dict(value)
        case _:
            return str(value)
