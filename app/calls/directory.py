"""The directory of calls: from a carrier's request to the one session it is about.

Answers come from memory, at once: carriers wait seconds for a webhook, callers should not. A session is created by the
first voice webhook of its call; a repeated one, and the request that follows a lost stream, get a new token for the
same session, and the newest stream wins.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any, Self

import structlog

from app.calls.errors import TokenRejected
from app.calls.journal import Listener
from app.calls.tokens import StreamTokens
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.conversation.state import Phase
from telephony.carrier import CallOffered, CallStatus, Carrier, Decision, Dial, HangUp, MediaStarted, OpenStream
from telephony.leg import Leg

_REOPENED_PER_MINUTE = 3
_ENDED_KEPT = 500

log = structlog.get_logger()


class _Entry:
    """A call and what the directory remembers of it."""

    def __init__(self, session: CallSession) -> None:
        self.session = session
        self.reopened_at: deque[float] = deque(maxlen=_REOPENED_PER_MINUTE)
        self.crashed = False


class Directory:
    """All calls of this process; an async context manager, whose one `TaskGroup` every call is a task of."""

    def __init__(
        self,
        services: Services,
        *,
        public_url: str,
        token_lifetime_s: float = 60.0,
        max_calls: int = 200,
        listener: Listener | None = None,
    ) -> None:
        """`listener` hears every event of every call."""
        self._services = services
        self._group = asyncio.TaskGroup()
        self._listener = listener
        self._public_url = public_url.rstrip("/")
        self._tokens = StreamTokens(token_lifetime_s)
        self._max_calls = max_calls
        self._calls: dict[str, _Entry] = {}
        self._ended: OrderedDict[str, _Entry] = OrderedDict()
        self.accepting = True
        """False: no new calls (the process is going down); live ones go on."""

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        for entry in self._calls.values():
            entry.session.end("the bridge stops")
        await self._group.__aexit__(kind, error, trace)

    async def drain(self, within_s: float, impatient: Callable[[], bool] = lambda: False) -> None:
        """No new calls from now on; return when the live ones have ended, when the time is over, or when somebody has
        become `impatient`."""
        self.accepting = False
        clock = self._services.clock
        deadline = clock.now() + within_s
        while self._calls and clock.now() < deadline and not impatient():
            await clock.sleep_until(clock.now() + 0.1)

    def __len__(self) -> int:
        return len(self._calls)

    def sessions(self) -> Iterator[CallSession]:
        """Live calls, then the most recent ended ones, newest last."""
        for entry in (*self._ended.values(), *self._calls.values()):
            yield entry.session

    def find(self, call_id: str) -> CallSession | None:
        """The session of a call, live or recently ended."""
        entry = self._calls.get(call_id) or self._ended.get(call_id)
        return entry.session if entry else None

    # what the webhooks ask

    def answer(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """A call comes in, or its webhook is repeated."""
        if offered.call_id in self._ended:
            return HangUp()
        if offered.call_id not in self._calls:
            if not self.accepting or len(self._calls) >= self._max_calls:
                self._services.counters.count("calls_refused", reason="busy" if self.accepting else "draining")
                return HangUp(self._services.manners.busy)
            self._begin(carrier, offered)
        return self._open_stream(carrier, offered.call_id)

    def after(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """The call's stream has ended: what now?"""
        entry = self._calls.get(offered.call_id) or self._ended.get(offered.call_id)
        if entry is None:
            return HangUp(self._services.manners.failed)
        session = entry.session
        if session.transfer_reason:
            return self._transfer()
        if entry.crashed or session.end_reason in ("providers failed", "recognition failed"):
            return HangUp(self._services.manners.failed if entry.crashed else "")
        if session.state.phase in (Phase.ENDED, Phase.ENDING):
            return HangUp()
        now = self._services.clock.now()
        if len(entry.reopened_at) == _REOPENED_PER_MINUTE and now - entry.reopened_at[0] < 60.0:
            session.end("media lost too often")
            return HangUp(self._services.manners.failed)
        entry.reopened_at.append(now)
        self._services.counters.count("streams_reopened")
        return self._open_stream(carrier, offered.call_id)

    def status(self, carrier: Carrier, status: CallStatus) -> None:
        """The carrier's word on a call; only its end matters here."""
        entry = self._calls.get(status.call_id)
        if status.ended and entry is not None:
            entry.session.caller_gone(status.status)

    async def serve(self, carrier: Carrier, token: str, started: MediaStarted, leg: Leg) -> None:
        """Attach a media stream to its call; returns when the stream is gone. Raises `TokenRejected`."""
        self._tokens.redeem(token, started.call_id, self._services.clock.now())
        entry = self._calls.get(started.call_id)
        if entry is None:
            raise TokenRejected("of a call that is over")
        detached = entry.session.attach(leg, started.stream_id)
        await detached.wait()

    # lives of calls

    def _begin(self, carrier: Carrier, offered: CallOffered) -> None:
        entry = _Entry(CallSession(carrier.name, offered, self._services))
        if self._listener is not None:
            entry.session.record.journal.listen(self._listener)
        self._calls[offered.call_id] = entry
        self._services.counters.count("calls_answered", carrier=carrier.name)
        self._group.create_task(self._live(entry), name=f"call {offered.call_id}")

    async def _live(self, entry: _Entry) -> None:
        session = entry.session
        structlog.contextvars.bind_contextvars(call_id=session.call_id)
        log.info("call answered", carrier=session.carrier)
        try:
            await session.run()
        except Exception:
            entry.crashed = True
            self._services.counters.count("calls_crashed")
            log.exception("call crashed")
        finally:
            del self._calls[session.call_id]
            self._ended[session.call_id] = entry
            while len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
            self._services.counters.count("calls_ended")
            log.info("call ended", reason=session.end_reason or "crashed")

    def _open_stream(self, carrier: Carrier, call_id: str) -> OpenStream:
        base = f"{self._public_url}/{carrier.name}"
        scheme, _, rest = base.partition("://")
        media = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/media"
        token = self._tokens.issue(call_id, self._services.clock.now())
        return OpenStream(media, f"{base}/after", token)

    def _transfer(self) -> Decision:
        manners = self._services.manners
        return Dial(manners.transfer_to) if manners.transfer_to else HangUp(manners.nobody)
