"""Which calls this process owns: their leases are renewed here, and here it learns which it has lost.

The sound of all calls depends on it (`Tenure`): a process that was stopped for longer than its leases last falls
silent before it asks the store anything, because somebody else may speak by now. A store that cannot be reached takes
nothing from anybody: nobody else can take the calls over without it either, so they go on.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

import structlog

from app.calls.store.base import Lease, Leases
from app.calls.store.errors import FencedOff, StoreError
from telephony.clock import Clock

log = structlog.get_logger()

_RENEWALS_PER_LEASE = 5


@dataclass(slots=True)
class Tenure:
    """Until when this process may be sure to own its calls, on its clock. Read before every sound that leaves."""

    until: float = inf


class Ownership:
    """The leases of one process."""

    def __init__(
        self,
        store: Leases,
        clock: Clock,
        tenure: Tenure,
        *,
        lease_s: float,
        leases: Callable[[], Iterable[Lease]],
        lost: Callable[[str], None],
        forgotten: Callable[[str], None],
    ) -> None:
        """`leases` tells what is to be renewed; `lost` is told, synchronously, of each call with a newer owner, and
        `forgotten` of each that the store does not know as ours any more."""
        self._store = store
        self._clock = clock
        self._tenure = tenure
        self._lease_s = lease_s
        self._leases = leases
        self._lost = lost
        self._forgotten = forgotten
        self._asking = asyncio.Lock()

    async def run(self) -> None:
        """Renew, until cancelled."""
        away = False
        while True:
            began = self._clock.now()
            try:
                await self._renew()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("leases not renewed", because=str(error))
                away = True
            self._tenure.until = began + self._lease_s
            await self._clock.sleep_until(began + self._lease_s / _RENEWALS_PER_LEASE)

    async def release(self, lease: Lease) -> None:
        """Give a call up that is not among the `leases` any more. Not while they are renewed: what is renewed after it
        was given up is ours again. Raises `StoreError`."""
        async with self._asking:
            await self._store.release(lease)

    async def _renew(self) -> None:
        async with self._asking:
            leases = tuple(self._leases())
            refused = await self._store.renew(leases, self._lease_s) if leases else ()
        renewed = {lease.call_id: lease for lease in leases}
        for refusal in refused:
            if renewed[refusal.call_id] not in self._leases():  # it was left meanwhile, and perhaps came back
                continue
            if isinstance(refusal, FencedOff):
                log.warning("call lost to another process", call_id=refusal.call_id)
                self._lost(refusal.call_id)
            else:
                self._forgotten(refusal.call_id)
