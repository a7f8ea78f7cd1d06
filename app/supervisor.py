"""`sidetone serve --workers N`: keeps that many processes running behind one listening socket.

The supervisor serves no request. It holds the socket, so that no connection is refused while a worker is away; starts
a new worker for each that died, later each time if they die young; and replaces them one after the other on SIGHUP.
It gives up only if a worker is misconfigured before any has been ready: later there are calls to lose, and what is
wrong may be mended while they go on. What becomes of the calls is the workers' own business: SIGTERM tells a worker to
hand them over to its siblings, SIGINT that there will be nobody to take them.

Each worker is on a leash, a socket pair: it says over it that it is ready, and sees by its end that the supervisor is
gone.
"""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from telephony.clock import Clock

MISCONFIGURED = 2
"""The exit code of a worker that cannot serve as things are: a setting is wrong, a port is taken, a disk is full."""
_YOUNG_S = 10.0
_PAUSE_S = (0.1, 10.0)
_READY_S = 60.0

log = structlog.get_logger()

Command = Callable[[int, int, int], Sequence[str]]
"""A worker's command line: its number, the file descriptors of the listening socket and of its leash."""


@dataclass(slots=True)
class _Worker:
    """One running process."""

    process: Process
    leash: socket.socket
    began: float

    def has_been_ready(self) -> bool:
        """It has said so; asked before its leash is closed."""
        try:
            return bool(self.leash.recv(1, socket.MSG_PEEK))
        except OSError:  # not yet, or never
            return False


@dataclass(slots=True)
class _Slot:
    """A place for one worker."""

    number: int
    worker: _Worker | None = None
    pauses: int = field(default=0)


class Supervisor:
    """Runs until it is told to stop, or until a worker is misconfigured before any has been ready."""

    def __init__(
        self, command: Command, workers: int, listening: socket.socket, clock: Clock, *, inherited: bool
    ) -> None:
        """`inherited`: the socket outlives us too (systemd holds it), so calls may be handed to who comes after."""
        self._command = command
        self._slots = [_Slot(number) for number in range(workers)]
        self._listening = listening
        self._clock = clock
        self._last_signal = signal.SIGTERM if inherited else signal.SIGINT
        self._stopping = False
        self._stopped = asyncio.Event()
        self._replacing = asyncio.Event()
        self._exit_code = 0
        self._served = False
        """A worker that is dead has been ready."""

    async def run(self) -> int:
        """Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._replacing.set)
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(slot)) for slot in self._slots]
            replacing = group.create_task(self._replace_when_told())
            await asyncio.wait(keepers)
            replacing.cancel()
        return self._exit_code

    def stop(self) -> None:
        """End the workers, then return from `run`. Told again: in haste."""
        self._stopping = True
        self._stopped.set()
        for slot in self._slots:
            if slot.worker is not None:
                _tell(slot.worker, self._last_signal)

    async def _keep(self, slot: _Slot) -> None:
        """Keep one worker running in this place."""
        while not self._stopping:
            slot.worker = worker = await self._start(slot.number)
            worker = await self._outlive(slot, worker)
            if self._stopping:
                return
            slot.worker = None
            code = worker.process.returncode
            slot.pauses = slot.pauses + 1 if code == MISCONFIGURED or self._young(worker) else 0
            if code != MISCONFIGURED:
                log.warning("worker died", worker=slot.number, code=code)
            elif self._has_served():
                log.error("worker is misconfigured, the others go on", worker=slot.number, code=code)
            else:
                self._exit_code = MISCONFIGURED
                self.stop()
                return
            await self._pause(slot.pauses)

    def _young(self, worker: _Worker) -> bool:
        return self._clock.now() - worker.began <= _YOUNG_S

    def _has_served(self) -> bool:
        """A worker is or was ready."""
        return self._served or any(slot.worker is not None and slot.worker.has_been_ready() for slot in self._slots)

    async def _outlive(self, slot: _Slot, worker: _Worker) -> _Worker:
        """The place's worker when it is dead; one that was replaced dies unnoticed."""
        while True:
            await worker.process.wait()
            self._served = self._served or worker.has_been_ready()
            worker.leash.close()
            if slot.worker is None or slot.worker is worker:
                return worker
            worker = slot.worker

    async def _pause(self, deaths: int) -> None:
        """Before the next one is started: at once for the first that dies, longer for each that dies young."""
        if deaths <= 1:
            return
        first_s, longest_s = _PAUSE_S
        try:
            async with asyncio.timeout(min(longest_s, first_s * 2 ** (deaths - 1))):
                await self._stopped.wait()
        except TimeoutError:
            return

    async def _start(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            command = self._command(number, self._listening.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *command, pass_fds=(self._listening.fileno(), theirs.fileno()), start_new_session=True
            )
        ours.setblocking(False)
        worker = _Worker(process, ours, self._clock.now())
        if self._stopping:  # told while it was being started
            _tell(worker, self._last_signal)
        return worker

    async def _replace_when_told(self) -> None:
        """On SIGHUP put a new worker beside each old one, and end the old one when the new one is ready."""
        while True:
            await self._replacing.wait()
            self._replacing.clear()
            for slot in self._slots:
                old = slot.worker
                if old is None or self._stopping:
                    continue
                await self._replace(slot, old)

    async def _replace(self, slot: _Slot, old: _Worker) -> None:
        new = await self._start(slot.number)
        if not await _ready(new):
            log.error("new worker is not ready, the old one stays", worker=slot.number)
            _tell(new, signal.SIGKILL)
        elif self._stopping or slot.worker is not old:  # told to stop meanwhile, or the old one died and was replaced
            _tell(new, signal.SIGTERM)
        else:
            slot.worker = new
            self._served = True
            _tell(old, signal.SIGTERM)
            await old.process.wait()
            return
        await new.process.wait()
        new.leash.close()


async def _ready(worker: _Worker) -> bool:
    """It has said so; False: it died, or took too long."""
    try:
        async with asyncio.timeout(_READY_S):
            return bool(await asyncio.get_running_loop().sock_recv(worker.leash, 1))
    except (TimeoutError, OSError):
        return False


def _tell(worker: _Worker, number: signal.Signals) -> None:
    if worker.process.returncode is None:
        worker.process.send_signal(number)


def worker_command(siblings: str, number: int, listening_fd: int, leash_fd: int) -> Sequence[str]:
    """The command that started this process, as a worker; `siblings` is a folder where they find each other."""
    options = ("--worker", str(number), "--listening-fd", str(listening_fd), "--leash-fd", str(leash_fd))
    return (sys.executable, *sys.orig_argv[1:], *options, "--siblings", siblings)
