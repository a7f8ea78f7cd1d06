"""What the agent says without being asked: the notice, the greeting, "are you still there?", apologies and goodbyes.

Each of them is counted, so that none is said for ever.
"""

from typing import Protocol

from app.conversation.agent import AgentSide
from app.conversation.manners import Manners
from app.conversation.memory import SessionMemory
from app.conversation.reply import Purpose, Then
from app.conversation.state import Event
from app.telemetry.latency import LatencyMetrics


class CourtesiesObserver(Protocol):
    """The session, as courtesies see it."""

    def dispatch(self, event: Event) -> None: ...

    def end(self, reason: str) -> None:
        """Hang up now."""
        ...


class Courtesies:
    """One call's. They begin where `memory` ends."""

    def __init__(self, manners: Manners, agent: AgentSide, memory: SessionMemory, observer: CourtesiesObserver) -> None:
        self._manners = manners
        self._agent = agent
        self._observer = observer
        self._asked_whether_there = memory.asked_whether_there
        self._failures = memory.failures
        self._noticed = memory.noticed
        self._goodbye = self._goodbye_reason = ""

    def greet(self) -> None:
        """The notice first, if there is one; without a greeting the model speaks first."""
        if self._manners.notice and not self._noticed:
            self._noticed = True
            self._agent.say(Purpose.NOTICE, self._manners.notice, Then.GREET, interruptible=False)
        elif self._manners.greeting:
            self._agent.say(Purpose.GREETING, self._manners.greeting)
        else:
            self._agent.think(LatencyMetrics())

    @property
    def patience_is_over(self) -> bool:
        """The caller was asked often enough whether he is there."""
        return self._asked_whether_there >= self._manners.reprompts

    def reprompt(self) -> None:
        """Ask him."""
        self._asked_whether_there += 1
        self._agent.say(Purpose.REPROMPT, self._manners.reprompt)

    def caller_is_there(self) -> None:
        """He said or keyed something."""
        self._asked_whether_there = 0
        self._goodbye = ""

    def apologise(self) -> None:
        """A reply has failed. After too many in a row say the last that can be said; if that fails too, hang up."""
        self._failures += 1
        beyond = self._failures - self._manners.failures
        if beyond <= 0:
            self._agent.say(Purpose.APOLOGY, self._manners.apology)
        elif beyond == 1:
            self._agent.say(Purpose.APOLOGY, *self._manners.last_resort(), "providers failed")
        else:
            self._observer.end("providers failed")

    def model_was_heard(self) -> None:
        """All is well again; an apology that was heard mends nothing."""
        self._failures = 0

    def request_goodbye(self, text: str, reason: str) -> None:
        """Say this and hang up; asked for it again after it was cut short, hang up without a word."""
        turn = self._agent.turn
        if turn is not None and turn.then is Then.END:
            return  # a goodbye is heard to its end
        if self._goodbye == text:
            self._observer.end(reason)
        else:
            self._goodbye, self._goodbye_reason = text, reason
            self._observer.dispatch(Event.GOODBYE_REQUESTED)

    def say_goodbye(self, *, interruptible: bool) -> None:
        """The one that was requested."""
        self._agent.say(Purpose.GOODBYE, self._goodbye, Then.END, self._goodbye_reason, interruptible=interruptible)
