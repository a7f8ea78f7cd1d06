"""The REST API's part that reaches out: place a call, hand one over, press keys. Costs money, so it takes the token.

A call may be steered through any process: where another one has its line, it is told.
What is refused is answered as `{"error": reason, "detail": text}`, with a status that says whose fault it is.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import structlog
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StringConstraints

from app.calls.archive import CallArchive
from app.calls.directory import Directory
from app.calls.messages import PressKeys, TransferCall
from app.conversation.memory import fold
from app.conversation.session import CallSession
from app.conversation.state import Phase
from app.sip.calls import CARRIER, SipCalls
from app.sip.dialler import Order
from app.sip.errors import DialRefused, NotNow
from app.web.security import ApiGate

Text = Annotated[str, StringConstraints(max_length=1024)]
Party = Annotated[str, StringConstraints(min_length=1, max_length=128)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[Xx]-[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[ -~]{0,256}$")]

_STATUS = {"destination": 403, "trunk": 404, "malformed": 422, "rate": 429}

log = structlog.get_logger()


class PlaceCall(BaseModel, extra="forbid"):
    """Whom to call, how to appear, and what the agent is to know about it."""

    to: Party
    caller: Annotated[str, StringConstraints(max_length=128), Field(alias="from")] = ""
    trunk: Annotated[str, StringConstraints(max_length=64)] = ""
    variables: Annotated[dict[Annotated[str, StringConstraints(max_length=64)], Text], Field(max_length=50)] = {}
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=16)] = {}


class Transfer(BaseModel, extra="forbid"):
    """Who is to take over, and why. `attended`: he is called first."""

    to: Party
    reason: Annotated[str, StringConstraints(max_length=256)] = "asked for by the API"
    attended: bool | None = None


class Keys(BaseModel, extra="forbid"):
    digits: Annotated[str, StringConstraints(pattern=r"^[0-9*#A-Da-d]{1,32}$")]


class Steering(Protocol):
    """`app.calls.switchboard.Switchboard`, as far as it is needed here."""

    directory: Directory

    async def steer(self, message: TransferCall | PressKeys) -> bool:
        """Pass this on to the other process that has the call's line; False: none that lives has it."""
        ...


@dataclass(frozen=True, slots=True)
class _SipCall:
    """A call over SIP as it is known here; `session` is None while another process has it."""

    session: CallSession | None
    phase: Phase
    trunk: str


def dialling_router(
    switchboard: Steering, archive: CallArchive, sip_calls: SipCalls | None, gate: ApiGate
) -> APIRouter:
    """`POST /api/calls`, `/api/calls/{id}/transfer` and `/api/calls/{id}/digits`, for calls over SIP."""

    async def admitted(request: Request) -> None:
        gate.require_token()
        gate.admit(request.scope)

    router = APIRouter(prefix="/api/calls", dependencies=[Depends(admitted)])
    steering = _Steered(switchboard, archive, sip_calls)

    @router.post("", status_code=201)
    async def place(order: PlaceCall, response: Response) -> Any:
        """Place a call; answers at once, while it rings: what becomes of it is at `GET /api/calls/{call_id}`."""
        if sip_calls is None:
            return _refused(501, "no_sip", "calls are placed over SIP: set SIP_SERVER and what goes with it")
        try:
            session = sip_calls.dial(Order(order.to, order.caller, order.trunk, order.variables, order.headers))
        except DialRefused as refused:
            return _dial_refused(refused)
        response.headers["location"] = f"/api/calls/{session.call_id}"
        return {
            "call_id": session.call_id,
            "phase": session.state.phase.value,
            "trunk": session.offered.variables["trunk"],
            "from": session.offered.caller,
            "to": session.offered.called,
        }

    @router.post("/{call_id}/transfer", status_code=202)
    async def transfer(call_id: str, wanted: Transfer) -> Any:
        """Hand the call over, whatever is being said. Whether somebody took it is in the call's journal."""
        return await steering.transfer(call_id, wanted)

    @router.post("/{call_id}/digits", status_code=202)
    async def digits(call_id: str, keys: Keys) -> Any:
        """Press keys at the far end."""
        return await steering.press(call_id, keys.digits.upper())

    return router


class _Steered:
    """Calls over SIP that are live, in this process or another one."""

    def __init__(self, switchboard: Steering, archive: CallArchive, sip_calls: SipCalls | None) -> None:
        self._switchboard = switchboard
        self._archive = archive
        self._sip_calls = sip_calls

    async def transfer(self, call_id: str, wanted: Transfer) -> Any:
        call = await self._find(call_id)
        if call.phase not in (Phase.LIVE, Phase.HELD) or self._sip_calls is None:
            return _refused(409, "not_live", f"the call is {call.phase}")
        try:
            _, target = self._sip_calls.route(wanted.to, call.trunk)
        except DialRefused as refused:
            return _dial_refused(refused)
        if call.session is not None:
            call.session.transfer(target, wanted.reason, attended=wanted.attended)
        elif not await self._switchboard.steer(TransferCall(call_id, target, wanted.reason, wanted.attended)):
            return _out_of_reach()
        return {"status": "transferring"}

    async def press(self, call_id: str, digits: str) -> Any:
        call = await self._find(call_id)
        if call.phase is not Phase.LIVE:
            return _refused(409, "not_live", f"the call is {call.phase}")
        if call.session is not None:
            call.session.press(digits)
        elif not await self._switchboard.steer(PressKeys(call_id, digits)):
            return _out_of_reach()
        return {"status": "pressed"}

    async def _find(self, call_id: str) -> _SipCall:
        session = self._switchboard.directory.find(call_id)
        if session is not None:
            if session.handover.far_end is None:
                raise HTTPException(409, f"calls of {session.carrier} cannot be steered in mid-call")
            return _SipCall(session, session.state.phase, session.offered.variables.get("trunk", ""))
        memory = fold(await self._archive.events(call_id))
        if memory.answered is None:
            raise HTTPException(404, f"no call {call_id}: it never was, or is not kept any more")
        if memory.answered.carrier != CARRIER:
            raise HTTPException(409, f"calls of {memory.answered.carrier} cannot be steered in mid-call")
        phase = Phase.ENDED if memory.end_reason else memory.phase
        return _SipCall(None, phase, memory.answered.variables.get("trunk", ""))


def _out_of_reach() -> JSONResponse:
    return _refused(503, "out_of_reach", "the process that has the call does not answer; the call may come back")


def _dial_refused(refused: DialRefused) -> JSONResponse:
    status = 503 if isinstance(refused, NotNow) else 400
    return _refused(_STATUS.get(refused.reason, status), refused.reason, str(refused))


def _refused(status: int, error: str, detail: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    return JSONResponse({"error": error, "detail": detail}, status, headers)
