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

    def told(self) -> dict[int, str]:
        return {int(path.stem): path.read_text() for path in self.folder.glob("*.told")}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)


Scene = Callable[[Supervisor, Workers], Awaitable[None]]


def supervised(tmp_path: Path, scene: Scene, *, inherited: bool = False, workers: int = 2) -> tuple[int, Workers]:
    found = Workers(tmp_path)

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
