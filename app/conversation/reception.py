"""What comes in over one leg, told to whom it concerns."""

from typing import Protocol

from app.conversation.agent import AgentSide
from app.conversation.caller import CallerSide
from app.conversation.record import CallRecord
from app.conversation.state import CallState, Phase
from telephony.anomalies import AudioAnomalies
from telephony.carrier import AudioReceived, CarrierEvent, DigitPressed, MarkReached


class ReceptionObserver(Protocol):
    """The session, as what comes in sees it."""

    @property
    def state(self) -> CallState: ...


class Reception:
    """One leg's events, from its beginning to its end."""

    def __init__(self, caller: CallerSide, agent: AgentSide, record: CallRecord, observer: ReceptionObserver) -> None:
        self._observer = observer
        self._caller = caller
        self._agent = agent
        self._record = record
        self._anomalies = AudioAnomalies()

    def receive(self, event: CarrierEvent) -> None:
        if isinstance(event, AudioReceived):  # fifty times a second: it is asked for first, and taken apart by hand
            if self._observer.state.phase is not Phase.LIVE:
                return  # music on hold, or somebody else's conversation
            self._caller.audio(event.payload)
            anomalies = self._anomalies.feed(event.payload, event.timestamp_ms)
            if anomalies:
                self._record.anomalies(anomalies)
            return
        match event:
            case MarkReached(name):
                self._agent.mark_reached(name)
            case DigitPressed(digit):
                self._caller.key(digit)
            case _:  # started and stopped: the leg's own beginning and end
                pass

    def finish(self) -> None:
        """The leg is gone: what was wrong with its audio to the last is on record."""
        self._record.anomalies(self._anomalies.finish())
