"""How the agent behaves: the phrases it says by itself, and how long it waits for everything."""

from dataclasses import dataclass, field
from math import inf

from app.conversation.ear import EarSettings
from app.conversation.reply import Then
from app.conversation.speculation import SpeculationSettings
from app.conversation.state import Floor, Phase
from app.conversation.turn import Deadlines
from app.telemetry.latency import LatencyBudgets


@dataclass(frozen=True, slots=True)
class Manners:
    """Behaviour of one call. Times in seconds unless the name says otherwise; texts are spoken as they stand."""

    instructions: str = ""
    """What a vendor's model is told about its part; the embedded dialogue has its own file."""
    greeting: str = ""
    """Said when the call is answered; empty: the model speaks first."""
    notice: str = ""
    """Said before the greeting, to its end whatever the caller does: a legal notice."""
    announcement: str = ""
    """Said before the call is answered, where the carrier can do that; empty: it is answered at once."""
    filler: str = "One moment, please."
    """Said while model or tools take their time; empty: nothing."""
    reprompt: str = "Are you still there?"
    goodbye: str = "I can't hear you any more, so I'll hang up now. Goodbye."
    time_up: str = "I'm sorry, our time is up. Please call again if you need anything else. Goodbye."
    apology: str = "I'm sorry, I had a problem just now. Could you say that again?"
    ask_again: str = "I'm sorry, I lost you for a moment. What did you say?"
    """Said when what the caller said meanwhile may be lost: after a take-over, or when a line is back that was gone for
    longer than a moment, and nothing else is due. Empty: the `bridge` is said then as well."""
    bridge: str = ""
    """Said when a line that was gone for a moment only is back and nothing else is due; empty: nothing."""
    moment_s: float = 0.7
    """That moment."""
    failed: str = "I'm sorry, something is wrong on our side. Please call again later. Goodbye."
    handed_on: str = "I'm sorry, something is wrong on our side. I'll connect you with somebody."
    """Said instead of `failed` where somebody can take over."""
    nobody: str = "I'm sorry, nobody can take your call right now. Please try again later."
    closing: str = "I'm sorry, I have to end this call now. Please call again in a minute. Goodbye."
    """Said when the process stops and nobody else can carry the call on."""
    busy: str = "I'm sorry, all lines are busy. Please call again in a few minutes."

    transfer_to: str = ""
    """Who takes over when the caller asks for a human; empty: nobody, and no model is told otherwise."""

    silence_s: float = 8.0
    """The caller's silence, after the agent's last word, before he is asked whether he is there."""
    reprompts: int = 2
    """How often he is asked before the goodbye."""
    turn_limit_s: float = 60.0
    """A caller who talks longer is answered to what he said so far."""
    final_s: float = 0.8
    """Waiting for the recogniser's last word; after it the last partial counts."""
    recover_s: float = 1.5
    """Waiting longer for it while a lost recogniser is being replaced."""
    think_s: float = 8.0
    """From the end of the caller's turn to the first sound of the reply; after it the agent apologises."""
    stall_s: float = 4.0
    """A reply that stays silent this long in its middle is given up."""
    dispute_s: float = 3.0
    """An interruption that is neither confirmed nor dismissed by then is dismissed."""
    digit_gap_s: float = 1.5
    """After the last key; `#` ends a number at once."""
    media_s: float = 15.0
    """From the answer to the first media stream."""
    grace_s: float = 30.0
    """A call whose media is lost waits this long for a new stream."""
    hang_up_s: float = 10.0
    """From our hang-up to the carrier's confirmation."""
    ring_s: float = 60.0
    """Whom we call may let it ring for so long."""
    hold_s: float = 1800.0
    """Longest that the far end may keep us on hold."""
    transfer_s: float = 30.0
    """A hand-over in mid-call that nobody has taken by then has failed."""
    limit_s: float = 3600.0
    """Longest call; then the agent says so and hangs up."""
    closing_s: float = 8.0
    """For the goodbye that is said when the process stops."""
    failures: int = 2
    """Replies that may fail in a row before the call is given up."""

    level_voice: bool = True
    """Bring the caller's voice to one level for the recogniser."""
    noise_suppression: str = ""
    """Strength of the noise suppression before the recogniser (`telephony.noise.STRENGTHS`); empty: none."""
    lead_ms: int = 200
    """How far playout may run ahead of real time."""

    speculation: SpeculationSettings = field(default_factory=SpeculationSettings)
    ear: EarSettings = field(default_factory=EarSettings)
    deadlines: Deadlines = field(default_factory=Deadlines)
    budgets: LatencyBudgets = field(default_factory=LatencyBudgets)

    def media_limit_s(self, phase: Phase) -> float:
        """How long a call may be without media: at its beginning, or later."""
        return self.media_s if phase is Phase.NEW else self.grace_s

    def when_back(self, lost_s: float = inf) -> str:
        """What is said when a line that was lost for so long is back and nothing else is due; empty: nothing."""
        return self.bridge if lost_s < self.moment_s else self.ask_again or self.bridge

    def floor_limit_s(self, floor: Floor) -> float:
        """How long a floor state may last: every state has a deadline and an exit."""
        limits = {
            Floor.LISTENING: self.silence_s,
            Floor.PROCESSING_SPEECH: self.turn_limit_s,
            Floor.THINKING: self.think_s,
            Floor.SPEAKING: self.stall_s,
            Floor.INTERRUPTED: self.dispute_s,
        }
        return limits[floor]

    def phase_limit_s(self, phase: Phase) -> float:
        """How long a phase may last that has a limit of its own."""
        limits = {
            Phase.RINGING: self.ring_s + self.hang_up_s,
            Phase.NEW: self.media_limit_s(Phase.NEW),
            Phase.HELD: self.hold_s,
            Phase.SUSPENDED: self.media_limit_s(Phase.SUSPENDED),
        }
        return limits.get(phase, self.hang_up_s)

    def phrases(self) -> tuple[str, ...]:
        """All texts that can be synthesised before anybody calls."""
        texts = (
            self.announcement,
            self.notice,
            self.greeting,
            self.filler,
            self.reprompt,
            self.goodbye,
            self.time_up,
            self.apology,
            self.last_resort()[0],
            self.closing,
            self.ask_again,
            self.bridge,
        )
        return tuple(text for text in texts if text)

    def last_resort(self) -> tuple[str, Then]:
        """What is said when nobody is left who thinks, and what the call does then."""
        return (self.handed_on, Then.TRANSFER) if self.transfer_to else (self.failed, Then.END)
