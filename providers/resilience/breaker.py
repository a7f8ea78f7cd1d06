"""A circuit breaker: keeps calls away from a sick vendor, and finds out when it is well again. Does no I/O.

closed ──(failures, most of them, within the window)──► open ──(rest is over)──► half-open ──(probe served)──► closed
                                                         ▲                          │
                                                         └──────(probe failed, rest doubles)
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether a vendor is asked: `closed` is healthy, as in an electric circuit."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When it opens, and for how long."""

    failures: int = 3
    """So many within the window, at least ..."""
    share: float = 0.5
    """... and at least this share of all outcomes within it."""
    window_s: float = 30.0
    rest_s: float = 5.0
    """After the first opening; doubled by each probe that fails."""
    longest_rest_s: float = 60.0
    """However often a probe fails, and whatever the vendor asks for."""
    outcomes: int = 100
    """Outcomes remembered at most."""


class CircuitBreaker:
    """One vendor's health. Every `begin` is followed by exactly one of `succeeded`, `failed` and `abandoned`, in any
    order among attempts that overlap; `now` never falls."""

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=self.settings.outcomes)
        self._opened = False
        self._rest_s = self.settings.rest_s
        self._resting_until = 0.0
        self._probes = 0
        self._asked_off_until = float("-inf")

    def state(self, now: float) -> BreakerState:
        """Half-open from the end of the rest until a probe has told."""
        if now < self._asked_off_until:
            return BreakerState.OPEN
        if not self._opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._resting_until else BreakerState.HALF_OPEN

    def admits(self, now: float) -> bool:
        """New attempts are welcome; a half-open breaker lets one through at a time."""
        state = self.state(now)
        return state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not self._probes)

    def opens_at(self, now: float) -> float:
        """When it will admit again, as far as is known; `now` if it does already."""
        resting_until = self._resting_until if self._opened else now
        return max(now, resting_until, self._asked_off_until)

    def asked_off_s(self, now: float) -> float:
        """How much longer the vendor wants to be left alone."""
        return max(0.0, self._asked_off_until - now)

    def begin(self, now: float) -> bool:
        """Somebody is asked, admitted or not. True: it is a probe; say so to the outcome."""
        probe = self.state(now) is BreakerState.HALF_OPEN
        self._probes += probe
        return probe

    def succeeded(self, now: float, *, probe: bool = False) -> None:
        """An attempt was served. Whoever serves is well, whether it was meant as a probe or not."""
        self._probes -= probe
        self._outcomes.append((now, True))
        if self._opened:
            self._opened = False
            self._outcomes.clear()
            self._rest_s = self.settings.rest_s

    def failed(self, now: float, *, probe: bool = False, retry_after_s: float | None = None) -> None:
        """An attempt failed; `retry_after_s` is how long the vendor asked to be left alone."""
        self._probes -= probe
        self._outcomes.append((now, False))
        if retry_after_s is not None:
            asked_off_s = min(retry_after_s, self.settings.longest_rest_s)
            self._asked_off_until = max(self._asked_off_until, now + asked_off_s)
        if probe and self._opened:
            self._rest_s = min(2 * self._rest_s, self.settings.longest_rest_s)
            self._resting_until = max(self._resting_until, now + self._rest_s)
        elif not self._opened and self._is_sick(now):
            self._opened = True
            self._resting_until = now + self._rest_s

    def abandoned(self, *, probe: bool = False) -> None:
        """Nobody waited for the outcome: it says nothing."""
        self._probes -= probe

    def _is_sick(self, now: float) -> bool:
        recent = [served for at, served in self._outcomes if at > now - self.settings.window_s]
        failures = recent.count(False)
        return failures >= self.settings.failures and failures >= self.settings.share * len(recent)
