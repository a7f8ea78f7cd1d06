"""A store in this process's memory: nothing touches a disk, nothing outlives the process.

For those who may keep nothing, and for tests in virtual time. The shortest account of what a store has to do.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from app.calls.store.base import Batch, HeldLease, Lease, StoredCall
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld
from telephony.clock import Alarm, Clock

BOX_SIZE = 1_000


@dataclass(slots=True)
class _Call:
    lease: Lease
    lease_until: float
    began_at: float | None = None
    ended_at: float | None = None
    card: bytes | None = None
    caller_key: str = ""
    entries: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Box:
    rung: Alarm
    messages: deque[tuple[float, bytes]] = field(default_factory=lambda: deque(maxlen=BOX_SIZE))


class MemoryStore:
    """A `CallStore` for one process. Ended calls are kept for `keep_s`."""

    def __init__(self, clock: Clock, *, keep_s: float = 86_400.0) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._calls: dict[str, _Call] = {}
        self._secrets: dict[str, bytes] = {}
        self._used: dict[str, float] = {}
        self._boxes: dict[str, _Box] = {}
        self._present: dict[str, tuple[float, bytes]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def check(self) -> None:
        """It always works."""

    def _now(self) -> float:
        return self._clock.now()

    # journals

    async def append(self, batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
        refused = (self._append(batch) for batch in batches)
        return tuple(refusal for refusal in refused if refusal is not None)

    def _append(self, batch: Batch) -> FencedOff | Forgotten | None:
        call = self._calls.get(batch.call_id)
        refusal = _refusal(call, batch)
        if call is None or refusal is not None:
            return refusal
        if batch.first > len(call.entries):
            return Forgotten(batch.call_id)
        if batch.anew:
            call.entries.clear()
        call.entries += batch.entries[len(call.entries) - batch.first :]
        call.began_at = call.began_at or self._clock.today().timestamp()
        call.card = batch.card or call.card
        call.caller_key = batch.caller_key or call.caller_key
        if batch.ended and call.ended_at is None:
            call.ended_at = self._now()
        return None

    async def read(self, call_id: str, after: int = -1) -> tuple[bytes, ...]:
        call = self._calls.get(call_id)
        return tuple(call.entries[after + 1 :]) if call else ()

    async def calls(self, limit: int = 100, *, caller_key: str = "", live: bool = False) -> tuple[StoredCall, ...]:
        found = (
            stored
            for call in reversed(self._calls.values())
            if (not caller_key or call.caller_key == caller_key)
            and not (live and call.ended_at is not None)
            and (stored := _stored(call)) is not None
        )
        return tuple(sorted(found, key=lambda call: -call.began_at)[:limit])

    async def find(self, call_id: str) -> StoredCall | None:
        call = self._calls.get(call_id)
        return _stored(call) if call else None

    async def sweep(self) -> bool:
        before = self._now() - self._keep_s
        old = [
            call_id
            for call_id, call in self._calls.items()
            if (call.lease_until if call.ended_at is None else call.ended_at) <= before
        ]
        for call_id in old:
            del self._calls[call_id]
        self._used = {token: until for token, until in self._used.items() if until > self._now()}
        return False

    # leases

    async def acquire(
        self, call_id: str, owner: str, ttl_s: float, *, over: int | None = None, above: int = 0
    ) -> Lease:
        call, now = self._calls.get(call_id), self._now()
        if call is None:
            lease = Lease(call_id, owner, above + 1)
            self._calls[call_id] = _Call(lease, now + ttl_s)
            return lease
        if call.ended_at is not None:
            raise CallOver(call_id)
        held, remaining_s = call.lease, call.lease_until - now
        if remaining_s > 0 and held.owner != owner and held.fence != over and held.fence >= above:
            raise LeaseHeld(call_id, held.owner, held.fence, remaining_s)
        if held.owner != owner or remaining_s <= 0 or held.fence <= above:
            call.lease = Lease(call_id, owner, max(held.fence, above) + 1)
        call.lease_until = now + ttl_s
        return call.lease

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> tuple[FencedOff | Forgotten, ...]:
        lost: list[FencedOff | Forgotten] = []
        for lease in leases:
            call = self._calls.get(lease.call_id)
            refusal = _refusal(call, lease)
            if refusal is not None:
                lost.append(refusal)
            elif call is not None:
                call.lease_until = self._now() + ttl_s
        return tuple(lost)

    async def release(self, lease: Lease) -> None:
        call = self._calls.get(lease.call_id)
        if call is not None and call.lease.fence == lease.fence:
            call.lease_until = self._now()

    async def holder(self, call_id: str) -> HeldLease | None:
        call = self._calls.get(call_id)
        if call is None or call.ended_at is not None:
            return None
        return HeldLease(call.lease, call.lease_until - self._now())

    async def abandoned(self, limit: int = 100) -> tuple[HeldLease, ...]:
        now = self._now()
        over = (call for call in self._calls.values() if call.ended_at is None and call.lease_until <= now)
        oldest = sorted(over, key=lambda call: call.lease_until)[:limit]
        return tuple(HeldLease(call.lease, call.lease_until - now) for call in oldest)

    # handshakes

    async def secret(self, name: str, offered: bytes) -> bytes:
        return self._secrets.setdefault(name, offered)

    async def use_once(self, token: str, ttl_s: float) -> bool:
        now = self._now()
        if self._used.get(token, now) > now:
            return False
        self._used[token] = now + ttl_s
        return True

    # mailboxes

    async def post(self, owner: str, message: bytes, ttl_s: float) -> None:
        box = self._box(owner)
        box.messages.append((self._now() + ttl_s, message))
        box.rung.ring()

    async def collect(self, owner: str, within_s: float) -> tuple[bytes, ...]:
        box, deadline = self._box(owner), self._now() + within_s
        while True:
            now = self._now()
            fresh = tuple(message for until, message in box.messages if until > now)
            box.messages.clear()
            if fresh or now >= deadline:
                return fresh
            await box.rung.wait_until(deadline)

    def _box(self, owner: str) -> _Box:
        return self._boxes.setdefault(owner, _Box(Alarm(self._clock)))

    # presence

    async def announce(self, owner: str, state: bytes, ttl_s: float) -> None:
        self._present[owner] = (self._now() + ttl_s, state)

    async def retire(self, owner: str) -> None:
        self._present.pop(owner, None)

    async def present(self) -> Mapping[str, bytes]:
        now = self._now()
        return {owner: state for owner, (until, state) in self._present.items() if until > now}


def _refusal(call: _Call | None, owned: Batch | Lease) -> FencedOff | Forgotten | None:
    if call is None or call.lease.fence < owned.fence:
        return Forgotten(owned.call_id)
    if call.lease.fence > owned.fence:
        return FencedOff(owned.call_id, owned.fence, call.lease.fence)
    return None


def _stored(call: _Call) -> StoredCall | None:
    if call.card is None or call.began_at is None:
        return None
    return StoredCall(call.lease.call_id, call.card, call.began_at, call.ended_at is not None)
