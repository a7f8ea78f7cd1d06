"""The far end of a call as the session may steer it: hang up, and hand over to somebody else.

A carrier that is steered by documents does either when it asks what to do next, and gives no `FarEnd`; a call in
which it can be asked for at any moment (SIP) gives one. A hand-over in mid-call may fail, and then the call is still
ours: the model is told why, and tells the caller.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from app.calls.journal import JournalEvent, MediaMeasured, TransferFailed, TransferProgressed, TransferRequested
from app.conversation.mouth import Mouth
from app.conversation.record import CallRecord
from app.conversation.ringback import PERIOD_S, one_ring
from telephony.clock import Clock
from telephony.tasks import TaskGroup

_RINGS = "18"
"""How a status begins that says: he is being called."""


class NotTransferred(Exception):
    """Nobody took over (the far end's doing): the call goes on here. `reason` is for the model and the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FarEnd(Protocol):
    """What can be asked of a call besides talking. From the event loop only."""

    @property
    def cause(self) -> int | None:
        """Why the call ended, in ISDN's word (Q.850), whoever ended it; None while it lasts, or if nobody said."""
        ...

    def hang_up(self, reason: str) -> None:
        """End the call now, for this `CallEnded.reason`; nothing if it has ended."""
        ...

    async def transfer(self, target: str, progress: Callable[[str], None], *, attended: bool | None = None) -> None:
        """Hand the far end over; returns when somebody has taken it. Keeps a time limit of its own.

        `progress` is told what the far end says meanwhile. `attended`: the other one is called first; None: as it is
        set. Raises `NotTransferred`.
        """
        ...

    def call_off(self) -> None:
        """The caller does not want to wait: a transfer under way ends with `NotTransferred`, if it can still be
        stopped."""
        ...

    def press(self, digits: str) -> None:
        """Press keys at the far end."""
        ...

    def measured(self) -> Mapping[str, float | str]:
        """How well the media went so far; empty: not known."""
        ...


class HandOver:
    """One call's way to somebody else. With a `far_end` it is done in mid-call, else by the carrier's next question."""

    def __init__(self, far_end: FarEnd | None, record: CallRecord, clock: Clock) -> None:
        self.far_end = far_end
        self.reason = ""
        """Why the caller is to be handed over; empty: he is not."""
        self.held = False
        """The far end has put us on hold, as far as it said."""
        self.task: asyncio.Task[None] | None = None
        self._record = record
        self._clock = clock
        self._ringing = asyncio.Event()
        self._target = ""
        self._attended: bool | None = None

    def request(self, target: str, reason: str, attended: bool | None = None) -> None:
        """This is wanted now."""
        self._target, self.reason, self._attended = target, reason, attended
        self._add(TransferRequested(at=0.0, reason=reason, target=target))

    async def run(self, far_end: FarEnd, mouth: Mouth) -> bool:
        """Have it done; False, with the reason on record, if nobody took over. Meanwhile the caller hears it ring."""
        self._ringing.clear()
        async with TaskGroup() as group:
            ringing = group.create_task(self._ring(mouth))
            failure = await self._transfer(far_end)
            ringing.cancel()
        if failure is not None:
            self._record.counters.count("transfers", outcome="failed")
            self._add(TransferFailed(at=0.0, target=self._target, asked_for=self.reason, reason=failure.reason))
            self.reason = ""
            return False
        self._record.counters.count("transfers", outcome="done")
        return True

    async def _transfer(self, far_end: FarEnd) -> NotTransferred | None:
        try:
            await far_end.transfer(self._target, self._progressed, attended=self._attended)
        except NotTransferred as failure:
            return failure
        return None

    async def _ring(self, mouth: Mouth) -> None:
        await self._ringing.wait()
        try:
            while True:
                if not self.held:
                    mouth.sound(one_ring(mouth.audio), self._clock.now())
                await self._clock.sleep_until(self._clock.now() + PERIOD_S)
        finally:
            mouth.hush(self._clock.now())

    def call_off(self) -> None:
        """The caller wants to come back."""
        if self.far_end is not None:
            self.far_end.call_off()

    def cancel(self) -> None:
        """The call is over: whatever is under way."""
        if self.task is not None:
            self.task.cancel()

    def close(self, reason: str) -> int | None:
        """The call is over: hang up, keep what was measured. Answers the cause, if there is one."""
        if self.far_end is None:
            return None
        self.far_end.hang_up(reason)
        measured = self.far_end.measured()
        if measured:
            self._add(MediaMeasured(at=0.0, facts=dict(measured)))
        return self.far_end.cause

    def _progressed(self, status: str) -> None:
        self._add(TransferProgressed(at=0.0, status=status))
        if status.startswith(_RINGS):
            self._ringing.set()

    def _add(self, event: JournalEvent) -> None:
        self._record.add_now(event)
