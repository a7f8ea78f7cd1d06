"""Deepgram as a `SpeechToText`."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

import httpx

from providers.base import ProviderContext, Recognition
from providers.errors import ProviderRejected
from providers.stt.deepgram.batch import transcribe
from providers.stt.deepgram.flux import Flux
from providers.stt.deepgram.live import Live
from providers.stt.deepgram.recognition import CallRecognition
from providers.stt.deepgram.settings import DeepgramSettings, read
from providers.stt.deepgram.vendor import NAME, client
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import Clock
from telephony.tasks import TaskGroup

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=300.0)


class Deepgram:
    """Live recognition, or Flux for a model named flux-*. One websocket per call; µ-law at 8 kHz as it comes.

    A connection that is lost ends the call's recognition: another one, which is sent what no final had settled, is for
    who opened it. A whole utterance is recognised in one request.
    """

    name = NAME

    def __init__(self, settings: DeepgramSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=settings.connect_s, limits=_LIMITS)
        self._client = client(settings.api_key, settings.base_url, self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connections of `recognise`; calls share nothing else."""
        await self._http.aclose()

    async def warm(self) -> None:
        """See `Warmable`. A call has a connection of its own, opened when the telephone rings: this one is closed."""
        try:
            async with self._opened():
                pass
        except ProviderRejected as refused:
            raise refused.as_misconfigured() from refused

    async def recognise(self, utterance: bytes, audio: AudioFormat) -> str:
        """See `BatchRecogniser`. A format that was not offered is the caller's bug and raises `ValueError`."""
        self._require_telephone(audio)
        return await transcribe(self._client, self._settings, utterance)

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    def open(self, audio: AudioFormat) -> AbstractAsyncContextManager[Recognition]:
        """Recognition of one call. A format that was not offered is the caller's bug and raises `ValueError`."""
        self._require_telephone(audio)
        return self._opened()

    def _require_telephone(self, audio: AudioFormat) -> None:
        if audio != TELEPHONE:
            raise ValueError(f"{NAME} takes {TELEPHONE}, not {audio}")

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Recognition]:
        dialect = Flux(self._settings) if self._settings.flux else Live(self._settings)
        call = CallRecognition(dialect, self._client, self._clock, self._settings.connect_s, self._settings.gap_s)
        try:
            async with TaskGroup() as tasks:
                running = tasks.create_task(call.run())
                try:
                    await call.connected()
                    yield call
                finally:
                    running.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None  # what the call raised is the call's, not the group's


def create(context: ProviderContext) -> Deepgram:
    """Deepgram with the settings of the environment. Raises `ProviderMisconfigured`."""
    return Deepgram(read(context.environment), context.clock)
