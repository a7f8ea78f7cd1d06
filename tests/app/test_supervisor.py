"""The supervisor with small real processes: it restarts, replaces and ends them."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from app.supervisor import MISCONFIGURED, Supervisor
from telephony.clock import MonotonicClock

WORKER = """
import os, pathlib, signal, socket, sys
folder, number, leash = pathlib.Path(sys.argv[1]), sys.argv[2], socket.socket(fileno=int(sys.argv[3]))
def told(number, _):
    (folder / f"{os.getpid()}.told").write_text(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, told); signal.signal(signal.SIGINT, told)
(folder / f"{os.getpid()}.runs").write_text(number)
leash.send(b"r")
leash.recv(1)
"""


class Workers:
    """Where workers say that they run, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, number: int, listening_fd: int, leash_fd: int) -> Sequence[str]:
        os.fstat(listening_fd)
        return (sys.executable, "-c", WORKER, str(self.folder), str(number), str(leash_fd))

    def pids(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.runs")]

    def pid_of(self, number: str) -> int:
        return next(int(path.stem) for path in self.folder.glob("*.runs") if path.read_text() == number)

    def told(self) -> dict[int, str]:
        return {int(path.stem): path.read_text() for path in self.folder.glob("*.told")}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)


Scene = Callable[[Supervisor, Workers], Awaitable[None]]


def supervised(
    tmp_path: Path,
    scene: Scene,
    *,
    inherited: bool = False,
    workers: int = 2,
    workers_of: Callable[[Path], Workers] = Workers,
) -> tuple[int, Workers]:
    found = workers_of(tmp_path)

    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            supervisor = Supervisor(found.command, workers, listening, MonotonicClock(), inherited=inherited)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(supervisor.run())
                await found.until(lambda: len(found.pids()) == workers or running.done())
                await scene(supervisor, found)
                supervisor.stop()
            return running.result()

    return asyncio.run(main()), found


def test_told_to_stop_it_tells_its_workers_that_nobody_comes_after_them(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None: ...

    code, workers = supervised(tmp_path, scene)
    assert code == 0
    assert workers.told() == dict.fromkeys(workers.pids(), "SIGINT")


def test_where_the_socket_outlives_it_calls_may_be_handed_over(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None: ...

    _, workers = supervised(tmp_path, scene, inherited=True)
    assert set(workers.told().values()) == {"SIGTERM"}


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None:
        os.kill(workers.pids()[0], signal.SIGKILL)
        await workers.until(lambda: len(workers.pids()) == 3)

    _, workers = supervised(tmp_path, scene)
    assert len(workers.told()) == 2


def test_on_sighup_each_worker_is_replaced_by_one_that_is_ready(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None:
        before = set(workers.pids())
        os.kill(os.getpid(), signal.SIGHUP)
        await workers.until(lambda: workers.told().keys() >= before)
        assert set(workers.told().values()) == {"SIGTERM"}
        assert len(workers.pids()) == 4

    supervised(tmp_path, scene)


def test_a_worker_that_cannot_be_configured_ends_all(tmp_path: Path) -> None:
    class Misconfigured(Workers):
        def command(self, number: int, listening_fd: int, leash_fd: int) -> Sequence[str]:
            return (sys.executable, "-c", f"raise SystemExit({MISCONFIGURED})")

    async def main() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            command = Misconfigured(tmp_path).command
            return await Supervisor(command, 2, listening, MonotonicClock(), inherited=False).run()

    assert asyncio.run(asyncio.wait_for(main(), 20)) == MISCONFIGURED


class Restarted(Workers):
    """Once they were told to die, the next ones in the same places find a setting wrong until it is mended."""

    wrong: tuple[str, ...] = ("0", "1")

    def command(self, number: int, listening_fd: int, leash_fd: int) -> Sequence[str]:
        died, mended = (self.folder / "died").exists(), (self.folder / "mended").exists()
        if str(number) not in self.wrong or not died or mended:
            return super().command(number, listening_fd, leash_fd)
        found = f"import pathlib; pathlib.Path({str(self.folder)!r}, 'found').open('a').write('x')"
        return (sys.executable, "-c", f"{found}; raise SystemExit({MISCONFIGURED})")

    def die(self) -> None:
        (self.folder / "died").touch()
        for number in self.wrong:
            os.kill(self.pid_of(number), signal.SIGKILL)

    def found(self) -> int:
        """How often a setting was found to be wrong."""
        place = self.folder / "found"
        return len(place.read_text()) if place.exists() else 0

    def mend(self) -> None:
        (self.folder / "mended").touch()


class OneRestarted(Restarted):
    wrong = ("1",)


def test_one_that_cannot_be_started_again_ends_no_others_and_comes_back_when_it_can(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None:
        assert isinstance(workers, Restarted)
        workers.die()
        await workers.until(lambda: workers.found() >= 2)
        assert not workers.told()
        workers.mend()
        await workers.until(lambda: len(workers.pids()) == 3)
        assert not workers.told()

    code, workers = supervised(tmp_path, scene, workers_of=OneRestarted)
    assert code == 0
    assert len(workers.told()) == 2


def test_when_nobody_can_be_started_again_it_goes_on_trying(tmp_path: Path) -> None:
    async def scene(supervisor: Supervisor, workers: Workers) -> None:
        assert isinstance(workers, Restarted)
        workers.die()
        await workers.until(lambda: workers.found() >= 3)
        workers.mend()
        await workers.until(lambda: len(workers.pids()) == 4)

    code, _ = supervised(tmp_path, scene, workers_of=Restarted)
    assert code == 0
