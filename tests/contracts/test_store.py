"""What every store of calls promises: that in memory, the SQLite file, and a real Redis server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from app.calls.store.base import Batch, CallStore, Lease
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld
from app.calls.store.memory import MemoryStore
from app.calls.store.redis import RedisStore
from app.calls.store.sqlite import SqliteStore
from telephony.clock import MonotonicClock
from tests.redis_server import RedisServer, until

SOON_S = 0.15
LONG_S = 60.0

Scene = Callable[[CallStore, CallStore], Awaitable[None]]
Run = Callable[[Scene], None]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


_prefixes = count()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Play a scene with a store as two processes see it; ended calls are kept for `SOON_S`."""
    clock = MonotonicClock()
    prefix = f"test{next(_prefixes)}:"

    @asynccontextmanager
    async def both() -> AsyncIterator[tuple[CallStore, CallStore]]:
        match request.param:
            case "memory":
                async with MemoryStore(clock, keep_s=SOON_S) as store:
                    yield store, store
            case "sqlite":
                path = tmp_path / "calls.sqlite"
                async with (
                    SqliteStore(path, clock, keep_s=SOON_S) as store,
                    SqliteStore(path, clock, keep_s=SOON_S) as other,
                ):
                    yield store, other
            case "redis":
                url = request.getfixturevalue("redis").url
                async with (
                    RedisStore(url, clock, prefix=prefix, keep_s=SOON_S) as store,
                    RedisStore(url, clock, prefix=prefix, keep_s=SOON_S) as other,
                ):
                    yield store, other

    def play(scene: Scene) -> None:
        async def main() -> None:
            async with both() as (store, other):
                await store.check()
                await scene(store, other)

        if request.param == "redis":
            request.getfixturevalue("redis")
        asyncio.run(main())

    return play


def batch(lease: Lease, first: int, *entries: bytes, **more: object) -> Batch:
    return Batch(lease.call_id, lease.fence, first, entries, **more)  # type: ignore[arg-type]


async def begun(store: CallStore, call_id: str = "CA1", owner: str = "a", **more: object) -> Lease:
    """A call that has begun."""
    lease = await store.acquire(call_id, owner, LONG_S)
    assert await store.append([batch(lease, 0, b"begun", card=b"card of " + call_id.encode(), **more)]) == ()
    return lease


# journals


def test_entries_come_back_in_order_in_every_process(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await begun(store)
        assert await store.append([batch(lease, 1, b"one", b"\x00two\xff"), batch(lease, 3, b"three")]) == ()
        assert await other.read("CA1") == (b"begun", b"one", b"\x00two\xff", b"three")
        assert await other.read("CA1", after=1) == (b"\x00two\xff", b"three")
        assert await other.read("CA1", after=3) == ()
        assert await other.read("CA2") == ()

    run(scene)


def test_a_batch_that_is_repeated_is_stored_once(run: Run) -> None:
    async def scene(store: CallStore, _: CallStore) -> None:
        lease = await begun(store)
        for _ in range(2):
            assert await store.append([batch(lease, 1, b"one", b"two")]) == ()
        assert await store.append([batch(lease, 2, b"two", b"three")]) == ()
        assert await store.read("CA1") == (b"begun", b"one", b"two", b"three")

    run(scene)


def test_batches_of_several_calls_are_judged_one_by_one(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        ours = await begun(store, "CA1")
        lost = await begun(store, "CA2")
        await other.acquire("CA2", "b", LONG_S, over=lost.fence)
        refused = await store.append([batch(lost, 1, b"late"), batch(ours, 1, b"one")])
        assert [(type(each), each.call_id) for each in refused] == [(FencedOff, "CA2")]
        assert await store.read("CA1") == (b"begun", b"one")
        assert await store.read("CA2") == (b"begun",)

    run(scene)


def test_a_call_that_is_unknown_or_would_have_a_hole_is_forgotten(run: Run) -> None:
    async def scene(store: CallStore, _: CallStore) -> None:
        (refused,) = await store.append([Batch("CA9", 1, 0, (b"one",))])
        assert isinstance(refused, Forgotten) and refused.call_id == "CA9"
        lease = await begun(store)
        (refused,) = await store.append([batch(lease, 2, b"two")])
        assert isinstance(refused, Forgotten)
        assert await store.read("CA1") == (b"begun",)

    run(scene)


def test_a_forgotten_call_is_acquired_above_its_old_fence_and_written_again(run: Run) -> None:
    async def scene(store: CallStore, _: CallStore) -> None:
        lease = await store.acquire("CA1", "a", LONG_S, above=6)
        assert lease.fence == 7
        assert await store.append([batch(lease, 0, b"again", card=b"card")]) == ()
        assert await store.read("CA1") == (b"again",)

    run(scene)


def test_a_call_that_is_written_anew_replaces_what_the_store_had_of_it(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        await begun(store, "CA2")
        lease = await begun(store)
        before = await store.find("CA1")
        await store.append([batch(lease, 1, b"one", b"two", b"three")])
        lease = await store.acquire("CA1", "a", LONG_S, above=lease.fence)
        for _ in range(2):
            assert await store.append([batch(lease, 0, b"begun", b"three", anew=True)]) == ()
        assert await other.read("CA1") == (b"begun", b"three")
        assert await store.append([batch(lease, 2, b"four")]) == ()
        assert await other.read("CA1") == (b"begun", b"three", b"four")
        lease = await store.acquire("CA1", "a", LONG_S, above=lease.fence)
        assert await store.append([batch(lease, 0, b"again", card=b"card", anew=True), batch(lease, 1, b"end")]) == ()
        assert await other.read("CA1") == (b"again", b"end")
        found = await other.find("CA1")
        assert found is not None and before is not None and found.began_at == before.began_at
        assert await other.read("CA2") == (b"begun",)

    run(scene)


def test_a_call_is_written_anew_by_its_owner_only(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lost = await begun(store)
        await other.acquire("CA1", "b", LONG_S, over=lost.fence)
        (refused,) = await store.append([batch(lost, 0, b"mine", anew=True)])
        assert isinstance(refused, FencedOff)
        assert await other.read("CA1") == (b"begun",)

    run(scene)


def test_a_store_that_went_back_before_our_fence_has_forgotten_the_call(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        old = await begun(store)
        ours = Lease("CA1", "b", old.fence + 1)  # which the store knew, once
        for first in (0, 1):
            (refused,) = await other.append([batch(ours, first, b"one")])
            assert isinstance(refused, Forgotten)
        (refused,) = await other.renew([ours], LONG_S)
        assert isinstance(refused, Forgotten)
        assert await store.read("CA1") == (b"begun",)
        assert await store.renew([old], LONG_S) == ()

    run(scene)


def test_who_had_a_higher_fence_than_the_store_knows_takes_the_call_from_its_old_owner(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        old = await begun(store)
        with pytest.raises(LeaseHeld):
            await other.acquire("CA1", "b", LONG_S, above=old.fence)
        lifted = Lease("CA1", "b", old.fence + 2)
        for _ in range(2):
            assert await other.acquire("CA1", "b", LONG_S, above=old.fence + 1) == lifted
        assert await other.append([batch(lifted, 0, b"anew", anew=True)]) == ()
        (refused,) = await store.append([batch(old, 1, b"late")])
        assert isinstance(refused, FencedOff) and refused.newer == lifted.fence
        assert await other.acquire("CA1", "b", LONG_S, above=lifted.fence) == Lease("CA1", "b", lifted.fence + 1)

    run(scene)


def test_calls_are_listed_newest_first_with_their_cards(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        for call_id in ("CA1", "CA2", "CA3"):
            lease = await begun(store, call_id)
            await asyncio.sleep(0.002)  # Redis' clock has milliseconds
        await store.append([batch(lease, 1, b"x", card=b"a new card")])
        listed = await other.calls()
        assert [call.call_id for call in listed] == ["CA3", "CA2", "CA1"]
        assert [call.card for call in listed] == [b"a new card", b"card of CA2", b"card of CA1"]
        assert listed[0].began_at > listed[2].began_at > MonotonicClock().today().timestamp() - 60
        assert [call.call_id for call in await other.calls(2)] == ["CA3", "CA2"]
        assert await other.find("CA2") == listed[1]
        assert await other.find("CA9") is None

    run(scene)


def test_a_call_is_not_listed_before_it_has_a_card(run: Run) -> None:
    async def scene(store: CallStore, _: CallStore) -> None:
        await store.acquire("CA1", "a", LONG_S)
        assert await store.calls() == ()
        assert await store.find("CA1") is None

    run(scene)


def test_a_callers_calls_are_found_and_those_that_are_live(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await begun(store, "CA1", caller_key="anna")
        await asyncio.sleep(0.002)
        await begun(store, "CA2", caller_key="anna")
        await begun(store, "CA3", caller_key="bert")
        assert [call.call_id for call in await other.calls(caller_key="anna")] == ["CA2", "CA1"]
        assert await other.calls(caller_key="carl") == ()
        await store.append([batch(lease, 1, ended=True)])
        assert {call.call_id for call in await other.calls(live=True)} == {"CA2", "CA3"}
        assert [call.call_id for call in await other.calls(live=True, caller_key="anna")] == ["CA2"]
        assert [call.ended for call in await other.calls(caller_key="anna")] == [False, True]

    run(scene)


def test_an_ended_call_is_forgotten_when_it_was_kept_long_enough_and_a_live_one_is_not(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        live = await begun(store, "CA1")
        lease = await begun(store, "CA2", caller_key="anna")
        await store.append([batch(lease, 1, b"end", ended=True)])

        async def forgotten() -> bool:
            await other.sweep()
            return await other.find("CA2") is None and await other.read("CA2") == ()

        await until(forgotten)
        assert [call.call_id for call in await store.calls()] == ["CA1"]
        assert await store.calls(caller_key="anna") == ()
        assert await store.read("CA1") == (b"begun",)
        assert await store.append([batch(live, 1, b"one")]) == ()

    run(scene)


# leases


def test_a_call_has_one_owner_at_a_time(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await store.acquire("CA1", "a", LONG_S)
        assert lease == Lease("CA1", "a", 1)
        with pytest.raises(LeaseHeld) as held:
            await other.acquire("CA1", "b", LONG_S)
        assert (held.value.owner, held.value.fence) == ("a", 1)
        assert 0 < held.value.remaining_s <= LONG_S
        assert await store.acquire("CA1", "a", LONG_S) == lease
        assert await store.holder("CA9") is None
        holder = await other.holder("CA1")
        assert holder is not None and holder.lease == lease and 0 < holder.remaining_s <= LONG_S

    run(scene)


def test_a_lease_that_ran_out_is_taken_over_and_the_old_owner_is_fenced_off(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        old = await store.acquire("CA1", "a", SOON_S)
        await store.append([batch(old, 0, b"begun", card=b"card")])
        taken: list[Lease] = []

        async def taken_over() -> bool:
            try:
                taken.append(await other.acquire("CA1", "b", LONG_S))
            except LeaseHeld:
                return False
            return True

        await until(taken_over)
        assert taken == [Lease("CA1", "b", 2)]
        (refused,) = await store.append([batch(old, 1, b"too late")])
        assert isinstance(refused, FencedOff) and (refused.fence, refused.newer) == (1, 2)
        (lost,) = await store.renew([old], LONG_S)
        assert isinstance(lost, FencedOff) and lost.newer == 2
        await store.release(old)
        assert await other.append([batch(taken[0], 1, b"taken over")]) == ()
        assert await store.read("CA1") == (b"begun", b"taken over")

    run(scene)


def test_fences_only_go_up(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        fences = []
        for owner in "abab":
            lease = await store.acquire("CA1", owner, LONG_S)
            fences.append(lease.fence)
            await other.release(lease)
        assert fences == [1, 2, 3, 4]

    run(scene)


def test_a_live_lease_is_taken_over_from_the_owner_that_is_named_and_no_other(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        first = await store.acquire("CA1", "a", LONG_S)
        second = await other.acquire("CA1", "b", LONG_S, over=first.fence)
        assert second.fence == 2
        with pytest.raises(LeaseHeld):
            await other.acquire("CA1", "c", LONG_S, over=first.fence)
        assert await other.acquire("CA1", "b", LONG_S, over=first.fence) == second

    run(scene)


def test_of_many_who_want_a_call_one_gets_it(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        won: list[Lease] = []

        async def want(through: CallStore, owner: str) -> None:
            try:
                won.append(await through.acquire("CA1", owner, LONG_S))
            except LeaseHeld:
                pass

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(want((store, other)[number % 2], f"owner {number}"))
        assert len(won) == 1

    run(scene)


def test_a_renewed_lease_lasts_and_one_that_only_ran_out_is_renewed_too(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await begun(store, "CA1")
        brief = await store.acquire("CA2", "a", 0.001)

        async def ran_out() -> bool:
            return [held.lease for held in await other.abandoned()] == [brief]

        await until(ran_out)
        assert await store.renew([lease, brief, Lease("CA9", "a", 1)], LONG_S) != ()
        assert await store.renew([lease, brief], LONG_S) == ()
        with pytest.raises(LeaseHeld):
            await other.acquire("CA2", "b", LONG_S)
        assert await other.abandoned() == ()

    run(scene)


def test_a_call_that_was_given_up_is_there_for_the_next(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await begun(store)
        await store.release(lease)
        (held,) = await other.abandoned()
        assert held.lease == lease and held.remaining_s <= 0
        assert (await other.acquire("CA1", "b", LONG_S)).fence == 2
        assert await other.abandoned() == ()

    run(scene)


def test_nobody_owns_a_call_that_has_ended(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        lease = await begun(store)
        assert await store.append([batch(lease, 1, b"end", ended=True)]) == ()
        assert await other.holder("CA1") is None
        assert await other.abandoned() == ()
        for owner in "ab":
            with pytest.raises(CallOver):
                await other.acquire("CA1", owner, LONG_S, over=1)
        assert await store.renew([lease], LONG_S) == ()
        await store.release(lease)
        assert await other.abandoned() == ()

    run(scene)


# handshakes


def test_processes_share_secrets(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        assert await store.secret("tokens", b"first") == b"first"
        assert await other.secret("tokens", b"second") == b"first"
        assert await other.secret("others", b"third") == b"third"

    run(scene)


def test_a_token_is_used_once_in_all_processes(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        assert await store.use_once("one", LONG_S)
        assert not await other.use_once("one", LONG_S)
        assert not await store.use_once("one", LONG_S)
        assert await other.use_once("two", LONG_S)

    run(scene)


def test_a_used_token_is_remembered_no_longer_than_asked(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        assert await store.use_once("one", SOON_S)

        async def usable() -> bool:
            return await other.use_once("one", LONG_S)

        await until(usable)

    run(scene)


# mailboxes


def test_messages_are_taken_once_and_in_order_by_whom_they_are_for(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        for message in (b"one", b"\x00two", b"three"):
            await store.post("b", message, LONG_S)
        assert await other.collect("c", 0.0) == ()
        assert await other.collect("b", 0.0) == (b"one", b"\x00two", b"three")
        assert await other.collect("b", 0.0) == ()

    run(scene)


def test_who_waits_for_a_message_gets_it_when_it_comes(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(other.collect("b", LONG_S))
            await asyncio.sleep(0.02)
            await store.post("b", b"at last", LONG_S)
        assert waiting.result() == (b"at last",)

    run(scene)


def test_one_may_write_to_oneself(run: Run) -> None:
    async def scene(store: CallStore, _: CallStore) -> None:
        assert await store.collect("a", 0.0) == ()
        await store.post("a", b"note", LONG_S)
        assert await store.collect("a", LONG_S) == (b"note",)

    run(scene)


def test_a_message_that_is_too_old_is_not_delivered(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        await store.post("b", b"old", 0.001)
        await store.post("b", b"new", LONG_S)
        await asyncio.sleep(0.01)
        assert await other.collect("b", 0.0) == (b"new",)

    run(scene)


def test_a_full_box_loses_the_oldest(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        for number in range(1002):
            await store.post("b", str(number).encode(), LONG_S)
        messages = await other.collect("b", 0.0)
        assert (len(messages), messages[0], messages[-1]) == (1000, b"2", b"1001")

    run(scene)


# presence


def test_who_announces_himself_is_present_until_he_retires_or_is_silent(run: Run) -> None:
    async def scene(store: CallStore, other: CallStore) -> None:
        await store.announce("a", b"3 calls", LONG_S)
        await store.announce("a", b"4 calls", LONG_S)
        await other.announce("b", b"", SOON_S)
        assert await other.present() == {"a": b"4 calls", "b": b""}

        async def gone() -> bool:
            return "b" not in await store.present()

        await until(gone)
        await store.retire("a")
        assert await other.present() == {}

    run(scene)
