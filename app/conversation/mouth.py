"""The mouth: what the agent says, on its way to the caller's ear. Pacer, ledger and the reply in progress.

The interruption lives here, in its two phases, each one synchronous: `hold` stops the sound before anything may await,
then `commit` ends the reply or `resume` lets it go on.
"""

from typing import Protocol

from app.calls.ownership import Tenure
from app.conversation.reply import TurnOutcome, TurnReason
from app.conversation.turn import Turn
from telephony.audio import TELEPHONE, AudioFormat
from telephony.carrier import CarrierCommand, PlayAudio
from telephony.echo import EchoGuard
from telephony.leg import Leg
from telephony.pacing import Pacer
from telephony.playout import Certainty, Heard, PlayoutLedger

_LAST_SYLLABLE_S = 0.5
"""Who speaks when so little is left of a reply's words knows its end: listeners begin on the last syllable."""
_LAPSED_S = 0.02
"""How often to look whether the call is ours again."""


class MouthObserver(Protocol):
    """Told, synchronously, what becomes of a reply."""

    def reply_started(self, turn: Turn, now: float) -> None:
        """Its first sound leaves."""
        ...

    def reply_room(self) -> None:
        """A full pacer has room again."""
        ...


class Mouth:
    """Speaks one reply at a time over whichever leg is attached. A `telephony.leg.Playout`."""

    def __init__(
        self, observer: MouthObserver, *, lead_ms: int, echo: EchoGuard | None = None, tenure: Tenure | None = None
    ) -> None:
        """`echo` hears of everything that will sound at the caller's ear. Nothing sounds beyond the `tenure`."""
        self._observer = observer
        self._lead_ms = lead_ms
        self._echo = echo or EchoGuard(TELEPHONE.rate_hz)
        self._tenure = tenure or Tenure()
        self._muted = False
        self._leg: Leg | None = None
        self._started = False
        self.turn: Turn | None = None
        self._prepare(TELEPHONE, marks=True)

    def _prepare(self, audio: AudioFormat, *, marks: bool) -> None:
        self._marks = marks
        self._telephone = audio == TELEPHONE
        self.ledger = PlayoutLedger(audio.rate_hz, marks=marks)
        observer = self._observer  # called by name each time: a bound method would keep it
        self.pacer = Pacer(audio, self.ledger, lead_ms=self._lead_ms, on_room=lambda: observer.reply_room())

    @property
    def audio(self) -> AudioFormat:
        """What the caller's side plays."""
        return self.pacer.audio

    def attach(self, leg: Leg) -> None:
        """Speak over this leg from now on."""
        if leg.audio != self.audio or leg.capabilities.marks != self._marks:
            self._prepare(leg.audio, marks=leg.capabilities.marks)
        self._leg = leg

    def detach(self, now: float, alive_at: float | None = None) -> None:
        """The leg is gone, over which something came in for the last time `alive_at`: keep what was not heard."""
        self._leg = None
        if self.turn is not None:
            self.pacer.hold(now, lost=True, alive_at=alive_at)
        self.ledger.forget_line()

    # Playout: the leg asks

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        if self._muted or now >= self._tenure.until:
            return ()
        commands = self.pacer.due(now)
        if not commands:
            return commands
        sound = commands[0]
        if isinstance(sound, PlayAudio) and self._telephone:
            self._echo.played(sound.payload, self.ledger.play_end - len(sound.payload) / TELEPHONE.rate_hz)
        if not self._started and self.turn is not None:
            self._started = True
            self._observer.reply_started(self.turn, now)
        return commands

    def next_due(self, now: float) -> float | None:
        due = self.pacer.next_due(now)
        return due if due is None or (now < self._tenure.until and not self._muted) else now + _LAPSED_S

    def mute(self, muted: bool) -> None:
        """Nothing leaves while it is muted, and what is due is kept."""
        self._muted = muted
        self.wake()

    def wake(self) -> None:
        """There is something to send."""
        if self._leg is not None:
            self._leg.wake()

    # what is no reply

    def sound(self, sound: bytes, now: float) -> None:
        """Play this while no reply is in progress; `hush` ends it."""
        self.pacer.begin(now)
        self.pacer.queue(sound)
        self.pacer.finish()
        self.wake()

    def hush(self, now: float) -> None:
        """Silence at once, whatever sounds besides a reply."""
        self.pacer.hold(now)
        self.pacer.flush()
        self._echo.cleared(now)
        if self._leg is not None:
            self._leg.clear()

    # a reply's life

    def begin(self, turn: Turn, now: float) -> None:
        """A new reply; if the sound is held, it is held from the start."""
        self.pacer.begin(now, held=self.pacer.held)
        self._started = False
        self.turn = turn

    def hold(self, now: float) -> Heard:
        """Phase one of an interruption: stop the sound, and keep it."""
        playing = self._started and not self.pacer.held
        heard = self.pacer.hold(now)
        self._echo.cleared(now)
        if playing and self._leg is not None:
            self._leg.clear()
        return heard

    def heard_out(self, now: float) -> bool:
        """The reply was made to its end, and its words were heard but for the last syllable, whatever silence follows
        them; of a short one, most of it. A held one counts as heard up to where it was cut."""
        if not (self._started and self.pacer.finished):
            return False
        heard, _ = self.ledger.progress(now)
        return self.ledger.unheard_words_s(now) < min(_LAST_SYLLABLE_S, heard / self.audio.rate_hz)

    def resume(self) -> None:
        """Phase two, if it was nothing: go on from the word that was cut."""
        self.pacer.resume()
        self.wake()

    def end(self, reason: TurnReason, now: float) -> tuple[TurnOutcome, Certainty] | None:
        """The reply is over: what it said and what was heard of it. None if there is none.

        Phase two, if the interruption was meant (`INTERRUPTED`); also every other end.
        """
        turn, self.turn = self.turn, None
        if turn is None:
            return None
        turn.silence()
        disputed = self.pacer.held and reason is TurnReason.FAILED
        heard = self.pacer.hold(now) if self._started else None
        complete = reason is TurnReason.COMPLETED
        self.pacer.flush()
        if disputed:  # the apology must not start on top of the caller either
            self.pacer.hold(now)
        text = turn.said.strip() if complete else f"{turn.heard_before} {heard.text if heard else ''}".strip()
        if not text and reason is TurnReason.INTERRUPTED:
            reason = TurnReason.CANCELLED
        certainty = heard.certainty if heard else Certainty.CONFIRMED
        return TurnOutcome(turn.number, turn.said.strip(), text, reason), certainty
