"""The REST API: what calls there are, what happened in them, live, and control over them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from app.calls.directory import Directory
from app.calls.journal import CallEnded, JournalEvent, encode
from app.conversation.session import CallSession
from app.web.security import ApiGate

_EVENTS_WAITING = 256
_KEEP_ALIVE_S = 15.0


def api_router(directory: Directory, gate: ApiGate) -> APIRouter:
    """Routes under `/api`, each behind the gate."""

    def admitted(request: Request) -> None:
        gate.admit(request.scope)

    router = APIRouter(prefix="/api", dependencies=[Depends(admitted)])

    def session_of(call_id: str) -> CallSession:
        session = directory.find(call_id)
        if session is None:
            raise HTTPException(404, f"no call {call_id} here: it never was, or ended too long ago")
        return session

    @router.get("/calls")
    def calls() -> list[dict[str, Any]]:
        """Live and recently ended calls, oldest first."""
        return [_summary(session) for session in directory.sessions()]

    @router.get("/calls/{call_id}")
    def call(call_id: str) -> Response:
        """One call: its state and its whole journal."""
        session = session_of(call_id)
        record = {**_summary(session), "events": session.record.journal.events}
        return Response(msgspec.json.encode(record), media_type="application/json")

    @router.get("/calls/{call_id}/events")
    def events(call_id: str) -> StreamingResponse:
        """The journal from its beginning, then live, as server-sent events; ends with the call."""
        return StreamingResponse(_stream(session_of(call_id)), media_type="text/event-stream")

    @router.post("/calls/{call_id}/end", status_code=202)
    def end(call_id: str) -> dict[str, str]:
        """Hang up now."""
        session_of(call_id).end("ended by the API")
        return {"status": "ending"}

    return router


def _summary(session: CallSession) -> dict[str, Any]:
    return {
        "call_id": session.call_id,
        "carrier": session.carrier,
        "caller": session.offered.caller,
        "called": session.offered.called,
        "phase": session.state.phase.value,
        "floor": session.state.floor.value,
        "end_reason": session.end_reason,
    }


async def _stream(session: CallSession) -> AsyncIterator[bytes]:
    """Server-sent events. A reader too slow for the call loses the oldest, never the call's time."""
    waiting: asyncio.Queue[JournalEvent] = asyncio.Queue(_EVENTS_WAITING)

    def listener(event: JournalEvent) -> None:
        if waiting.full():
            waiting.get_nowait()
        waiting.put_nowait(event)

    past = tuple(session.record.journal.events)
    stop = session.record.journal.listen(listener)
    try:
        for event in past:
            yield _server_sent(event)
        ended = bool(past) and isinstance(past[-1], CallEnded)
        while not ended:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_S):
                    event = await waiting.get()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            yield _server_sent(event)
            ended = isinstance(event, CallEnded)
    finally:
        stop()


def _server_sent(event: JournalEvent) -> bytes:
    return b"data: " + encode(event) + b"\n\n"
