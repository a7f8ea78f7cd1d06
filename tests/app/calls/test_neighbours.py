"""The processes of one machine find calls and hand them over without a store; nobody speaks twice, nothing is lost."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.calls.books import Left
from app.calls.errors import TokenRejected
from app.calls.journal import CallAnswered, CallerSaid, CallTakenOver, JournalEvent, ReplyEnded
from app.calls.messages import Answer, HandedOver, HandOver, HangUpCall, Inquire, Known, Message, encode
from app.calls.neighbours import LocalNeighbours
from app.calls.redaction import Private
from app.calls.seal import Seal
from app.conversation.state import Phase
from providers.base import AgentMessage, CallerMessage
from telephony.audio import TELEPHONE
from telephony.carrier import CallStatus, HangUp, MediaStarted, OpenStream
from telephony.carriers.twilio import TWILIO
from telephony.clock import LoopClock
from tests.app.calls.test_seal import NEW
from tests.app.calls.test_switchboard import LONG, QUESTION, a_world, asked, of
from tests.app.calls.town import Process, Town, offered, town
from tests.doubles import Line
from tests.virtual import run

Scene = Callable[[Town, Process, Process], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    """Play a scene between two neighbours."""

    async def played(scene: Scene) -> None:
        async with town(folder=tmp_path) as here:
            await scene(here, await here.start("first", a_world()), await here.start("second", a_world()))

    return lambda scene: run(played(scene))


Play = Callable[[Scene], None]


def ended(events: Sequence[JournalEvent]) -> list[str]:
    return [event.heard for event in of(list(events), ReplyEnded)]


def test_without_a_store_a_new_calls_stream_may_land_at_the_other_process(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        here.cut(True)
        decision = await first.switchboard.answer(TWILIO, offered())
        await here.connect(second, decision)
        taken = second.session()
        assert taken is not None and first.session() is None
        await here.until(lambda: ended(taken.record.journal.events))
        assert ended(taken.record.journal.events) == ["Hello."]
        here.cut(False)
        await asyncio.sleep(5.0)
        events = await here.journal()
        assert len(of(events, CallAnswered)) == 1
        assert [event.owner for event in of(events, CallTakenOver)] == ["second"]
        holder = await here.store.holder("CA1")
        assert holder is not None and holder.lease == second.writer.lease("CA1")
        assert second.session() is taken

    play(scene)


@pytest.mark.parametrize("after_s", [0.1, 1.5, 4.0])
@pytest.mark.parametrize("away", [True, False])
def test_a_reply_goes_on_from_the_heard_word_where_its_stream_lands(tmp_path: Path, after_s: float, away: bool) -> None:
    async def scene() -> None:
        async with town(folder=tmp_path) as here:
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            await asked(here, first, line)
            await asyncio.sleep(after_s)
            here.cut(away)
            session = first.session()
            assert session is not None
            session.progress()
            assert session.record.memory.reply is not None
            heard = len(session.record.memory.reply.heard.split())
            line.drop()
            again = await here.after(second)
            taken = second.session()
            assert taken is not None and first.session() is None
            await here.until(lambda: len(ended(taken.record.journal.events)) == 2, within_s=12.0)
            words = LONG.split()
            rest_s = sum((len(word) + 1) * 0.06 for word in words[heard:])
            assert len(again.heard) * 0.02 <= rest_s + (len(words[heard - 1]) + 1) * 0.06 + 0.5
            assert taken.record.transcript.messages() == (
                AgentMessage("Hello."),
                CallerMessage(QUESTION),
                AgentMessage(LONG),
            )
            here.cut(False)
            await asyncio.sleep(3.0)
            stored = await here.journal()
            assert ended(stored) == ["Hello.", LONG]
            assert len(of(stored, CallerSaid)) == 1
            assert here.store._calls["CA1"].lease.owner == "second"
            assert taken.state.phase is Phase.LIVE

    run(scene())


def test_a_call_that_went_on_to_a_third_and_back_belongs_to_who_has_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with town(folder=tmp_path) as here:
            processes = [await here.start(name, a_world()) for name in ("first", "second", "third")]
            await here.ring(processes[0])
            await asyncio.sleep(2.0)
            here.cut(True)
            for process in (processes[1], processes[2], processes[0], processes[1]):
                await here.after(process)
            here.cut(False)
            await asyncio.sleep(5.0)
            assert [process.session() is not None for process in processes] == [False, True, False]
            assert here.store._calls["CA1"].lease.owner == "second"
            assert len(of(await here.journal(), CallTakenOver)) == 4

    run(scene())


def test_a_lease_that_comes_late_to_who_has_left_the_call_takes_it_from_nobody(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        first.wire.running.clear()  # its claim of the new call is on its way, and stays there
        second.wire.cut = True
        await here.connect(second, await first.switchboard.answer(TWILIO, offered()))
        first.wire.running.set()
        await asyncio.sleep(1.0)
        assert here.store._calls["CA1"].lease.owner == "first"
        second.wire.cut = False
        await asyncio.sleep(5.0)
        assert here.store._calls["CA1"].lease.owner == "second"
        assert second.session() is not None and first.session() is None

    play(scene)


def test_a_store_that_has_forgotten_everything_meanwhile_is_told_the_whole_call(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        await asked(here, first, await here.ring(first))
        here.cut(True)
        await here.after(second)
        here.store._calls.clear()
        here.cut(False)
        await asyncio.sleep(8.0)
        events = await here.journal()
        assert isinstance(events[0], CallAnswered) and ended(events) == ["Hello.", LONG]

    play(scene)


def test_what_is_sealed_and_masked_in_the_store_is_known_to_who_takes_over(tmp_path: Path) -> None:
    async def scene() -> None:
        async with town(folder=tmp_path) as here:
            here.seal, here.private = Seal([NEW]), (Private.WORDS,)
            first, second = await here.start("first", a_world()), await here.start("second", a_world())
            line = await here.ring(first)
            here.cut(True)
            await asked(here, first, line)
            await here.after(second)
            taken = second.session()
            assert taken is not None and CallerMessage(QUESTION) in taken.record.transcript.messages()
            here.cut(False)
            await asyncio.sleep(3.0)
            assert of(await here.journal(), CallerSaid)[0].text.startswith("****")

    run(scene())


# what carriers and others ask


def test_a_repeated_webhook_is_the_same_call_without_a_store_too(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        here.cut(True)
        await first.switchboard.answer(TWILIO, offered())
        again = await second.switchboard.answer(TWILIO, offered())
        assert len(second.directory) == 0
        await here.connect(first, again)
        assert await second.switchboard.end("CA1", "ended by the API")
        await here.until(lambda: first.session() is None)
        assert await second.switchboard.answer(TWILIO, offered()) == HangUp()
        assert await second.switchboard.after(TWILIO, offered()) == HangUp()
        started = MediaStarted("CA1", "MZ9", {}, TELEPHONE)
        token = second.directory.open_stream(TWILIO, "CA1").token
        with pytest.raises(TokenRejected, match="over"):
            await second.switchboard.serve(TWILIO, token, started, Line(here.clock))

    play(scene)


def test_the_end_of_a_call_is_known_to_every_process_without_a_store_too(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        here.cut(True)
        await here.ring(first)
        await second.switchboard.status(TWILIO, CallStatus("CA1", "completed", ended=True))
        await here.until(lambda: first.session() is None, within_s=1.0)

    play(scene)


def test_a_stream_that_is_lost_too_often_is_so_whoever_is_asked(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        await here.ring(first)
        for asked_of in (second, first, second):
            assert isinstance(await asked_of.switchboard.after(TWILIO, offered()), OpenStream)
        assert await second.switchboard.after(TWILIO, offered()) == HangUp(first.world.manners.failed)
        await here.until(lambda: first.session() is None)

    play(scene)


def test_a_call_whose_owner_was_without_the_store_for_long_is_not_taken_for_abandoned(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        line = await here.ring(first)
        first.wire.cut = True
        await asyncio.sleep(here.settings.lease_s * 4)
        assert first.session() is not None and second.session() is None
        assert not line.closed and not here.control.redirected
        first.wire.cut = False

    play(scene)


def test_a_process_that_starts_without_the_store_knows_the_tokens_of_its_neighbours(play: Play) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        here.cut(True)
        third = await here.start("third", a_world(), cut=True)
        await here.connect(third, await first.switchboard.answer(TWILIO, offered()))
        await here.after(third, second)
        here.cut(False)
        await asyncio.sleep(4.0)
        assert len({process.directory.tokens.key for process in here.processes}) == 1

    play(scene)


def test_processes_that_all_start_without_the_store_agree_on_tokens(tmp_path: Path) -> None:
    async def scene() -> None:
        async with town(folder=tmp_path) as here:
            first, second = [await here.start(name, a_world(), cut=True) for name in ("first", "second")]
            await here.connect(second, await first.switchboard.answer(TWILIO, offered()))
            assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600

    run(scene())


@pytest.mark.parametrize("away_after_s", [0.0, 1.0])
def test_a_deployment_while_the_store_is_away_loses_no_call(play: Play, away_after_s: float) -> None:
    async def scene(here: Town, first: Process, second: Process) -> None:
        calls = [f"CA{number}" for number in range(10)]
        lines = {call: await here.ring(first, call) for call in calls}
        await asyncio.sleep(3.0)

        async def follow(call: str) -> None:
            await here.until(lambda: lines[call].closed)
            await here.after(second, call_id=call)

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(follow(call))
            group.create_task(first.switchboard.custody.drain(1.0, lambda: False, successor=True))
            await asyncio.sleep(away_after_s)
            here.cut(True)
        assert len(first.directory) == 0
        assert len(second.directory) == 10
        here.cut(False)
        await asyncio.sleep(4.0)
        assert len(second.directory) == 10
        for call in calls:
            assert ended(await here.journal(call))[0] == "Hello."

    play(scene)


# who dies in the middle, who does not answer


class Stub:
    """A process with one call."""

    def __init__(self) -> None:
        self.has_it = True
        self.kept: list[str] = []

    def asked(self, message: Message) -> Answer | None:
        if not self.has_it:
            return None
        if not isinstance(message, HandOver):
            return Known(message.call_id, live=True)
        self.has_it = False
        return HandedOver.of("CA1", [CallerSaid(1.0, "hello")], Left(1))

    def carry_on(self, events: Sequence[JournalEvent], left: Left, reason: str) -> None:
        assert (events, left) == ([CallerSaid(1.0, "hello")], Left(1))
        self.has_it = True
        self.kept.append(reason)


def sockets(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def asking(folder: Path) -> socket.socket:
    """Somebody asks for the call, by hand; his answer has arrived."""
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(str(*sockets(folder)))
    request = encode(HandOver("CA1", "test"))
    asker.send(len(request).to_bytes(4) + request)
    asker.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(asker, 1 << 16)
    return asker


def between(folder: Path, scene: Callable[[Stub], Coroutine[Any, Any, None]]) -> None:
    """Play a scene with a process that has the call."""

    async def played() -> None:
        owner = Stub()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(LocalNeighbours(folder, LoopClock()).listen(owner))
            while not sockets(folder):
                await asyncio.sleep(0.01)
            await scene(owner)
            listening.cancel()
        assert not sockets(folder)

    run(played())


def test_a_call_is_kept_when_who_asked_for_it_dies_before_he_has_it(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        with await asking(tmp_path):
            assert not owner.has_it
        await asyncio.sleep(0.1)
        assert owner.has_it and len(owner.kept) == 1

    between(tmp_path, scene)


def test_who_comes_too_late_with_his_receipt_learns_that_the_call_was_kept(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        with await asking(tmp_path) as asker:
            await asyncio.sleep(1.0)
            assert owner.has_it
            with pytest.raises(BrokenPipeError):
                asker.send(b"!")

    between(tmp_path, scene)


def test_nobody_leaves_a_call_to_who_has_given_up_waiting(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        with socket.socket(socket.AF_UNIX) as asker:
            asker.connect(str(*sockets(tmp_path)))
            request = encode(HandOver("CA1", "test"))
            asker.send(len(request).to_bytes(4) + request)
        await asyncio.sleep(1.0)
        assert owner.has_it and not owner.kept

    between(tmp_path, scene)


def test_a_call_is_left_for_good_with_the_receipt(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        with await asking(tmp_path) as asker:
            asker.send(b"!")
        await asyncio.sleep(1.0)
        assert not owner.has_it

    between(tmp_path, scene)


def test_of_several_who_ask_at_once_one_gets_the_call(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        others = [Stub() for _ in range(5)]
        askers = [LocalNeighbours(tmp_path, LoopClock()) for _ in others]
        for other, asker in zip(others, askers, strict=True):
            other.has_it, asker._calls = False, other
        answers = await asyncio.gather(*(asker.ask(HandOver("CA1", "test")) for asker in askers))
        assert sum(isinstance(answer, HandedOver) for answer in answers) == 1
        assert [other.has_it for other in others].count(True) == 1 and not owner.has_it

    between(tmp_path, scene)


def test_who_stands_still_is_not_waited_for_and_who_was_killed_is_forgotten(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        with socket.socket(socket.AF_UNIX) as still, socket.socket(socket.AF_UNIX) as killed:
            still.bind(str(tmp_path / "still"))
            still.listen()
            killed.bind(str(tmp_path / "killed"))
            killed.close()
            neighbours, now = LocalNeighbours(tmp_path, LoopClock()), asyncio.get_running_loop().time
            began = now()
            assert await neighbours.ask(Inquire("CA1")) == Known("CA1", live=True)
            assert now() - began < 0.1
            owner.has_it = False
            for _ in range(50):
                assert await neighbours.ask(HangUpCall("CA1", "enough")) is None
            assert now() - began < 1.0
            await asyncio.sleep(3.0)
            owner.has_it, still_there = True, now()
            assert await neighbours.ask(Inquire("CA1")) == Known("CA1", live=True)
            assert now() - still_there < 0.1
            assert not (tmp_path / "killed").exists()
        (tmp_path / "still").unlink()

    between(tmp_path, scene)


def test_nonsense_is_no_question_and_no_answer(tmp_path: Path) -> None:
    async def scene(owner: Stub) -> None:
        (place,) = sockets(tmp_path)
        for nonsense in (b"", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\2no", b"\0\0\0\2{}"):
            reader, writer = await asyncio.open_unix_connection(place)
            writer.write(nonsense)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert owner.has_it

    between(tmp_path, scene)


def test_without_a_place_for_sockets_a_process_is_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scene() -> None:
        alone = LocalNeighbours(tmp_path / "file" / "folder", LoopClock())
        await alone.listen(Stub())
        assert await alone.ask(Inquire("CA1")) is None

    run(scene())
