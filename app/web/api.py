"""The REST API: what calls there are, what happened in them, live, and control over them.

Live calls of this process are shown from memory; those of other processes, and those that are over, from the store.
What shall not be shown is masked on the way out.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

import msgspec
import structlog
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from app.calls.archive import CallArchive, CallCard
from app.calls.directory import Directory
from app.calls.journal import CallEnded, JournalEvent, encode, to_json
from app.calls.redaction import Private, mask_number, redacted
from app.calls.store.errors import StoreUnavailable
from app.calls.switchboard import Switchboard
from app.conversation.session import CallSession
from app.conversation.state import Phase
from app.web.security import ApiGate
from telephony.clock import Clock

_EVENTS_WAITING = 256
_KEEP_ALIVE_S = 15.0
_LOOK_EVERY_S = 0.5
"""Into the store, for news of a call that another process has."""
_AWAY_S = 5.0
"""Before a store that did not answer is asked again."""
_LISTED, _LISTED_AT_MOST = 100, 1_000

log = structlog.get_logger()


def api_router(
    switchboard: Switchboard, archive: CallArchive, gate: ApiGate, clock: Clock, private: Collection[Private] = ()
) -> APIRouter:
    """Routes under `/api`, each behind the gate; `private` is masked."""

    async def admitted(request: Request) -> None:  # a plain function would be sent through a thread
        gate.admit(request.scope)

    router = APIRouter(prefix="/api", dependencies=[Depends(admitted)])
    known = _Known(switchboard.directory, archive, clock, _View(private))

    @router.get("/calls")
    async def calls(limit: int = _LISTED) -> list[dict[str, Any]]:
        """Live and ended calls, the newest ones, oldest first."""
        return await known.calls(min(max(limit, 1), _LISTED_AT_MOST))

    @router.get("/calls/{call_id}")
    async def call(call_id: str) -> Response:
        """One call: its state and its whole journal."""
        record = await known.record(call_id)
        return Response(to_json(record), media_type="application/json")

    @router.get("/calls/{call_id}/events")
    async def events(call_id: str) -> StreamingResponse:
        """The journal from its beginning, then live, as server-sent events; ends with the call."""
        return StreamingResponse(await known.events(call_id), media_type="text/event-stream")

    @router.post("/calls/{call_id}/end", status_code=202)
    async def end(call_id: str) -> dict[str, str]:
        """Hang up now, whichever process has the call."""
        if not await switchboard.end(call_id, "ended by the API"):
            raise HTTPException(404, f"no live call {call_id}")
        return {"status": "ending"}

    return router


class _Known:
    """The calls of this process, and those that are stored."""

    def __init__(self, directory: Directory, archive: CallArchive, clock: Clock, view: "_View") -> None:
        self._directory = directory
        self._archive = archive
        self._clock = clock
        self._view = view

    async def calls(self, limit: int) -> list[dict[str, Any]]:
        """The newest ones, oldest first; only those of this process while the store does not answer."""
        try:
            stored = await self._archive.calls(limit)
        except StoreUnavailable as failure:
            log.warning("stored calls cannot be listed", reason=str(failure))
            stored = []
        listed = {card.call_id: self._view.stored(card) for card in reversed(stored)}
        listed |= {session.call_id: self._view.live(session) for session in self._directory.sessions()}
        return list(listed.values())[-limit:]

    async def record(self, call_id: str) -> dict[str, Any]:
        """One call with its journal."""
        session = self._directory.find(call_id)
        if session is not None:
            summary = {**self._view.live(session), "usage": session.usage()}
            return self._view.record(summary, session.record.journal.events)
        card = await self._card(call_id)
        return self._view.record(self._view.stored(card), await self._archive.events(call_id))

    async def events(self, call_id: str) -> AsyncIterator[bytes]:
        """One call's journal, told as it grows."""
        session = self._directory.find(call_id)
        if session is not None:
            return _live(session, self._view)
        await self._card(call_id)
        return _stored(call_id, self._archive, self._clock, self._view)

    async def _card(self, call_id: str) -> CallCard:
        card = await self._archive.find(call_id)
        if card is None:
            raise HTTPException(404, f"no call {call_id}: it never was, or is not kept any more")
        return card


class _View:
    """Calls as they may be shown."""

    def __init__(self, private: Collection[Private]) -> None:
        self._private = frozenset(private)

    def live(self, session: CallSession) -> dict[str, Any]:
        """A call of this process."""
        offered = session.offered
        return {
            "call_id": session.call_id,
            "carrier": session.carrier,
            "caller": self._number(offered.caller),
            "called": self._number(offered.called),
            "answered_at": session.record.answered_at.isoformat(timespec="milliseconds"),
            "phase": session.state.phase.value,
            "floor": session.state.floor.value,
            "end_reason": session.end_reason,
        }

    def stored(self, card: CallCard) -> dict[str, Any]:
        """A call that is over, or another process's. Who has the floor there is not known here."""
        return {
            "call_id": card.call_id,
            "carrier": card.carrier,
            "caller": self._number(card.caller),
            "called": self._number(card.called),
            "answered_at": card.answered_at,
            "phase": (Phase.ENDED if card.ended else Phase.LIVE).value,
            "floor": "",
            "end_reason": card.end_reason,
            "duration_s": card.duration_s,
        }

    def record(self, summary: dict[str, Any], events: Iterable[JournalEvent]) -> dict[str, Any]:
        """A call with its journal."""
        return {**summary, "events": [msgspec.Raw(self.event(event)) for event in events]}

    def event(self, event: JournalEvent) -> bytes:
        """One event as JSON."""
        return encode(redacted(event, self._private))

    def sent(self, event: JournalEvent) -> bytes:
        """One event as a server-sent one."""
        return b"data: " + self.event(event) + b"\n\n"

    def _number(self, number: str) -> str:
        return mask_number(number) if Private.NUMBERS in self._private else number


async def _live(session: CallSession, view: _View) -> AsyncIterator[bytes]:
    """Server-sent events. A reader too slow for the call loses the oldest, never the call's time.

    Ends with the call, or when another process has it: whoever asks again hears of it from there.
    """
    waiting: asyncio.Queue[JournalEvent] = asyncio.Queue(_EVENTS_WAITING)

    def listener(event: JournalEvent) -> None:
        if waiting.full():
            waiting.get_nowait()
        waiting.put_nowait(event)

    past = tuple(session.record.journal.events)
    stop = session.record.journal.listen(listener)
    try:
        for event in past:
            yield view.sent(event)
        ended = bool(past) and isinstance(past[-1], CallEnded)
        while not ended:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_S):
                    event = await waiting.get()
            except TimeoutError:
                if session.state.phase is Phase.ENDED:  # carried on elsewhere, so no end is told here
                    return
                yield b": still here\n\n"
                continue
            yield view.sent(event)
            ended = isinstance(event, CallEnded)
    finally:
        stop()


async def _stored(call_id: str, archive: CallArchive, clock: Clock, view: _View) -> AsyncIterator[bytes]:
    """The same for a call that this process does not have: as the store hears of it. A store that is away for a moment
    is asked again."""
    told, ended, quiet_since = 0, False, clock.now()
    while not ended:
        try:
            news = await archive.events(call_id, after=told - 1)
        except StoreUnavailable as failure:
            log.warning("stored events cannot be told", call_id=call_id, reason=str(failure))
            yield b": the store is away\n\n"
            await clock.sleep_until(clock.now() + _AWAY_S)
            continue
        told += len(news)
        for event in news:
            yield view.sent(event)
            ended = ended or isinstance(event, CallEnded)
        now = clock.now()
        if news:
            quiet_since = now
        elif now - quiet_since > _KEEP_ALIVE_S:
            if await _forgotten(archive, call_id):
                return
            quiet_since = now
            yield b": still here\n\n"
        if not ended:
            await clock.sleep_until(now + _LOOK_EVERY_S)


async def _forgotten(archive: CallArchive, call_id: str) -> bool:
    """The store answers, and does not know the call any more."""
    try:
        return await archive.find(call_id) is None
    except StoreUnavailable:
        return False
