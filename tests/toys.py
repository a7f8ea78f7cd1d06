"""A toy carrier and a toy provider of each kind: all that there is to write for a new one, in the fewest lines.

Nothing in the house knows this file. Speech is spelled: a character sounds as one frame of its ASCII code, so that what
was said can be read from the audio, exactly, at both ends of a call.

The toy carrier's webhooks are JSON with a shared secret in a header. Its stream has text messages of a letter and a
value; the carrier's letters are capitals, ours are not:

    S:<call>:<stream>:<token>   started         a:<base64>   play
    A:<base64>                  audio           m:<name>     place a mark
    M:<name>                    mark reached    c:           clear
    D:<digit>                   digit pressed
    E:                          stopped
"""

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, assert_never

from providers.base import (
    CallerMessage,
    FinalTranscript,
    ProviderContext,
    Recognition,
    RecognitionEvent,
    ReplyCompleted,
    ReplyEvent,
    ReplyRequest,
    SpeechChunk,
    SpokenWord,
    TextDelta,
    ToolCall,
)
from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE, AudioFormat
from telephony.carrier import (
    TOKEN_PARAMETER,
    AnswerDocument,
    AudioReceived,
    CallOffered,
    CallStatus,
    Carrier,
    CarrierCapabilities,
    CarrierCommand,
    CarrierEvent,
    ClearAudio,
    Decision,
    Dial,
    DigitPressed,
    HangUp,
    MarkReached,
    MediaStarted,
    MediaStopped,
    OpenStream,
    PlaceMark,
    PlayAudio,
    WebhookRequest,
)
from telephony.errors import MalformedMessage, OurFault, SignatureRejected

# Spelled speech


def spell(text: str) -> bytes:
    """The sound of a text."""
    return b"".join(bytes([code]) * FRAME_BYTES for code in text.encode("ascii"))


def read(sound: bytes) -> str:
    """The text of a sound that is cut at frames; silence says nothing."""
    return bytes(code for code in sound[::FRAME_BYTES] if code != MULAW_SILENCE).decode("ascii")


# The carrier


class ToyProtocol:
    def __init__(self) -> None:
        self._started = False
        self._received_bytes = 0

    def receive(self, message: str | bytes, now: float) -> tuple[CarrierEvent, ...]:
        if not isinstance(message, str):
            raise MalformedMessage("binary")
        letter, _, value = message.partition(":")
        if letter == "S":
            return (self._start(value),)
        if not self._started:
            raise MalformedMessage("before_start")
        match letter:
            case "A":
                return (self._audio(value),)
            case "M":
                return (MarkReached(value),)
            case "D":
                return (DigitPressed(value),)
            case "E":
                return (MediaStopped(),)
            case _:
                return ()

    def _start(self, value: str) -> MediaStarted:
        if value.count(":") != 2:
            raise MalformedMessage("bad_start")
        call_id, stream_id, token = value.split(":")
        self._started = True
        return MediaStarted(call_id, stream_id, {TOKEN_PARAMETER: token}, TELEPHONE)

    def _audio(self, value: str) -> AudioReceived:
        try:
            payload = b64decode(value, validate=True)
        except ValueError:
            raise MalformedMessage("bad_base64") from None
        timestamp_ms = int(TELEPHONE.ms(self._received_bytes))
        self._received_bytes += len(payload)
        return AudioReceived(payload, timestamp_ms)

    def send(self, command: CarrierCommand) -> str:
        if not self._started:
            raise OurFault("nothing can be sent before the stream has started")
        match command:
            case PlayAudio(payload):
                return f"a:{b64encode(payload).decode()}"
            case PlaceMark(name):
                return f"m:{name}"
            case ClearAudio():
                return "c:"
            case _:
                assert_never(command)


class ToyWebhooks:
    def authenticate(self, request: WebhookRequest, secrets: tuple[str, ...]) -> None:
        given = request.headers.get("x-toy-secret", "")
        if not any(hmac.compare_digest(given.encode(), secret.encode()) for secret in secrets):
            raise SignatureRejected("wrong secret", "set TOY_SECRET to what the toy carrier sends")

    def call_offered(self, request: WebhookRequest) -> CallOffered:
        fields = self._fields(request)
        return CallOffered(fields["call"], fields.get("from", ""), fields.get("to", ""), "inbound")

    def call_status(self, request: WebhookRequest) -> CallStatus:
        fields = self._fields(request)
        return CallStatus(fields["call"], fields.get("status", ""), ended=fields.get("status") == "over")

    def _fields(self, request: WebhookRequest) -> dict[str, str]:
        try:
            fields: Any = json.loads(request.body)
        except ValueError:
            raise MalformedMessage("not_json") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("call"), str):
            raise MalformedMessage("no_call")
        return {name: str(value) for name, value in fields.items()}

    def document(self, decision: Decision) -> AnswerDocument:
        match decision:
            case OpenStream(media_url, after_url, token):
                answer = {"do": "stream", "to": media_url, "token": token, "then": after_url}
            case HangUp(say):
                answer = {"do": "hang up", "say": say}
            case Dial(target, say):
                answer = {"do": "dial", "to": target, "say": say}
            case _:
                assert_never(decision)
        return AnswerDocument("application/json", json.dumps(answer))


TOY = Carrier(
    name="toy",
    capabilities=CarrierCapabilities(
        marks=True, marks_echo_on_clear=False, clear=True, resume=True, transfer=True, dtmf_out=False
    ),
    webhooks=ToyWebhooks(),
    protocol=ToyProtocol,
    secret_variables=("TOY_SECRET",),
)


# The providers


class Toy:
    """What all three have in common: a name, and nothing to start or end."""

    name = "toy"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def formats(self) -> tuple[AudioFormat, ...]:
        return (TELEPHONE,)


class ToySpeechToText(Toy):
    """Reads spelled speech; a sentence ends with a full stop."""

    @asynccontextmanager
    async def open(self, audio: AudioFormat) -> AsyncIterator[Recognition]:
        yield ToyRecognition()


class ToyRecognition:
    def __init__(self) -> None:
        self._heard = ""
        self._events: asyncio.Queue[RecognitionEvent] = asyncio.Queue()

    def send(self, audio: bytes) -> None:
        self._heard += read(audio)
        if self._heard.endswith("."):
            self._tell(ends_turn=True)

    def finalize(self) -> None:
        self._tell(finalized=True)

    def _tell(self, **how: bool) -> None:
        self._events.put_nowait(FinalTranscript(self._heard.rstrip("."), **how))
        self._heard = ""

    async def __aiter__(self) -> AsyncIterator[RecognitionEvent]:
        while True:
            yield await self._events.get()


class ToyLanguageModel(Toy):
    """Repeats what it was told, and hangs up after a goodbye."""

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        match request.messages:
            case (*_, CallerMessage("goodbye")):
                yield TextDelta("so long.")
                yield ToolCall("toy-1", "end_call", {})
            case (*_, CallerMessage(text)):
                yield TextDelta("you said ")
                yield TextDelta(f"{text}.")
            case _:
                yield TextDelta("toy speaking.")
        yield ReplyCompleted()


class ToyTextToSpeech(Toy):
    """Spells."""

    async def speak(self, text: AsyncIterator[str], audio: AudioFormat) -> AsyncGenerator[SpeechChunk, None]:
        async for piece in text:
            for word in piece.split():
                sound = spell(f"{word} ")
                yield SpeechChunk(sound, (SpokenWord(word, 0, len(sound)),))


def create_stt(context: ProviderContext) -> ToySpeechToText:
    return ToySpeechToText()


def create_llm(context: ProviderContext) -> ToyLanguageModel:
    return ToyLanguageModel()


def create_tts(context: ProviderContext) -> ToyTextToSpeech:
    return ToyTextToSpeech()
