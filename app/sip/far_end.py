"""What a session may ask of its SIP call: hang up with a cause, and hand over by REFER, blind or attended."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict

from app.conversation.handover import NotTransferred
from app.sip import causes
from app.sip.errors import DialRefused
from telephony.errors import OurFault
from telephony.sip.contracts import SipCall
from telephony.sip.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallProgressed,
    MediaStatistics,
    TransferEnded,
    TransferProgressed,
)

_CALLED_OFF = "the caller came back"
_OVERDUE_S = 5.0
"""Beyond its own time limit the endpoint is not waited for any longer."""


class SipFarEnd:
    """`FarEnd` of one SIP call. Whoever reads the call's events hands each of them to `take` first."""

    def __init__(self, call: SipCall, dial: Callable[[str], SipCall], *, attended: bool, within_s: float) -> None:
        """`attended`: first call the other one by `dial`, over the same trunk, and hand over when he has answered."""
        self._call = call
        self._dial = dial
        self._attended = attended
        self._within_s = within_s
        self._cause: int | None = None
        self._statistics: MediaStatistics | None = None
        self._outcome: asyncio.Future[TransferEnded] | None = None
        self._progress: Callable[[str], None] | None = None
        self._second: SipCall | None = None
        self._under_way = self._called_off = False

    @property
    def cause(self) -> int | None:
        return self._cause

    @property
    def handed_over(self) -> bool:
        """The far end was about to reach the other one when it hung up: that is how many take a call over."""
        return self._under_way

    def hang_up(self, reason: str) -> None:
        if self._cause is None and self._statistics is None:
            cause = causes.ours(reason)
            self._cause = cause.q850
            self._call.hang_up(cause)

    def measured(self) -> Mapping[str, float | str]:
        statistics = self._statistics or self._call.statistics()
        if not statistics.codec:
            return {}
        facts = asdict(statistics).items()
        return {name: value if isinstance(value, str) else float(value) for name, value in facts if value is not None}

    def press(self, digits: str) -> None:
        self._call.press(digits)

    def call_off(self) -> None:
        if self._second is not None and self._outcome is None:  # a REFER cannot be taken back
            self._called_off = True
            self._second.hang_up()

    async def transfer(self, target: str, progress: Callable[[str], None], *, attended: bool | None = None) -> None:
        self._progress, self._called_off = progress, False
        try:
            async with asyncio.timeout(self._within_s + _OVERDUE_S):
                if self._attended if attended is None else attended:
                    self._second = self._dial(target)
                    await self._answered(self._second, progress)
                outcome = await self._refer(target)
        except TimeoutError:
            raise NotTransferred("no outcome in time") from None
        except (DialRefused, OurFault) as fault:
            raise NotTransferred(str(fault)) from fault
        finally:
            if self._outcome is None or not self._outcome.done():
                self._under_way = False
            self._outcome = self._progress = None
            if self._second is not None:
                self._second.hang_up()
                self._second = None
        if not outcome.succeeded:
            self._under_way = False
            raise NotTransferred(_why(outcome))

    async def _answered(self, second: SipCall, progress: Callable[[str], None]) -> None:
        """Wait for the other one to answer. Raises `NotTransferred`."""
        async for event in second:
            match event:
                case CallProgressed(status, reason):
                    progress(f"{status} {reason}".strip())
                case CallAnswered():
                    return
                case CallEnded(cause):
                    raise NotTransferred(_CALLED_OFF if self._called_off else causes.words(cause))
                case _:
                    pass

    async def _refer(self, target: str) -> TransferEnded:
        if self._statistics is not None:
            raise NotTransferred("the call is over")
        if self._called_off:
            raise NotTransferred(_CALLED_OFF)
        self._outcome = asyncio.get_running_loop().create_future()
        if self._second is not None:
            self._call.transfer_to(self._second, within_s=self._within_s)
        else:
            self._call.transfer(target, within_s=self._within_s)
        return await self._outcome

    def take(self, event: CallEvent) -> None:
        """Something happened in the call."""
        match event:
            case TransferProgressed(status, reason):
                self._under_way = self._outcome is not None and status < 300
                if self._progress is not None:
                    self._progress(f"{status} {reason}".strip())
            case TransferEnded():
                self._resolve(event)
            case CallEnded(cause, by_peer, statistics):
                self._statistics = statistics
                if self._cause is None or by_peer:
                    self._cause = causes.q850(cause)
                if self._second is not None:
                    self._second.hang_up()
                self._resolve(TransferEnded(self._under_way, cause.status, "the call is over"))
            case _:
                pass

    def _resolve(self, outcome: TransferEnded) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)


def _why(outcome: TransferEnded) -> str:
    known = causes.of_status(outcome.status)
    return known or outcome.reason or f"refused, {outcome.status}"
