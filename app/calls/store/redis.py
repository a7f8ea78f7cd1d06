"""A store in Redis, for processes on several machines. Journals are streams; everything expires by itself.

A Redis that keeps nothing over a restart is enough for live calls: their owners write what it has forgotten again. One
that shall keep ended calls needs its append-only file (`appendonly yes`), and `maxmemory-policy noeviction`.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from app.calls.store import redis_scripts as scripts
from app.calls.store.base import Batch, HeldLease, Lease, StoredCall
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld
from app.calls.store.memory import BOX_SIZE
from app.calls.store.redis_connection import RedisConnection, Script
from telephony.clock import Clock

_LIVE_MS = 3_600_000
"""A call that nobody renews or writes to is forgotten after this, and after the time that calls are kept."""
_ROUND = 500
"""Members of an index that are looked at in one go."""


class RedisStore:
    """A `CallStore` in the Redis at `url` (see `RedisConnection`), under keys that begin with `prefix`. Ended calls are
    kept for `keep_s`."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        prefix: str = "sidetone:",
        keep_s: float = 86_400.0,
        deadline_s: float = 2.0,
    ) -> None:
        self._redis = RedisConnection(url, deadline_s=deadline_s)
        self._clock = clock
        self._prefix = prefix
        self._keep_ms = int(keep_s * 1000)
        self._live_ms = self._keep_ms + _LIVE_MS

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.close()

    async def check(self) -> None:
        keys = [self._key("calls"), self._key("leases")]  # two, which Redis Cluster keeps apart
        await self._redis.run(scripts.NOW, keys, [])

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _keys(self, call_id: str) -> list[str]:
        return [self._key("call", call_id), self._key("journal", call_id)]

    # journals

    async def append(self, batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
        given = tuple(batches)
        answers = await self._redis.run_all([self._append(batch) for batch in given])
        return _refusals(given, answers)

    def _append(self, batch: Batch) -> Script:
        keys = [*self._keys(batch.call_id), self._key("calls"), self._key("leases")]
        keep_ms = self._keep_ms if batch.ended else self._live_ms
        known = (batch.call_id, batch.fence, batch.first, batch.card or b"", batch.caller_key)
        return (
            scripts.APPEND,
            [*keys, self._key("caller", batch.caller_key)],
            [*known, int(batch.ended), keep_ms, int(batch.anew), self._live_ms, *batch.entries],
        )

    async def read(self, call_id: str, after: int = -1) -> tuple[bytes, ...]:
        first = f"{after + 2}-0"
        entries = await self._redis.ask("XRANGE", self._key("journal", call_id), first, "+")
        return tuple(fields[b"entry"] for _, fields in entries)

    async def calls(self, limit: int = 100, *, caller_key: str = "", live: bool = False) -> tuple[StoredCall, ...]:
        index = self._key("caller", caller_key) if caller_key else self._key("calls")
        found: list[StoredCall] = []
        begin = 0
        while len(found) < limit:
            members = await self._redis.ask("ZREVRANGE", index, begin, begin + _ROUND - 1)
            stored = await self._stored([member.decode() for member in members])
            found += [call for call in stored if call is not None and not (live and call.ended)]
            if len(members) < _ROUND:
                break
            begin += _ROUND
        return tuple(found[:limit])

    async def find(self, call_id: str) -> StoredCall | None:
        (found,) = await self._stored([call_id])
        return found

    async def _stored(self, call_ids: list[str]) -> list[StoredCall | None]:
        """These calls, as far as they are not forgotten."""
        fields = ("card", "began", "ended")
        rows = await self._redis.ask_all([("HMGET", self._key("call", call_id), *fields) for call_id in call_ids])
        return [
            StoredCall(call_id, card, int(began) / 1000, ended is not None) if card and began else None
            for call_id, (card, began, ended) in zip(call_ids, rows, strict=True)
        ]

    async def sweep(self) -> bool:
        """Calls expire by themselves; here their names are taken out of the indexes."""
        more = False
        for index in (self._key("calls"), self._key("leases")):
            names = await self._redis.ask("ZRANGE", index, 0, _ROUND - 1)
            known = await self._redis.ask_all([("EXISTS", self._key("call", name.decode())) for name in names])
            gone = [name for name, exists in zip(names, known, strict=True) if not exists]
            if gone:
                await self._redis.ask("ZREM", index, *gone)
                more = more or len(names) == _ROUND
        return more

    # leases

    async def acquire(
        self, call_id: str, owner: str, ttl_s: float, *, over: int | None = None, above: int = 0
    ) -> Lease:
        keys = [*self._keys(call_id), self._key("leases")]
        wanted = (call_id, owner, int(ttl_s * 1000), "" if over is None else over, above, self._live_ms)
        match await self._redis.run(scripts.ACQUIRE, keys, wanted):
            case [b"over"]:
                raise CallOver(call_id)
            case [b"held", held_by, fence, remaining_ms]:
                raise LeaseHeld(call_id, held_by.decode(), fence, remaining_ms / 1000)
            case [_, fence]:
                return Lease(call_id, owner, fence)
            case answer:
                raise AssertionError(f"because: the script has three answers, not {answer!r}")

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> tuple[FencedOff | Forgotten, ...]:
        given = tuple(leases)
        index, ttl_ms = self._key("leases"), int(ttl_s * 1000)
        answers = await self._redis.run_all(
            [
                (
                    scripts.RENEW,
                    [*self._keys(lease.call_id), index],
                    [lease.call_id, lease.fence, ttl_ms, self._live_ms],
                )
                for lease in given
            ]
        )
        return _refusals(given, answers)

    async def release(self, lease: Lease) -> None:
        keys = [self._key("call", lease.call_id), self._key("leases")]
        await self._redis.run(scripts.RELEASE, keys, [lease.call_id, lease.fence])

    async def holder(self, call_id: str) -> HeldLease | None:
        (found,) = await self._holders([call_id])
        return found

    async def abandoned(self, limit: int = 100) -> tuple[HeldLease, ...]:
        now_ms = await self._redis.run(scripts.NOW, [], [])
        index = self._key("leases")
        names = await self._redis.ask("ZRANGEBYSCORE", index, "-inf", now_ms, "LIMIT", 0, limit)
        found = await self._holders([name.decode() for name in names])
        return tuple(held for held in found if held is not None and held.remaining_s <= 0)

    async def _holders(self, call_ids: list[str]) -> list[HeldLease | None]:
        now_ms = await self._redis.run(scripts.NOW, [], [])
        fields = ("owner", "fence", "until", "ended")
        rows = await self._redis.ask_all([("HMGET", self._key("call", call_id), *fields) for call_id in call_ids])
        return [
            HeldLease(Lease(call_id, owner.decode(), int(fence)), (int(until) - now_ms) / 1000)
            if owner and ended is None
            else None
            for call_id, (owner, fence, until, ended) in zip(call_ids, rows, strict=True)
        ]

    # handshakes

    async def secret(self, name: str, offered: bytes) -> bytes:
        key = self._key("secret", name)
        _, secret = await self._redis.ask_all([("SET", key, offered, "NX"), ("GET", key)])
        return bytes(secret)

    async def use_once(self, token: str, ttl_s: float) -> bool:
        key, ttl_ms = self._key("used", token), max(1, int(ttl_s * 1000))
        return bool(await self._redis.ask("SET", key, 1, "NX", "PX", ttl_ms))

    # mailboxes

    async def post(self, owner: str, message: bytes, ttl_s: float) -> None:
        await self._redis.run(scripts.POST, [self._key("box", owner)], [message, int(ttl_s * 1000), BOX_SIZE])

    async def collect(self, owner: str, within_s: float) -> tuple[bytes, ...]:
        box, deadline = self._key("box", owner), self._clock.now() + within_s
        while True:
            messages = tuple(await self._redis.run(scripts.TAKE, [box], []))
            left_s = deadline - self._clock.now()
            if messages or left_s <= 0:
                return messages
            block_ms = max(1, int(left_s * 1000))
            await self._redis.ask("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", box, "0", waiting_s=left_s)

    # presence

    async def announce(self, owner: str, state: bytes, ttl_s: float) -> None:
        keys = [self._key("present"), self._key("present_until")]
        await self._redis.run(scripts.ANNOUNCE, keys, [owner, state, int(ttl_s * 1000)])

    async def retire(self, owner: str) -> None:
        await self.announce(owner, b"", 0.0)

    async def present(self) -> Mapping[str, bytes]:
        keys = [self._key("present"), self._key("present_until")]
        flat = await self._redis.run(scripts.PRESENT, keys, [])
        return {owner.decode(): state for owner, state in zip(flat[::2], flat[1::2], strict=True)}


def _refusals(asked: Sequence[Batch | Lease], answers: Sequence[Any]) -> tuple[FencedOff | Forgotten, ...]:
    refused: list[FencedOff | Forgotten] = []
    for owned, answer in zip(asked, answers, strict=True):
        match answer:
            case [b"fenced", newer]:
                refused.append(FencedOff(owned.call_id, owned.fence, newer))
            case [b"forgotten"]:
                refused.append(Forgotten(owned.call_id))
            case _:
                pass
    return tuple(refused)
