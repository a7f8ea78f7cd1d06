"""The caller's ear: when the other end sounds and when it is silent, judged from what is played, as a person does."""

from dataclasses import dataclass

from telephony.simulator.sound import FRAME_SAMPLES, audible_span, samples_of_ms

PHRASE_BREAK_SAMPLES = samples_of_ms(250)
"""Silence of this length parts two phrases. Shorter pauses lie within speech: stop consonants, a breath at a comma."""


@dataclass(slots=True)
class Phrase:
    """Audible speech: its first audible sample, and the one after its last so far, in samples of the call."""

    start: int
    end: int


class Ear:
    """Fed with each 20 ms of the call, from its answer on."""

    def __init__(self) -> None:
        self.position = 0
        """Samples heard since the answer: the caller's present moment."""
        self.phrases: list[Phrase] = []

    @property
    def sounding(self) -> Phrase | None:
        """The phrase that is being spoken."""
        if self.phrases and self.silence < PHRASE_BREAK_SAMPLES:
            return self.phrases[-1]
        return None

    @property
    def silence(self) -> int:
        """Samples since the last audible one, or since the answer."""
        return self.position - (self.phrases[-1].end if self.phrases else 0)

    def hear(self, frame: bytes | None) -> None:
        """20 ms of µ-law; None for silence."""
        span = audible_span(frame) if frame is not None else None
        if span is not None:
            start, end = self.position + span[0], self.position + span[1]
            if self.phrases and start - self.phrases[-1].end < PHRASE_BREAK_SAMPLES:
                self.phrases[-1].end = end
            else:
                self.phrases.append(Phrase(start, end))
        self.position += FRAME_SAMPLES
