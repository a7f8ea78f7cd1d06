"""Callers who dial again: a call whose line died with its process goes on when its caller is back.

A carrier of websockets brings a lost call back by itself. Where the line *is* the process (a SIP dialog), only the
caller can: when he dials the same number again within the time that his call waits, he gets the conversation that he
lost.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from app.calls.archive import CallArchive, CallCard
from app.calls.errors import TokenRejected
from app.calls.store.base import CallStore
from app.calls.store.errors import StoreError
from app.calls.switchboard import Switchboard
from app.conversation.memory import fold
from app.conversation.session import CallSession
from app.conversation.state import Phase
from telephony.carrier import CallOffered
from telephony.clock import Clock

_LOOK_S = 0.03
"""For looking: a caller who was never here before must not wait for it."""
_CALLS_LOOKED_AT = 3

log = structlog.get_logger()


class LostCalls(Protocol):
    """Where a lost call is found again."""

    async def find(self, carrier: str, offered: CallOffered) -> str | None:
        """The lost call that this one goes on with; None: it is a new one. Answers in no time."""
        ...

    async def take(self, call_id: str) -> CallSession | None:
        """Carry the lost call from now on: its session, which waits for a leg; None: it cannot be had any more."""
        ...


class Returning:
    """`LostCalls` by the journals that processes share."""

    def __init__(
        self,
        switchboard: Switchboard,
        store: CallStore,
        archive: CallArchive,
        clock: Clock,
        *,
        outlived: Callable[[str], bool],
        within_s: float,
    ) -> None:
        """`outlived` knows of other processes whether they are dead for sure; `within_s` of its last sign of life a
        call is found."""
        self._switchboard = switchboard
        self._store = store
        self._archive = archive
        self._clock = clock
        self._outlived = outlived
        self._within_s = within_s

    async def find(self, carrier: str, offered: CallOffered) -> str | None:
        here = (s for s in self._switchboard.directory.sessions() if s.state.phase is Phase.SUSPENDED)
        for session in here:
            parties = (session.carrier, session.offered.caller, session.offered.called)
            if parties == (carrier, offered.caller, offered.called) and session.handover.far_end is None:
                return session.call_id
        try:
            async with asyncio.timeout(_LOOK_S):
                for card in await self._archive.calls_of(offered.caller, _CALLS_LOOKED_AT):
                    alike = (card.carrier, card.called, card.ended) == (carrier, offered.called, False)
                    if alike and await self._lost(card):
                        return card.call_id
        except (TimeoutError, StoreError) as error:
            log.info("whether the caller was here before is not known", because=str(error) or "too slow")
        return None

    async def _lost(self, card: CallCard) -> bool:
        """The call has no line: its process is dead, or has it from one that is."""
        memory = fold(await self._archive.events(card.call_id))
        if memory.answered is None:
            return False
        silent_s = (self._clock.today() - datetime.fromisoformat(card.answered_at)).total_seconds() - memory.at
        if silent_s > self._within_s:
            return False
        holder = await self._store.holder(card.call_id)
        if holder is None:
            return False
        dead = holder.remaining_s <= 0 or self._outlived(holder.lease.owner)
        return dead or not memory.stream_id

    async def take(self, call_id: str) -> CallSession | None:
        directory = self._switchboard.directory
        if directory.find(call_id) is None:
            try:
                await self._switchboard.custody.take_over(call_id, "its caller dialled again")
            except TokenRejected as rejected:
                log.info("lost call not taken up again", call_id=call_id, because=str(rejected))
        return directory.find(call_id)
