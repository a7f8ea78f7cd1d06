"""Who has the floor: the state machine of a call, one of its three truths.

Two small machines, coupled. *Phase* says whether there is a call to talk over; *floor* says whose turn it is to talk.

    phase   RINGING ──► NEW                      floor   LISTENING ──► PROCESSING_SPEECH ──► THINKING ──► SPEAKING
                          ▼                                  ▲  └───────── dismissed ◄────┘                │   ▲
                HELD ◄─► LIVE ◄─► SUSPENDED                  │                                       hold  ▼   │ resume
                         │  ▲                                └──────────── commit ◄──────────────── INTERRUPTED
                         │  └─► TRANSFERRING ──► ENDED
                         └────► ENDING ────────► ENDED

An event is looked up in the phase table first. If the phase says nothing about it, and the call is live, the floor
table decides. The tables are total: for everything that comes from outside (carrier, caller, clock) there is an entry
in every state, because stop, close and status come in any order and callers do as they please; what a state does not
list is *ignored* there, and counted. What can only come from inside (a reply's own events) and is impossible in a
state raises `ImpossibleTransition`: that is a bug here.

The interruption has two halves. `Hold` stops the sound as soon as speech is likely, and keeps it. Then either `Commit`
(words came, or the speech went on too long to be anything else: the reply is over) or `Resume` (it was nothing, or
"mm-hm": the reply goes on where it was cut). Nothing else ever stops a reply on the caller's behalf.

`step` is pure. The session performs the actions in order, synchronously; whatever takes time comes back as an event.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import MappingProxyType


class Phase(StrEnum):
    """Is there a call to talk over?"""

    RINGING = "ringing"  # not answered yet: we call, or the caller hears an announcement first
    NEW = "new"  # answered, no media yet
    LIVE = "live"  # media flows
    HELD = "held"  # the far end has put us on hold: nobody there listens
    SUSPENDED = "suspended"  # media is lost, the call is not: waiting for the next leg
    TRANSFERRING = "transferring"  # somebody else takes over
    ENDING = "ending"  # we are hanging up
    ENDED = "ended"  # over


class Floor(StrEnum):
    """Whose turn is it?"""

    LISTENING = "LISTENING"  # the caller's, and he is silent
    PROCESSING_SPEECH = "PROCESSING_SPEECH"  # the caller's, and he talks, or what he said is not yet understood
    THINKING = "THINKING"  # the agent's, not audible yet
    SPEAKING = "SPEAKING"  # the agent's
    INTERRUPTED = "INTERRUPTED"  # disputed: the agent was stopped, and it is not clear yet by what


class Event(Enum):
    """What happened. Past participles; the facts that go with an event stay with the session."""

    # from the carrier and the directory
    LEG_ATTACHED = auto()
    LEG_LOST = auto()
    LEG_HELD = auto()  # the far end put us on hold
    LEG_RESUMED = auto()  # and is back
    ANSWERED = auto()  # by whom we called, or by us
    TRANSFER_FAILED = auto()  # nobody took over: the call is still ours
    CALLER_GONE = auto()
    DIGIT_PRESSED = auto()
    # from the ear and the recogniser
    SPEECH_STARTED = auto()  # speech is likely
    SPEECH_CONFIRMED = auto()  # it is speech meant for us: words, or too long to be anything else
    SPEECH_PAUSED = auto()  # silence while it is not clear what the speech was
    TURN_ENDED = auto()  # silence long enough: the caller is done
    TURN_UNDERSTOOD = auto()  # the turn's words are known
    TURN_UNINTELLIGIBLE = auto()  # it was a turn, and nobody knows what was said
    SPEECH_DISMISSED = auto()  # it was no turn: noise, or a backchannel
    # from the clock
    FLOOR_EXPIRED = auto()  # the floor state's own deadline
    PHASE_EXPIRED = auto()  # the phase's own deadline
    # from inside
    REPLY_STARTED = auto()  # its first sound left
    REPLY_FINISHED = auto()  # heard to its end
    REPLY_FAILED = auto()  # nothing more will come of it
    GREETING_DUE = auto()  # the notice before it was heard
    BRIDGE_DUE = auto()  # the line is back, and nobody was saying anything
    GOODBYE_REQUESTED = auto()  # say goodbye and hang up: silence, time limit, nobody left to think or listen
    END_REQUESTED = auto()  # hang up now
    TRANSFER_REQUESTED = auto()


INSIDE = frozenset({Event.REPLY_STARTED, Event.REPLY_FINISHED, Event.REPLY_FAILED})
"""Events that a reply of ours reports; elsewhere than where they are listed they are bugs."""


class Action(Enum):
    """What to do. Imperatives, each one synchronous function of the session."""

    GREET = auto()
    FINALIZE = auto()  # ask the recogniser for its last word now
    BEGIN_REPLY = auto()
    CANCEL_REPLY = auto()  # not audible yet: drop it without a trace
    HOLD = auto()
    COMMIT = auto()
    RESUME = auto()
    BRIDGE = auto()  # say that the line is back
    REPROMPT = auto()
    APOLOGISE = auto()
    SAY_GOODBYE = auto()
    COLLECT_DIGIT = auto()
    RETURN_TO_LISTENING = auto()
    EXPLAIN_TRANSFER = auto()  # the model's turn: it knows why nobody took over, the caller wants to
    PAUSE = auto()  # keep the sound; nobody listens
    SUSPEND = auto()
    REATTACH = auto()
    HAND_OVER = auto()
    CALL_OFF = auto()  # the caller would rather come back than wait for somebody to take over
    CLOSE_LEG = auto()
    FINISH = auto()


@dataclass(frozen=True, slots=True)
class CallState:
    phase: Phase = Phase.NEW
    floor: Floor = Floor.LISTENING


class ImpossibleTransition(Exception):
    """An event from inside came where it cannot come: a bug of ours."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A table entry: where to (None: stays as it is) and what to do, in order."""

    phase: Phase | None = None
    floor: Floor | None = None
    actions: tuple[Action, ...] = ()


def _to(target: Phase | Floor, *actions: Action, floor: Floor | None = None) -> Transition:
    match target:
        case Phase():
            return Transition(target, floor, actions)
        case Floor():
            return Transition(None, target, actions)


E, A, P, F = Event, Action, Phase, Floor

PHASES: MappingProxyType[Phase, dict[Event, Transition]] = MappingProxyType(
    {
        P.RINGING: {
            E.ANSWERED: _to(P.NEW),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDED, A.FINISH),
        },
        P.NEW: {
            E.LEG_ATTACHED: _to(P.LIVE, A.GREET, floor=F.THINKING),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDED, A.FINISH),
        },
        P.LIVE: {
            E.LEG_ATTACHED: _to(P.LIVE, A.REATTACH),
            E.LEG_LOST: _to(P.SUSPENDED, A.SUSPEND),
            E.LEG_HELD: _to(P.HELD, A.PAUSE),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDING, A.CLOSE_LEG),
            E.TRANSFER_REQUESTED: _to(P.TRANSFERRING, A.HAND_OVER),
        },
        P.HELD: {
            E.LEG_RESUMED: _to(P.LIVE, A.REATTACH),
            E.LEG_ATTACHED: _to(P.LIVE, A.REATTACH),
            E.LEG_LOST: _to(P.SUSPENDED, A.SUSPEND),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDING, A.CLOSE_LEG),
            E.TRANSFER_REQUESTED: _to(P.TRANSFERRING, A.HAND_OVER),
        },
        P.SUSPENDED: {
            E.LEG_ATTACHED: _to(P.LIVE, A.REATTACH),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDED, A.FINISH),
        },
        P.TRANSFERRING: {
            E.TRANSFER_FAILED: _to(P.LIVE, A.EXPLAIN_TRANSFER, floor=F.THINKING),
            E.DIGIT_PRESSED: _to(P.TRANSFERRING, A.CALL_OFF),
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
            E.END_REQUESTED: _to(P.ENDED, A.FINISH),
        },
        P.ENDING: {
            E.CALLER_GONE: _to(P.ENDED, A.FINISH),
            E.LEG_LOST: _to(P.ENDED, A.FINISH),
            E.PHASE_EXPIRED: _to(P.ENDED, A.FINISH),
            E.GOODBYE_REQUESTED: _to(P.ENDED, A.FINISH),
        },
        P.ENDED: {},
    }
)
"""Phase table. What a phase does not list goes to the floor table while the call is live, and is ignored otherwise."""

FLOORS: MappingProxyType[Floor, dict[Event, Transition]] = MappingProxyType(
    {
        F.LISTENING: {
            E.SPEECH_STARTED: _to(F.PROCESSING_SPEECH),
            E.SPEECH_CONFIRMED: _to(F.PROCESSING_SPEECH),
            E.TURN_ENDED: _to(F.PROCESSING_SPEECH, A.FINALIZE),  # it began while the agent spoke
            E.TURN_UNDERSTOOD: _to(F.THINKING, A.BEGIN_REPLY),  # the recogniser heard what the ear missed
            E.DIGIT_PRESSED: _to(F.PROCESSING_SPEECH, A.COLLECT_DIGIT),
            E.GREETING_DUE: _to(F.THINKING, A.GREET),
            E.BRIDGE_DUE: _to(F.THINKING, A.BRIDGE),
            E.FLOOR_EXPIRED: _to(F.THINKING, A.REPROMPT),
            E.GOODBYE_REQUESTED: _to(F.THINKING, A.SAY_GOODBYE),
        },
        F.PROCESSING_SPEECH: {
            E.TURN_ENDED: _to(F.PROCESSING_SPEECH, A.FINALIZE),
            E.TURN_UNDERSTOOD: _to(F.THINKING, A.BEGIN_REPLY),
            E.TURN_UNINTELLIGIBLE: _to(F.THINKING, A.BEGIN_REPLY),
            E.SPEECH_DISMISSED: _to(F.LISTENING, A.RETURN_TO_LISTENING),
            E.DIGIT_PRESSED: _to(F.PROCESSING_SPEECH, A.COLLECT_DIGIT),
            E.FLOOR_EXPIRED: _to(F.THINKING, A.BEGIN_REPLY),
            E.GOODBYE_REQUESTED: _to(F.THINKING, A.SAY_GOODBYE),
        },
        F.THINKING: {
            E.SPEECH_STARTED: _to(F.THINKING, A.HOLD),  # a reply must not start on top of him
            E.SPEECH_PAUSED: _to(F.THINKING, A.FINALIZE),
            E.SPEECH_DISMISSED: _to(F.THINKING, A.RESUME),
            E.TURN_UNINTELLIGIBLE: _to(F.THINKING, A.RESUME),
            E.TURN_ENDED: _to(F.THINKING, A.FINALIZE),
            E.SPEECH_CONFIRMED: _to(F.PROCESSING_SPEECH, A.CANCEL_REPLY),  # he was not done: the turn goes on
            E.TURN_UNDERSTOOD: _to(F.THINKING, A.CANCEL_REPLY, A.BEGIN_REPLY),
            E.DIGIT_PRESSED: _to(F.PROCESSING_SPEECH, A.CANCEL_REPLY, A.COLLECT_DIGIT),
            E.REPLY_STARTED: _to(F.SPEAKING),
            E.REPLY_FINISHED: _to(F.LISTENING),
            E.REPLY_FAILED: _to(F.THINKING, A.APOLOGISE),
            E.FLOOR_EXPIRED: _to(F.THINKING, A.CANCEL_REPLY, A.APOLOGISE),
            E.GOODBYE_REQUESTED: _to(F.THINKING, A.CANCEL_REPLY, A.SAY_GOODBYE),
        },
        F.SPEAKING: {
            E.SPEECH_STARTED: _to(F.INTERRUPTED, A.HOLD),
            E.SPEECH_CONFIRMED: _to(F.PROCESSING_SPEECH, A.HOLD, A.COMMIT),
            E.SPEECH_PAUSED: _to(F.SPEAKING, A.FINALIZE),  # it began before the reply did, which started over it
            E.TURN_ENDED: _to(F.SPEAKING, A.FINALIZE),
            E.TURN_UNDERSTOOD: _to(F.THINKING, A.HOLD, A.COMMIT, A.BEGIN_REPLY),
            E.DIGIT_PRESSED: _to(F.PROCESSING_SPEECH, A.HOLD, A.COMMIT, A.COLLECT_DIGIT),
            E.REPLY_FINISHED: _to(F.LISTENING),
            E.REPLY_FAILED: _to(F.THINKING, A.APOLOGISE),
            E.FLOOR_EXPIRED: _to(F.THINKING, A.HOLD, A.COMMIT, A.APOLOGISE),
            E.GOODBYE_REQUESTED: _to(F.THINKING, A.HOLD, A.COMMIT, A.SAY_GOODBYE),
        },
        F.INTERRUPTED: {
            E.SPEECH_CONFIRMED: _to(F.PROCESSING_SPEECH, A.COMMIT),
            E.SPEECH_PAUSED: _to(F.INTERRUPTED, A.FINALIZE),
            E.TURN_ENDED: _to(F.INTERRUPTED, A.FINALIZE),
            E.TURN_UNDERSTOOD: _to(F.THINKING, A.COMMIT, A.BEGIN_REPLY),
            E.TURN_UNINTELLIGIBLE: _to(F.SPEAKING, A.RESUME),
            E.SPEECH_DISMISSED: _to(F.SPEAKING, A.RESUME),
            E.DIGIT_PRESSED: _to(F.PROCESSING_SPEECH, A.COMMIT, A.COLLECT_DIGIT),
            E.FLOOR_EXPIRED: _to(F.SPEAKING, A.RESUME),
            E.GOODBYE_REQUESTED: _to(F.THINKING, A.COMMIT, A.SAY_GOODBYE),
        },
    }
)
"""Floor table, while the call is live. What a floor does not list is ignored if it came from outside."""


def transition(state: CallState, event: Event) -> Transition | None:
    """The table entry for an event; None is *ignore*. Raises `ImpossibleTransition`."""
    listed = PHASES[state.phase].get(event)
    if listed is None and state.phase is Phase.LIVE:
        listed = FLOORS[state.floor].get(event)
        if listed is None and event in INSIDE:
            raise ImpossibleTransition(f"{event.name} while {state.floor.name}")
    return listed


def step(state: CallState, event: Event) -> tuple[CallState, tuple[Action, ...]]:
    """The next state and what to do, in order. The same `state` object and no actions: the event was ignored."""
    match transition(state, event):
        case None:
            return state, ()
        case Transition(phase, floor, actions):
            return CallState(phase or state.phase, floor or state.floor), actions


def diagram() -> str:
    """The floor machine as a Mermaid state diagram, drawn from the table; `docs/states.md` holds it."""
    lines = ["stateDiagram-v2", "    [*] --> LISTENING"]
    for floor, row in FLOORS.items():
        for event, entry in row.items():
            done = ", ".join(action.name.lower() for action in entry.actions)
            label = event.name.lower() + (f" / {done}" if done else "")
            lines.append(f"    {floor.value} --> {entry.floor}: {label}")
    return "\n".join(lines) + "\n"
