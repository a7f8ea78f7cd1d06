"""Custody of calls: taking them over from whoever has them, and leaving them to others.

A neighbour on this machine hands a call over; of others the store tells: a living owner is asked to leave it, a dead
one is not waited for, of one that nobody knows the lease has to run out. Then the call's journal is folded, and its
session goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

import structlog

from app.calls.books import Books, Left
from app.calls.directory import Directory
from app.calls.errors import TokenRejected
from app.calls.journal import CallTakenOver, JournalEvent, LegAttached
from app.calls.messages import Answer, GiveBack, GiveUp, HandedOver, HandOver, Inquire, Known, encode
from app.calls.neighbours import Neighbours
from app.calls.ownership import Ownership
from app.calls.recovery import RecoverySettings
from app.calls.store.base import HeldLease, Lease
from app.calls.store.errors import CallOver, JournalUnreadable, LeaseHeld, StoreError
from app.conversation.memory import SessionMemory, fold
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.conversation.state import Phase

log = structlog.get_logger()

_MESSAGE_TTL_S = 10.0
_ASK_AGAIN_S = 0.02
_ABANDONED = "nobody carried it"
_TRIES = 2
"""So often is an abandoned call taken for which no stream comes: the first to try may have died himself."""
_GIVEN_BACK_S = 1.0
"""Whoever has a call that he has no line for gives it back within that time."""
_IDLE = (Phase.NEW, Phase.SUSPENDED)
_ON_THE_LINE = (Phase.LIVE, Phase.HELD)


class Others(Protocol):
    """This process among others (`app.calls.processes.OwnProcess`)."""

    @property
    def name(self) -> str: ...

    def outlived(self, owner: str) -> bool:
        """That process is dead for sure."""
        ...


class Custody:
    """Which calls are this process's."""

    def __init__(
        self,
        directory: Directory,
        services: Services,
        books: Books,
        others: Others,
        neighbours: Neighbours,
        settings: RecoverySettings,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`others` tells this process from the others, of which `neighbours` are asked without the store; `spawn` has
        something done as a task of this process, while it is not `closing`."""
        self.directory = directory
        self._services = services
        self._clock = services.clock
        self._store, self._writer, self._archive = books.store, books.writer, books.archive
        self._others = others
        self._owner = others.name
        self._neighbours = neighbours
        self._settings = settings
        self.ownership = Ownership(
            books.store,
            services.clock,
            services.tenure,
            lease_s=settings.lease_s,
            leases=books.writer.leases,
            lost=self.lose,
            forgotten=books.writer.rewrite,
        )
        self.closing = False
        """No more tasks are taken."""
        self._spawn = spawn
        self._contested: set[str] = set()
        """Calls with a line here that somebody else has taken, and that are asked for again."""
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    # taking over

    async def take_over(self, call_id: str, reason: str) -> None:
        """Carry this call from now on. Raises `TokenRejected` when it is over, or cannot be had in time."""
        try:
            async with self.taking(call_id):
                if self.directory.find(call_id) is not None or await self._handed_over(call_id, reason):
                    return
                lease = await self.wrest(call_id)
                if not await self.adopted(lease, reason):
                    await self._release(lease)
                    raise TokenRejected("of a call that nobody knows")
        except CallOver:
            raise TokenRejected("of a call that is over") from None
        except StoreError as error:
            log.warning("call not taken over", call_id=call_id, because=str(error))
            raise TokenRejected("of a call that cannot be had") from error

    @asynccontextmanager
    async def taking(self, call_id: str) -> AsyncIterator[None]:
        """One at a time for each call: its stream, its webhook and the search for lost calls may want it at once."""
        lock, waiting = self._locks.get(call_id, (asyncio.Lock(), 0))
        self._locks[call_id] = lock, waiting + 1
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(call_id)
            if waiting > 1:
                self._locks[call_id] = lock, waiting - 1

    async def _handed_over(self, call_id: str, reason: str) -> bool:
        """A neighbour has left it to us. Raises `TokenRejected` if it is over."""
        answer = await self._neighbours.ask(HandOver(call_id, reason))
        if isinstance(answer, Known):
            raise TokenRejected("of a call that is over")
        if answer is None:
            return False
        await self._clock.sleep_until(self._clock.now())  # its task begins
        return True

    async def wrest(self, call_id: str, ask: type[GiveUp | GiveBack] = GiveUp) -> Lease:
        """The call's lease, from whoever holds it. `ask`: him to give up the call, or to give it back."""
        patience_s = self._settings.take_over_s if ask is GiveUp else _GIVEN_BACK_S
        deadline = self._clock.now() + patience_s
        asked: int | None = None
        over: int | None = None
        while True:
            try:
                return await self.claim(call_id, over=over)
            except LeaseHeld as held:
                if self._clock.now() >= deadline:
                    raise
                if self._others.outlived(held.owner):
                    over = held.fence
                    continue
                if asked != held.fence:
                    asked = held.fence
                    await self._store.post(held.owner, encode(ask(call_id, held.fence)), _MESSAGE_TTL_S)
                await self._clock.sleep_until(self._clock.now() + _ASK_AGAIN_S)

    async def claim(self, call_id: str, *, over: int | None = None) -> Lease:
        return await self._store.acquire(call_id, self._owner, self._settings.lease_s, over=over)

    async def adopted(
        self, lease: Lease, reason: str, known: Sequence[JournalEvent] = (), *, perhaps_elsewhere: bool = False
    ) -> bool:
        """Fold what is stored of a call, of which the first events are `known`, and go on from there. False: nothing
        is, and the lease is there for a call that begins, or to be released. Raises `StoreError`, having released it.
        """
        try:
            events = [*known, *await self._archive.events(lease.call_id, len(known) - 1)]
        except StoreError:
            await self._release(lease)
            raise
        session = self._adopt(events, reason, lease, Left(len(events)))
        if session is None:
            return False
        session.perhaps_elsewhere = perhaps_elsewhere
        await self._clock.sleep_until(self._clock.now())  # its task begins
        self._end_if_over(session, session.record.memory)
        return True

    def _adopt(
        self, events: Sequence[JournalEvent], reason: str, lease: Lease | None, left: Left
    ) -> CallSession | None:
        """Go on with a call from its journal; None: there is no call in it."""
        memory = fold(events)
        offered = memory.offered
        if offered is None or memory.answered is None:
            return None
        carrier = memory.answered.carrier
        services = self._services
        if carrier in self._settings.grace_s:
            services = replace(services, manners=replace(services.manners, grace_s=self._settings.grace_s[carrier]))
        session = CallSession(carrier, offered, services, events)
        self.directory.adopt(session, lease, left)
        fence = lease.fence if lease is not None else left.above + 1
        session.record.add(CallTakenOver(session.record.at(), self._owner, fence, reason))
        return session

    @staticmethod
    def _end_if_over(session: CallSession, memory: SessionMemory) -> None:
        """Whoever hung up or transferred the call did not live to see the carrier confirm it."""
        if memory.phase in (Phase.ENDING, Phase.TRANSFERRING):
            session.end("transferred" if memory.phase is Phase.TRANSFERRING else "agent ended the call")

    async def take_abandoned(self, held: HeldLease) -> bool:
        """The owner by this lease is gone, and nobody asks for his call; once it is ours it counts as one whose stream
        is lost. Unless the owner is dead for sure, he may be cut off from the store and have the caller on the line:
        then a call for which no stream comes is not ended, but left again (`CallSession.unwanted`). Who finds it when
        it has lasted longer than any call may ends it.

        False: there is no call that could go on in what is stored, or it cannot be read, or it was tried often enough.
        Then it is not claimed: its owner may be alive, and have stored nothing yet; if he is not, the lease grows old,
        and the store forgets it.
        """
        call_id = held.lease.call_id
        try:
            async with self.taking(call_id):
                if self.directory.find(call_id) is None and await self._neighbours.ask(Inquire(call_id)) is None:
                    events = await self._archive.events(call_id)
                    memory = fold(events)
                    over = memory.at - held.remaining_s > self._services.manners.limit_s
                    if memory.answered is None or (_tried(events) >= _TRIES and not over):
                        return False
                    dead = over or self._others.outlived(held.lease.owner)
                    lease = await self.claim(call_id)
                    if not await self.adopted(lease, _ABANDONED, events, perhaps_elsewhere=not dead):
                        await self._release(lease)
        except JournalUnreadable as error:
            log.warning("abandoned call cannot be read", call_id=call_id, because=str(error))
            return False
        except StoreError as error:
            log.info("abandoned call not taken", call_id=call_id, because=str(error))
        return True

    # giving up

    async def hand_over(self, call_id: str, *, if_idle: bool = False) -> bool:
        """Leave a call to whoever the carrier reaches next; `if_idle`: only if it has no line here. False: it is still
        here, for that, or because the store does not take what there is to know of it."""
        async with self.taking(call_id):  # it may come back at once, and then it is not to be let go again
            session = self.directory.find(call_id)
            if session is None:
                return True
            if self._writer.away or (if_idle and session.state.phase not in _IDLE):
                return False
            await self.directory.leave(call_id)
            if not await self._writer.settle(call_id):
                self._keep(session)
                return False
            lease = self._writer.forget(call_id)
            if lease is not None:
                await self._release(lease)
            return True

    def _keep(self, session: CallSession) -> None:
        """A call that was left, and that nobody can have."""
        left = self._writer.leave(session.call_id)
        if left is not None:
            self.carry_on(_journal(session), left, "the store did not take it")

    async def _release(self, lease: Lease) -> None:
        try:
            await self.ownership.release(lease)
        except StoreError as error:  # it will run out
            log.warning("lease not released", call_id=lease.call_id, because=str(error))

    def lose(self, call_id: str) -> None:
        """Somebody else carries the call: not a sound more of it from here, unless he gives it back because the
        caller is here."""
        if call_id in self._contested:
            return
        session, left = self.directory.find(call_id), self._writer.leave(call_id)
        if session is None or left is None or session.state.phase not in _ON_THE_LINE or self.closing:
            self.directory.lose(call_id)
            return
        session.mute(True)
        self._contested.add(call_id)
        self._spawn(self._ask_back(session, left))

    async def _ask_back(self, session: CallSession, left: Left) -> None:
        """Go on with a call that was lost, if whoever has it has no line; else leave it."""
        call_id, journal = session.call_id, session.record.journal
        news: list[JournalEvent] = []
        stop = journal.listen(news.append)
        try:
            async with self.taking(call_id):
                lease = await self.wrest(call_id, GiveBack)
                try:
                    stored = await self._archive.events(call_id, left.stored - 1)
                except StoreError:
                    await self._release(lease)
                    raise
                stop()
                self._go_on(session, lease, left, stored, news)
        except StoreError as error:
            log.warning("call not given back", call_id=call_id, because=str(error))
            if self.directory.find(call_id) is session:
                self.directory.lose(call_id)
        finally:
            stop()
            self._contested.discard(call_id)

    def _go_on(
        self,
        session: CallSession,
        lease: Lease,
        left: Left,
        stored: Sequence[JournalEvent],
        news: Sequence[JournalEvent],
    ) -> None:
        """`stored` is what the store has beyond what it had for sure when the call was `left`; `news` came since."""
        log.info("call given back", call_id=session.call_id)
        waiting = left.waiting[_common(left.waiting, stored) :]
        written_on = Left(left.stored + len(stored), (*waiting, *news), lease.fence)
        self._writer.begin(session, session.record.journal, lease, left=written_on)
        if session.state.phase is Phase.ENDED:  # meanwhile; that is written too
            return
        stream_id = session.record.memory.stream_id
        session.record.add(CallTakenOver(session.record.at(), self._owner, lease.fence, "its caller is here"))
        if stream_id:
            session.record.add(LegAttached(session.record.at(), stream_id))
        session.mute(False)

    async def drain(self, within_s: float, impatient: Callable[[], bool], *, successor: bool) -> None:
        """Take no new calls and let the live ones end; then hand them over one by one, if there is a `successor`. Calls
        whose line ends here are said goodbye to."""
        await self.directory.drain(within_s, impatient)
        if successor:
            here = [session.call_id for session in self.directory.sessions() if session.handover.far_end is None]
            await self._leave_to_neighbours([call_id for call_id in here if not await self.hand_over(call_id)])
        await self.directory.dismiss(impatient)

    async def _leave_to_neighbours(self, call_ids: Iterable[str]) -> None:
        """Without the store a call is ours until a neighbour asks for it: when its stream lands there."""
        waiting = set(call_ids)
        for call_id in waiting:
            if (session := self.directory.find(call_id)) is not None:
                session.hang_up_stream()
        deadline = self._clock.now() + self._settings.take_over_s
        while any(map(self.directory.find, waiting)) and self._clock.now() < deadline:
            await self._clock.sleep_until(self._clock.now() + _ASK_AGAIN_S)

    # neighbours

    def leave_to_neighbour(self, call_id: str) -> Answer | None:
        """Not a sound more of it from here."""
        session, known = self.directory.find(call_id), self.directory.standing(call_id)
        if session is None or known is None or not known.live:
            return known
        if session.handover.far_end is not None or call_id in self._contested:  # its line ends here, or it is not ours
            return None
        self.directory.lose(call_id)
        left = self._writer.leave(call_id)
        assert left is not None, "because: journals of live calls are written"
        return HandedOver.of(call_id, _journal(session), left)

    def carry_on(self, events: Sequence[JournalEvent], left: Left, reason: str) -> None:
        """A neighbour's call is ours from now on, and with it to get a lease."""
        self._adopt(events, reason, None, left)


def _tried(events: Sequence[JournalEvent]) -> int:
    """How often in a row an abandoned call was taken, and no stream came."""
    tried = 0
    for event in events:
        match event:
            case CallTakenOver(reason=reason) if reason == _ABANDONED:
                tried += 1
            case CallTakenOver() | LegAttached():
                tried = 0
            case _:
                pass
    return tried


def _common(waiting: Sequence[JournalEvent], stored: Sequence[JournalEvent]) -> int:
    """How many of the events that were waiting are the first that were stored, perhaps masked."""
    count = 0
    for ours, theirs in zip(waiting, stored, strict=False):
        if type(ours) is not type(theirs) or ours.at != theirs.at:
            break
        count += 1
    return count


def _journal(session: CallSession) -> Sequence[JournalEvent]:
    """All that is known of a call, from which another session can go on."""
    return (*session.record.journal.events, *session.record.memory.passing())
