"""One stream out of several attempts: who produces first wins, and who fails is replaced where he stopped.

Nearly always there is one attempt, and the race only watches its deadlines. A miss is no failure: the next member is
asked while the slow one may still win, and the loser is closed. At most two attempts run at once. Each is read by a
task of its own into a queue of a few events, so that a slow listener slows the vendor down.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Generic, TypeVar

from providers.base import Progress, ProviderSwitched, UsageReported
from providers.errors import ProviderError, ProviderRejected, ProviderTimedOut, ProviderUnavailable
from providers.resilience.backoff import pause_s
from providers.resilience.deadlines import Deadlines
from providers.resilience.roster import Member, P, Roster, Trial
from telephony.clock import Alarm
from telephony.tasks import TaskGroup

E = TypeVar("E")

_ATTEMPTS_AT_ONCE = 2
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Stream(Generic[E]):
    """A member's answer. It raises `ProviderError` unless it is whole when it ends."""

    events: AsyncGenerator[E, None]
    owed_since: Callable[[], float | None] = lambda: 0.0
    """Since when the member owes an event; None while it rightly waits for us."""


class Attempt(Generic[P, E]):
    """One member at work, read ahead by at most `ahead` events."""

    def __init__(self, trial: Trial[P], stream: Stream[E], alarm: Alarm, ahead: int, now: float) -> None:
        self.trial = trial
        self.member = trial.member
        self.stream = stream
        self.seen_at = now
        """The last sign of life, or the start."""
        self.stage = "connect" if trial.member.tells_connection else "first_result"
        self.produced = False
        self.missed: ProviderTimedOut | None = None
        """The deadline that it missed, until it produces after all."""
        self.failure: Exception | None = None
        self.done = False
        self.queue: asyncio.Queue[E] = asyncio.Queue(ahead)
        self.task: asyncio.Task[None] | None = None
        self._alarm = alarm

    @property
    def ready(self) -> bool:
        """There is an event to take, or it is over."""
        return self.done or not self.queue.empty()

    async def read(self) -> None:
        """Fill the queue until the stream ends. What goes wrong is kept for whoever listens."""
        try:
            async with aclosing(self.stream.events) as events:
                async for event in events:
                    await self.queue.put(event)
                    self._alarm.ring()
        except Exception as failure:  # noqa: BLE001 - a bug in an adapter belongs to the call that met it
            self.failure = failure
        self.done = True
        self._alarm.ring()

    def seen(self, event: E, now: float) -> None:
        """An event was taken."""
        self.seen_at = now
        if isinstance(event, Progress) and event.stage == "connected":
            self.member.tells_connection = True
            self.stage = "first_result" if self.stage == "connect" else self.stage
        elif not isinstance(event, UsageReported):
            self.stage = "gap"
            self.produced = self.produced or not isinstance(event, Progress)


class Race(Generic[P, E]):
    """One stream of a chain. `open_stream` begins an attempt, at the place the listener has reached by then."""

    def __init__(
        self,
        roster: Roster[P],
        deadlines: Deadlines,
        group: TaskGroup,
        open_stream: Callable[[Member[P]], Stream[E]],
        *,
        ahead: int,
        random: Random,
    ) -> None:
        self._roster = roster
        self._clock = roster.clock
        self._deadlines = deadlines
        self._allowed = {
            "connect": deadlines.connect_s,
            "first_result": deadlines.first_result_s,
            "gap": deadlines.gap_s,
        }
        self._group: TaskGroup = group
        self._open_stream = open_stream
        self._ahead = ahead
        self._random = random
        self._alarm = Alarm(self._clock)
        self._live: list[Attempt[P, E]] = []
        self._closed: list[Attempt[P, E]] = []
        self._serving: Attempt[P, E] | None = None
        self._asked: list[Member[P]] = []
        self._barred: list[Member[P]] = []
        self._most_asked = 1 + 2 * len(roster.members)
        self._planned: tuple[float, Member[P]] | None = None
        self._errors: list[ProviderError] = []
        self._waiting_since = self._clock.now()
        self._trouble_since: float | None = None
        self._over = False

    def ring(self) -> None:
        """Look again: a debt has begun or ended."""
        self._alarm.ring()

    def bar(self, member: Member[P]) -> None:
        """Ask this member no more."""
        self._barred.append(member)

    async def events(self) -> AsyncGenerator[E | ProviderSwitched, None]:
        """Everything the winners yield, in order, with a `ProviderSwitched` for each failure between them.

        Raises the last `ProviderError` when nobody is left to be asked, or time is up.
        """
        try:
            self._plan_next(self._waiting_since)
            while not self._over:
                attempt = next((attempt for attempt in self._live if attempt.ready), None)
                if attempt is None:
                    await self._pass_time()
                else:
                    for event in self._take(attempt):
                        yield event
                        self._waiting_since = self._clock.now()
                if not self._live and self._planned is None:
                    for error, following in pairwise(self._errors):
                        yield ProviderSwitched(error, following.provider)
                    raise self._errors[-1]
        finally:
            await self._close()

    # attempts

    def _take(self, attempt: Attempt[P, E]) -> list[E | ProviderSwitched]:
        """The next thing of an attempt that has one: what of it the listener gets."""
        if attempt.queue.empty():
            if attempt.failure is not None:
                self._fail(attempt)
                return []
            attempt.trial.succeeded()
            self._over = True
            return [*self._win(attempt)]
        event = attempt.queue.get_nowait()
        attempt.seen(event, self._clock.now())
        if isinstance(event, Progress):
            return []
        return [event] if isinstance(event, UsageReported) else [*self._win(attempt), event]

    def _start(self, member: Member[P]) -> None:
        self._planned = None
        self._asked.append(member)
        stream = self._open_stream(member)
        attempt = Attempt(self._roster.begin(member), stream, self._alarm, self._ahead, self._clock.now())
        attempt.task = self._group.create_task(attempt.read())
        self._live.append(attempt)
        if len(self._live) > _ATTEMPTS_AT_ONCE:
            self._give_up_on(self._live[0])

    def _win(self, winner: Attempt[P, E]) -> list[ProviderSwitched]:
        """The attempt produces: the others are closed. What had gone wrong before, if somebody else serves now."""
        for loser in [attempt for attempt in self._live if attempt is not winner]:
            if loser.missed is not None:
                self._roster.count("provider_hedges", winner.member, outcome="won")
                self._give_up_on(loser)
            else:
                self._roster.count("provider_hedges", loser.member, outcome="lost")
                loser.trial.abandoned()
                self._drop(loser)
        self._planned = None
        self._trouble_since = None
        winner.missed = None
        errors, self._errors = self._errors, []
        if winner is self._serving:
            return []
        self._serving = winner
        for error in errors:
            self._roster.instruments.count(
                "provider_switches", kind=self._roster.kind, provider=error.provider, successor=winner.member.name
            )
        return [ProviderSwitched(error, winner.member.name) for error in errors]

    def _fail(self, attempt: Attempt[P, E]) -> None:
        """The attempt broke. Raises what is no vendor's failure."""
        failure = attempt.failure
        if not isinstance(failure, ProviderError):
            assert failure is not None, "because: only broken attempts come here"
            raise failure
        if isinstance(failure, ProviderRejected):
            self.bar(attempt.member)
        if isinstance(failure, ProviderRejected) and failure.of_request:
            attempt.trial.refused(failure)
        else:
            attempt.trial.failed(failure)
        self._errors.append(failure)
        self._drop(attempt)
        again = attempt.member if attempt.produced and isinstance(failure, ProviderUnavailable) else None
        self._trouble_since = self._trouble_since or max(attempt.seen_at, self._waiting_since)
        if self._planned is None:
            self._plan_next(self._trouble_since, again)

    def _give_up_on(self, attempt: Attempt[P, E]) -> None:
        """Somebody faster is there."""
        assert attempt.missed is not None, "because: only slow attempts are given up"
        attempt.trial.failed(attempt.missed)
        self._errors.append(attempt.missed)
        self._drop(attempt)

    def _drop(self, attempt: Attempt[P, E]) -> None:
        self._live.remove(attempt)
        self._closed.append(attempt)
        if attempt.task is not None:
            attempt.task.cancel()

    async def _close(self) -> None:
        """End every attempt; what served until now has served."""
        for attempt in tuple(self._live):
            if attempt.produced and attempt.missed is None:
                attempt.trial.succeeded()
            else:
                attempt.trial.abandoned()
            self._drop(attempt)
        unfinished = [attempt.task for attempt in self._closed if attempt.task is not None and not attempt.task.done()]
        # Whoever opened the streams holds this race, and so do the streams. First, for who waits may be cancelled.
        del self._open_stream
        self._closed.clear()
        self._serving = None
        if unfinished:
            await asyncio.wait(unfinished)

    # time

    def _plan_next(self, since: float, again: Member[P] | None = None) -> None:
        """Ask somebody else, or `again` the one whose connection broke, as soon as it makes sense; nobody if there is
        nobody or no time is left."""
        now = self._clock.now()
        if len(self._asked) >= self._most_asked:
            return
        busy = [attempt.member for attempt in self._live]
        if again is not None and self._asked.count(again) == 1 and again.breaker.admits(now):
            member: Member[P] | None = again
        else:
            member = self._roster.next(self._asked, (*busy, *self._barred))
        if member is None:
            return
        times = self._asked.count(member)
        pause = member.breaker.asked_off_s(now)
        if times:
            pause = pause_s(times, self._random, pause)
            self._roster.count("provider_retries", member)
        if now + pause >= since + self._deadlines.give_up_s:
            if times:
                return
            pause = 0.0  # the least bad is better than nobody
        if pause:
            self._planned = (now + pause, member)
        else:
            self._start(member)

    async def _pass_time(self) -> None:
        """Wait until something comes or is overdue, and act on what is overdue."""
        await self._alarm.wait_until(self._due())
        now = self._clock.now()
        if any(attempt.ready for attempt in self._live):
            return
        if now >= self._given_up_at():
            self._give_up()
        elif self._planned is not None and now >= self._planned[0]:
            self._start(self._planned[1])
        else:
            for attempt in tuple(self._live):
                if now >= self._missed_at(attempt):
                    self._hedge(attempt)

    def _due(self) -> float | None:
        times = [self._missed_at(attempt) for attempt in self._live]
        if self._planned is not None:
            times.append(self._planned[0])
        earliest = min((*times, self._given_up_at()))
        return None if earliest == _NEVER else earliest

    def _given_up_at(self) -> float:
        """When patience ends. Trouble is over when nobody owes anything."""
        if self._live and all(attempt.stream.owed_since() is None for attempt in self._live):
            self._trouble_since = None
        return _NEVER if self._trouble_since is None else self._trouble_since + self._deadlines.give_up_s

    def _missed_at(self, attempt: Attempt[P, E]) -> float:
        """When the attempt will have missed its deadline; it misses one only once."""
        owed_since = attempt.stream.owed_since()
        if attempt.missed is not None or owed_since is None:
            return _NEVER
        return max(attempt.seen_at, owed_since, self._waiting_since) + self._allowed_s(attempt)

    def _allowed_s(self, attempt: Attempt[P, E]) -> float:
        return self._allowed[attempt.stage]

    def _hedge(self, slow: Attempt[P, E]) -> None:
        """Ask another besides the slow one, or the same once more."""
        allowed_s = self._allowed_s(slow)
        slow.missed = ProviderTimedOut(slow.member.name, slow.stage, allowed_s)
        self._trouble_since = self._trouble_since or self._clock.now() - allowed_s
        if self._planned is not None or len(self._asked) >= self._most_asked:
            return
        busy = [attempt.member for attempt in self._live]
        member = self._roster.next(self._asked, (*busy, *self._barred)) or self._roster.next(self._asked, self._barred)
        if member is not None and not member.breaker.asked_off_s(self._clock.now()):
            self._start(member)

    def _give_up(self) -> None:
        self._planned = None
        for attempt in tuple(self._live):
            if attempt.missed is None:
                attempt.missed = ProviderTimedOut(attempt.member.name, attempt.stage, self._deadlines.give_up_s)
            self._give_up_on(attempt)
