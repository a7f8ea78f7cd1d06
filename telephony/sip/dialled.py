"""Numbers as patterns: whole ones, or beginnings that end with `*`. Sans I/O."""

import re

_SEPARATORS = re.compile(r"[\s().\-/]+")


def spaceless(number: str) -> str:
    """Without what people put between digits."""
    return _SEPARATORS.sub("", number)


def matches(called: str, pattern: str) -> bool:
    """Whether `called` is the number that the pattern names. A leading plus sign means nothing: carriers disagree
    about it."""
    number, wanted = _bare(called), _bare(pattern.removesuffix("*"))
    return number.startswith(wanted) if pattern.endswith("*") else number == wanted


def _bare(number: str) -> str:
    return spaceless(number).lower().removeprefix("+")
