"""A bridge of several processes with a store of its own, and everything that is done to it while calls are live.

Real processes (`sidetone serve --workers` with the voices of `benchmarks.tones`), a real Redis server, a real disk that
is full. What cannot be had on a machine is told (`CannotBreak`).
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import httpx

from benchmarks.tones import SORRY
from tests.redis_server import RedisServer, free_port

ACCOUNT, TOKEN = "AC00000000000000000000000000000001", "0123456789abcdef0123456789abcdef"
_START_S, _STOP_S = 90.0, 20.0
_DISK_BYTES = 64 << 20
"""Room for what a hundred calls write, so that it is full when we fill it, and not before."""
_VOICES = "benchmarks.tones"


class CannotBreak(Exception):
    """What a fault needs is not on this machine, or not allowed here; the text says what."""


class Store(Protocol):
    """What the processes of a bridge share."""

    url: str

    def lose(self) -> None:
        """It takes nothing any more."""
        ...

    def mend(self) -> None:
        """It is back."""
        ...


@dataclass
class Embedded:
    """The store that needs nothing; it does not break."""

    url: str = "sqlite:"

    def lose(self) -> None: ...

    def mend(self) -> None: ...


class Redis:
    """A Redis server. Lost, it is killed; mended, it begins empty."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.url = server.url

    def lose(self) -> None:
        self._server.stop()

    def mend(self) -> None:
        self._server.start()


class SmallDisk:
    """The embedded store on a disk of its own. Lost, the disk is full; mended, there is room again."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:{folder / 'calls.sqlite'}"
        self._ballast = folder / "ballast"

    def lose(self) -> None:
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            for size in (4096, 512, 1):
                with suppress(OSError):
                    while ballast.write(bytes(size)):
                        pass

    def mend(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def embedded() -> Iterator[Store]:
    yield Embedded()


@contextmanager
def redis() -> Iterator[Store]:
    """Raises `CannotBreak` where there is no Redis."""
    if shutil.which("redis-server") is None:
        raise CannotBreak("no redis-server on this machine")
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        yield Redis(server)


@contextmanager
def small_disk() -> Iterator[Store]:
    """Raises `CannotBreak` where no file system can be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", folder]
        try:
            subprocess.run(mount, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CannotBreak(f"no disk can be mounted here: {error}") from error
        try:
            yield SmallDisk(Path(folder))
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


# the bridge


@dataclass(frozen=True)
class Running:
    """A supervisor and its workers."""

    pid: int
    url: str
    log: Path
    store: Store = field(default_factory=Embedded)

    def workers(self) -> list[int]:
        """The process ids of those that carry calls, oldest first."""
        children = map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())
        return sorted(pid for pid in children if _VOICES.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())


@asynccontextmanager
async def bridge(
    state_dir: Path, api_url: str, workers: int = 2, store: Store | None = None, **settings: str
) -> AsyncIterator[Running]:
    """`sidetone serve --workers` with the voices of `benchmarks.tones`, until the block ends."""
    store = store or Embedded()
    own = {"STATE_DIR": str(state_dir), "STORE_URL": store.url, **settings}
    command = ["-m", _VOICES, "serve", "--workers", str(workers)]
    async with _running(command, state_dir, {**_settings(api_url), **own}, store) as running:
        yield running


@asynccontextmanager
async def cluster(state_dir: Path, api_url: str) -> AsyncIterator[Running]:
    """`deploy/cluster/run.py` with the same voices: two bridges, a Redis and HAProxy. Raises `CannotBreak`."""
    for program in ("redis-server", "haproxy"):
        if shutil.which(program) is None:
            raise CannotBreak(f"no {program} on this machine")
    command = ["deploy/cluster/run.py", "--bridge", f"-m {_VOICES} serve"]
    async with _running(command, state_dir, _settings(api_url), Embedded()) as running:
        yield running


def _settings(api_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON", "HOME"))}
    return {
        **inherited,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_URL": api_url,
        "ASK_AGAIN": SORRY,
        "FILLER": "off",
        "DRAIN_S": "1",
        "SILENCE_S": "20",
        "MAX_CALLS": "500",
        "MAX_LAG_MS": "60000",
        "LEVEL_VOICE": "false",
        **{f"{kind}_PROVIDER": "tones" for kind in ("STT", "LLM", "TTS")},
    }


@asynccontextmanager
async def _running(
    command: list[str], state_dir: Path, environment: dict[str, str], store: Store
) -> AsyncIterator[Running]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = state_dir / "log"
    process = _started(command, {**environment, "PORT": str(port), "PUBLIC_URL": url}, log)
    running = Running(process.pid, url, log, store)
    try:
        await _wait_until_ready(running, process)
        yield running
    finally:
        for pid in running.workers():
            os.kill(pid, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            for pid in running.workers():
                os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()


def _started(command: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            cwd=Path(__file__).parents[1],
            stdout=output,
            stderr=output,
        )


async def _wait_until_ready(running: Running, process: "subprocess.Popen[bytes]") -> None:
    """All of them take calls: each worker holds the lock of its own process file, or the cluster says so itself."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the bridge ended with code {process.returncode}: {running.log.read_text()[-2000:]}")
        if "Sidetone listens" in running.log.read_text() and len(running.workers()) > 1 and await _is_ready(running):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the bridge was not ready within {_START_S:g} s")


async def _is_ready(running: Running) -> bool:
    files = running.log.parent / "processes"
    if files.is_dir() and len(list(files.iterdir())) < len(running.workers()):
        return False
    async with httpx.AsyncClient(timeout=2.0) as client:
        try:
            return (await client.get(f"{running.url}/readyz")).status_code == 200
        except httpx.RequestError:
            return False


# what is done to it


async def _nothing(running: Running, chance: random.Random) -> None:
    return


async def _kill(running: Running, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    first, second = running.workers()
    os.kill(first, signal.SIGKILL)
    await _successor(running, {first, second})
    await asyncio.sleep(chance.uniform(1.0, 3.0))
    os.kill(second, signal.SIGKILL)


async def _successor(running: Running, known: set[int]) -> None:
    """Return when a worker that was not known takes calls: it is among those that tell their metrics."""
    async with httpx.AsyncClient(base_url=running.url, timeout=_START_S) as client:
        while True:
            told = (await client.get("/metrics")).text
            if any(f'{{process="{pid}"}}' in told for pid in set(running.workers()) - known):
                return
            await asyncio.sleep(0.1)


async def _kill_one(running: Running, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    os.kill(running.workers()[0], signal.SIGKILL)


async def _stop(running: Running, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    stopped = running.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    await asyncio.sleep(10.0)
    os.kill(stopped, signal.SIGCONT)


async def _deploy(running: Running, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    os.kill(running.pid, signal.SIGHUP)


async def _restart_store(running: Running, chance: random.Random) -> None:
    """It comes back empty; what was written again has to do when a worker dies soon after."""
    await asyncio.sleep(chance.uniform(2.0, 5.0))
    running.store.lose()
    await asyncio.sleep(1.0)
    running.store.mend()
    await asyncio.sleep(chance.uniform(3.0, 6.0))
    os.kill(running.workers()[0], signal.SIGKILL)


async def _lose_store(running: Running, chance: random.Random, for_s: float) -> None:
    await asyncio.sleep(chance.uniform(3.0, 8.0))
    running.store.lose()
    await asyncio.sleep(for_s)
    running.store.mend()


@dataclass(frozen=True)
class Fault:
    """What breaks, and how callers are to behave so that they notice."""

    about: str
    disturb: Callable[[Running, random.Random], Awaitable[None]] = _nothing
    store: Callable[[], AbstractContextManager[Store]] = embedded
    patience_ms: int = 2000
    """Of callers, where it takes as long until a fault is noticed at all."""
    begin_within_s: float = 1.5
    """All calls begin within so long."""
    cluster: bool = False
    """Bridges behind a proxy, instead of workers behind a supervisor."""
    felt: bool = True
    """Streams end."""


FAULTS = {
    "reset": Fault("the media socket of each call is reset at a random moment"),
    "half-open": Fault("from a random moment nothing passes over it any more, and nobody is told", patience_ms=4000),
    "kill": Fault("both workers are killed (SIGKILL), one after the other", _kill),
    "stop": Fault("a worker stands still (SIGSTOP), and comes back late (SIGCONT)", _stop, patience_ms=8000),
    "deploy": Fault("both workers are replaced (SIGHUP to the supervisor, SIGTERM to the workers)", _deploy),
    "bridge-kill": Fault("one of two bridges behind a proxy is killed (SIGKILL)", _kill_one, cluster=True),
    "bridge-deploy": Fault("both are replaced, one after the other (SIGTERM)", _deploy, cluster=True),
    "redis-restart": Fault("Redis is killed and comes back empty; then a worker is killed", _restart_store, redis),
    "redis-gone": Fault(
        "Redis is gone for 30 s; calls end and begin meanwhile",
        partial(_lose_store, for_s=30.0),
        redis,
        begin_within_s=40.0,
        felt=False,
    ),
    "disk-full": Fault(
        "the disk of the embedded store is full for 8 s", partial(_lose_store, for_s=8.0), small_disk, felt=False
    ),
}
