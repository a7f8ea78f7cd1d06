"""Which numbers may be called here, and which from here: what is not allowed is refused. Sans I/O."""

import re
from dataclasses import dataclass

_SEPARATORS = re.compile(r"[\s().\-/]+")
_NUMBER = re.compile(r"\+?[0-9]{1,20}")
_PREFIX = re.compile(r"\+[0-9]*|[0-9]+")
_DOMAIN = re.compile(r"@[a-z0-9.\-]+(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"(sips?:)?([A-Za-z0-9_.!~*'()&=+$,\-]{1,64})(@[A-Za-z0-9.\-]+(?::[0-9]{1,5})?)")

DEAR = ("+1900", "+1976", "+808", "+870", "+878", "+881", "+882", "+883", "+979")
"""Premium, shared-cost and satellite ranges: the prefix that allows one must be at least as long as it is."""


class DestinationRefused(Exception):
    """A destination that may not be called (whoever asked for it is wrong): `reason` says why, without the number."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that may be called here: whole ones, or beginnings that end with `*`. None at all: every one.

    A leading plus sign means nothing: carriers disagree about it. Raises `ValueError` for a pattern that cannot match.
    """

    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            if "*" in pattern[:-1] or not pattern:
                raise ValueError(f"{pattern!r}: a number, or its beginning with * at the end")

    def __contains__(self, called: str) -> bool:
        number = _bare(called)
        return not self.patterns or any(
            number.startswith(_bare(pattern[:-1])) if pattern.endswith("*") else number == _bare(pattern)
            for pattern in self.patterns
        )


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where calls may go: prefixes of numbers (`+49`, `+4930`, or an extension's `2`), and hosts (`@pbx.example.net`)
    for SIP addresses. Nothing else. Raises `ValueError` for an entry that is neither.
    """

    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.allowed:
            if not (_DOMAIN.fullmatch(entry.lower()) or _PREFIX.fullmatch(_spaceless(entry))):
                raise ValueError(f"{entry!r}: the beginning of a number like +49, or @host for SIP addresses")

    def admit(self, target: str) -> str:
        """The target as the trunk is to dial it: a bare number, or `sip:user@host`. Raises `DestinationRefused`."""
        number = _spaceless(target.strip().removeprefix("tel:"))
        if _NUMBER.fullmatch(number):
            return self._admit_number(number)
        address = _ADDRESS.fullmatch(target.strip())
        if address is None:
            raise DestinationRefused("neither a number nor a SIP address")
        scheme, user, host = address.groups()
        if host.lower() not in {entry.lower() for entry in self.allowed}:
            raise DestinationRefused("its host is not among the allowed destinations")
        return f"{scheme or 'sip:'}{user}{host.lower()}"

    def _admit_number(self, number: str) -> str:
        prefixes = [_spaceless(entry) for entry in self.allowed if not entry.startswith("@")]
        matching = [prefix for prefix in prefixes if number.startswith(prefix)]
        if not matching:
            raise DestinationRefused("its prefix is not among the allowed destinations")
        dear = max((len(prefix) for prefix in DEAR if number.startswith(prefix)), default=0)
        if max(map(len, matching)) < dear:
            raise DestinationRefused("a premium or satellite number, which only a prefix of its own allows")
        return number


def masked(party: str) -> str:
    """A number or address as logs may show it: its last two characters."""
    return f"…{party[-2:]}" if len(party) > 4 else "…"


def _spaceless(number: str) -> str:
    """Without what people put between digits."""
    return _SEPARATORS.sub("", number)


def _bare(number: str) -> str:
    return _spaceless(number).lower().removeprefix("+")
