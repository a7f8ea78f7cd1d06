"""Hearing: the caller's audio on its way to the recogniser and the voice detector, and what they make of it.

The recogniser is opened when the call is answered, and never waited for; one that is lost is replaced by
`providers.resilience`, which tells of it. On a line that was found to echo, the recogniser gets silence while the agent
can be heard, until somebody speaks who is not the echo; then it gets what was just said as well.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from providers.base import (
    AudioReached,
    AudioSettled,
    FinalTranscript,
    Metered,
    PartialTranscript,
    ProviderSwitched,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
    RecognitionLost,
    SpeechToText,
    UsageReported,
)
from providers.errors import ProviderError
from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE
from telephony.clock import Clock
from telephony.echo import EchoGuard
from telephony.loudness import LevelKeeper
from telephony.noise import NoiseSuppressor
from telephony.vad import VoiceFrame

FOR_GOOD = 1_000
"""Failures in a row of a recogniser that nobody will replace."""
_PRE_ROLL_FRAMES = 20
"""How much of what was said before speech was detected the recogniser gets: 400 ms."""
_MAYBE_VOICE = 0.2
"""Probability below which nobody would take it for speech anyway."""
_SURELY_VOICE = 0.5
"""Probability from which it is the caller's voice, whose level is followed."""
_OLD_S = 0.5
"""Words are behind the voice, by less than this; of voice beyond it they know nothing."""
_SILENT = bytes([MULAW_SILENCE]) * FRAME_BYTES


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

    def provider_event(self, event: ProviderSwitched | UsageReported) -> None: ...

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
        noise: NoiseSuppressor | None = None,
    ) -> None:
        """`echo` is told elsewhere what the agent says; for the recogniser alone `noise` cleans the voice and `level`
        brings it to one level."""
        self._recogniser = recogniser
        self._observer = observer
        self._clock = clock
        self._channel = activity.open(self._verdict, observer.hearing_crashed)
        self._recognition: Recognition | None = None
        self._level = level
        self._noise = noise
        self._echo = echo or EchoGuard(TELEPHONE.rate_hz)
        self._withheld: deque[bytes] = deque(maxlen=_PRE_ROLL_FRAMES)
        self._attentive = False
        self._asked = 0  # `finalize`s that are still to be answered
        self.heard_at: float | None = None
        """When audio came in last; None while none has."""
        self.opened_at: float | None = None
        """When the recognition was opened; None while there is none."""
        self._told_at: float | None = None
        self._lost = False

    def audio(self, payload: bytes) -> None:
        """Audio of the caller, µ-law 8 kHz. Never blocks."""
        self.heard_at = now = self._clock.now()
        self._channel.feed(payload)
        self._echo.heard(payload, now)
        if self._noise is not None:
            payload = self._noise.feed(payload)
        if self._level is not None and self._level.table is not None:
            payload = payload.translate(self._level.table)
        if self._recognition is None:
            return
        if self._attentive or self._echo.lag_s is None or not self._echo.audible(now):
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

    def finalize(self) -> bool:
        """Ask for the turn's last words; False if nobody is there to answer."""
        if self._recognition is None:
            return False
        self._asked += 1
        self._recognition.finalize()
        return True

    def is_behind(self, last_voice_at: float | None) -> bool:
        """The words known so far are not all that was said until then: nothing was recognised in this call yet, or
        nothing of the last of it, or a recogniser was lost, and what it was sent since the last final is yet to be
        heard again."""
        if self._lost or self._told_at is None:
            return True
        return last_voice_at is not None and last_voice_at - self._told_at > _OLD_S

    async def run(self) -> None:
        """Recognise until cancelled."""
        try:
            try:
                async with self._recogniser.open(TELEPHONE) as recognition:
                    self.opened_at = self._clock.now()
                    self._recognition = recognition
                    async for event in recognition:
                        self._report(event)
                failure = ProviderError(self._recogniser.name, "recognition ended by itself")
            except ProviderError as error:
                failure = error
            self.report_usage()
            self._recognition = self.opened_at = None
            self._observer.recognition_failed(failure, failures_in_a_row=FOR_GOOD)
        finally:
            self.report_usage()
            self._recognition = None
            self.close()

    def close(self) -> None:
        """Nothing more is heard: the call is over, whether or not anything was recognised, or the recogniser is."""
        self._channel.close()

    def report_usage(self) -> None:
        """Tell what recognition has cost since this was last asked."""
        if isinstance(self._recognition, Metered):
            for report in self._recognition.take_usage():
                self._observer.provider_event(report)

    def _report(self, event: RecognitionEvent) -> None:
        match event:
            case PartialTranscript():
                self._told_at = self._clock.now()
                self._observer.partial(event)
            case FinalTranscript():
                self._final(event)
            case RecognitionGap():
                self._observer.gap(event)
            case RecognitionLost(failure, failures_in_a_row):
                self._lost = True
                self._observer.recognition_failed(failure, failures_in_a_row=failures_in_a_row)
            case ProviderSwitched() | UsageReported():
                self._observer.provider_event(event)
            case AudioSettled() | AudioReached():
                pass  # for those between the adapter and us

    def _final(self, final: FinalTranscript) -> None:
        """Questions are answered in order: an answer to any but the last is late."""
        self._told_at, self._lost = self._clock.now(), False
        if final.finalized:
            self._asked = max(0, self._asked - 1)
        if final.finalized and self._asked:
            self._observer.late_final()
        else:
            self._observer.final(final)
