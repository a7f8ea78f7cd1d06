"""Calls whose caller is on the line with nobody at the other end, and for which no carrier asks.

Two kinds. A call of ours whose stream is gone: usually the carrier asks at once what to do; one that does not (it has
not noticed, on a half-open connection) is told to. And a call whose process is gone: it is taken over, and is from then
on one of the first kind.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

import structlog

from app.calls.directory import Directory
from app.calls.recovery import RecoverySettings
from app.calls.store.base import HeldLease, Lease, Leases
from app.calls.store.errors import StoreError
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.conversation.state import Phase
from telephony.carrier import CallControl
from telephony.errors import CallGone, ControlRefused, ControlUnreachable
from telephony.tasks import TaskGroup

log = structlog.get_logger()

_WATCH_S = 0.25
_SWEEP_S = 1.0
_SWEPT_AT_ONCE = 100
_GHOST_AGAIN_S = 60.0
_SAME_S = 1.0
"""Two readings of when a lease ran out differ by less, however slow the store is."""
_RECALLS = 3
"""How often a carrier is told to bring one call back."""


class Custody(Protocol):
    """Which calls are this process's (`app.calls.custody`)."""

    async def take_abandoned(self, held: HeldLease) -> bool:
        """Make a call one of ours whose owner seems to be gone; False: there is nothing to take now."""
        ...

    async def hand_over(self, call_id: str, *, if_idle: bool = False) -> bool:
        """Leave a call to whoever wants it; `if_idle`: only if it has no line here. False: it is still here."""
        ...


class LostCalls:
    """Looks after them."""

    def __init__(
        self,
        directory: Directory,
        services: Services,
        store: Leases,
        controls: Mapping[str, CallControl],
        settings: RecoverySettings,
        custody: Custody,
    ) -> None:
        self._directory = directory
        self._clock = services.clock
        self._counters = services.counters
        self._store = store
        self._controls = controls
        self._recall_s = settings.recall_s
        self._lease_s = settings.lease_s
        self._custody = custody
        self._lost: dict[str, tuple[float, int]] = {}  # since when, and how often the carrier was told
        self._ghosts: dict[Lease, tuple[float, float]] = {}  # when it ran out, and when it is to be looked at again

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._sweep())
            while True:
                now = self._clock.now()
                self._recall_all(self._due(now), group)
                await self._clock.sleep_until(now + _WATCH_S)

    def _recall_all(self, due: list[CallSession], group: TaskGroup) -> None:
        for session in due:
            group.create_task(self._recall(session))

    def _due(self, now: float) -> list[CallSession]:
        """Calls that their carrier is to be told of now."""
        suspended = {s.call_id: s for s in self._directory.sessions() if s.state.phase is Phase.SUSPENDED}
        self._lost = {call_id: seen for call_id, seen in self._lost.items() if call_id in suspended}
        due = []
        for call_id, session in suspended.items():
            since, told = self._lost.setdefault(call_id, (now, 0))
            if now - since >= self._recall_s and told < _RECALLS and session.carrier in self._controls:
                self._lost[call_id] = (now, told + 1)
                due.append(session)
        return due

    async def _recall(self, session: CallSession) -> None:
        """Tell the carrier to ask us about this call."""
        outcome = "asked"
        try:
            url = self._directory.after_url(session.carrier)
            await self._controls[session.carrier].redirect(session.call_id, url)
            if session.perhaps_elsewhere:  # once is enough to learn where its caller is
                self._lost[session.call_id] = (self._clock.now(), _RECALLS)
        except CallGone:
            outcome = "gone"
            session.caller_gone("gone")
        except (ControlUnreachable, ControlRefused) as error:
            outcome = "failed"
            log.warning("call not recalled", call_id=session.call_id, because=str(error))
        self._counters.count("calls_recalled", outcome=outcome)

    async def _sweep(self) -> None:
        """While the store is away all leases run out; the living have to renew theirs before anybody else is presumed
        dead. Who takes no calls any more takes none of these: it may have handed them over itself."""
        store_back = -inf
        while self._directory.accepting:
            await self._clock.sleep_until(self._clock.now() + _SWEEP_S)
            for session in self._directory.sessions():
                if session.unwanted:
                    await self._custody.hand_over(session.call_id, if_idle=True)
            try:
                abandoned = await self._store.abandoned(_SWEPT_AT_ONCE + len(self._ghosts))
            except StoreError:
                store_back = self._clock.now()
                continue  # said by those who need it more
            now = self._clock.now()
            if now - store_back > self._lease_s:
                for held in self._without_ghosts(abandoned, now):
                    await self._rescue(held, now)

    def _without_ghosts(self, abandoned: Sequence[HeldLease], now: float) -> list[HeldLease]:
        """Those that may be calls: not held up by leases without a call, which are looked at again last and seldom, or
        when they have been renewed meanwhile."""
        known = self._ghosts
        ran_out = {held.lease: now + held.remaining_s for held in abandoned}
        self._ghosts = {
            lease: known[lease]
            for lease, at in ran_out.items()
            if lease in known and abs(known[lease][0] - at) < _SAME_S
        }
        due = [held for held in abandoned if self._ghosts.get(held.lease, (0.0, now))[1] <= now]
        return sorted(due, key=lambda held: held.lease in self._ghosts)

    async def _rescue(self, held: HeldLease, now: float) -> None:
        call_id = held.lease.call_id
        wanted = self._directory.accepting and self._directory.find(call_id) is None
        if -held.remaining_s < self._recall_s or not wanted:
            return
        if not await self._custody.take_abandoned(held):
            self._ghosts[held.lease] = (now + held.remaining_s, now + _GHOST_AGAIN_S)
