"""The legs of a call: they come and go, one at a time, and the call stays."""

import asyncio
from typing import Protocol

from app.calls.journal import LegAttached, LegDetached
from app.conversation.agent import AgentSide
from app.conversation.caller import CallerSide
from app.conversation.reception import Reception
from app.conversation.record import CallRecord
from app.conversation.state import CallState, Event
from telephony.clock import Clock
from telephony.leg import Leg
from telephony.tasks import TaskGroup


class LegsObserver(Protocol):
    """The session, as its legs see it."""

    @property
    def state(self) -> CallState: ...

    def dispatch(self, event: Event) -> None: ...


class Legs:
    """Whichever leg is attached, between the caller's side and the agent's."""

    def __init__(
        self, caller: CallerSide, agent: AgentSide, record: CallRecord, clock: Clock, observer: LegsObserver
    ) -> None:
        self._caller = caller
        self._agent = agent
        self._record = record
        self._clock = clock
        self._observer = observer
        self._leg: Leg | None = None

    def __bool__(self) -> bool:
        """There is one."""
        return self._leg is not None

    def attach(self, leg: Leg, stream_id: str, tasks: TaskGroup) -> asyncio.Event:
        """Talk over this leg from now on; an older one is closed. The event is set when the leg is gone."""
        detached = asyncio.Event()
        older, self._leg = self._leg, leg
        if older is not None:
            older.close()
            # What it had not played yet is played over the new one.
            self._agent.mouth.detach(self._clock.now(), self._caller.hearing.heard_at)
        self._agent.mouth.attach(leg)
        self._record.add(LegAttached(at=self._record.at(), stream_id=stream_id))
        tasks.create_task(self._serve(leg, detached))
        return detached

    def close(self) -> None:
        """Hang up the one that is attached."""
        if self._leg is not None:
            self._leg.close()

    async def _serve(self, leg: Leg, detached: asyncio.Event) -> None:
        reception = Reception(self._caller, self._agent, self._record, self._observer)
        try:
            async with TaskGroup() as group:
                writer = group.create_task(leg.play(self._agent.mouth))
                await leg.listen(reception.receive)
                writer.cancel()
        finally:
            leg.close()
            detached.set()
            if self._leg is leg:
                self._leg = None
                reception.finish()
                self._record.add(LegDetached(at=self._record.at(), reason=self._observer.state.phase.value))
                self._observer.dispatch(Event.LEG_LOST)
