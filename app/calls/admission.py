"""Who may still come in: a process that has enough to do sends new calls elsewhere, and keeps well those it has.

Two limits: the number of calls, and how late the event loop runs, which is what all calls feel at once. The lag is
smoothed over a few seconds; it counts at once when it is bad, and a new call has to wait until it has been good for a
while, so that admission does not flutter.
"""

from telephony.carrier import Decision, Dial, HangUp, Redirect

_FADES_BY = 0.8
"""Of the lag that was, with each observation that is better: half of it is left after three."""


class Admission:
    """The limits of one process. Sans I/O."""

    def __init__(self, max_calls: int, max_lag_s: float = 0.25, overflow: str = "") -> None:
        """`overflow`: where to send whom we cannot take: the voice webhook of another bridge (`https://…`), a number or
        SIP address, or empty: nowhere, the caller hears that all lines are busy."""
        self._max_calls = max_calls
        self._max_lag_s = max_lag_s
        self._overflow = overflow
        self.lag_s = 0.0
        """How late the event loop runs, smoothed."""

    def lagged(self, late_s: float) -> None:
        """The event loop was found to run so late."""
        self.lag_s = max(late_s, self.lag_s * _FADES_BY)

    def refuses(self, calls: int) -> str | None:
        """Why a process with so many calls takes no more; None: it takes one."""
        if calls >= self._max_calls:
            return "busy"
        return "overloaded" if self.lag_s > self._max_lag_s else None

    def elsewhere(self, busy: str) -> Decision:
        """What to tell the carrier; `busy` is the text for a caller who has nowhere to go."""
        if not self._overflow:
            return HangUp(busy)
        if self._overflow.startswith(("https://", "http://")):
            return Redirect(self._overflow)
        return Dial(self._overflow)
