"""What an operator's machines ask: is the process alive, does it take calls, how is it doing."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.sip.calls import SipCalls
from app.web.security import ApiGate


def probes_router(
    ready: Callable[[], bool],
    providers: Mapping[str, str],
    breakers: Callable[[], Mapping[str, Any]],
    sip_calls: SipCalls | None,
    exposition: Callable[[], Awaitable[bytes]],
    gate: ApiGate,
) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """The bridge takes calls. A trunk that is down is told, and stops nobody from calling another way."""
        told: dict[str, Any] = {"ready": ready(), "providers": dict(providers), "breakers": breakers()}
        if sip_calls is not None:
            told["trunks"] = {trunk.name: trunk.state.value for trunk in sip_calls.trunks()}
        return JSONResponse(told, 200 if told["ready"] else 503)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Prometheus' text format; behind the API's gate, for it tells about calls."""
        gate.admit(request.scope)
        return Response(await exposition(), media_type="text/plain; version=0.0.4")

    return router
