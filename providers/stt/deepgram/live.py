"""`/v1/listen`: results with interim ones, endpointing by silence, `Finalize` at our own end of speech.

A turn is its final results joined, up to one with `speech_final`; `UtteranceEnd` stands in where noise keeps that from
coming (https://developers.deepgram.com/docs/utterance-end). `Finalize` is answered by a result `from_finalize`, or not
at all when there is little to flush.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from providers.base import FinalTranscript, PartialTranscript
from providers.errors import ProviderRejected, ProviderUnavailable
from providers.stt.deepgram.dialect import SURE, Heard, kind_of, likelihood, parsed, seconds
from providers.stt.deepgram.settings import DeepgramSettings
from providers.stt.deepgram.vendor import NAME, AsyncDeepgramClient, AsyncV1Client, AsyncV1SocketClient
from telephony.audio import TELEPHONE

_UTTERANCE_END_MS = 1000
"""The least the vendor takes."""
_MARGIN_S = 1.0
"""A word may have begun so long before the end of audio in which none was recognised yet."""


class _Alternative(msgspec.Struct, frozen=True):
    transcript: str
    confidence: float | None = None


class _Channel(msgspec.Struct, frozen=True):
    alternatives: list[_Alternative]


class Results(msgspec.Struct, frozen=True):
    """What the vendor makes of `duration` seconds from `start`."""

    start: float
    duration: float
    channel: _Channel
    is_final: bool | None = None
    speech_final: bool | None = None
    from_finalize: bool | None = None

    @property
    def text(self) -> str:
        return self.channel.alternatives[0].transcript.strip() if self.channel.alternatives else ""

    @property
    def confidence(self) -> float | None:
        return likelihood(self.channel.alternatives[0].confidence) if self.channel.alternatives else None


class _Failure(msgspec.Struct, frozen=True):
    variant: Any = None
    code: Any = None
    description: Any = None


_RESULTS, _FAILURES = msgspec.json.Decoder(Results), msgspec.json.Decoder(_Failure)


class Live:
    """The protocol's state on one connection."""

    chunk_ms = 100
    idle_s = 4.0
    idle_silence = False
    can_end_turn = True

    def __init__(self, settings: DeepgramSettings) -> None:
        self._settings = settings
        self._partial = ""
        self._partial_start = self._partial_end = 0.0
        self._given_start = -1.0  # the result whose first words were given away as an answer already,
        self._given_words = 0  # and how many they were
        self._unended = False  # finals with words came that no end of turn followed

    @property
    def expecting(self) -> bool:
        return bool(self._partial)

    def connect(self, client: AsyncDeepgramClient) -> AbstractAsyncContextManager[AsyncV1SocketClient]:
        settings = self._settings
        listen: AsyncV1Client = client.listen.v1
        return listen.connect(
            model=settings.model,
            language=settings.language or None,
            encoding=TELEPHONE.encoding.value,
            sample_rate=TELEPHONE.rate_hz,
            interim_results=True,
            endpointing=settings.endpointing_ms,
            utterance_end_ms=_UTTERANCE_END_MS,
            punctuate=True,
            numerals=True,
            keyterm=list(settings.keyterms) or None,
        )

    async def greeted(self, socket: AsyncV1SocketClient) -> None:
        """Nothing is said before the first audio."""

    async def keep_alive(self, socket: AsyncV1SocketClient) -> None:
        await socket.send_keep_alive()

    async def end_turn(self, socket: AsyncV1SocketClient) -> None:
        await socket.send_finalize()

    def hear(self, message: str | bytes) -> Heard:
        match kind_of(message):
            case "Results":
                return self._result(parsed(message, _RESULTS))
            case "UtteranceEnd":
                return self._utterance_end()
            case "Error":
                raise _failure(parsed(message, _FAILURES))
            case _:  # Metadata, SpeechStarted, Configure*, and what is yet to be invented
                return Heard()

    def _result(self, result: Results) -> Heard:
        start = seconds(result.start)
        end = start + seconds(result.duration)
        text = result.text
        if abs(start - self._given_start) < 0.01:
            text = " ".join(text.split()[self._given_words :])
        if result.is_final or result.from_finalize:
            return self._final(result, text, end)
        self._partial, self._partial_start, self._partial_end = text, start, end
        partial = PartialTranscript(text, stable=(result.confidence or 0.0) >= SURE and bool(text))
        return Heard((partial,), start if text else max(start, end - _MARGIN_S), end)

    def _final(self, result: Results, text: str, end: float) -> Heard:
        had_partial, self._partial = self._partial, ""
        self._unended = self._unended or bool(text)
        ends = bool(result.speech_final) and self._unended
        if ends:
            self._unended = False
        answers = bool(result.from_finalize)
        if not (text or ends or answers or had_partial):
            return Heard((), end, end)
        return Heard((FinalTranscript(text, result.confidence if text else None, answers, ends),), end, end)

    def _utterance_end(self) -> Heard:
        if not self._unended or self._partial:
            return Heard()
        self._unended = False
        return Heard((FinalTranscript("", ends_turn=True),))

    def answer(self) -> Heard:
        text, self._partial = self._partial, ""
        self._unended = False
        if not text:
            return Heard((FinalTranscript("", finalized=True),))
        already = self._given_words if abs(self._partial_start - self._given_start) < 0.01 else 0
        self._given_start, self._given_words = self._partial_start, already + len(text.split())
        return Heard((FinalTranscript(text, finalized=True),), self._partial_end)


def _failure(failure: _Failure) -> ProviderRejected | ProviderUnavailable:
    """`SchemaError`: the vendor does not understand what we wrote, and would not the next time."""
    detail = f"{failure.variant or failure.code}: {failure.description}"
    return (ProviderRejected if failure.variant == "SchemaError" else ProviderUnavailable)(NAME, detail)
