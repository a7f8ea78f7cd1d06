"""The providers of one kind, in order of preference, each with its breaker: shared by all calls of the process."""

from collections.abc import Collection, Sequence
from typing import Generic, Protocol, TypeVar

from providers.base import Instruments
from providers.errors import ProviderError, ProviderRateLimited
from providers.resilience.breaker import BreakerState, CircuitBreaker
from telephony.clock import Clock

_LEVELS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class Named(Protocol):
    """Any provider."""

    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=Named)


class Member(Generic[P]):
    """A provider and its health."""

    def __init__(self, provider: P, breaker: CircuitBreaker) -> None:
        self.provider = provider
        self.name = provider.name
        self.breaker = breaker
        self.tells_connection = False
        """It has told before that it was connected, so it is expected to tell."""


class Trial(Generic[P]):
    """One attempt of a member, whose outcome the breaker hears once, whatever is said more often."""

    def __init__(self, roster: "Roster[P]", member: Member[P], *, probe: bool) -> None:
        self.member = member
        self._roster = roster
        self._probe = probe
        self._open = True

    def succeeded(self) -> None:
        """It served, to its end or until nobody listened any more."""
        if self._open:
            self._open = False
            self.member.breaker.succeeded(self._roster.clock.now(), probe=self._probe)
            self._roster.show(self.member)

    def failed(self, error: ProviderError) -> None:
        """It did not serve, or broke off, or was too slow."""
        if self._open:
            self._open = False
            retry_after_s = error.retry_after_s if isinstance(error, ProviderRateLimited) else None
            self.member.breaker.failed(self._roster.clock.now(), probe=self._probe, retry_after_s=retry_after_s)
            self._roster.failed(self.member, error)

    def refused(self, error: ProviderError) -> None:
        """It did not serve this one request, which says nothing about others."""
        if self._open:
            self.abandoned()
            self._roster.failed(self.member, error)

    def abandoned(self) -> None:
        """Nobody waited for it."""
        if self._open:
            self._open = False
            self.member.breaker.abandoned(probe=self._probe)


class Roster(Generic[P]):
    """Who is to be asked. `kind` is `stt`, `llm` or `tts`."""

    def __init__(self, kind: str, providers: Sequence[P], clock: Clock, instruments: Instruments) -> None:
        self.kind = kind
        self.clock = clock
        self.instruments = instruments
        self.members = tuple(Member(provider, CircuitBreaker()) for provider in providers)
        for member in self.members:
            self._tell(member, BreakerState.CLOSED)

    @property
    def name(self) -> str:
        """The members' names, as in the setting."""
        return ",".join(member.name for member in self.members)

    def order(self) -> list[Member[P]]:
        """All members: those in health as listed, then the others, the one first that will be asked soonest."""
        now = self.clock.now()
        return sorted(self.members, key=lambda member: 0.0 if member.breaker.admits(now) else _after(member, now))

    def next(self, asked: Collection[Member[P]], avoided: Collection[Member[P]] = ()) -> Member[P] | None:
        """The best member that is not `avoided`: one `asked` less often before one asked more often, where ill health
        counts as having been asked once. None if all are avoided."""
        now = self.clock.now()
        asked = list(asked)
        able = [member for member in self.order() if member not in avoided]
        return min(able, key=lambda member: asked.count(member) + (not member.breaker.admits(now)), default=None)

    def begin(self, member: Member[P]) -> Trial[P]:
        """The member is asked now; tell the trial how it ended."""
        trial = Trial(self, member, probe=member.breaker.begin(self.clock.now()))
        self.show(member)
        return trial

    def count(self, name: str, member: Member[P], **labels: str) -> None:
        """One more of `name` for a member."""
        self.instruments.count(name, kind=self.kind, provider=member.name, **labels)

    def failed(self, member: Member[P], error: ProviderError) -> None:
        """Count a failed attempt."""
        self.count("provider_failures", member, error=type(error).__name__)
        self.show(member)

    def show(self, member: Member[P]) -> None:
        """Tell the breaker's state to the instruments: 0 closed, 1 half-open, 2 open."""
        self._tell(member, member.breaker.state(self.clock.now()))

    def _tell(self, member: Member[P], state: BreakerState) -> None:
        self.instruments.level("provider_breaker", _LEVELS[state], kind=self.kind, provider=member.name)

    def health(self) -> dict[str, str]:
        """Each member's breaker, by name, as it is now."""
        now = self.clock.now()
        for member in self.members:
            self.show(member)
        return {member.name: member.breaker.state(now).value for member in self.members}


def _after(member: Member[P], now: float) -> float:
    return 1.0 + member.breaker.opens_at(now) - now
