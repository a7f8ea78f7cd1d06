"""What ElevenLabs sends, in its spelling and in that of its specification, which differ."""

from typing import Any

import msgspec

from providers.tts.elevenlabs_errors import Refusal
from providers.tts.elevenlabs_words import TimedCharacter

_LONGEST_MS = 3_600_000.0
"""A time beyond an hour is no time within a chunk."""


class Alignment(msgspec.Struct):
    """Characters and their times, in ms from the first sample of the chunk that they come with."""

    chars: list[str] = []
    starts: list[float] = msgspec.field(name="charStartTimesMs", default_factory=list)
    durations: list[float] = msgspec.field(name="charDurationsMs", default_factory=list)
    durations_as_specified: list[float] = msgspec.field(name="charsDurationsMs", default_factory=list)

    def characters(self) -> tuple[TimedCharacter, ...] | None:
        """None if the lists do not belong together, or hold what cannot be."""
        durations = self.durations or self.durations_as_specified
        if not len(self.chars) == len(self.starts) == len(durations):
            return None
        if any(abs(ms) > _LONGEST_MS for ms in (*self.starts, *durations)):
            return None
        return tuple(map(TimedCharacter, self.chars, self.starts, durations))


class Message(msgspec.Struct):
    """One message; what it does not hold is None. Fields that nobody reads may have any shape."""

    audio: bytes | None = None
    context_id: str | None = msgspec.field(name="contextId", default=None)
    context_id_as_specified: str | None = msgspec.field(name="context_id", default=None)
    final: bool | None = msgspec.field(name="isFinal", default=None)
    final_as_specified: bool | None = msgspec.field(name="is_final", default=None)
    alignment: Alignment | None = None
    normalized: Alignment | None = msgspec.field(name="normalizedAlignment", default=None)
    type: Any = None
    error: Any = None
    message: Any = None
    code: Any = None

    @property
    def of_context(self) -> str:
        return self.context_id or self.context_id_as_specified or ""

    @property
    def ends_context(self) -> bool:
        return bool(self.final or self.final_as_specified)

    def characters(self) -> tuple[TimedCharacter, ...] | None:
        """The alignment: of the text as sent, else of the text as normalised."""
        timed = self.alignment or self.normalized
        return timed.characters() if timed else None

    def refusal(self) -> Refusal:
        """What an `error` says."""
        code = self.code if isinstance(self.code, int) else 0
        return Refusal(code, str(self.error), str(self.message or ""))


_DECODER = msgspec.json.Decoder(Message)


def decode(message: str | bytes) -> Message:
    """Raises `msgspec.DecodeError` or `UnicodeDecodeError` for what is no message; audio is out of its base64."""
    return _DECODER.decode(message)
