"""Asks the turn-end model, once for each pause of the caller, whether it sounds as if he were done."""

from collections import deque
from collections.abc import Callable

from app.conversation.ear import Ear
from telephony.audio import FRAME_MS
from telephony.turn_end import TURN_S, TurnEndModel

_ASK_AFTER_S = 0.2
"""Of silence: the model tells turns from pauses best after 200 ms, and has answered before a turn may end."""
_PRE_ROLL_S = 0.3
"""Before the turn's first voice: what the detector missed of its onset."""


class Melody:
    """One call's last 8 s of the caller, and what the model makes of them."""

    def __init__(self, model: TurnEndModel, ear: Ear) -> None:
        self._model = model
        self._ear = ear
        self._heard: deque[bytes] = deque(maxlen=TURN_S * 1000 // FRAME_MS)
        self._asked_about: float | None = None

    def audio(self, payload: bytes) -> None:
        """What the caller's line carries, frame by frame, µ-law."""
        self._heard.append(payload)

    def silence(self, now: float) -> None:
        """Nobody speaks at present: ask, if it is time to."""
        began_at, voice_at = self._ear.began_at, self._ear.last_voice_at
        if began_at is None or voice_at is None or voice_at == self._asked_about or now - voice_at < _ASK_AFTER_S:
            return
        self._asked_about = voice_at
        turn_bytes = int((now - began_at + _PRE_ROLL_S) * 8000)
        self._model.judge(b"".join(self._heard)[-turn_bytes:], self._answer_about(voice_at))

    def _answer_about(self, voice_at: float) -> Callable[[float], None]:
        def answer(done: float) -> None:
            if self._ear.last_voice_at == voice_at and self._ear.began_at is not None:
                self._ear.judged(done)

        return answer
