"""The directory of calls: from a carrier's request to the one session it is about.

All calls of *this process*; answers come from memory, at once. A session is created by the first voice webhook of its
call; a repeated one, and the request that follows a lost stream, get a new token for the same session, and the newest
stream wins. Which process a call belongs to is the business of the switchboard, which asks here first.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, Self

import structlog

from app.calls.admission import Admission
from app.calls.asking import Claim
from app.calls.books import Left
from app.calls.errors import CallRefused, TokenRejected
from app.calls.journal import Journal, Listener
from app.calls.messages import Known
from app.calls.store.base import Lease
from app.calls.tokens import StreamTokens
from app.conversation.handover import FarEnd
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.conversation.state import Phase
from telephony.carrier import CallOffered, CallStatus, Carrier, Decision, Dial, HangUp, MediaStarted, OpenStream
from telephony.leg import Leg
from telephony.tasks import TaskGroup

_REOPENED_PER_MINUTE = 3
_ENDED_KEPT = 500
"""Ended calls whose end is still known here, for the carrier's last questions; everything else of them is stored."""

log = structlog.get_logger()


class Journals(Protocol):
    """Who keeps journals (`app.calls.writer`)."""

    def begin(
        self, call: CallSession, journal: Journal, lease: Claim | None = None, *, left: Left | None = None
    ) -> None:
        """Keep what happens in a call from now on; `left`: by whoever kept it until now. Without a lease, or if none
        comes, it is up to him to get one."""
        ...


class _Entry:
    """A live call and what the directory remembers of it."""

    def __init__(self, session: CallSession) -> None:
        self.session = session
        self.reopened_at: deque[float] = deque(maxlen=_REOPENED_PER_MINUTE)
        self.crashed = False
        self.left = False
        self.over = asyncio.Event()


class Directory:
    """All calls of this process; an async context manager, whose one `TaskGroup` every call is a task of."""

    def __init__(
        self,
        services: Services,
        *,
        public_url: str,
        token_lifetime_s: float = 60.0,
        max_calls: int = 200,
        admission: Admission | None = None,
        listener: Listener | None = None,
        journals: Journals | None = None,
    ) -> None:
        """`listener` hears every event of every call; `journals` keeps them."""
        self.tokens = StreamTokens(token_lifetime_s)
        self._services = services
        self._group = TaskGroup()
        self._listener = listener
        self._journals = journals
        self._public_url = public_url.rstrip("/")
        self._admission = admission or Admission(max_calls)
        self._calls: dict[str, _Entry] = {}
        self._ended: OrderedDict[str, Known] = OrderedDict()
        self.before_drain: Callable[[], Awaitable[None]] | None = None
        """What has to be told that no new calls are taken any more."""
        self.accepting = True
        """False: no new calls (the process is going down); live ones go on."""

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        for entry in tuple(self._calls.values()):
            if entry.session.perhaps_elsewhere:
                self.lose(entry.session.call_id)
            else:
                entry.session.end("the bridge stops")
        await self._group.__aexit__(kind, error, trace)

    async def drain(self, within_s: float, impatient: Callable[[], bool] = lambda: False) -> None:
        """No new calls from now on; return when the live ones have ended, when the time is over, or when somebody has
        become `impatient`."""
        self.accepting = False
        if self.before_drain is not None:
            await self.before_drain()
        await self._wait(within_s, impatient)

    async def dismiss(self, impatient: Callable[[], bool] = lambda: False) -> None:
        """Say goodbye in calls that nobody else can carry on: their line ends here. Returns when it was heard."""
        manners = self._services.manners
        for entry in tuple(self._calls.values()):
            if entry.session.handover.far_end is not None:
                entry.session.dismiss(manners.closing, "the bridge stops")
        await self._wait(manners.closing_s, impatient)

    async def _wait(self, within_s: float, impatient: Callable[[], bool]) -> None:
        clock = self._services.clock
        deadline = clock.now() + within_s
        while self._calls and clock.now() < deadline and not impatient():
            await clock.sleep_until(clock.now() + 0.1)

    def __len__(self) -> int:
        return len(self._calls)

    def sessions(self) -> Iterator[CallSession]:
        """Live calls, newest last."""
        for entry in tuple(self._calls.values()):
            yield entry.session

    def find(self, call_id: str) -> CallSession | None:
        """The session of a live call."""
        entry = self._calls.get(call_id)
        return entry.session if entry else None

    def knows(self, call_id: str) -> bool:
        """The call is, or was lately, a call of this process."""
        return call_id in self._calls or call_id in self._ended

    # what the webhooks ask

    def answer(self, carrier: Carrier, offered: CallOffered, lease: Claim | None = None) -> Decision:
        """A call comes in, or its webhook is repeated. `lease`: of a new call, if the store was asked for one."""
        if offered.call_id in self._ended:
            return HangUp()
        if offered.call_id not in self._calls:
            refusal = self.refusal()
            if refusal is not None:
                return refusal
            self._services.counters.count("calls_answered", carrier=carrier.name)
            self._begin(CallSession(carrier.name, offered, self._services), lease)
        return self.open_stream(carrier, offered.call_id)

    def refusal(self) -> Decision | None:
        """What a new call is told that cannot be taken; None: it can."""
        try:
            self.check_room()
        except CallRefused:
            return self._admission.elsewhere(self._services.manners.busy)
        return None

    def after(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """The call's stream has ended: what now?"""
        return self.next_step(carrier, offered.call_id, self.stream_lost(offered.call_id))

    def standing(self, call_id: str) -> Known | None:
        """How a call stands that is, or was lately, one of this process; None: it is none."""
        entry = self._calls.get(call_id)
        if entry is None:
            return self._ended.get(call_id)
        session = entry.session
        if session.handover.reason:
            return Known(call_id, live=False, transfer=True)
        return Known(call_id, live=session.state.phase not in (Phase.ENDED, Phase.ENDING))

    def stream_lost(self, call_id: str) -> Known | None:
        """The same for one whose stream has ended. One that loses too many is ended."""
        standing, entry = self.standing(call_id), self._calls.get(call_id)
        if standing is None or not standing.live or entry is None:
            return standing
        now = self._services.clock.now()
        if len(entry.reopened_at) == _REOPENED_PER_MINUTE and now - entry.reopened_at[0] < 60.0:
            entry.session.end("media lost too often")
            return Known(call_id, live=False, crashed=True)
        entry.reopened_at.append(now)
        return standing

    def next_step(self, carrier: Carrier, call_id: str, standing: Known | None) -> Decision:
        """What a carrier is told of a call that stands so, and has no stream any more."""
        manners = self._services.manners
        if standing is None:
            return HangUp(manners.failed)
        if standing.live:
            return self.reopen_stream(carrier, call_id)
        if standing.transfer:
            return Dial(manners.transfer_to) if manners.transfer_to else HangUp(manners.nobody)
        return HangUp(manners.failed if standing.crashed else "")

    def status(self, carrier: Carrier, status: CallStatus) -> None:
        """The carrier's word on a call; only its end matters here."""
        entry = self._calls.get(status.call_id)
        if status.ended and entry is not None:
            entry.session.caller_gone(status.status)

    async def serve(self, carrier: Carrier, token: str, started: MediaStarted, leg: Leg) -> None:
        """Attach a media stream to its call; returns when the stream is gone. Raises `TokenRejected`."""
        self.tokens.redeem(token, started.call_id, self._services.clock.today().timestamp())
        await self.attach(started, leg)

    async def attach(self, started: MediaStarted, leg: Leg) -> None:
        """The same for somebody who has checked the token."""
        entry = self._calls.get(started.call_id)
        if entry is None:
            raise TokenRejected("of a call that is over")
        detached = entry.session.attach(leg, started.stream_id)
        await detached.wait()

    # lives of calls

    def check_room(self) -> None:
        """Raise `CallRefused` if there is no place for one more call."""
        reason = self._admission.refuses(len(self._calls)) if self.accepting else "draining"
        if reason is not None:
            self._services.counters.count("calls_refused", reason=reason)
            raise CallRefused(reason)

    def begin(
        self, carrier: str, offered: CallOffered, far_end: FarEnd | None = None, *, ringing: bool = False
    ) -> CallSession:
        """A call that came without a webhook, or that we place: its session, which runs from now on. Raises
        `CallRefused`. See `CallSession` for `far_end` and `ringing`."""
        self.check_room()
        self._services.counters.count("calls_begun" if ringing else "calls_answered", carrier=carrier)
        session = CallSession(carrier, offered, self._services, far_end=far_end, ringing=ringing)
        self._begin(session, None)
        return session

    def adopt(self, session: CallSession, lease: Lease | None, left: Left) -> None:
        """Carry on with a call that another process carried until now."""
        self._services.counters.count("calls_taken_over")
        self._begin(session, lease, left)

    async def leave(self, call_id: str) -> None:
        """Stop carrying a call, without ending it; returns when nothing of it is done here any more."""
        entry = self._let_go(call_id)
        if entry is not None:
            await entry.over.wait()

    def lose(self, call_id: str) -> None:
        """The same, without waiting: somebody else carries the call on already."""
        self._let_go(call_id)

    def _let_go(self, call_id: str) -> _Entry | None:
        """From now on it is no call of this process, though its session has to clear up yet: it may come back."""
        entry = self._calls.pop(call_id, None)
        if entry is not None:
            entry.left = True
            entry.session.leave()
        return entry

    def _begin(self, session: CallSession, lease: Claim | None, left: Left | None = None) -> None:
        entry = _Entry(session)
        if self._listener is not None:
            session.record.journal.listen(self._listener)
        if self._journals is not None:
            self._journals.begin(session, session.record.journal, lease, left=left)
        self._calls[session.call_id] = entry
        self._ended.pop(session.call_id, None)
        self._group.create_task(self._live(entry), name=f"call {session.call_id}")

    async def _live(self, entry: _Entry) -> None:
        session = entry.session
        structlog.contextvars.bind_contextvars(call_id=session.call_id)
        log.info("call begun", carrier=session.carrier, phase=session.state.phase.value)
        try:
            await session.run()
        except Exception:
            entry.crashed = True
            self._services.counters.count("calls_crashed")
            log.exception("call crashed")
        finally:
            if not entry.left:
                del self._calls[session.call_id]
            entry.over.set()
            self._over(entry)

    def _over(self, entry: _Entry) -> None:
        session = entry.session
        if entry.left:
            self._services.counters.count("calls_left")
            log.info("call left to another process")
            return
        self._ended[session.call_id] = Known(
            session.call_id, live=False, transfer=bool(session.handover.reason), crashed=entry.crashed
        )
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self._services.counters.count("calls_ended")
        log.info("call ended", reason=session.end_reason or "crashed")

    def open_stream(self, carrier: Carrier, call_id: str) -> OpenStream:
        """Have the carrier stream to us, whichever of our processes that reaches."""
        base = f"{self._public_url}/{carrier.name}"
        scheme, _, rest = base.partition("://")
        media = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/media"
        token = self.tokens.issue(call_id, self._services.clock.today().timestamp())
        return OpenStream(media, self.after_url(carrier.name), token)

    def reopen_stream(self, carrier: Carrier, call_id: str) -> OpenStream:
        """The same for a call that had a stream before."""
        self._services.counters.count("streams_reopened")
        return self.open_stream(carrier, call_id)

    def after_url(self, carrier: str) -> str:
        """Where that carrier asks what to do with a live call."""
        return f"{self._public_url}/{carrier}/after"
