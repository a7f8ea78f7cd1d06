"""The directory finds the one session of a call, whatever the carrier repeats, loses or mixes up."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.calls.archive import CallArchive
from app.calls.directory import Directory
from app.calls.errors import TokenRejected
from app.calls.journal import CallEnded, JournalEvent, LegAttached
from app.calls.store.memory import MemoryStore
from app.calls.writer import JournalWriter
from app.conversation.session import CallSession
from app.conversation.state import Phase
from providers.base import ReplyRequest, TextDelta, ToolCall
from telephony.audio import TELEPHONE
from telephony.carrier import CallOffered, CallStatus, Dial, HangUp, MediaStarted, OpenStream
from telephony.carriers.twilio import TWILIO
from tests.calls.world import World
from tests.doubles import Line
from tests.virtual import run


class Office:
    """A directory, and the carrier's side of it."""

    def __init__(self, world: World, directory: Directory, group: asyncio.TaskGroup) -> None:
        self.world, self.directory, self._group = world, directory, group
        self.lines: list[Line] = []
        self._sessions: dict[str, CallSession] = {}

    def ring(self, call_id: str = "CA1") -> OpenStream:
        decision = self.directory.answer(TWILIO, offered(call_id))
        assert isinstance(decision, OpenStream)
        session = self.directory.find(call_id)
        assert session is not None
        self._sessions[call_id] = session
        return decision

    async def connect(self, call_id: str, token: str) -> tuple[Line, "asyncio.Task[None]"]:
        """A media stream for the call; the task ends with it."""
        line = Line(self.world.clock)
        self.lines.append(line)
        self._group.create_task(line.run())
        started = MediaStarted(call_id, f"MZ{len(self.lines)}", {}, TELEPHONE)
        serving = self._group.create_task(self.directory.serve(TWILIO, token, started, line))
        await asyncio.sleep(0.01)
        return line, serving

    def session(self, call_id: str = "CA1") -> CallSession:
        """The call's session, also when the directory has forgotten it."""
        return self._sessions[call_id]


@asynccontextmanager
async def office(world: World | None = None, **settings: object) -> AsyncIterator[Office]:
    world = world or World()
    async with asyncio.TaskGroup() as group:
        settings = {"public_url": "https://bridge.example.net", **settings}
        async with Directory(world.services(), **settings) as directory:  # type: ignore[arg-type]
            at = Office(world, directory, group)
            yield at
            for call in list(directory._calls):
                directory.status(TWILIO, CallStatus(call, "completed", ended=True))
        for line in at.lines:
            line.close()


def offered(call_id: str) -> CallOffered:
    return CallOffered(call_id, "+15550100001", "+15550100002", "inbound")


def test_an_answer_opens_a_stream_at_the_public_address() -> None:
    async def scene() -> None:
        async with office(public_url="https://bridge.example.net/") as at:
            stream = at.ring()
            assert stream.media_url == "wss://bridge.example.net/twilio/media"
            assert stream.after_url == "https://bridge.example.net/twilio/after"

    run(scene())


def test_without_tls_the_stream_has_none_either() -> None:
    async def scene() -> None:
        async with office(public_url="http://127.0.0.1:8080") as at:
            assert at.ring().media_url == "ws://127.0.0.1:8080/twilio/media"

    run(scene())


def test_a_retried_webhook_is_the_same_call_and_the_newest_stream_wins() -> None:
    async def scene() -> None:
        async with office() as at:
            first, second = at.ring(), at.ring()
            assert len(at.directory) == 1
            assert first.token != second.token
            older, serving_older = await at.connect("CA1", first.token)
            newer, _ = await at.connect("CA1", second.token)
            await asyncio.wait([serving_older])
            assert older.closed and not newer.closed
            assert at.session().state.phase is Phase.LIVE

    run(scene())


def test_a_token_of_one_call_never_reaches_another() -> None:
    async def scene() -> None:
        async with office() as at:
            at.ring("CA1")
            foreign = at.ring("CA2").token
            with pytest.raises(TokenRejected, match="not of this call"):
                await at.directory.serve(
                    TWILIO, foreign, MediaStarted("CA1", "MZ1", {}, TELEPHONE), Line(at.world.clock)
                )
            for call in ("CA1", "CA2"):
                assert at.session(call).state.phase is Phase.NEW

    run(scene())


def test_a_stream_for_a_call_that_is_over_is_refused() -> None:
    async def scene() -> None:
        async with office() as at:
            token = at.ring().token
            await asyncio.sleep(0.01)
            at.directory.status(TWILIO, CallStatus("CA1", "no-answer", ended=True))
            await asyncio.sleep(0.01)
            with pytest.raises(TokenRejected, match="over"):
                await at.directory.serve(TWILIO, token, MediaStarted("CA1", "MZ1", {}, TELEPHONE), Line(at.world.clock))

    run(scene())


def test_a_lost_stream_gets_another_for_the_same_session() -> None:
    async def scene() -> None:
        async with office() as at:
            line, _ = await at.connect("CA1", at.ring().token)
            session = at.session()
            await asyncio.sleep(3.0)
            line.drop()
            await asyncio.sleep(0.1)
            again = at.directory.after(TWILIO, offered("CA1"))
            assert isinstance(again, OpenStream)
            await at.connect("CA1", again.token)
            assert at.directory.find("CA1") is session
            assert session.state.phase is Phase.LIVE
            assert len([e for e in session.record.journal.events if isinstance(e, LegAttached)]) == 2

    run(scene())


def test_media_that_is_lost_again_and_again_ends_the_call_with_an_apology() -> None:
    async def scene() -> None:
        async with office() as at:
            at.ring()
            await asyncio.sleep(0.01)
            decisions = [at.directory.after(TWILIO, offered("CA1")) for _ in range(4)]
            assert [type(decision) for decision in decisions] == [OpenStream] * 3 + [HangUp]
            assert decisions[3] == HangUp(at.world.manners.failed)
            await asyncio.sleep(0.01)
            assert at.session().end_reason == "media lost too often"

    run(scene())


def test_media_that_is_lost_now_and_then_is_no_reason_to_end() -> None:
    async def scene() -> None:
        async with office(World().with_manners(media_s=10_000.0)) as at:
            at.ring()
            for _ in range(10):
                await asyncio.sleep(25.0)
                assert isinstance(at.directory.after(TWILIO, offered("CA1")), OpenStream)

    run(scene())


def test_after_the_conversation_the_call_is_hung_up() -> None:
    async def scene() -> None:
        world = World()
        world.llm.answer = lambda request: [TextDelta("Goodbye."), ToolCall("1", "end_call", {})]
        async with office(world) as at:
            _, serving = await at.connect("CA1", at.ring().token)
            await serving
            assert at.directory.after(TWILIO, offered("CA1")) == HangUp()
            await asyncio.sleep(1.0)
            assert at.directory.after(TWILIO, offered("CA1")) == HangUp()
            assert at.directory.answer(TWILIO, offered("CA1")) == HangUp()

    run(scene())


@pytest.mark.parametrize("target", ["+15550100009", ""])
def test_after_a_hand_over_the_human_is_dialled_if_there_is_one(target: str) -> None:
    async def scene() -> None:
        world = World().with_manners(transfer_to=target)
        world.llm.answer = lambda request: [TextDelta("One moment."), ToolCall("1", "transfer_call", {})]
        async with office(world) as at:
            _, serving = await at.connect("CA1", at.ring().token)
            await serving
            expected = Dial(target) if target else HangUp(world.manners.nobody)
            assert at.directory.after(TWILIO, offered("CA1")) == expected
            await asyncio.sleep(60.0)
            assert at.directory.after(TWILIO, offered("CA1")) == expected

    run(scene())


def test_a_call_nobody_knows_is_apologised_to() -> None:
    async def scene() -> None:
        async with office() as at:
            assert at.directory.after(TWILIO, offered("CA9")) == HangUp(at.world.manners.failed)

    run(scene())


def test_beyond_its_capacity_the_bridge_is_busy_and_live_calls_go_on() -> None:
    async def scene() -> None:
        async with office(max_calls=2) as at:
            at.ring("CA1")
            at.ring("CA2")
            assert at.directory.answer(TWILIO, offered("CA3")) == HangUp(at.world.manners.busy)
            assert at.directory.find("CA3") is None
            at.ring("CA1")
            await asyncio.sleep(0.01)
            at.directory.status(TWILIO, CallStatus("CA1", "completed", ended=True))
            await asyncio.sleep(0.01)
            at.ring("CA3")

    run(scene())


def test_a_bridge_that_goes_down_takes_no_new_calls_and_waits_for_the_live_ones() -> None:
    async def scene() -> None:
        async with office() as at:
            at.ring("CA1")
            await asyncio.sleep(0.01)

            async def hang_up() -> None:
                await asyncio.sleep(4.0)
                at.directory.status(TWILIO, CallStatus("CA1", "completed", ended=True))

            async with asyncio.TaskGroup() as group:
                group.create_task(hang_up())
                began = at.world.clock.now()
                await at.directory.drain(10.0)
            assert 4.0 <= at.world.clock.now() - began < 4.5
            assert at.directory.answer(TWILIO, offered("CA2")) == HangUp(at.world.manners.busy)

    run(scene())


def test_a_bridge_that_goes_down_does_not_wait_for_ever() -> None:
    async def scene() -> None:
        async with office(World().with_manners(media_s=10_000.0)) as at:
            at.ring("CA1")
            began = at.world.clock.now()
            await at.directory.drain(10.0)
            assert at.world.clock.now() - began == pytest.approx(10.0, abs=0.2)
            assert len(at.directory) == 1

    run(scene())


def test_only_a_final_status_ends_a_call() -> None:
    async def scene() -> None:
        async with office() as at:
            at.ring()
            await asyncio.sleep(0.01)
            at.directory.status(TWILIO, CallStatus("CA1", "in-progress", ended=False))
            at.directory.status(TWILIO, CallStatus("CA9", "completed", ended=True))
            assert at.session().state.phase is Phase.NEW
            at.directory.status(TWILIO, CallStatus("CA1", "busy", ended=True))
            await asyncio.sleep(0.01)
            assert at.session().end_reason == "carrier: busy"
            assert len(at.directory) == 0

    run(scene())


def test_a_call_whose_media_and_status_never_come_ends_by_itself() -> None:
    async def scene() -> None:
        async with office() as at:
            at.ring()
            await asyncio.sleep(at.world.manners.media_s + 1.0)
            assert len(at.directory) == 0
            assert at.session().end_reason == "no media"

    run(scene())


def test_a_crash_ends_one_call_politely_and_no_other() -> None:
    async def scene() -> None:
        world = World()
        broken_once = iter([True])

        def answer(request: ReplyRequest) -> str:
            if next(broken_once, False):
                raise ZeroDivisionError
            return "Hello."

        world.llm.answer = answer
        async with office(world) as at:
            _, crashed = await at.connect("CA1", at.ring("CA1").token)
            healthy, _ = await at.connect("CA2", at.ring("CA2").token)
            await crashed
            await asyncio.sleep(3.0)
            assert at.directory.after(TWILIO, offered("CA1")) == HangUp(world.manners.failed)
            assert at.session("CA1").record.journal.events[-1] == CallEnded(
                at=at.session("CA1").record.journal.events[-1].at, reason="crashed"
            )
            assert at.session("CA2").state.phase is Phase.LIVE
            assert healthy.heard

    run(scene())


def test_of_ended_calls_the_newest_are_known_by_their_end_and_no_session_is_kept() -> None:
    async def scene() -> None:
        async with office(max_calls=1000) as at:
            for number in range(510):
                at.ring(f"CA{number}")
            await asyncio.sleep(0.01)
            for number in range(510):
                at.directory.status(TWILIO, CallStatus(f"CA{number}", "completed", ended=True))
            await asyncio.sleep(0.01)
            assert at.directory.after(TWILIO, offered("CA0")) == HangUp(at.world.manners.failed)
            assert at.directory.after(TWILIO, offered("CA509")) == HangUp()
            assert at.directory.answer(TWILIO, offered("CA509")) == HangUp()
            assert list(at.directory.sessions()) == []
            assert at.directory.find("CA509") is None

    run(scene())


def test_of_calls_that_came_and_went_nothing_is_left_but_what_is_stored() -> None:
    async def scene() -> None:
        world = World()
        store = MemoryStore(world.clock)
        writer = JournalWriter(store, world.clock, world.metrics, owner="us")
        async with office(world, max_calls=1000, journals=writer) as at:
            for number in range(100):
                at.ring(f"CA{number}")
            gone = [weakref.ref(session) for session in at._sessions.values()]
            at._sessions.clear()
            await asyncio.sleep(0.01)
            await writer.flush()
            for number in range(100):
                at.directory.status(TWILIO, CallStatus(f"CA{number}", "completed", ended=True))
            await asyncio.sleep(0.01)
            await writer.finish()
            assert not any(session() for session in gone)
            assert writer.leases() == ()
            cards = await CallArchive(store).calls()
            assert {(card.ended, card.end_reason) for card in cards} == {(True, "carrier: completed")}
            assert len(cards) == 100

    run(scene())


def test_a_listener_hears_every_event_of_every_call() -> None:
    async def scene() -> None:
        heard: list[JournalEvent] = []
        async with office(listener=heard.append) as at:
            at.ring("CA1")
            at.ring("CA2")
            await asyncio.sleep(0.01)
        kinds = [type(event).__name__ for event in heard]
        assert kinds.count("CallAnswered") == kinds.count("CallEnded") == 2

    run(scene())


def test_leaving_the_directory_ends_the_calls_that_are_left() -> None:
    async def scene() -> None:
        world = World()
        async with Directory(world.services(), public_url="http://127.0.0.1") as directory:
            directory.answer(TWILIO, offered("CA1"))
            session = directory.find("CA1")
            assert session is not None
            await asyncio.sleep(0.01)
        assert session.end_reason == "the bridge stops"
        assert session.state.phase is Phase.ENDED

    run(scene())
