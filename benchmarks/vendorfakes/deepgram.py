"""Deepgram with a stopwatch: live recognition and Flux.

Anything loud is speech, and speech is four words a second. The words known so far are told whenever there is one more;
the final comes `FINAL_S` after the end of speech, the answer to `Finalize` after `FINALIZE_S`, Flux's eager end of turn
after `EAGER_S`. Times are the speaker's: when a sample was spoken is known from its place in the stream and from the
audio that came through fastest.
"""

import asyncio
import json
from itertools import cycle, islice

from benchmarks.vendorfakes.wire import Connection, Request
from telephony.audio import FRAME_BYTES

FINAL_S, FINALIZE_S, EAGER_S = 0.3, 0.1, 0.15
_WORD_S = 0.25
_LOUD = frozenset(code for code in range(256) if (code & 0x7F) < 0x50)
"""µ-law codes above about -40 dBFS, as in `providers.scripted`."""
_WORDS = "when do you open tomorrow morning maybe around nine o'clock monday tuesday wednesday thursday friday".split()


class _Listener:
    """What both protocols share: the ear. Subclasses say what is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        self._samples = 0
        self._began = float("inf")  # when the stream's first sample was spoken
        self._loud_samples = 0
        self._last_loud = 0
        self.words = 0
        self._timer: asyncio.TimerHandle | None = None
        self.turn_start = 0

    @property
    def transcript(self) -> str:
        return " ".join(islice(cycle(_WORDS), self.words))

    def binary(self, payload: memoryview, mask: bytes) -> None:
        self._began = min(self._began, self._loop.time() - (self._samples + len(payload)) / 8000)
        for at in range(0, len(payload), FRAME_BYTES):
            size = min(FRAME_BYTES, len(payload) - at)
            middle = at + size // 2
            self._samples += size
            if payload[at] ^ mask[at % 4] in _LOUD or payload[middle] ^ mask[middle % 4] in _LOUD:
                self._heard(size)
        self.listened()

    def _heard(self, samples: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loud_samples += samples
        self._last_loud = self._samples
        known = 1 + int(self._loud_samples / 8000 / _WORD_S)
        if known > self.words:
            self.words = known
            self.partial()
        self.voiced()

    def listened(self) -> None:
        """A message's audio is heard: if nobody speaks at its end, the clock runs."""
        if self.words and self._timer is None and self._last_loud < self._samples:
            self._wait(self.first_pause_s())

    def _wait(self, pause_s: float) -> None:
        due = self._began + self._last_loud / 8000 + pause_s
        self._timer = self._loop.call_at(max(due, self._loop.time()), self._paused, pause_s)

    def _paused(self, pause_s: float) -> None:
        if pause_s < FINAL_S:
            self.eager()
            self._wait(FINAL_S)
        else:
            self.end()

    def end(self, **flags: bool) -> None:
        """The turn is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.final(**flags)
        self.words = self._loud_samples = 0
        self.turn_start = self._samples

    def closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def say(self, **message: object) -> None:
        self.connection.send(json.dumps(message).encode())

    @property
    def now_s(self) -> float:
        """How far into the stream it has heard."""
        return self._samples / 8000

    # what the protocols say

    def first_pause_s(self) -> float:
        """The first silence that means something."""
        return FINAL_S

    def partial(self) -> None:
        """There is one more word."""

    def voiced(self) -> None:
        """Somebody speaks."""

    def eager(self) -> None:
        """The turn may be over."""

    def final(self, **flags: bool) -> None:
        """It is."""


class Live(_Listener):
    """`/v1/listen`."""

    def text(self, message: bytes) -> None:
        if b"Finalize" in message and self.words:
            self._loop.call_later(FINALIZE_S, self._finalized)

    def _finalized(self) -> None:
        if self.words:
            self.end(from_finalize=True)

    def partial(self) -> None:
        self._results()

    def final(self, **flags: bool) -> None:
        self._results(is_final=True, speech_final=True, **flags)

    def _results(self, **flags: bool) -> None:
        alternative = {"transcript": self.transcript, "confidence": 0.98 if self.words else 0.0, "words": []}
        start = self.turn_start / 8000
        self.say(
            type="Results",
            channel_index=[0, 1],
            start=start,
            duration=self.now_s - start,
            channel={"alternatives": [alternative]},
            metadata={
                "request_id": "7c1f",
                "model_info": {"name": "general-nova-3", "version": "2025-01-01", "arch": "nova-3"},
                "model_uuid": "5a1e",
            },
            **{"is_final": False, "speech_final": False, "from_finalize": False, **flags},
        )


class Flux(_Listener):
    """`/v2/listen`; eager if it is asked to be."""

    def __init__(self, connection: Connection, request: Request) -> None:
        super().__init__(connection)
        self._wants_eager = "eager_eot_threshold" in request.query
        self._is_eager = False
        self._sequence = 0
        self._turn = 0
        self._tell(type="Connected")

    def text(self, message: bytes) -> None:
        if b"ForceEndTurn" in message and self.words:
            self._loop.call_later(FINALIZE_S, self._forced)

    def _forced(self) -> None:
        if self.words:
            self.end()

    def first_pause_s(self) -> float:
        return EAGER_S if self._wants_eager else FINAL_S

    def partial(self) -> None:
        self._info("StartOfTurn" if self.words == 1 else "Update")

    def voiced(self) -> None:
        if self._is_eager:
            self._is_eager = False
            self._info("TurnResumed")

    def eager(self) -> None:
        self._is_eager = True
        self._info("EagerEndOfTurn")

    def final(self, **flags: bool) -> None:
        self._is_eager = False
        self._info("EndOfTurn")
        self._turn += 1

    def _info(self, event: str) -> None:
        words = self.transcript.split()
        self._tell(
            type="TurnInfo",
            event=event,
            turn_index=self._turn,
            audio_window_start=self.turn_start / 8000,
            audio_window_end=self.now_s,
            transcript=" ".join(words),
            words=[{"word": word, "confidence": 0.95} for word in words],
            end_of_turn_confidence=0.9 if event == "EndOfTurn" else 0.4,
        )

    def _tell(self, **message: object) -> None:
        self.say(**message, request_id="7c1f", sequence_id=self._sequence)
        self._sequence += 1
