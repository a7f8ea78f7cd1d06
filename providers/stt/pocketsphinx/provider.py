"""PocketSphinx as a `SpeechToText`: hears the dialogue's own sentences, offline, and says when it heard none."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Self

from providers.base import Grammar, ProviderContext, Recognition
from providers.errors import ProviderMisconfigured
from providers.stt.pocketsphinx.host import NAME, WorkerHost
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import Clock
from telephony.tasks import TaskGroup

_MOST_WORKERS = 64


class PocketSphinx:
    """Recognition in `workers` processes; calls are spread over them. US English, µ-law at 8 kHz.

    Entering returns when every worker is warm, so the first call waits for nothing. Raises `ProviderMisconfigured`
    for a grammar that cannot be listened for, `ProviderUnavailable` where no process can be started. A worker that
    dies later is replaced: its calls get a `RecognitionGap` and go on.
    """

    name = NAME

    def __init__(self, grammar: Grammar, clock: Clock, workers: int = 1) -> None:
        self._grammar = grammar
        self._clock = clock
        self._workers = workers
        self._hosts: list[WorkerHost] = []
        self._numbers = count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidetone-pocketsphinx-")))
            tasks = await stack.enter_async_context(TaskGroup())
            for number in range(self._workers):
                home = folder / str(number)
                home.mkdir()
                host = WorkerHost(self._grammar, home, self._clock)
                stack.callback(tasks.create_task(host.run()).cancel)
                self._hosts.append(host)
            failures = [failure for host in self._hosts if (failure := await host.settled())]
            if not failures:
                self._stack = stack.pop_all()
                return self
        raise failures[0]

    async def __aexit__(self, *exc: object) -> None:
        self._hosts.clear()
        await self._stack.aclose()

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    def open(self, audio: AudioFormat) -> AbstractAsyncContextManager[Recognition]:
        """Recognition of one call. A format that was not offered is the caller's bug and raises `ValueError`."""
        if audio != TELEPHONE:
            raise ValueError(f"{NAME} takes {TELEPHONE}, not {audio}")
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Recognition]:
        host = min(self._hosts, key=lambda host: host.load)
        call = host.open(next(self._numbers))
        try:
            yield call
        finally:
            host.close(call)


def create(context: ProviderContext) -> PocketSphinx:
    """The recogniser of the active dialogue, in `POCKETSPHINX_WORKERS` processes. Raises `ProviderMisconfigured`."""
    if context.grammar is None:
        raise ProviderMisconfigured(
            NAME,
            "STT_PROVIDER",
            "pocketsphinx hears nothing but the sentences of a dialogue file, and a vendor's model leads this "
            "conversation; set STT_PROVIDER to a vendor's recogniser, or LLM_PROVIDER=dialogue",
        )
    if find_spec("pocketsphinx") is None:
        raise ProviderMisconfigured(
            NAME,
            "STT_PROVIDER",
            "the package pocketsphinx is missing; install sidetone[listen], or set another provider",
        )
    return PocketSphinx(context.grammar, context.clock, _workers(context.environment))


def _workers(environment: Mapping[str, str]) -> int:
    text = environment.get("POCKETSPHINX_WORKERS") or "1"
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise ProviderMisconfigured(
            NAME, "POCKETSPHINX_WORKERS", f"{text!r} is no number of processes; set 1 to {_MOST_WORKERS}"
        )
    return int(text)
