"""One trunk's readiness: registered and kept so, or asked from time to time whether it is there.

The library refreshes a registration that stands; when to try again after a failure is decided here. Nobody is called
more often than the back-off says, and a registrar that refuses our password is tried rarely, lest it locks us out.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from telephony.clock import Alarm, Clock
from telephony.sip.backoff import Backoff
from telephony.sip.errors import CommandFailed
from telephony.sip.events import TrunkState, TrunkStatus
from telephony.sip.settings import Trunk
from telephony.sip.signals import AnswerSignalled, RegistrationSignalled, TrunkSignal

_ANSWER_WITHIN_S = 40.0
"""The library gives up after 32 s (64 T1) and says so; later than this it has forgotten."""
_REJECTED_RETRY_S = 300.0
_OVERDUE_S = 30.0
"""A registration this much older than it may be was not refreshed."""
_REJECTIONS = (401, 403, 404, 407)
_MISSES = 2
"""OPTIONS without an answer, in a row, until the trunk counts as down."""
_RECONNECT_WITHIN_S = 1.0


class TrunkLine(Protocol):
    """The library's side of a trunk. May look names up and take its time; raises `CommandFailed`."""

    def register(self) -> None: ...
    def unregister(self) -> None: ...
    def ask(self) -> None: ...


Patiently = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a command where it may take its time."""


class TrunkKeeper:
    """Keeps one trunk up. `run` is its life; `changed` is told of every new status."""

    def __init__(
        self,
        trunk: Trunk,
        line: TrunkLine,
        clock: Clock,
        patiently: Patiently,
        changed: Callable[[TrunkStatus], None],
        chance: Random | None = None,
    ) -> None:
        self.trunk = trunk
        self.status = TrunkStatus(trunk.name, TrunkState.STARTING)
        self._line = line
        self._clock = clock
        self._patiently = patiently
        self._changed = changed
        self._chance = chance or Random()
        self._backoff = Backoff(chance=self._chance)
        self._alarm = Alarm(clock)
        self._due: float | None = None
        self._awaiting = False
        self._misses = 0

    async def run(self) -> None:
        """Until cancelled, or `sign_off`."""
        if not self.trunk.register and not self.trunk.options_every_s:
            self._become(TrunkState.UP, 0, "")
        else:
            self._due = self._clock.now()
        while self.status.state is not TrunkState.CLOSED:
            await self._alarm.wait_until(self._due)
            if self._due is not None and self._clock.now() >= self._due:
                await self._act()

    async def _act(self) -> None:
        if self._awaiting:
            self._failed(408, "no answer")
            return
        self._awaiting = True
        self._due = self._clock.now() + _ANSWER_WITHIN_S
        try:
            await self._patiently(self._line.register if self.trunk.register else self._line.ask)
        except CommandFailed as failure:
            self._failed(503, str(failure))

    def signalled(self, signal: TrunkSignal) -> None:
        """The far side answered, or did not."""
        if self.status.state is TrunkState.CLOSED:
            return
        match signal:
            case RegistrationSignalled(status, reason, expires_s):
                self._registered(status, reason, expires_s)
            case AnswerSignalled(status, reason, source):
                self._answered(status, reason, alive=bool(source) and status != 503)
        self._alarm.ring()

    def disconnected(self) -> None:
        """The connection is gone: a registration over it is worth nothing any more."""
        if self.status.state is TrunkState.UP and self.trunk.register and not self._awaiting:
            self._due = self._clock.now() + _RECONNECT_WITHIN_S * self._chance.random()
            self._alarm.ring()

    async def sign_off(self) -> None:
        """Unregister if registered, and rest. The registrar's answer is not waited for."""
        registered = self.trunk.register and self.status.state is TrunkState.UP
        self._become(TrunkState.CLOSED, self.status.status, "signed off")
        self._due = None
        self._alarm.ring()
        if registered:
            try:
                await self._patiently(self._line.unregister)
            except CommandFailed:
                return

    def _registered(self, status: int, reason: str, expires_s: int) -> None:
        self._awaiting = False
        if 200 <= status < 300 and expires_s > 0:
            self._backoff.succeeded()
            self._due = self._clock.now() + expires_s + _OVERDUE_S
            self._become(TrunkState.UP, status, reason)
        else:
            self._failed(status, reason)

    def _answered(self, status: int, reason: str, *, alive: bool) -> None:
        self._awaiting = False
        if alive:
            self._misses = 0
            self._backoff.succeeded()
            self._due = self._clock.now() + self.trunk.options_every_s
            self._become(TrunkState.UP, status, reason)
        else:
            self._failed(status, reason)

    def _failed(self, status: int, reason: str) -> None:
        self._awaiting = False
        self._misses += 1
        rejected = self.trunk.register and status in _REJECTIONS
        delay_s = _REJECTED_RETRY_S if rejected else self._backoff.failed()
        if not self.trunk.register:
            delay_s = min(delay_s, self.trunk.options_every_s)
        self._due = self._clock.now() + delay_s
        if not self.trunk.register and self._misses < _MISSES and self.status.state is TrunkState.UP:
            return
        self._become(TrunkState.REJECTED if rejected else TrunkState.DOWN, status, reason, delay_s)

    def _become(self, state: TrunkState, status: int, reason: str, retry_in_s: float | None = None) -> None:
        before, self.status = self.status, TrunkStatus(self.trunk.name, state, status, reason, retry_in_s)
        if self.status != before:
            self._changed(self.status)
