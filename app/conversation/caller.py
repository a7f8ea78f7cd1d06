"""The caller's side of a conversation: what he says and keys, from the first sound to the words of a turn.

Everything that his ear, his recogniser and his keypad tell ends as events for the state machine; the facts that go with
them stay here until the session takes the turn.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from app.calls.journal import AudioLost, CallerPartial, CallerSaid, DigitKeyed
from app.conversation.deadlines import DeadlineTable
from app.conversation.ear import Ear, Hint
from app.conversation.hearing import Hearing
from app.conversation.melody import Melody
from app.conversation.record import CallRecord
from app.conversation.services import Services
from app.conversation.speculation import Depth
from app.conversation.state import Event
from app.telemetry.latency import LatencyMetrics
from providers.base import FinalTranscript, PartialTranscript, ProviderSwitched, RecognitionGap, UsageReported
from providers.errors import ProviderError
from telephony.echo import EchoGuard
from telephony.loudness import LevelKeeper
from telephony.noise import WebRtcSuppressor
from telephony.vad import VoiceFrame

_MAX_DIGITS = 32


class CallerObserver(Protocol):
    """The session, as the caller's side sees it."""

    def disputed(self) -> bool:
        """The agent has, or is about to have, the floor."""
        ...

    def heard_out(self) -> bool:
        """Of what the agent says nothing is left to listen to."""
        ...

    def follow(self, events: list[Event]) -> None:
        """What the caller did."""
        ...

    def anticipate(self, words: str, hint: Hint) -> None:
        """What he says may be all that he wants to say."""
        ...

    def recogniser_lost(self, failures_in_a_row: int) -> None: ...

    def crashed(self, error: Exception) -> None:
        """A bug of ours, found where it must not be raised."""
        ...


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """One turn of the caller: what was understood of it, what was keyed, and the stamps of its half."""

    words: str
    digits: str
    metrics: LatencyMetrics


class CallerSide:
    """One call's caller. Deadlines it sets: `final` (the recogniser's last word) and `digits` (the next key)."""

    def __init__(
        self,
        services: Services,
        record: CallRecord,
        deadlines: DeadlineTable,
        observer: CallerObserver,
        echo: EchoGuard,
    ) -> None:
        level = LevelKeeper() if services.manners.level_voice else None
        self.ear = Ear(services.manners.ear)
        strength = services.manners.noise_suppression
        noise = WebRtcSuppressor(strength) if strength else None
        self.hearing = Hearing(
            services.providers.stt, services.activity, weakref.proxy(self), services.clock, echo, level, noise
        )
        self._melody = Melody(services.turn_end, self.ear) if services.turn_end is not None else None
        heard = self.hearing.audio
        self.audio = heard if self._melody is None else partial(_hear_both, heard, self._melody.audio)
        """Take audio of the caller, µ-law 8 kHz. Never blocks."""
        self.digits = ""
        self._manners = services.manners
        self._clock = services.clock
        self._record = record
        self._deadlines = deadlines
        self._observer = observer
        speculation = services.manners.speculation
        self._speculates = speculation.depth is not Depth.OFF
        self._on_pauses = speculation.least < Hint.COMPLETE
        self._awaiting_final = self._waited_longer = False
        self._half = LatencyMetrics()

    # what he does

    def key(self, digit: str) -> None:
        """He pressed a key."""
        if len(self.digits) < _MAX_DIGITS:
            self.digits += digit
            self._record.add(DigitKeyed(at=self._record.at(), digit=digit))
        self._observer.follow([Event.DIGIT_PRESSED])

    def voice(self, frame: VoiceFrame) -> None:
        """The voice detector's verdict, every 32 ms."""
        if self._melody is not None and not self.ear.speaking:
            self._melody.silence(frame.now)
        disputed = self._observer.disputed()
        events = self.ear.voice(frame.probability, frame.now, disputed=disputed, level_dbfs=frame.level_dbfs)
        if Event.TURN_ENDED in events:
            self._half.turn_ended = frame.now
        if events:
            self._observer.follow(events)
        if self._speculates and not disputed and (self._on_pauses or self.ear.complete):
            self._anticipate(frame.now)
        self.hearing.attend(self.ear.began_at is not None)

    def partial(self, transcript: PartialTranscript) -> None:
        """The recogniser's present reading."""
        now = self._clock.now()
        if transcript.text and self._half.asr_partial is None:
            self._half.asr_partial = now
        if transcript.text != self.ear.words:
            self._record.add(CallerPartial(at=self._record.at(), text=transcript.text))
        self._observer.follow(self.ear.partial(transcript, now, disputed=self._observer.disputed()))
        if self._speculates:
            self._anticipate(now)

    def final(self, transcript: FinalTranscript) -> None:
        """Words that stay. An answer to a question that nobody waits for any more is dropped: its words were taken
        from the last partial already."""
        if transcript.finalized and not self._awaiting_final:
            self.late_final()
            return
        if transcript.finalized or transcript.ends_turn:
            self._stop_waiting()
        self._close(transcript)

    def late_final(self) -> None:
        """An answer to a question that was given up on."""
        self._record.counters.count("late_finals")

    def gap(self, gap: RecognitionGap) -> None:
        """Audio was lost on the way to words."""
        at, replayed_ms = self._record.at(), gap.replayed_ms
        self._record.add(AudioLost(at=at, lost_ms=gap.lost_ms, reason=gap.reason, replayed_ms=replayed_ms))

    def provider_event(self, event: ProviderSwitched | UsageReported) -> None:
        """Another recogniser goes on, or one tells what it has served."""
        self._record.provider_event(event)

    def recognition_failed(self, failure: ProviderError, *, failures_in_a_row: int) -> None:
        """The recogniser is gone for now."""
        self._record.provider_failed(failure)
        self._observer.recogniser_lost(failures_in_a_row)

    def hearing_crashed(self, error: Exception) -> None:
        """A bug surfaced in the process's voice detector: it is this call's bug."""
        self._observer.crashed(error)

    # what the session asks

    def finalize(self) -> None:
        """Have the recogniser say its last word now."""
        if self._awaiting_final:
            return
        self._awaiting_final = self.hearing.finalize()
        self._waited_longer = False
        wait = self._manners.final_s if self._awaiting_final else 0.0
        self._deadlines.set("final", self._clock.now() + wait)

    def final_missed(self) -> None:
        """The last word did not come in time: the last partial is taken for it. If that is old, for the recogniser has
        stalled or is just being replaced, there is some more time."""
        behind = self.hearing.is_behind(self.ear.last_voice_at)
        if self._awaiting_final and behind and not self._waited_longer:
            self._waited_longer = True
            self._deadlines.set("final", self._clock.now() + self._manners.recover_s)
            return
        self._awaiting_final = False
        self._record.counters.count("finals_missed")
        self._close(FinalTranscript(self.ear.unfinished, finalized=True))

    def collect_digits(self) -> float:
        """Wait for the next key; answers when the number counts as complete."""
        gap = 0.0 if self.digits.endswith("#") else self._manners.digit_gap_s
        complete_at = self._clock.now() + gap
        self._deadlines.set("digits", complete_at)
        return complete_at

    def take_turn(self) -> CallerTurn:
        """The turn is over: what it was, on record, and a clean slate for the next."""
        self._deadlines.clear("digits")
        self._stop_waiting()
        digits, self.digits = self.digits.rstrip("#") or self.digits, ""
        began_at, ended_at = self.ear.began_at, self.ear.last_voice_at
        words = self.ear.take_words()
        metrics, self._half = self._half, LatencyMetrics()
        metrics.asr_complete = self._clock.now()
        if began_at is not None:
            metrics.audio_chunk_received = began_at
            metrics.asr_started = max(began_at, self.hearing.opened_at or began_at)
            metrics.speech_ended = ended_at
        if words or not digits:
            self._record.add(CallerSaid(at=self._record.at(), text=words))
        if digits:
            self._record.add(CallerSaid(at=self._record.at(), text=digits, digits=True))
        return CallerTurn(words, digits, metrics)

    def close(self) -> None:
        """The call is over."""
        self.hearing.close()

    def forget_half(self) -> None:
        """It was no turn: its stamps mean nothing."""
        self._half = LatencyMetrics()

    def _anticipate(self, now: float) -> None:
        words = self.ear.words
        if words and not self.digits:
            self._observer.anticipate(words, self.ear.hint(now))

    def _stop_waiting(self) -> None:
        self._awaiting_final = False
        self._deadlines.clear("final")

    def _close(self, transcript: FinalTranscript) -> None:
        now, disputed, heard_out = self._clock.now(), self._observer.disputed(), self._observer.heard_out()
        self._observer.follow(self.ear.final(transcript, now, disputed=disputed, heard_out=heard_out))


def _hear_both(words: Callable[[bytes], None], melody: Callable[[bytes], None], payload: bytes) -> None:
    words(payload)
    melody(payload)
