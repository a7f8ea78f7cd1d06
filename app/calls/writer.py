"""Journals on their way to the store: in order, off the audio path, and never in a call's way.

One task for all calls of a process. Several times a second it asks each call how far its reply is, and hands everything
that has happened since to the store in one go. A store that is slow or gone holds up nothing but this task: events wait
here, up to a bound for the process; beyond it a call's events are counted instead of kept, and when the store is back
its journal says how many are missing. A store that has forgotten a call, or the end of what it knew of it (Redis, that
came back empty or as it was before), is told all of it again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec
import structlog

from app.calls.archive import CallCard, card_place, entry_place
from app.calls.asking import Claim
from app.calls.books import Left
from app.calls.journal import (
    CallAnswered,
    CallBegun,
    CallEnded,
    CallerPartial,
    Journal,
    JournalEvent,
    JournalGap,
    ReplyHeard,
    encode,
    to_json,
)
from app.calls.redaction import Private, redacted
from app.calls.seal import Seal
from app.calls.store.base import Batch, CallStore, Lease
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld, StoreError
from telephony.clock import Clock

EVERY_S = 0.175
"""With the time of a write, a reply's position is known to 200 ms."""
_CAPACITY = 20_000
"""Events of a process that may wait for the store: about ten minutes of a hundred calls."""
_ENDED_WAITING = 1_000
"""Ended calls that may wait for it."""
_AT_ONCE = 500
"""Events of one call in one batch."""
_RETRY_S = (0.25, 2.0)
"""The first wait after a failure, and the longest: whose calls have no lease must be quicker than who looks for calls
that nobody carries (`app.calls.lost_calls`)."""
_SETTLE_S = 5.0
"""For which `settle` keeps its caller at most: more than any store's deadline."""
_PAUSE_S = 0.001
"""Between two rounds of storing what is asked for at once."""
_SWEEP_EVERY_S = 300.0
_SWEEP_ON_S = 2.0
"""After a sweep that left something."""

log = structlog.get_logger()


class Counters(Protocol):
    """Where failures are counted."""

    def count(self, name: str, **labels: str) -> None: ...


class Call(Protocol):
    """A call whose journal is written."""

    @property
    def call_id(self) -> str: ...

    def progress(self) -> None:
        """Journal how far the reply is."""
        ...


Lost = Callable[[str, StoreError], None]
"""Told that a call is not ours: `FencedOff`, `LeaseHeld` or `CallOver`. It must stop speaking at once. Who wants what
is not stored yet asks for it now (`leave`); then the call is forgotten."""


@dataclass(slots=True)
class _Log:
    """One call's journal on its way."""

    call_id: str
    journal: Journal
    call: Call | None
    stop: Callable[[], None]
    lease: Lease | None = None
    claim: asyncio.Future[Lease] | None = None
    """Somebody has asked for the lease already."""
    above: int = 0
    """The fence to exceed, where the store has forgotten the call."""
    owners: frozenset[str] = frozenset()
    """See `Left`."""
    first: int = 0
    """The number of the next entry."""
    waiting: deque[JournalEvent] = field(default_factory=deque)
    anew: bool = False
    """The next batch is the first of those that replace what the store has of the call."""
    batch: Batch | None = None
    """What is being stored, and is stored again until that is known to have worked."""
    storing: tuple[JournalEvent, ...] = ()
    """The events in it."""
    card: CallCard | None = None
    card_new: bool = False
    lost: int = 0
    lost_since: float = 0.0
    ended: bool = False


class JournalWriter:
    """Writes the journals of a process's calls. `run` it as a task; everything else is told to it."""

    def __init__(
        self,
        store: CallStore,
        clock: Clock,
        counters: Counters,
        *,
        owner: str,
        lease_s: float = 10.0,
        seal: Seal | None = None,
        private: Collection[Private] = (),
    ) -> None:
        """`owner` is who we are to other processes; calls are acquired for `lease_s`, and renewed by somebody else.
        `private` is masked before it is stored."""
        self.on_lost: Lost = _log_lost
        self._store = store
        self._clock = clock
        self._counters = counters
        self._owner = owner
        self._lease_s = lease_s
        self._seal = seal or Seal()
        self._private = frozenset(private)
        self._logs: dict[str, _Log] = {}
        self._flushing = asyncio.Lock()
        self._waiting = 0
        self._failures = 0
        self._not_before = 0.0
        self._sweep_at = clock.now()

    # what a call's owner asks

    def begin(self, call: Call, journal: Journal, lease: Claim | None = None, *, left: Left | None = None) -> None:
        """Write this call's journal from now on, as the holder of `lease`; without one the call is acquired first, and
        if it is on its way, nothing is written before it comes.
        `left`: by whoever wrote it until now, if it was taken over; then of what the journal holds by now only that is
        written, and what comes."""
        entry = _Log(call.call_id, journal, call, lambda: None)
        if left is not None:
            entry.first, entry.above, entry.owners, entry.anew = left.stored, left.above, left.owners, left.anew
            entry.waiting.extend(left.waiting)
            self._waiting += len(left.waiting)
        if isinstance(lease, Lease):
            entry.lease = lease
        else:
            entry.claim = lease
        entry.stop = journal.listen(partial(self._happened, entry))
        self._logs[call.call_id] = entry
        for event in journal.events:
            self._note(entry, event)
            if left is None:
                self._keep(entry, event)

    def forget(self, call_id: str) -> Lease | None:
        """Write no more of this call, and renew it no more: it is somebody else's now, or shall be (then `flush`
        before, and release the lease that this answers with)."""
        entry = self._logs.pop(call_id, None)
        if entry is None:
            return None
        entry.stop()
        self._waiting -= len(entry.waiting)
        return entry.lease

    def leave(self, call_id: str) -> Left | None:
        """The same, for somebody who is told all that has to be known to write on; None: it is not written here."""
        entry = self._logs.get(call_id)
        if entry is None:
            return None
        if entry.lost:
            self._tell_gap(entry, entry.lost_since)
        above = max(entry.above, entry.lease.fence if entry.lease is not None else 0)
        waiting = (*entry.storing, *entry.waiting)
        left = Left(entry.first, waiting, above, entry.owners | {self._owner}, entry.anew)
        self.forget(call_id)
        return left

    @property
    def away(self) -> bool:
        """The store did not take what it was given last."""
        return self._failures > 0

    def lease(self, call_id: str) -> Lease | None:
        """Under which this call is written; None: it is not, or not yet."""
        entry = self._logs.get(call_id)
        return entry.lease if entry else None

    def leases(self) -> tuple[Lease, ...]:
        """What is to be renewed."""
        return tuple(entry.lease for entry in self._logs.values() if entry.lease is not None and not entry.ended)

    def rewrite(self, call_id: str) -> None:
        """The store has forgotten this call, which it need not say when the next event is stored: there may be none for
        a while, and until then nobody owns the call."""
        entry = self._logs.get(call_id)
        if entry is not None and entry.lease is not None and not entry.ended:
            self._begin_again(entry)

    def __len__(self) -> int:
        """Events that are not stored yet."""
        stored = (len(entry.batch.entries) for entry in self._logs.values() if entry.batch is not None)
        return self._waiting + sum(stored)

    # what happens in a call: synchronous, and cheap

    def _happened(self, entry: _Log, event: JournalEvent) -> None:
        self._note(entry, event)
        if entry.ended:
            entry.call = None
        if entry.lost or (self._waiting >= _CAPACITY and not entry.ended):
            if not entry.lost:
                entry.lost_since = event.at
            if not entry.ended:
                entry.lost += 1
                return
            self._tell_gap(entry, event.at)
        self._keep(entry, event)

    def _note(self, entry: _Log, event: JournalEvent) -> None:
        match event:
            case CallAnswered() | CallBegun():
                entry.card = CallCard.of(event)
                entry.card_new = True
            case CallEnded():
                entry.ended = True
                if entry.card is not None:
                    entry.card = msgspec.structs.replace(
                        entry.card, end_reason=event.reason, duration_s=event.at, ended=True
                    )
                    entry.card_new = True
            case _:
                pass

    def _keep(self, entry: _Log, event: JournalEvent) -> None:
        waiting = entry.waiting
        merged = _merged(waiting[-1], event) if waiting else None
        if merged is not None:
            waiting[-1] = merged
        else:
            waiting.append(event)
            self._waiting += 1

    def _tell_gap(self, entry: _Log, at: float) -> None:
        gap = JournalGap(at, entry.lost, entry.lost_since, "the store was gone for too long")
        entry.lost = 0
        entry.journal.events.append(gap)
        self._keep(entry, gap)

    # the task

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await self._clock.sleep_until(max(self._clock.now() + EVERY_S, self._not_before))
            self.sample()
            await self.flush()
            await self._sweep()

    def sample(self) -> None:
        """Ask all calls how far their replies are."""
        for entry in tuple(self._logs.values()):
            if entry.call is not None:
                entry.call.progress()

    async def finish(self) -> None:
        """Store what is left, as far as the store takes it; for the end of the process."""
        deadline = self._clock.now() + _SETTLE_S
        while (left := len(self)) > 0:
            stored = await self.flush()
            if not stored or (self._clock.now() >= deadline and len(self) >= left):
                log.error("journals are lost", events=len(self))
                return
            await self._pause(self._logs.values(), deadline)

    async def flush(self) -> bool:
        """Store what has happened; False: the store did not take it, it is kept for the next time."""
        async with self._flushing:
            return await self._flush()

    async def _flush(self) -> bool:
        try:
            await self._acquire()
            due = [batch for entry in self._logs.values() if (batch := self._prepare(entry)) is not None]
            refused = await self._store.append(due) if due else ()
        except StoreError as failure:
            self._failed(failure)
            return False
        if self._failures:
            log.info("journals are stored again", waiting=self._waiting)
        self._failures, self._not_before = 0, 0.0
        self._settle(due, {error.call_id: error for error in refused})
        return True

    async def settle(self, call_id: str) -> bool:
        """Return when everything that has happened in this call is stored; False: it cannot be for now, which is known
        within `_SETTLE_S` and a write."""
        deadline = self._clock.now() + _SETTLE_S
        while (entry := self._logs.get(call_id)) is not None and (entry.waiting or entry.batch is not None):
            if self._clock.now() >= deadline or not await self.flush():
                return False
            await self._pause((entry,), deadline)
        return True

    async def _pause(self, entries: Iterable[_Log], deadline: float) -> None:
        """Between two rounds: others run, always, and leases that are on their way arrive, unless it is too late."""
        claims = [entry.claim for entry in entries if entry.claim is not None and not entry.claim.done()]
        if claims:
            await asyncio.wait(claims, timeout=max(0.0, deadline - self._clock.now()))
        await self._clock.sleep_until(self._clock.now() + _PAUSE_S)

    def _failed(self, failure: StoreError) -> None:
        first_s, longest_s = _RETRY_S
        self._not_before = self._clock.now() + min(longest_s, first_s * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._counters.count("store_failures", kind=type(failure).__name__)
        if self._failures == 1:
            log.warning("journals are not stored", reason=str(failure), waiting=self._waiting)
        ended = [entry for entry in self._logs.values() if entry.ended]
        for entry in ended[: max(0, len(ended) - _ENDED_WAITING)]:
            self._counters.count("journals_lost")
            self.forget(entry.call_id)

    async def _acquire(self) -> None:
        for entry in [entry for entry in self._logs.values() if entry.lease is None and (entry.waiting or entry.batch)]:
            try:
                entry.lease = await self._acquired(entry)
            except (LeaseHeld, CallOver) as refusal:
                if self._logs.get(entry.call_id) is entry:  # else it was left meanwhile
                    self._lose(entry.call_id, refusal)

    async def _acquired(self, entry: _Log) -> Lease | None:
        """None: it is on its way."""
        claim = entry.claim
        if claim is not None and not claim.done():
            return None
        entry.claim = None
        if claim is not None and claim.exception() is None:
            return claim.result()
        try:
            lease = await self._store.acquire(entry.call_id, self._owner, self._lease_s, above=entry.above)
        except LeaseHeld as held:
            if held.owner not in entry.owners:
                raise
            lease = await self._store.acquire(
                entry.call_id, self._owner, self._lease_s, over=held.fence, above=entry.above
            )
        entry.owners = frozenset()
        return lease

    def _prepare(self, entry: _Log) -> Batch | None:
        """What is due of a call; the same as before, if that is not known to be stored."""
        if entry.batch is not None or entry.lease is None or not entry.waiting:
            return entry.batch
        events = [entry.waiting.popleft() for _ in range(min(_AT_ONCE, len(entry.waiting)))]
        self._waiting -= len(events)
        card, caller_key = None, ""
        if entry.card is not None and entry.card_new:
            card = self._card(entry.card)
            caller_key = next(iter(self._seal.caller_keys(entry.card.caller)), "")
            entry.card_new = False
        entry.storing = tuple(events)
        entry.batch = Batch(
            entry.call_id,
            entry.lease.fence,
            entry.first,
            tuple(
                self._seal.close(entry_place(entry.call_id, number), encode(redacted(event, self._private)))
                for number, event in enumerate(events, entry.first)
            ),
            card,
            caller_key,
            ended=entry.ended and not entry.waiting,
            anew=entry.anew,
        )
        return entry.batch

    def _card(self, card: CallCard) -> bytes:
        return self._seal.close(card_place(card.call_id), to_json(card.shown(self._private)))

    def _settle(self, stored: list[Batch], refused: dict[str, FencedOff | Forgotten]) -> None:
        for batch in stored:
            entry = self._logs.get(batch.call_id)
            if entry is None or entry.batch is not batch:
                continue
            match refused.get(batch.call_id):
                case None:
                    entry.first += len(batch.entries)
                    entry.batch, entry.storing, entry.anew = None, (), False
                    if batch.ended:
                        self.forget(batch.call_id)
                    elif entry.lost:
                        self._tell_gap(entry, entry.lost_since)
                case Forgotten():
                    self._begin_again(entry)
                case FencedOff() as refusal:
                    self._lose(batch.call_id, refusal)

    def _begin_again(self, entry: _Log) -> None:
        """The store knows nothing of the call any more, or not the latest: tell it everything that is known here."""
        log.warning("the store has forgotten a call, which is written again", call_id=entry.call_id)
        self._counters.count("journals_rewritten")
        entry.above, entry.lease = max(entry.above, entry.lease.fence if entry.lease else 0), None
        entry.batch, entry.storing, entry.first, entry.anew, entry.card_new = None, (), 0, True, True
        self._waiting += len(entry.journal.events) - len(entry.waiting)
        entry.waiting = deque(entry.journal.events)

    def _lose(self, call_id: str, refusal: StoreError) -> None:
        self._counters.count("calls_lost", kind=type(refusal).__name__)
        self.on_lost(call_id, refusal)
        self.forget(call_id)

    async def _sweep(self) -> None:
        if self._failures or self._clock.now() < self._sweep_at:
            return
        self._sweep_at = self._clock.now() + _SWEEP_EVERY_S
        try:
            if await self._store.sweep():
                self._sweep_at = self._clock.now() + _SWEEP_ON_S
        except StoreError as failure:
            self._failed(failure)


def _merged(before: JournalEvent, event: JournalEvent) -> JournalEvent | None:
    """One event that says what both say, if the later only says better what the earlier said."""
    match before, event:
        case CallerPartial(), CallerPartial():
            return event
        case ReplyHeard(said_from=None), ReplyHeard() if before.turn == event.turn:
            return event
        case ReplyHeard(), ReplyHeard(said_from=None) if before.turn == event.turn:
            return msgspec.structs.replace(event, said_from=before.said_from, said=before.said)
        case _:
            return None


def _log_lost(call_id: str, refusal: StoreError) -> None:
    log.error("call lost to another process", call_id=call_id, reason=str(refusal))
