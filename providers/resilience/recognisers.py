"""Several recognisers as one `SpeechToText`: who is asked in which order, and how long each may stay away."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from random import Random
from typing import Self

from providers.base import ProviderContext, Recognition, SpeechToText
from providers.buffers import fullest
from providers.resilience.deadlines import Deadlines, read
from providers.resilience.recognition import ResilientRecognition
from providers.resilience.roster import Roster
from telephony.audio import TELEPHONE, AudioFormat
from telephony.tasks import TaskGroup


class RecogniserChain:
    """`SpeechToText` by one or several recognisers; see `recognition` for what happens when one is lost.

    `open` never fails and never waits: a call without any recogniser is told so by `RecognitionLost`, again and again.
    """

    def __init__(
        self, recognisers: Sequence[SpeechToText], context: ProviderContext, deadlines: Deadlines | None = None
    ) -> None:
        """Raises `ProviderMisconfigured` for a deadline that is no number."""
        self.roster = Roster("stt", recognisers, context.clock, context.instruments)
        self.name = self.roster.name
        self._deadlines = deadlines or read("stt", context.environment)
        self._random = Random()
        self._stack = AsyncExitStack()
        self._calls: set[ResilientRecognition] = set()

    async def __aenter__(self) -> Self:
        """Enter all, in order. Raises what one of them raises."""
        async with AsyncExitStack() as stack:
            for member in self.roster.members:
                await stack.enter_async_context(member.provider)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    def fills(self) -> Mapping[str, float]:
        """See `Buffered`: of all calls."""
        return fullest(call.fills() for call in self._calls)

    def open(self, audio: AudioFormat) -> AbstractAsyncContextManager[Recognition]:
        """Recognition of one call. A format that was not offered is the caller's bug and raises `ValueError`."""
        if audio != TELEPHONE:
            raise ValueError(f"{self.name} takes {TELEPHONE}, not {audio}")
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Recognition]:
        call = ResilientRecognition(self.roster, self._deadlines, self._random)
        self._calls.add(call)
        try:
            async with TaskGroup() as tasks:
                running = tasks.create_task(call.run())
                try:
                    yield call
                finally:
                    running.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None  # what the call raised is the call's, not the group's
        finally:
            self._calls.remove(call)
