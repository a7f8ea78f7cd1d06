"""How far the voice is ahead of the caller's ear, so that it is given the next piece in time, and not long before.

Speech that is made is paid for, and what an interruption cuts off was made in vain. A piece goes to the voice when what
it has is about to run out: the sound that is still to be heard, and the text whose sound has not come yet, the latter
by its length.
"""

from telephony.clock import Clock
from telephony.pacing import Pacer

_CHARACTER_S = 0.065
"""Speech of one character, spaces included."""
_LEAST_WAIT_S = 0.1


class SpeechAhead:
    """One reply's voice, ahead of its listener by `most_s` at most when it is given the next piece."""

    def __init__(self, pacer: Pacer, clock: Clock, most_s: float) -> None:
        self.given_characters = 0
        """So many went to the voice."""
        self._pacer = pacer
        self._clock = clock
        self._most_s = most_s
        self._queued_before = 0

    def given(self, piece: str) -> None:
        """The voice has this piece now."""
        self.given_characters += len(piece)
        self._queued_before = self._pacer.ledger.queued

    async def has_run_down(self) -> None:
        """Wait until the next piece is to be made."""
        while (excess_s := self._ahead_s() - self._most_s) > 0:  # while the sound is held, again and again
            await self._clock.sleep_until(self._clock.now() + max(excess_s, _LEAST_WAIT_S))

    def wasted(self, heard: str) -> int:
        """Characters that the voice was given and nobody heard."""
        return max(0, self.given_characters - len(heard)) if self.given_characters else 0

    def _ahead_s(self) -> float:
        pacer = self._pacer
        unheard_s = pacer.unsent_samples / pacer.audio.rate_hz + pacer.ledger.buffered_s(self._clock.now())
        if not unheard_s and pacer.ledger.queued > self._queued_before:
            return 0.0  # nothing is left, whatever words the voice has still to account for
        sounding_characters = sum(len(word.text) + 1 for word in pacer.ledger.words)
        return unheard_s + max(0, self.given_characters - sounding_characters) * _CHARACTER_S
