"""PocketSphinx, offline: recognises what the active dialogue expects, and says nothing rather than guess.

Decoding happens in worker processes (`providers.stt.pocketsphinx_worker`): the decoder holds the interpreter, and a
call's audio must not wait for another's words. A worker that dies is started again; its calls lose a little sound and
hear of it.
"""

import asyncio
import importlib.util
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from providers.base import (
    FinalTranscript,
    Grammar,
    PartialTranscript,
    ProviderContext,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
)
from providers.errors import ProviderMisconfigured, ProviderUnavailable
from providers.stt.pocketsphinx_messages import (
    LENGTH_BYTES,
    Audio,
    Close,
    Final,
    Finalize,
    FromWorker,
    Open,
    Partial,
    Ready,
    SetUp,
    ToWorker,
    encode,
    length,
)
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import Clock

_NAME = "pocketsphinx"
_ROOT = Path(__file__).resolve().parents[2]
_READY_WITHIN_S = 30.0
_ENDED_WITHIN_S = 2.0
_RESTART_AFTER_S = (0.1, 0.5, 2.0, 10.0)
_EVENTS_WAITING = 64
_PIPE_BYTES = 256 * 1024
"""Sound that may wait for a worker, over all its calls: about 1 s of 30 calls. Beyond it sound is lost and counted."""


class PocketSphinx:
    """The recogniser of a process. Entering starts the workers and waits until they are ready."""

    name = _NAME

    def __init__(self, grammar: Grammar, clock: Clock, workers: int = 1) -> None:
        set_up = encode(SetUp(grammar.jsgf, grammar.sentences))
        self._workers = [_Worker(set_up, clock) for _ in range(workers)]
        self._tasks = asyncio.TaskGroup()
        self._calls = itertools.count(1)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for worker in self._workers:
            worker.supervision = self._tasks.create_task(worker.supervise(), name="pocketsphinx worker")
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                for worker in self._workers:
                    await worker.ready.wait()
        except TimeoutError:
            await self.__aexit__(None, None, None)
            raise ProviderUnavailable(_NAME, f"the worker was not ready within {_READY_WITHIN_S:g} s") from None
        return self

    async def __aexit__(self, *exc: Any) -> None:
        for worker in self._workers:
            if worker.supervision is not None:
                worker.supervision.cancel()
        await self._tasks.__aexit__(None, None, None)

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        """Recognition for one call, by the worker with the fewest."""
        worker = min(self._workers, key=lambda candidate: len(candidate.calls))
        recognition = _Recognition(next(self._calls), worker)
        worker.open(recognition)
        try:
            yield recognition
        finally:
            worker.close(recognition)


class _Recognition:
    """One call's view of its worker."""

    def __init__(self, call: int, worker: "_Worker") -> None:
        self.call = call
        self._worker = worker
        self._events: asyncio.Queue[RecognitionEvent] = asyncio.Queue(_EVENTS_WAITING)
        self._lost_bytes = 0

    def send(self, audio: bytes) -> None:
        if not self._worker.tell(Audio(self.call, audio)):
            self._lost_bytes += len(audio)
        elif self._lost_bytes:
            self.report(RecognitionGap(TELEPHONE.ms(self._lost_bytes), "the recogniser's process was busy or gone"))
            self._lost_bytes = 0

    def finalize(self) -> None:
        self._worker.tell(Finalize(self.call))

    def report(self, event: RecognitionEvent) -> None:
        """Tell the call; if it does not listen, the oldest is dropped."""
        if self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            yield await self._events.get()


class _Worker:
    """One worker process, over all its lives."""

    def __init__(self, set_up: bytes, clock: Clock) -> None:
        self._set_up = set_up
        self._clock = clock
        self._process: Process | None = None
        self.ready = asyncio.Event()
        self.supervision: asyncio.Task[None] | None = None
        self.calls: dict[int, _Recognition] = {}

    def open(self, recognition: _Recognition) -> None:
        self.calls[recognition.call] = recognition
        self.tell(Open(recognition.call))

    def close(self, recognition: _Recognition) -> None:
        del self.calls[recognition.call]
        self.tell(Close(recognition.call))

    def tell(self, message: ToWorker) -> bool:
        """Send without waiting; False if the worker is gone, or has too much to do for more sound."""
        if self._process is None or self._process.stdin is None or not self.ready.is_set():
            return False
        pipe = self._process.stdin
        if pipe.is_closing():
            return False
        if isinstance(message, Audio) and pipe.transport.get_write_buffer_size() > _PIPE_BYTES:
            return False
        pipe.write(encode(message))
        return True

    async def supervise(self) -> None:
        """Keep a process running until cancelled."""
        for deaths in itertools.count():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "providers.stt.pocketsphinx_worker", stdin=PIPE, stdout=PIPE, cwd=_ROOT
            )
            self._process = process
            try:
                await self._serve(process)
            finally:
                self.ready.clear()
                self._process = None
                await _end(process)
            for recognition in self.calls.values():
                recognition.report(RecognitionGap(0.0, "the recogniser's process died"))
            pause = _RESTART_AFTER_S[min(deaths, len(_RESTART_AFTER_S) - 1)]
            await self._clock.sleep_until(self._clock.now() + pause)

    async def _serve(self, process: Process) -> None:
        """Pass on what the worker says, until it is gone."""
        assert process.stdin is not None, "because: it was asked for as a pipe"
        assert process.stdout is not None, "because: it was asked for as a pipe"
        process.stdin.write(self._set_up)
        decoder = msgspec.msgpack.Decoder(FromWorker)
        try:
            while True:
                prefix = await process.stdout.readexactly(LENGTH_BYTES)
                self._pass_on(decoder.decode(await process.stdout.readexactly(length(prefix))))
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _pass_on(self, message: FromWorker) -> None:
        match message:
            case Ready():
                self.ready.set()
                for call in self.calls:
                    self.tell(Open(call))
            case Partial(call, text, stable, complete):
                if recognition := self.calls.get(call):
                    recognition.report(PartialTranscript(text, stable, complete))
            case Final(call, text, confidence):
                if recognition := self.calls.get(call):
                    recognition.report(FinalTranscript(text, confidence, finalized=True))


async def _end(process: Process) -> None:
    """End the process by closing its input, by force if that does not help."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_ENDED_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def create(context: ProviderContext) -> PocketSphinx:
    """Settings: `POCKETSPHINX_WORKERS` (default 1), one for about every ten calls that talk at the same time."""
    if importlib.util.find_spec("pocketsphinx") is None:
        raise ProviderMisconfigured(_NAME, "STT_PROVIDER", "install the extra named `listen`, or choose another")
    if context.grammar is None:
        remedy = (
            "pocketsphinx only recognises what a dialogue expects, and a vendor's model leads this conversation: "
            "choose a vendor's recogniser too, or LLM_PROVIDER=dialogue"
        )
        raise ProviderMisconfigured(_NAME, "STT_PROVIDER", remedy)
    text = context.environment.get("POCKETSPHINX_WORKERS") or "1"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise ProviderMisconfigured(_NAME, "POCKETSPHINX_WORKERS", f"{text!r} is no number from 1 to 64")
    return PocketSphinx(context.grammar, context.clock, int(text))
