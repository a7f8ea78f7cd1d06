"""Journals reach the store in order, whatever the store does, and never hold up a call."""

import asyncio
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from app.calls import writer as written
from app.calls.archive import CallArchive
from app.calls.asking import Claim
from app.calls.books import Left
from app.calls.journal import (
    CallAnswered,
    CallEnded,
    CallerPartial,
    CallerSaid,
    Journal,
    JournalEvent,
    JournalGap,
    ReplyHeard,
    encode,
)
from app.calls.redaction import Private
from app.calls.seal import Seal
from app.calls.store.base import Batch, Lease
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld, StoreError, StoreUnavailable
from app.calls.store.memory import MemoryStore
from app.calls.writer import JournalWriter
from app.telemetry.metrics import Metrics
from telephony.clock import LoopClock
from tests.app.calls.test_seal import NEW, OLD
from tests.virtual import run


class Store(MemoryStore):
    """One that can be slow, or gone."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(clock)
        self.gone = False
        self.answer_is_lost = False
        self.slow_s = 0.0
        self.batches: list[tuple[Batch, ...]] = []

    async def append(self, batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
        await self._trouble()
        self.batches.append(tuple(batches))
        refused = await super().append(self.batches[-1])
        if self.answer_is_lost:
            raise StoreUnavailable("no answer")
        return refused

    async def acquire(
        self, call_id: str, owner: str, ttl_s: float, *, over: int | None = None, above: int = 0
    ) -> Lease:
        await self._trouble()
        return await super().acquire(call_id, owner, ttl_s, over=over, above=above)

    async def _trouble(self) -> None:
        if self.slow_s:
            await self._clock.sleep_until(self._clock.now() + self.slow_s)
        if self.gone:
            raise StoreUnavailable("gone")


@dataclass
class Call:
    """A call that says where its reply is when it is asked."""

    call_id: str
    journal: Journal
    replies: list[ReplyHeard] = field(default_factory=list)

    def progress(self) -> None:
        if self.replies:
            self.journal.append(self.replies.pop(0))


class Desk:
    """A writer at its desk, its store, and calls."""

    def __init__(self, **options: object) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.seal = Seal()
        self.metrics = Metrics()
        self.writer = JournalWriter(self.store, self.clock, self.metrics, owner="us", **options)  # type: ignore[arg-type]
        self.lost: list[tuple[str, StoreError]] = []
        self.writer.on_lost = lambda call_id, why: self.lost.append((call_id, why))

    def call(self, call_id: str = "CA1", lease: Claim | None = None) -> Call:
        call = Call(call_id, Journal())
        self.writer.begin(call, call.journal, lease)
        call.journal.append(answered(call_id))
        return call

    async def stored(self, call_id: str = "CA1") -> list[JournalEvent]:
        return await CallArchive(self.store, self.seal).events(call_id)

    def counted(self, name: str) -> float:
        return sum(
            sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"sidetone_{name}_total"
        )


def answered(call_id: str) -> CallAnswered:
    return CallAnswered(0.0, call_id, "twilio", "+15550100001", "+15550100002", "2026-03-02T09:00:00.000+00:00")


def said(*numbers: int) -> list[CallerSaid]:
    return [CallerSaid(float(number), str(number)) for number in numbers]


def test_what_happens_is_stored_in_order_within_two_hundred_milliseconds() -> None:
    async def scene() -> None:
        desk = Desk()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.writer.run())
            call = desk.call()
            for event in said(1, 2, 3):
                call.journal.append(event)
            await asyncio.sleep(0.2)
            assert await desk.stored() == [answered("CA1"), *said(1, 2, 3)]
            call.journal.append(CallEnded(4.0, "done"))
            await asyncio.sleep(0.2)
            assert (await desk.stored())[-1] == CallEnded(4.0, "done")
            task.cancel()

    run(scene())


def test_text_that_is_none_does_not_keep_the_writer_from_anything() -> None:
    async def scene() -> None:
        desk = Desk()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.writer.run())
            odd, plain = desk.call(), desk.call("CA2")
            odd.journal.append(replace(answered("CA1"), caller="J\udcf6rg"))
            odd.journal.append(CallerSaid(1.0, "\udce9"))
            plain.journal.append(*said(2))
            await asyncio.sleep(0.2)
            assert (await desk.stored())[-1] == CallerSaid(1.0, "\N{REPLACEMENT CHARACTER}")
            assert (await desk.stored("CA2"))[-1] == said(2)[0]
            (card,) = [card for card in await CallArchive(desk.store, desk.seal).calls() if card.call_id == "CA1"]
            assert card.caller == "J\N{REPLACEMENT CHARACTER}rg"
            task.cancel()

    run(scene())


def test_the_position_of_a_reply_is_asked_for_and_stored_while_it_is_spoken() -> None:
    async def scene() -> None:
        desk = Desk()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.writer.run())
            call = desk.call()
            call.replies = [ReplyHeard(n * 0.15, 1, n * 150, n) for n in range(1, 5)]
            await asyncio.sleep(0.8)
            assert [event.words for event in await desk.stored() if isinstance(event, ReplyHeard)] == [1, 2, 3, 4]
            task.cancel()

    run(scene())


def test_a_new_call_is_acquired_and_one_with_a_lease_goes_on_under_it() -> None:
    async def scene() -> None:
        desk = Desk()
        lease = await desk.store.acquire("CA2", "us", 60.0)
        desk.call("CA1")
        desk.call("CA2", lease)
        assert await desk.writer.flush()
        holder = await desk.store.holder("CA1")
        assert holder is not None and holder.lease == Lease("CA1", "us", 1)
        assert set(desk.writer.leases()) == {holder.lease, lease}

    run(scene())


def test_a_call_that_was_taken_over_is_written_where_its_journal_stopped() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        await desk.writer.flush()
        lease = desk.writer.forget("CA1")
        assert lease is not None
        taken = await desk.store.acquire("CA1", "them", 60.0, over=lease.fence)
        journal = Journal(await desk.stored())
        desk.writer.begin(Call("CA1", journal), journal, taken, left=Left(1))
        journal.append(said(1)[0])
        call.journal.append(said(2)[0])
        await desk.writer.flush()
        assert await desk.stored() == [answered("CA1"), *said(1)]

    run(scene())


def test_an_ended_call_is_forgotten_here_and_found_in_the_store() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        await desk.writer.flush()
        call.journal.append(CallEnded(61.5, "done"))
        await desk.writer.flush()
        assert desk.writer.leases() == () and len(desk.writer) == 0
        (card,) = await CallArchive(desk.store).calls()
        assert (card.call_id, card.ended, card.end_reason, card.duration_s) == ("CA1", True, "done", 61.5)
        assert [card.call_id for card in await CallArchive(desk.store).calls_of("+15550100001")] == ["CA1"]
        assert await CallArchive(desk.store).calls_of("+15550100009") == []

    run(scene())


def test_a_store_that_is_gone_loses_nothing_and_is_not_asked_all_the_time() -> None:
    async def scene() -> None:
        desk = Desk()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.writer.run())
            call = desk.call()
            await asyncio.sleep(1.0)
            desk.store.gone = True
            for number in range(1, 31):
                call.journal.append(said(number)[0])
                await asyncio.sleep(1.0)
            assert 3 < desk.counted("store_failures") < 20
            desk.store.gone = False
            await asyncio.sleep(6.0)
            assert await desk.stored() == [answered("CA1"), *said(*range(1, 31))]
            task.cancel()

    run(scene())


def test_a_batch_whose_answer_was_lost_is_stored_once() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        desk.store.answer_is_lost = True
        assert not await desk.writer.flush()
        call.journal.append(said(1)[0])
        desk.store.answer_is_lost = False
        await desk.writer.flush()
        await desk.writer.flush()
        assert await desk.stored() == [answered("CA1"), *said(1)]

    run(scene())


def test_a_slow_store_holds_up_nobody_and_what_comes_meanwhile_follows() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        desk.store.slow_s = 5.0
        async with asyncio.TaskGroup() as group:
            group.create_task(desk.writer.flush())
            await asyncio.sleep(7.0)
            before = desk.clock.now()
            for event in said(1, 2):
                call.journal.append(event)
            assert desk.clock.now() == before
        await desk.writer.flush()
        assert await desk.stored() == [answered("CA1"), *said(1, 2)]

    run(scene())


def test_what_could_not_be_kept_is_told_by_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "_CAPACITY", 3)

    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        desk.store.gone = True
        for event in said(1, 2, 3, 4, 5):
            call.journal.append(event)
        assert not await desk.writer.flush()
        desk.store.gone = False
        assert await desk.writer.flush()
        call.journal.append(said(6)[0])
        await desk.writer.flush()
        kept = await desk.stored()
        assert kept[:3] == [answered("CA1"), *said(1, 2)]
        gap = kept[3]
        assert isinstance(gap, JournalGap) and (gap.lost, gap.since) == (3, 3.0)
        assert kept[4:] == said(6)
        assert gap in call.journal.events

    run(scene())


def test_the_end_of_a_call_is_kept_even_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "_CAPACITY", 2)

    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        for event in (*said(1, 2, 3), CallEnded(4.0, "done")):
            call.journal.append(event)
        await desk.writer.flush()
        kept = await desk.stored()
        assert kept[:2] == [answered("CA1"), *said(1)]
        assert isinstance(kept[2], JournalGap) and kept[2].lost == 2
        assert kept[3:] == [CallEnded(4.0, "done")]
        assert (await CallArchive(desk.store).calls())[0].ended

    run(scene())


def test_ended_calls_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "_ENDED_WAITING", 2)

    async def scene() -> None:
        desk = Desk()
        desk.store.gone = True
        for number in range(5):
            desk.call(f"CA{number}").journal.append(CallEnded(1.0, "done"))
        await desk.writer.flush()
        assert desk.counted("journals_lost") == 3
        desk.store.gone = False
        await desk.writer.finish()
        assert sorted(card.call_id for card in await CallArchive(desk.store).calls()) == ["CA3", "CA4"]

    run(scene())


def test_a_store_that_has_forgotten_a_call_is_told_all_of_it_again() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        call.journal.append(said(1)[0])
        await desk.writer.flush()
        (before,) = desk.writer.leases()
        desk.store._calls.clear()
        call.journal.append(said(2)[0])
        await desk.writer.flush()
        call.journal.append(said(3)[0])
        await desk.writer.finish()
        assert await desk.stored() == [answered("CA1"), *said(1, 2, 3)]
        (after,) = desk.writer.leases()
        assert after.fence == before.fence + 1
        assert [card.call_id for card in await CallArchive(desk.store).calls()] == ["CA1"]

    run(scene())


def test_a_store_that_came_back_as_it_was_before_is_told_all_of_the_call_anew() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        for number in range(1, 30):  # of which the journal keeps none
            call.journal.append(ReplyHeard(0.5, number, 100, 1))
        await desk.writer.flush()
        past = deepcopy(desk.store._calls)
        call.journal.append(said(1)[0])
        await desk.writer.flush()
        desk.store._calls = past
        for event in said(2, 3):
            call.journal.append(event)
            await desk.writer.flush()
        assert await desk.writer.settle("CA1")
        assert await desk.stored() == [answered("CA1"), *said(1, 2, 3)]
        call.journal.append(CallEnded(4.0, "done"))
        await desk.writer.flush()
        assert await desk.stored() == [answered("CA1"), *said(1, 2, 3), CallEnded(4.0, "done")]
        assert (await CallArchive(desk.store).calls())[0].ended and not desk.lost

    run(scene())


def test_what_is_written_anew_is_so_once_though_the_stores_answer_was_lost() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        await desk.writer.flush()
        past = deepcopy(desk.store._calls)
        call.journal.append(said(1)[0])
        await desk.writer.flush()
        desk.store._calls = past
        call.journal.append(said(2)[0])
        await desk.writer.flush()  # which tells that it was forgotten
        desk.store.answer_is_lost = True
        assert not await desk.writer.flush()
        desk.store.answer_is_lost = False
        call.journal.append(said(3)[0])
        assert await desk.writer.settle("CA1")
        assert await desk.stored() == [answered("CA1"), *said(1, 2, 3)]
        assert [batch.anew for (batch,) in desk.store.batches[-3:]] == [True, True, False]

    run(scene())


def test_a_live_call_is_kept_when_the_store_remembers_only_its_owner_before() -> None:
    async def scene() -> None:
        desk = Desk()
        theirs = await desk.store.acquire("CA1", "them", 60.0)
        await desk.store.append([Batch("CA1", theirs.fence, 0, (encode(answered("CA1")),))])
        past = deepcopy(desk.store._calls)
        ours = await desk.store.acquire("CA1", "us", 60.0, over=theirs.fence)
        journal = Journal(await desk.stored())
        desk.writer.begin(Call("CA1", journal), journal, ours, left=Left(1))
        journal.append(said(1)[0])
        await desk.writer.flush()
        desk.store._calls = past
        journal.append(said(2)[0])
        assert await desk.writer.settle("CA1")
        assert await desk.stored() == [answered("CA1"), *said(1, 2)]
        assert not desk.lost and desk.writer.lease("CA1") == Lease("CA1", "us", ours.fence + 1)

    run(scene())


def test_a_call_that_is_left_while_it_is_written_anew_is_written_anew_by_the_next() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        call.journal.append(ReplyHeard(0.5, 1, 100, 1))
        await desk.writer.flush()
        desk.writer.rewrite("CA1")
        left = desk.writer.leave("CA1")
        assert left is not None and left.anew
        desk.writer.begin(call, call.journal, left=left)
        call.journal.append(said(1)[0])
        assert await desk.writer.settle("CA1")
        assert await desk.stored() == [answered("CA1"), *said(1)]

    run(scene())


def test_a_call_that_somebody_else_took_is_given_up_at_once() -> None:
    async def scene() -> None:
        desk = Desk()
        call, other = desk.call("CA1"), desk.call("CA2")
        await desk.writer.flush()
        await desk.store.acquire("CA1", "them", 60.0, over=1)
        call.journal.append(said(1)[0])
        other.journal.append(said(1)[0])
        await desk.writer.flush()
        ((call_id, why),) = desk.lost
        assert call_id == "CA1" and isinstance(why, FencedOff)
        assert await desk.stored("CA1") == [answered("CA1")]
        assert await desk.stored("CA2") == [answered("CA2"), *said(1)]
        call.journal.append(said(2)[0])
        assert len(desk.writer) == 0

    run(scene())


def test_a_call_that_is_somebody_elses_or_over_is_not_ours() -> None:
    async def scene() -> None:
        desk = Desk()
        await desk.store.acquire("CA1", "them", 60.0)
        ended = await desk.store.acquire("CA2", "them", 60.0)
        await desk.store.append([Batch("CA2", ended.fence, 0, (b"",), ended=True)])
        desk.call("CA1")
        desk.call("CA2")
        desk.call("CA3")
        await desk.writer.flush()
        assert [(call_id, type(why)) for call_id, why in desk.lost] == [("CA1", LeaseHeld), ("CA2", CallOver)]
        assert await desk.stored("CA3") == [answered("CA3")]

    run(scene())


def test_what_waits_is_told_once_as_it_is_by_now() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        for event in (
            CallerPartial(1.0, "are"),
            CallerPartial(1.1, "are you"),
            ReplyHeard(2.0, 1, 100, 1, said_from=0, said="Hello"),
            ReplyHeard(2.1, 1, 200, 1),
            ReplyHeard(2.2, 1, 300, 1, said_from=5, said=" there"),
            ReplyHeard(2.3, 2, 10, 0),
        ):
            call.journal.append(event)
        await desk.writer.flush()
        assert await desk.stored() == [
            answered("CA1"),
            CallerPartial(1.1, "are you"),
            ReplyHeard(2.1, 1, 200, 1, said_from=0, said="Hello"),
            ReplyHeard(2.2, 1, 300, 1, said_from=5, said=" there"),
            ReplyHeard(2.3, 2, 10, 0),
        ]

    run(scene())


def test_journals_are_masked_and_sealed_as_wanted() -> None:
    async def scene() -> None:
        desk = Desk(seal=Seal([OLD]), private={Private.WORDS, Private.NUMBERS})
        call = desk.call()
        call.journal.append(CallerSaid(1.0, "my name is Anna"))
        await desk.writer.flush()
        raw = b"".join(await desk.store.read("CA1")) + (await desk.store.calls())[0].card
        assert b"twilio" not in raw
        archive = CallArchive(desk.store, Seal([NEW, OLD]))
        first, second = await archive.events("CA1")
        assert second == CallerSaid(1.0, "** **** ** ****")
        assert isinstance(first, CallAnswered) and first.caller == "+*********01"
        assert (await archive.calls())[0].caller == "+*********01"
        assert call.journal.events[1] == CallerSaid(1.0, "my name is Anna")
        assert [card.call_id for card in await archive.calls_of("+15550100001")] == ["CA1"]

    run(scene())


def test_a_call_that_cannot_be_read_is_listed_as_such() -> None:
    async def scene() -> None:
        desk = Desk(seal=Seal([OLD]))
        desk.call()
        await desk.writer.flush()
        (card,) = await CallArchive(desk.store, Seal([NEW])).calls()
        assert (card.call_id, card.end_reason) == ("CA1", "sealed with another key")

    run(scene())


def test_what_was_kept_long_enough_goes_as_fast_as_it_comes() -> None:
    async def scene() -> None:
        desk = Desk()
        left, swept_at = 10, []

        async def sweep() -> bool:
            nonlocal left
            left = max(0, left - 1)
            swept_at.append(desk.clock.now())
            return left > 0

        desk.store.sweep = sweep  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.writer.run())
            await asyncio.sleep(60.0)
            assert left == 0 and len(swept_at) == 10
            await asyncio.sleep(300.0)
            assert len(swept_at) == 11
            task.cancel()

    run(scene())


def test_at_the_end_everything_is_stored_that_the_store_takes() -> None:
    async def scene() -> None:
        desk = Desk()
        call = desk.call()
        for number in range(1, 1201):
            call.journal.append(said(number)[0])
        await desk.writer.finish()
        assert len(await desk.stored()) == 1201
        call.journal.append(CallEnded(1300.0, "done"))
        desk.store.gone = True
        await desk.writer.finish()
        assert len(desk.writer) == 1

    run(scene())


@pytest.mark.timeout(10)
def test_who_settles_a_call_waits_for_its_lease_that_is_on_its_way_but_not_for_ever() -> None:
    async def scene() -> None:
        desk = Desk()
        claim: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        desk.call(lease=claim)
        began = desk.clock.now()
        assert not await desk.writer.settle("CA1")
        assert 2.0 < desk.clock.now() - began < 10.0
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(desk.writer.settle("CA1"))
            await asyncio.sleep(1.0)
            assert not settling.done()
            claim.set_result(await desk.store.acquire("CA1", "us", 60.0))
            assert await settling
        assert await desk.stored() == [answered("CA1")]

    run(scene())


@pytest.mark.timeout(10)
def test_at_the_end_a_lease_that_does_not_come_is_given_up_and_the_rest_is_stored() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.call("CA1", asyncio.get_running_loop().create_future())
        desk.call("CA2")
        began = desk.clock.now()
        await desk.writer.finish()
        assert desk.clock.now() - began < 10.0
        assert len(desk.writer) == 1 and await desk.stored("CA2") == [answered("CA2")]

    run(scene())


@pytest.mark.timeout(10)
def test_a_store_that_takes_nothing_and_says_nothing_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.call()
        ticks = 0

        async def forgetful(batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
            return tuple(Forgotten(batch.call_id) for batch in batches)

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.1)
                ticks += 1

        monkeypatch.setattr(desk.store, "append", forgetful)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(tick())
            assert not await desk.writer.settle("CA1")
            assert ticks > 10
            ticking.cancel()

    run(scene())
