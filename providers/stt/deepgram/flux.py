"""`/v2/listen`, Flux: the model itself says when a turn begins, may be over, goes on after all, and is over.

States: https://developers.deepgram.com/docs/flux/state. Flux has no `KeepAlive`: silence is sent while there is nothing
else. `ForceEndTurn` is sent within a turn only; the vendor does not say what it does outside.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from providers.base import FinalTranscript, PartialTranscript, RecognitionEvent
from providers.errors import ProviderMalformed, ProviderUnavailable
from providers.stt.deepgram.dialect import SURE, Heard, kind_of, likelihood, parsed, seconds
from providers.stt.deepgram.settings import DeepgramSettings
from providers.stt.deepgram.vendor import NAME, AsyncDeepgramClient, AsyncV2Client, AsyncV2SocketClient, received
from telephony.audio import TELEPHONE

_MARGIN_S = 1.0
"""A word may have begun so long before the end of audio in which no turn has begun yet."""


class _Word(msgspec.Struct, frozen=True):
    confidence: float | None = None


class TurnInfo(msgspec.Struct, frozen=True):
    """The present turn; `audio_window_end` is how far into the stream the vendor is."""

    event: str
    turn_index: int
    transcript: str
    audio_window_end: float
    words: list[_Word] | None = None

    @property
    def confidence(self) -> float | None:
        """The mean of its words'."""
        known = [word.confidence for word in self.words or () if word.confidence is not None]
        return likelihood(sum(known) / len(known)) if known else None


class _Failure(msgspec.Struct, frozen=True):
    code: Any = None
    description: Any = None


_TURNS, _FAILURES = msgspec.json.Decoder(TurnInfo), msgspec.json.Decoder(_Failure)


class Flux:
    """The protocol's state on one connection."""

    chunk_ms = 80
    idle_s = 0.5
    idle_silence = True

    def __init__(self, settings: DeepgramSettings) -> None:
        self._settings = settings
        self._turn: int | None = None
        self._eager = False
        self._text = ""
        self._end = 0.0
        self._given_turn = -1  # the turn whose first words were given away as an answer already,
        self._given_words = 0  # and how many they were

    @property
    def expecting(self) -> bool:
        return self._turn is not None

    @property
    def can_end_turn(self) -> bool:
        return self._turn is not None

    def connect(self, client: AsyncDeepgramClient) -> AbstractAsyncContextManager[AsyncV2SocketClient]:
        settings = self._settings
        languages = [code.strip() for code in settings.language.split(",")] if settings.language else []
        listen: AsyncV2Client = client.listen.v2
        return listen.connect(
            model=settings.model,
            encoding=TELEPHONE.encoding.value,
            sample_rate=TELEPHONE.rate_hz,
            eot_threshold=settings.eot_threshold,
            eager_eot_threshold=settings.eager_eot_threshold,
            eot_timeout_ms=settings.eot_timeout_ms,
            keyterm=list(settings.keyterms) or None,
            language_hint=languages if languages and settings.model != "flux-general-en" else None,
        )

    async def greeted(self, socket: AsyncV2SocketClient) -> None:
        message = await received(socket)
        if kind_of(message) != "Connected":
            self.hear(message)
            raise ProviderMalformed(NAME, "Flux did not begin with Connected")

    async def keep_alive(self, socket: AsyncV2SocketClient) -> None:
        """There is no such message; silence is sent instead."""

    async def end_turn(self, socket: AsyncV2SocketClient) -> None:
        await socket.send_force_end_turn()

    def hear(self, message: str | bytes) -> Heard:
        match kind_of(message):
            case "TurnInfo":
                return self._turn_info(parsed(message, _TURNS))
            case "Error":
                failure = parsed(message, _FAILURES)
                raise ProviderUnavailable(NAME, f"{failure.code}: {failure.description}")
            case _:  # Connected, Warning, Configure*, and what is yet to be invented
                return Heard()

    def _turn_info(self, turn: TurnInfo) -> Heard:
        self._end = seconds(turn.audio_window_end)
        given = self._given_words if turn.turn_index == self._given_turn else 0
        self._text = " ".join(turn.transcript.split()[given:])
        if turn.event == "EndOfTurn":
            self._turn, self._eager = None, False
            final = FinalTranscript(self._text, turn.confidence, finalized=True, ends_turn=True)
            return Heard((final,) if self._text or not given else (), self._end, self._end)
        if turn.event == "StartOfTurn" or turn.transcript:
            self._turn = turn.turn_index
        if self._turn is None:
            return Heard((), max(0.0, self._end - _MARGIN_S), self._end)
        return Heard(self._partial(turn), reached_s=self._end)

    def _partial(self, turn: TurnInfo) -> tuple[RecognitionEvent, ...]:
        sure = turn.event != "Update" or (turn.confidence or 0.0) >= SURE
        if turn.event != "Update":  # an update leaves the turn's state as it is
            self._eager = turn.event == "EagerEndOfTurn"
        return (PartialTranscript(self._text, stable=sure and bool(self._text), complete=self._eager),)

    def answer(self) -> Heard:
        text, self._text = self._text if self._turn is not None else "", ""
        if not text:
            return Heard((FinalTranscript("", finalized=True),))
        already = self._given_words if self._given_turn == self._turn else 0
        self._given_turn, self._given_words = self._turn or 0, already + len(text.split())
        return Heard((FinalTranscript(text, finalized=True),), self._end)
