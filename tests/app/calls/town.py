"""Several bridge processes and one carrier in virtual time: what they share is a store, and each can be killed.

Without a `folder` they are on as many machines; with one they are neighbours on one machine, and meet there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.calls.archive import CallArchive
from app.calls.books import Books
from app.calls.directory import Directory
from app.calls.journal import JournalEvent
from app.calls.neighbours import LocalNeighbours
from app.calls.recovery import RecoverySettings
from app.calls.redaction import Private
from app.calls.seal import Seal
from app.calls.store.errors import StoreError, StoreUnavailable
from app.calls.store.memory import MemoryStore
from app.calls.switchboard import Switchboard
from app.calls.writer import JournalWriter
from app.conversation.session import CallSession
from telephony.audio import TELEPHONE
from telephony.carrier import CallOffered, Decision, MediaStarted, OpenStream
from telephony.carriers.twilio import TWILIO
from tests.calls.world import World
from tests.doubles import Line

URL = "https://bridge.example.net"


class Wire:
    """A process's way to the store; cut, everything that it asks fails; stopped, it gets no answer until it runs on."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.cut = False
        self.failure: StoreError = StoreUnavailable("cut")
        self.running = asyncio.Event()
        self.running.set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def asked(*arguments: Any, **named: Any) -> Any:
            await self.running.wait()
            if self.cut:
                raise self.failure
            answer = await method(*arguments, **named)
            if self.cut:
                raise self.failure
            return answer

        return asked


class Control:
    """The carrier's control API: notes who is to be asked about which call."""

    def __init__(self) -> None:
        self.redirected: list[tuple[str, str]] = []
        self.failure: Exception | None = None

    async def __aenter__(self) -> "Control":
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def redirect(self, call_id: str, url: str) -> None:
        self.redirected.append((call_id, url))
        if self.failure is not None:
            raise self.failure


class Process:
    """One bridge process: a directory and a switchboard over the common store."""

    def __init__(self, town: "Town", name: str, world: World, settings: RecoverySettings) -> None:
        self.name, self.world, self.town = name, world, town
        self.services = world.services()
        self.wire = Wire(town.store)
        store: Any = self.wire
        self.writer = JournalWriter(
            store,
            world.clock,
            world.metrics,
            owner=name,
            lease_s=settings.lease_s,
            seal=town.seal,
            private=town.private,
        )
        self.archive = CallArchive(store, town.seal)
        self.directory = Directory(self.services, public_url=URL, journals=self.writer)
        self.switchboard = Switchboard(
            self.directory,
            self.services,
            Books(store, self.writer, self.archive, town.folder / "key" if town.folder is not None else None),
            others=self,
            neighbours=LocalNeighbours(town.folder / "neighbours", world.clock) if town.folder is not None else None,
            controls={"twilio": town.control},
            settings=settings,
        )
        self._stop = asyncio.Event()
        self.up = asyncio.Event()
        self.lines: list[Line] = []

    def outlived(self, owner: str) -> bool:
        return owner in self.town.known_dead

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group, self.directory, self.switchboard:
            writing = group.create_task(self.writer.run())
            self.up.set()
            await self._stop.wait()
            writing.cancel()

    def stop(self) -> None:
        self._stop.set()

    def kill(self, *, known: bool = True) -> None:
        """As SIGKILL would: nothing more of it is stored, heard or answered. `known`: this machine sees it dead."""
        self.wire.cut = True
        for line in self.lines:
            line.drop()
        for session in self.directory.sessions():
            session.record.seal()
        if known:
            self.town.known_dead.add(self.name)
        self.stop()

    def session(self, call_id: str = "CA1") -> CallSession | None:
        return self.directory.find(call_id)


class Town:
    """The processes, and the carrier that asks whichever it likes."""

    def __init__(
        self, group: asyncio.TaskGroup, settings: RecoverySettings | None = None, folder: Path | None = None
    ) -> None:
        self.group = group
        self.folder = folder
        self.seal = Seal()
        self.private: tuple[Private, ...] = ()
        self.settings = settings or RecoverySettings()
        self.clock = World().clock
        self.store = MemoryStore(self.clock)
        self.known_dead: set[str] = set()
        self.control = Control()
        self.processes: list[Process] = []

    async def start(self, name: str, world: World, *, cut: bool = False) -> Process:
        """`cut`: it cannot reach the store for now."""
        process = Process(self, name, world, self.settings)
        process.wire.cut = cut
        self.processes.append(process)
        self.group.create_task(process.run())
        await process.up.wait()
        return process

    async def ring(self, at: Process, call_id: str = "CA1") -> Line:
        """A new call, its webhook and its stream at one process."""
        return await self.connect(at, await at.switchboard.answer(TWILIO, offered(call_id)), call_id)

    async def after(self, asked: Process, then: Process | None = None, call_id: str = "CA1") -> Line:
        """The carrier asks one process what to do, and streams to another (or the same)."""
        return await self.connect(then or asked, await asked.switchboard.after(TWILIO, offered(call_id)), call_id)

    async def connect(self, at: Process, decision: Decision, call_id: str = "CA1") -> Line:
        assert isinstance(decision, OpenStream), decision
        line = Line(self.clock)
        at.lines.append(line)
        started = MediaStarted(call_id, f"MZ{len(at.lines)}", {}, TELEPHONE)
        self.group.create_task(line.run())
        self.group.create_task(at.switchboard.serve(TWILIO, decision.token, started, line))
        await self.until(lambda: at.session(call_id) is not None and at.session(call_id).state.phase == "live")  # type: ignore[union-attr]
        return line

    async def until(self, condition: Callable[[], object], within_s: float = 30.0) -> None:
        """Wait, in virtual time, until the condition holds."""
        deadline = self.clock.now() + within_s
        while not condition():
            assert self.clock.now() < deadline, "did not happen"
            await asyncio.sleep(0.01)

    async def journal(self, call_id: str = "CA1") -> list[JournalEvent]:
        """What is stored of a call, once all that has happened by now is."""
        await asyncio.sleep(0.3)
        store: Any = self.store
        return await CallArchive(store, self.seal).events(call_id)

    def cut(self, cut: bool) -> None:
        """The store is away for everybody, or back."""
        for process in self.processes:
            process.wire.cut = cut


@asynccontextmanager
async def town(settings: RecoverySettings | None = None, folder: Path | None = None) -> AsyncIterator[Town]:
    async with asyncio.TaskGroup() as group:
        here = Town(group, settings, folder)
        yield here
        for process in here.processes:
            for line in process.lines:
                line.close()
            process.stop()


def offered(call_id: str = "CA1") -> CallOffered:
    return CallOffered(call_id, "+15550100001", "+15550100002", "inbound", {"customer": "81"})
