"""Calling back: whoever was on a call whose process died is called, and the conversation goes on."""

from collections.abc import Callable, Iterator

from app.conversation.session import CallSession
from app.conversation.state import Phase
from app.sip.dialler import Order
from telephony.clock import Clock
from telephony.leg import Leg
from telephony.sip.contracts import SipCall
from telephony.sip.events import CallAnswered, CallEnded, MediaOpened

_LOOK_EVERY_S = 1.0


class CallBacks:
    """Which calls to call back: those taken over from a dead process that wait for their line. Each is tried once."""

    def __init__(self, sessions: Callable[[], Iterator[CallSession]], carrier: str, clock: Clock) -> None:
        self._sessions = sessions
        self._carrier = carrier
        self._clock = clock
        self._tried: set[str] = set()

    async def next(self) -> tuple[CallSession, Order]:
        """Whom to call next, and how; returns when there is somebody."""
        while True:
            waiting = {session.call_id: session for session in self._sessions() if self.lost(session)}
            self._tried &= waiting.keys()
            for call_id, session in waiting.items():
                if call_id not in self._tried:
                    self._tried.add(call_id)
                    return session, _order(session)
            await self._clock.sleep_until(self._clock.now() + _LOOK_EVERY_S)

    def lost(self, session: CallSession) -> bool:
        """It still waits for its line."""
        suspended = session.state.phase is Phase.SUSPENDED and session.handover.far_end is None
        return suspended and session.carrier == self._carrier


def _order(session: CallSession) -> Order:
    offered = session.offered
    ours, theirs = offered.called, offered.caller
    if offered.direction == "outbound":
        ours, theirs = theirs, ours
    return Order(theirs, ours, offered.variables.get("trunk", ""))


async def answered(call: SipCall) -> Leg | None:
    """The leg of a call, once it is answered; None: nobody answered."""
    leg: Leg | None = None
    there = False
    async for event in call:
        match event:
            case MediaOpened(opened):
                leg = opened
            case CallAnswered():
                there = True
            case CallEnded():
                return None
            case _:
                pass
        if there and leg is not None:
            return leg
    return None
