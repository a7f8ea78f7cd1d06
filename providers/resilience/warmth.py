"""Connections before they are needed, and keys before the first call."""

from typing import Any, Protocol, runtime_checkable

from providers.base import Warmable
from providers.errors import ProviderError, ProviderMisconfigured
from providers.resilience.roster import Member, Roster
from telephony.tasks import TaskGroup


@runtime_checkable
class Chain(Protocol):
    """Providers of a kind as one."""

    roster: Roster[Any]


async def try_all(chain: Chain) -> list[ProviderError]:
    """Warm every member, at once. Answers who cannot be reached, of which his breaker knows now too; raises
    `ProviderMisconfigured` if one refuses his key, however many others there are."""
    async with TaskGroup() as tasks:
        trials = [tasks.create_task(_try(chain.roster, member)) for member in chain.roster.members]
    failures = [failure for trial in trials if (failure := trial.result()) is not None]
    for failure in failures:
        if isinstance(failure, ProviderMisconfigured):
            raise failure
    return failures


async def warm(chain: Chain) -> None:
    """Warm whoever would be asked now. What goes wrong is his breaker's business, and the first request's."""
    await _try(chain.roster, chain.roster.order()[0])


async def _try(roster: Roster[Any], member: Member[Any]) -> ProviderError | None:
    if not isinstance(member.provider, Warmable):
        return None
    trial = roster.begin(member)
    try:
        await member.provider.warm()
    except ProviderError as failure:
        trial.failed(failure)
        return failure
    finally:
        trial.abandoned()
    return None
