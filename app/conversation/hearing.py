"""Hearing: the caller's audio on its way to the recogniser and the voice detector, and what they make of it.

The recogniser is opened when the call is answered, reopened when it is lost, and never waited for: audio that comes
before it is ready waits in a small ring. On a line that was found to echo, the recogniser gets silence while the agent
can be heard, until somebody speaks who is not the echo; then it gets what was just said as well.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from providers.base import FinalTranscript, PartialTranscript, Recognition, RecognitionGap, SpeechToText
from providers.errors import ProviderError
from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE
from telephony.clock import Clock
from telephony.echo import EchoGuard
from telephony.loudness import LevelKeeper
from telephony.vad import VoiceFrame

_WAITING_FRAMES = 150
"""Audio kept while there is no recogniser: 3 s of frames; beyond that the oldest is lost."""
_ANSWER_LOST_S = 3.0
"""A question that was not answered within so long will not be answered any more."""
_PRE_ROLL_FRAMES = 20
"""How much of what was said before speech was detected the recogniser gets: 400 ms."""
_MAYBE_VOICE = 0.2
"""Probability below which nobody would take it for speech anyway."""
_SURELY_VOICE = 0.5
"""Probability from which it is the caller's voice, whose level is followed."""
_SILENT = bytes([MULAW_SILENCE]) * FRAME_BYTES
_REOPEN_AFTER_S = (0.1, 0.5, 2.0, 5.0)
"""Pauses before the recogniser is opened again; the last one repeats."""


class VoiceChannel(Protocol):
    """One call's share of the voice detector."""

    def feed(self, mulaw: bytes) -> None: ...

    def close(self) -> None: ...


class VoiceDetector(Protocol):
    """What `telephony.vad.VoiceActivity` is to a call."""

    def open(self, on_voice: Callable[[VoiceFrame], None], on_failure: Callable[[Exception], None]) -> VoiceChannel: ...


class HearingObserver(Protocol):
    """Told, synchronously, what was heard."""

    def voice(self, frame: VoiceFrame) -> None: ...

    def partial(self, transcript: PartialTranscript) -> None: ...

    def final(self, transcript: FinalTranscript) -> None: ...

    def late_final(self) -> None: ...

    def gap(self, gap: RecognitionGap) -> None: ...

    def hearing_crashed(self, error: Exception) -> None: ...

    def recognition_failed(self, failure: ProviderError, *, failures_in_a_row: int) -> None: ...


class Hearing:
    """One call's ears, from answer to hang-up."""

    def __init__(
        self,
        recogniser: SpeechToText,
        activity: VoiceDetector,
        observer: HearingObserver,
        clock: Clock,
        echo: EchoGuard | None = None,
        level: LevelKeeper | None = None,
    ) -> None:
        """`echo` is told elsewhere what the agent says; `level` brings the voice to one level for the recogniser."""
        self._recogniser = recogniser
        self._observer = observer
        self._clock = clock
        self._channel = activity.open(self._verdict, observer.hearing_crashed)
        self._recognition: Recognition | None = None
        self._waiting: deque[bytes] = deque()
        self._lost_bytes = 0
        self._level = level
        self._echo = echo or EchoGuard(TELEPHONE.rate_hz)
        self._withheld: deque[bytes] = deque(maxlen=_PRE_ROLL_FRAMES)
        self._attentive = False
        self._asked: deque[float] = deque()  # when each `finalize` that is still to be answered was sent
        self.opened_at: float | None = None
        """When the present recognition was opened; None while there is none."""

    def audio(self, payload: bytes) -> None:
        """Audio of the caller, µ-law 8 kHz. Never blocks."""
        now = self._clock.now()
        self._channel.feed(payload)
        self._echo.heard(payload, now)
        if self._level is not None and self._level.table is not None:
            payload = payload.translate(self._level.table)
        if self._recognition is None:
            self._wait(payload)
        elif self._attentive or not self._echo.audible(now) or self._echo.lag_s is None:
            self._withheld.clear()
            self._recognition.send(payload)
        else:
            self._withheld.append(payload)
            self._recognition.send(_SILENT if len(payload) == len(_SILENT) else bytes([MULAW_SILENCE]) * len(payload))

    def attend(self, attentive: bool) -> None:
        """Somebody speaks (or does no longer) who is not the echo: the recogniser hears him, and how he began."""
        if attentive and not self._attentive and self._recognition is not None:
            while self._withheld:
                self._recognition.send(self._withheld.popleft())
        self._attentive = attentive

    def _verdict(self, frame: VoiceFrame) -> None:
        """The voice detector's verdict, without the agent's own voice."""
        if frame.probability >= _MAYBE_VOICE and self._echo.audible(frame.now) and self._echo.is_echo(frame.now):
            frame = VoiceFrame(0.0, frame.level_dbfs, frame.now)
        elif self._level is not None and frame.probability >= _SURELY_VOICE:
            self._level.voiced(frame.level_dbfs)
        self._observer.voice(frame)

    def _wait(self, payload: bytes) -> None:
        self._waiting.append(payload)
        if len(self._waiting) > _WAITING_FRAMES:
            self._lost_bytes += len(self._waiting.popleft())

    def finalize(self) -> bool:
        """Ask for the turn's last words; False if nobody is there to answer."""
        if self._recognition is None:
            return False
        self._asked.append(self._clock.now())
        self._recognition.finalize()
        return True

    async def run(self) -> None:
        """Recognise until cancelled. A lost recogniser is reported and opened again."""
        failures = 0
        try:
            while True:
                try:
                    async with self._recogniser.open(TELEPHONE) as recognition:
                        self._opened(recognition)
                        async for event in recognition:
                            failures = 0
                            self._report(event)
                    failure = ProviderError(self._recogniser.name, "recognition ended by itself")
                except ProviderError as error:
                    failure = error
                self._recognition = self.opened_at = None
                failures += 1
                self._observer.recognition_failed(failure, failures_in_a_row=failures)
                pause = _REOPEN_AFTER_S[min(failures, len(_REOPEN_AFTER_S)) - 1]
                await self._clock.sleep_until(self._clock.now() + pause)
        finally:
            self._recognition = None
            self._channel.close()

    def _opened(self, recognition: Recognition) -> None:
        self.opened_at = self._clock.now()
        self._asked.clear()
        if self._lost_bytes:
            self._observer.gap(RecognitionGap(TELEPHONE.ms(self._lost_bytes), "no recogniser"))
            self._lost_bytes = 0
        while self._waiting:
            recognition.send(self._waiting.popleft())
        self._recognition = recognition

    def _report(self, event: PartialTranscript | FinalTranscript | RecognitionGap) -> None:
        match event:
            case PartialTranscript():
                self._observer.partial(event)
            case FinalTranscript(finalized=True) if not self._answers_last_question():
                self._observer.late_final()
            case FinalTranscript():
                self._observer.final(event)
            case RecognitionGap():
                self._observer.gap(event)

    def _answers_last_question(self) -> bool:
        """Questions are answered in order. False: an answer comes, and the last question is still open."""
        lost = self._clock.now() - _ANSWER_LOST_S
        while len(self._asked) > 1 and self._asked[0] < lost:
            self._asked.popleft()
        if self._asked:
            self._asked.popleft()
        return not self._asked
