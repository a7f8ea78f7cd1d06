"""Deepgram's prerecorded recognition (`POST /v1/listen`): a whole utterance in one request, for when no stream holds.

The vendor documents a sample rate for live audio only, so the µ-law goes in a WAV file, whose header tells it.
Source: https://developers.deepgram.com/docs/pre-recorded-audio
"""

import struct
from typing import Any

import httpx
import msgspec

from providers.errors import ProviderError, ProviderMalformed, ProviderUnavailable
from providers.stt.deepgram.settings import DeepgramSettings
from providers.stt.deepgram.vendor import NAME, ApiError, AsyncDeepgramClient, refusal
from telephony.audio import TELEPHONE

MODEL = "nova-3"
"""Of an account whose model is Flux, which streams only."""
_MULAW = 7
"""WAVE_FORMAT_MULAW (RFC 2361)."""


class _Alternative(msgspec.Struct, frozen=True):
    transcript: str | None = None


class _Channel(msgspec.Struct, frozen=True):
    alternatives: list[_Alternative] | None = None


class _Results(msgspec.Struct, frozen=True):
    channels: list[_Channel]


class _Answer(msgspec.Struct, frozen=True):
    results: _Results


async def transcribe(client: AsyncDeepgramClient, settings: DeepgramSettings, utterance: bytes) -> str:
    """The words of one utterance, µ-law at 8 kHz. Raises `ProviderError`."""
    try:
        answer: Any = await client.listen.v1.media.transcribe_file(
            request=wav(utterance),
            model=MODEL if settings.flux else settings.model,
            language=_language(settings),
            punctuate=True,
            numerals=True,
            keyterm=list(settings.keyterms) or None,
            request_options={"max_retries": 0},
        )
    except ApiError as error:
        raise _refused(error) from error
    except httpx.HTTPError as error:
        raise ProviderUnavailable(NAME, f"{type(error).__name__}: {error}") from error
    try:
        channels = msgspec.convert(answer, _Answer, from_attributes=True).results.channels
    except msgspec.ValidationError as error:
        raise ProviderMalformed(NAME, f"an answer is not as promised: {error}") from error
    alternatives = (channels[0].alternatives or ()) if channels else ()
    return (alternatives[0].transcript or "").strip() if alternatives else ""


def _language(settings: DeepgramSettings) -> str | None:
    """Flux takes any number of languages, as hints; here there is one, or `multi`. None: English."""
    if not settings.flux:
        return settings.language or None
    if settings.model == "flux-general-en":
        return None
    hints = [code.strip() for code in settings.language.split(",") if code.strip()]
    return hints[0] if len(hints) == 1 else "multi"


def _refused(error: ApiError) -> ProviderError:
    if error.status_code is not None and error.status_code < 400:
        return ProviderMalformed(NAME, f"status {error.status_code}, and an answer that is no JSON")
    return refusal(error, error.headers or {})


def wav(mulaw: bytes) -> bytes:
    """A WAV file of telephone audio. A chunk of odd length is padded (Multimedia Programming Interface 1.0, p. 11)."""
    rate = TELEPHONE.rate_hz
    form = struct.pack("<HHIIHHH", _MULAW, 1, rate, rate, 1, 8, 0)
    fact = struct.pack("<I", len(mulaw))
    chunks = b"".join(
        struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"fmt ", form), (b"fact", fact), (b"data", mulaw))
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks
