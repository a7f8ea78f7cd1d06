"""Whether a recogniser still works: what it owes for the voice that it was sent. Does no I/O.

A stream that has stalled looks like a caller who says nothing, until a turn is over and its words are asked for, which
is late. One that tells how far it has come (`AudioReached`) is held to it: voice was sent, and no sign of life came.
"""

from collections import deque

_SLACK = 1.5
"""Signs come at a vendor's own pace; one that takes so many times as long as usual is overdue."""
_SIGNS = 4
"""So many make a pace."""
_REMEMBERED = 8


class Pulse:
    """One recogniser at work, from its connection on. `tells`: it is known to tell how far it has come."""

    def __init__(self, gap_s: float, now: float, *, tells: bool) -> None:
        self.tells = tells
        self._gap_s = gap_s
        self._seen_at = now
        self._owed_since: float | None = None
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def owing(self) -> bool:
        """Voice was sent, and no sign has come since: more voice changes nothing."""
        return self._owed_since is not None

    def voice(self, now: float) -> bool:
        """Voice was sent. True: a sign is owed from now on."""
        if self.owing:
            return False
        self._owed_since = now
        return self.tells

    def sign(self, now: float) -> None:
        """Something came of it."""
        self._intervals.append(now - self._seen_at)
        self._seen_at, self._owed_since = now, None

    @property
    def patience_s(self) -> float:
        """How long a sign may take: the gap deadline, somewhat more for a vendor whose pace is slow, or not known."""
        known = len(self._intervals) >= _SIGNS
        usual_s = max(self._intervals) if known else self._gap_s
        return min(max(self._gap_s, _SLACK * usual_s), _SLACK * self._gap_s)

    def due(self) -> float | None:
        """When it will have stalled; None: it owes nothing."""
        if not self.tells or self._owed_since is None:
            return None
        return self._owed_since + self.patience_s
