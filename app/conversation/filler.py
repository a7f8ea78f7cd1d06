"""What is said while the caller waits for a reply, and when it is time to."""

from collections.abc import Callable
from dataclasses import dataclass

from providers.base import SpeechChunk
from telephony.audio import FRAME_BYTES, MULAW_SILENCE

_SOON_S = 0.3
"""A long wait that is foreseen is bridged after the pause that any answer may have."""


@dataclass(frozen=True, slots=True)
class Filler:
    """One phrase, with its speech (µ-law 8 kHz) if that is at hand."""

    text: str
    speech: tuple[SpeechChunk, ...]
    expected_s: Callable[[tuple[str, ...]], float]
    """How long a reply takes from its request, or from the start of these tools, to its first sound."""

    def due(self, tools: tuple[str, ...], asked_at: float, now: float, after_s: float) -> float:
        """When to say it, if nothing has been heard by then: soon, if the caller has to wait for longer than `after_s`
        as far as can be foreseen; else when he has."""
        foreseen_s = asked_at + self.expected_s(tools) - now
        return now + (min(_SOON_S, after_s) if foreseen_s > after_s else after_s)

    def frames(self) -> tuple[SpeechChunk, ...]:
        """Its speech in whole frames: what follows may be a while in coming."""
        if not self.speech:
            return ()
        *before, last = self.speech
        short = -sum(len(chunk.audio) for chunk in self.speech) % FRAME_BYTES
        return (*before, SpeechChunk(last.audio + bytes([MULAW_SILENCE]) * short, last.words))
