"""Which calls are let in. Sans I/O: told the time and the call, it says yes or why not, before anything is opened.

That a call comes from a trunk of ours, and not from a stranger, the endpoint has seen to already.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from app.sip import causes
from app.sip.numbers import Numbers
from telephony.sip.events import Cause, Invitation

_SOURCES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not let in: `reason` is a metric label, `cause` is for the peer."""

    reason: str
    cause: Cause
    retry_after_s: int | None = None


class Rate:
    """At most so many a second for each key, over any stretch of time: a bucket that holds one second's worth.

    Bounded: of more than 1,000 keys those are forgotten that were quiet longest.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._capacity = max(1.0, per_s)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, key: str, now: float) -> bool:
        """One more of this key, if that is not too many."""
        left, at = self._buckets.pop(key, (self._capacity, now))
        left = min(self._capacity, left + (now - at) * self._per_s)
        admitted = left >= 1.0
        self._buckets[key] = (left - 1.0 if admitted else left, now)
        if len(self._buckets) > _SOURCES_KEPT:
            self._buckets.popitem(last=False)
        return admitted


class Admission:
    """Lets calls in by the number called, by their rate, and by how many there are from one source."""

    def __init__(self, numbers: Mapping[str, Numbers], *, per_s: float, per_source: int) -> None:
        """`numbers` by trunk; `per_s` and `per_source` hold for each address. `per_source` 0: any number at once."""
        self._numbers = numbers
        self._rate = Rate(per_s)
        self._per_source = per_source
        self._live: dict[str, int] = {}

    def refuse(self, invitation: Invitation, now: float) -> Refusal | None:
        """Why this call cannot come in; None: it can, and counts as live until `leave`."""
        source = host_of(invitation.source)
        if not self._rate.admit(source, now):
            return Refusal("rate", causes.MANY, retry_after_s=1)
        if invitation.called not in self._numbers[invitation.trunk]:
            return Refusal("number", causes.UNKNOWN_NUMBER)
        live = self._live.get(source, 0)
        if self._per_source and live >= self._per_source:
            return Refusal("source", causes.MANY, retry_after_s=30)
        self._live[source] = live + 1
        return None

    def leave(self, invitation: Invitation) -> None:
        """A call that was let in is over."""
        source = host_of(invitation.source)
        self._live[source] -= 1
        if not self._live[source]:
            del self._live[source]


def host_of(source: str) -> str:
    """The address of `address:port`; an IPv6 one may stand in brackets."""
    host, colon, port = source.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        return source.strip("[]")
    return host.strip("[]")
