"""The bridge's end of one worker process: started, fed, watched, and replaced when it dies."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from providers.base import Grammar
from providers.errors import ProviderError, ProviderMisconfigured, ProviderRateLimited, ProviderUnavailable
from providers.stt.pocketsphinx import wire
from providers.stt.pocketsphinx.recognition import CallRecognition
from telephony.clock import Clock
from telephony.tasks import TaskGroup

NAME = "pocketsphinx"

_MODULE = "providers.stt.pocketsphinx.worker"
_HOME = Path(__file__).parents[3]
"""Where `-m` finds the module, whatever the bridge's working directory is."""

_START_S = 20.0
"""A worker is ready in about a second; a busy machine may take longer, never this long."""

_ANSWER_S = 2.0
"""A worker that owes an answer to `Finalize` and says nothing at all for so long hangs: it takes milliseconds. One that
tells of other calls is busy."""

_EXIT_S = 2.0
"""A worker ends when its input does; one that does not is killed."""

_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)
"""Before the next start, by failures in a row; the last one from then on."""

MOST_CALLS = 24
"""Calls of one worker: about as many can speak at once on a core (40 ms of CPU a second each), at 18 MB each."""

_HOPELESS = 4
"""Failures in a row after which calls are told that recognition is lost."""


class _WorkerLost(Exception):
    """The process is gone or of no use."""


class WorkerHost:
    """One worker and the calls that it serves. `run` keeps it alive until cancelled."""

    def __init__(self, grammar: Grammar, folder: Path, clock: Clock) -> None:
        self._configure = wire.packed(wire.Configure(grammar.jsgf, grammar.sentences, str(folder)))
        self._clock = clock
        self._calls: dict[int, CallRecognition] = {}
        self._speaking: dict[int, CallRecognition] = {}
        self._goodbyes: list[wire.Order] = []
        self._wake = asyncio.Event()
        self._asked = asyncio.Event()
        self._settled = asyncio.Event()
        self._online = False
        self._failures = 0
        self._heard_at = 0.0
        self._fatal: ProviderError | None = None
        self.process_id = 0
        """Of the current process, for the operator."""

    @property
    def load(self) -> tuple[bool, int]:
        """The less the better: a worker that is down is worse than any that is busy."""
        return not self._online, len(self._calls)

    async def settled(self) -> ProviderError | None:
        """Wait while a worker is being started; None if it works, or why it does not."""
        await self._settled.wait()
        return None if self._online else self._error()

    def open(self, number: int) -> CallRecognition:
        """Serve a call. Raises `ProviderUnavailable` without hope, `ProviderRateLimited` with `MOST_CALLS` of them."""
        if self._fatal or self._failures >= _HOPELESS:
            raise self._error()
        if len(self._calls) >= MOST_CALLS:
            raise ProviderRateLimited(NAME, f"each worker serves {MOST_CALLS} calls; raise POCKETSPHINX_WORKERS")
        call = CallRecognition(number, lambda: self._speak(call), self._online)
        self._calls[number] = call
        return call

    def close(self, call: CallRecognition) -> None:
        call.close()
        self._calls.pop(call.number, None)
        self._speaking.pop(call.number, None)
        if self._online:
            self._goodbyes.append(wire.Close(call.number))
            self._wake.set()

    def _speak(self, call: CallRecognition) -> None:
        self._speaking[call.number] = call
        self._wake.set()

    def _error(self) -> ProviderError:
        return self._fatal or ProviderUnavailable(NAME, "the recogniser's worker process does not start")

    # Life of a worker

    async def run(self) -> None:
        """Start the worker, and start it again whenever it dies, until it cannot be used at all."""
        try:
            while self._fatal is None:
                try:
                    async with self._process() as process:
                        await self._start(process)
                        await self._serve(process)
                except (_WorkerLost, OSError) as error:
                    self._lose(str(error))
                delay_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S)) - 1]
                await self._clock.sleep_until(self._clock.now() + delay_s)
        finally:
            for call in self._calls.values():
                call.close()

    def _lose(self, reason: str) -> None:
        if self._online:
            self._settled.clear()
        else:
            self._settled.set()
        self._online = False
        self._failures += 1
        self._goodbyes.clear()
        for call in self._calls.values():
            call.worker_lost(f"the recogniser's worker process was lost: {reason}")
            if self._fatal or self._failures >= _HOPELESS:
                call.fail(self._error())

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        """A process that never outlives this: its input is closed, and if that does not end it, it is killed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, stdin=PIPE, stdout=PIPE, cwd=_HOME
        )
        self.process_id = process.pid
        try:
            yield process
        except _WorkerLost:
            process.kill()
            raise
        finally:
            try:
                _pipe_to(process).close()
                async with asyncio.timeout(_EXIT_S):
                    await process.wait()
            except TimeoutError:
                pass
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _start(self, process: Process) -> None:
        _pipe_to(process).write(self._configure)
        try:
            async with asyncio.timeout(_START_S):
                report = await _report_from(process)
        except TimeoutError:
            raise _WorkerLost(f"not ready after {_START_S:g} s") from None
        if isinstance(report, wire.Unusable):
            self._fatal = ProviderMisconfigured(NAME, "DIALOGUE_FILE", report.remedy)
            raise _WorkerLost(report.remedy)
        self._online = True
        for call in self._calls.values():
            call.online = True
            self._speak(call)
        self._settled.set()

    async def _serve(self, process: Process) -> None:
        """Until the process is lost, which raises `_WorkerLost`."""
        try:
            async with TaskGroup() as tasks:
                tasks.create_task(self._feed(process))
                tasks.create_task(self._listen(process))
                tasks.create_task(self._watch())
        except ExceptionGroup as group:
            lost, bugs = group.split((_WorkerLost, OSError))
            if bugs is not None or lost is None:
                raise
            raise _WorkerLost(str(lost.exceptions[0])) from lost

    async def _feed(self, process: Process) -> None:
        pipe = _pipe_to(process)
        while True:
            await self._wake.wait()
            self._wake.clear()
            speaking, self._speaking = self._speaking, {}
            now = self._clock.now()
            orders = [order for call in speaking.values() for order in call.orders(now)] + self._goodbyes
            self._goodbyes = []
            self._asked.set()
            pipe.write(b"".join(map(wire.packed, orders)))
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await pipe.drain()
            except TimeoutError:
                raise _WorkerLost("it does not read its orders") from None

    async def _listen(self, process: Process) -> None:
        while True:
            match await _report_from(process):
                case wire.Ready() | wire.Unusable():
                    raise _WorkerLost("it started twice")
                case report:
                    self._failures = 0
                    self._heard_at = self._clock.now()
                    call = self._calls.get(report.call)
                    if call is not None:
                        call.report(report)

    async def _watch(self) -> None:
        """Notice a worker that lives and does not answer."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while (oldest := self._oldest_question()) is not None:
                due = max(oldest, self._heard_at) + _ANSWER_S
                await self._clock.sleep_until(due)
                if self._oldest_question() == oldest and self._heard_at + _ANSWER_S <= due:
                    raise _WorkerLost(f"no answer within {_ANSWER_S:g} s")

    def _oldest_question(self) -> float | None:
        return min((call.asked[0] for call in self._calls.values() if call.asked), default=None)


def _pipe_to(process: Process) -> asyncio.StreamWriter:
    assert process.stdin is not None  # it was started with a pipe
    return process.stdin


async def _report_from(process: Process) -> wire.Report:
    """The next report. Raises `_WorkerLost` where there is none."""
    assert process.stdout is not None  # it was started with a pipe
    try:
        header = await process.stdout.readexactly(wire.LENGTH_BYTES)
        return wire.report(await process.stdout.readexactly(wire.length(header)))
    except asyncio.IncompleteReadError:
        raise _WorkerLost("it ended") from None
    except wire.Malformed as error:
        raise _WorkerLost(f"it babbles: {error}") from error
