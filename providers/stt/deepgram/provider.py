"""Deepgram as a `SpeechToText`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

from providers.base import ProviderContext, Recognition
from providers.stt.deepgram.flux import Flux
from providers.stt.deepgram.live import Live
from providers.stt.deepgram.recognition import CallRecognition
from providers.stt.deepgram.settings import DeepgramSettings, read
from providers.stt.deepgram.vendor import NAME, client
from telephony.audio import TELEPHONE, AudioFormat
from telephony.clock import Clock


class Deepgram:
    """Live recognition, or Flux for a model named flux-*. One websocket per call; µ-law at 8 kHz as it comes.

    A connection that is lost in mid-call is made anew once, and the audio since the last final is sent again; a
    `RecognitionGap` tells of it. A second loss before a word is understood ends the recognition.
    """

    name = NAME

    def __init__(self, settings: DeepgramSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client = client(settings.api_key, settings.base_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing is shared by calls."""

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)

    def open(self, audio: AudioFormat) -> AbstractAsyncContextManager[Recognition]:
        """Recognition of one call. A format that was not offered is the caller's bug and raises `ValueError`."""
        if audio != TELEPHONE:
            raise ValueError(f"{NAME} takes {TELEPHONE}, not {audio}")
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Recognition]:
        dialect = Flux(self._settings) if self._settings.flux else Live(self._settings)
        call = CallRecognition(dialect, self._client, self._clock, self._settings.connect_s, self._settings.gap_s)
        try:
            async with asyncio.TaskGroup() as tasks:
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
