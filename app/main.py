"""The application: settings in, FastAPI out. Every route, over one `Bridge`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from app.bridge import Bridge
from app.calls.store.errors import StoreError
from app.settings import Settings
from app.siblings import Siblings
from app.sip.calls import EndpointFactory
from app.web.api import api_router
from app.web.dialling import dialling_router
from app.web.media import MediaEndpoint
from app.web.probes import probes_router
from app.web.security import ApiGate, CarrierGate, RequestRefused
from app.web.webhooks import CarrierWebhooks
from app.web.websocket_leg import MediaLimits
from telephony.carriers import CARRIERS
from telephony.clock import Clock, MonotonicClock

log = structlog.get_logger()


def create_app(
    settings: Settings,
    clock: Clock | None = None,
    *,
    worker: tuple[int, int] = (0, 1),
    endpoint: EndpointFactory | None = None,
    siblings: Path | None = None,
) -> FastAPI:
    """The whole bridge. `worker`: which of how many processes that share the port this is; `siblings`: the folder where
    they find each other. `endpoint` takes the place of the SIP library. `app.state` has the `bridge`, and of it
    `chosen` (who listens, thinks and speaks), `switchboard` and `sip_calls`.

    Raises `SettingsError`, `ProviderMisconfigured`, `StoreMisconfigured`, `ToolSetupError` or telephony's
    `MissingExtra` for what is set wrong. Its lifespan is `Bridge.running`.
    """
    bridge = Bridge(settings, clock or MonotonicClock(), worker=worker, endpoint=endpoint)
    workers = Siblings(siblings, bridge.metrics.exposition)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with workers, bridge.running():
            yield

    app = FastAPI(
        title="Sidetone", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.bridge = bridge
    app.state.chosen = bridge.chosen
    app.state.sip_calls = bridge.sip_calls
    app.state.switchboard = bridge.switchboard
    for carrier in CARRIERS.values():
        gate = CarrierGate(carrier, settings.base_url, settings.secrets_of(carrier))
        app.router.routes += CarrierWebhooks(carrier, gate, bridge.switchboard, bridge.metrics).routes()
        media = MediaEndpoint(carrier, gate, bridge.switchboard, bridge.clock, bridge.metrics, MediaLimits())
        app.router.routes.append(media.route())
    gate_of_api = ApiGate(settings.api_token.get_secret_value() or None)
    archive, names = bridge.kept.archive, bridge.services.providers.names()
    app.include_router(api_router(bridge.switchboard, archive, gate_of_api, bridge.clock, settings.private_shown))
    app.include_router(dialling_router(bridge.switchboard, archive, bridge.sip_calls, gate_of_api))
    app.include_router(
        probes_router(lambda: bridge.ready, names, bridge.breakers, bridge.sip_calls, workers.exposition, gate_of_api)
    )
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """What a peer hears of a request that is refused, or that the store cannot answer now."""

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> Response:
        return PlainTextResponse(error.text, error.status, error.headers)

    @app.exception_handler(StoreError)
    async def not_stored(_: Request, error: StoreError) -> Response:
        log.warning("stored calls cannot be read", reason=str(error))
        return PlainTextResponse("what is stored of calls cannot be read now", 503)
