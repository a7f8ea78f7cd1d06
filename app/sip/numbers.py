"""Which numbers may be called here, and which from here: what is not allowed is refused. Sans I/O."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from telephony.sip.dialled import matches, spaceless

_NUMBER = re.compile(r"\+?[0-9]{1,20}")
_PREFIX = re.compile(r"\+[0-9]*|[0-9]+")
_DOMAIN = re.compile(r"@[a-z0-9.\-]+(:[0-9]{1,5})?")
_ADDRESS = re.compile(r"(sips?:)?([A-Za-z0-9_.!~*'()&=+$,\-]{1,64})(@[A-Za-z0-9.\-]+(?::[0-9]{1,5})?)")

DEAR = ("+1900", "+1976", "+808", "+870", "+878", "+881", "+882", "+883", "+979")
"""Premium, shared-cost and satellite ranges: the prefix that allows one must be at least as long as it is."""
_ABROAD = ("+", "00", "011", "")
"""What goes before a country code: as it should be, in most of the world, in North America, and left out."""
_EXTENSION_DIGITS = 7
"""Nothing so short has a country code in it."""


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
        return not self.patterns or any(matches(called, pattern) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where calls may go: prefixes of numbers (`+49`, `+4930`, or an extension's `2`), and hosts (`@pbx.example.net`)
    for SIP addresses. Nothing else, and what is dear only by a prefix that says so (see `DEAR`).

    Raises `ValueError` for an entry that is neither.
    """

    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.allowed:
            if not (_DOMAIN.fullmatch(entry.lower()) or _PREFIX.fullmatch(spaceless(entry))):
                raise ValueError(f"{entry!r}: the beginning of a number like +49, or @host for SIP addresses")

    def admit(self, target: str) -> str:
        """The target as the trunk is to dial it: a bare number, or `sip:user@host`. Raises `DestinationRefused`."""
        number = spaceless(target.strip().removeprefix("tel:"))
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
        prefixes = [spaceless(entry) for entry in self.allowed if not entry.startswith("@")]
        matching = [prefix for prefix in prefixes if number.startswith(prefix)]
        if not matching:
            raise DestinationRefused("its prefix is not among the allowed destinations")
        longest = max(map(len, matching))
        if any(longest < dear for dear in _dear(number)):
            raise DestinationRefused("a premium or satellite number, which only a prefix of its own allows")
        return number


def masked(party: str) -> str:
    """A number or address as logs may show it: its last two characters."""
    return f"…{party[-2:]}" if len(party) > 4 else "…"


def _dear(number: str) -> Iterator[int]:
    """How many of its characters say that a number is dear, however its trunk may read it."""
    for abroad in _ABROAD:
        if number.startswith(abroad) and (abroad or len(number) > _EXTENSION_DIGITS):
            international = "+" + number[len(abroad) :]
            yield from (len(abroad) + len(dear) - 1 for dear in DEAR if international.startswith(dear))
