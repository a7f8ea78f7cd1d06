"""The application: settings in, FastAPI out. Routes, and the lifetime of everything that calls share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from app.calls.directory import Directory
from app.conversation.phrasebook import Phrasebook
from app.conversation.services import Providers, Services
from app.conversation.tools import Toolbox, ToolSetup
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.web.api import api_router
from app.web.media import MediaEndpoint
from app.web.security import ApiGate, CarrierGate, RequestRefused
from app.web.webhooks import CarrierWebhooks
from app.web.websocket_leg import MediaLimits
from providers.base import ProviderContext
from providers.registry import build_all
from telephony.carriers import CARRIERS
from telephony.clock import Clock, MonotonicClock
from telephony.vad import VoiceActivity

_LAG_EVERY_S = 0.5
_DIALOGUE_TOOLS = "app.demo.tools"

log = structlog.get_logger()


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The whole bridge. Raises `SettingsError`, `ProviderMisconfigured` or `ToolSetupError` for what is set wrong."""
    clock = clock or MonotonicClock()
    metrics = Metrics()
    wanted = {"stt": settings.stt_provider, "llm": settings.llm_provider, "tts": settings.tts_provider}
    stt, llm, tts, chosen = build_all(wanted, ProviderContext(settings.environment, clock))
    modules = [*filter(None, (name.strip() for name in settings.tools.split(",")))]
    if llm.name == "dialogue" and not modules:
        modules = [_DIALOGUE_TOOLS]
    activity = VoiceActivity()
    services = Services(
        providers=Providers(stt, llm, tts),
        activity=activity,
        toolbox=Toolbox.load(modules, ToolSetup(settings.state_dir, settings.environment, clock)),
        phrasebook=Phrasebook(),
        manners=settings.manners(),
        counters=metrics,
        clock=clock,
    )
    directory = Directory(
        services,
        public_url=settings.base_url,
        token_lifetime_s=settings.token_lifetime_s,
        max_calls=settings.max_calls,
        listener=metrics.observe,
    )
    metrics.live_calls.set_function(lambda: len(directory))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for provider in (stt, llm, tts):
                await stack.enter_async_context(provider)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            background = [
                group.create_task(activity.run(clock), name="voice activity"),
                group.create_task(_watch_lag(clock, metrics), name="loop lag"),
                group.create_task(_prepare_phrases(services), name="phrases"),
            ]
            await stack.enter_async_context(directory)
            app.state.ready = True
            yield
            app.state.ready = False
            for task in background:
                task.cancel()

    app = FastAPI(
        title="Sidetone", lifespan=lifespan, redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.ready = False
    app.state.chosen = chosen
    app.state.directory = directory
    api_gate = ApiGate(settings.api_token.get_secret_value() or None)
    for carrier in CARRIERS.values():
        gate = CarrierGate(carrier, settings.base_url, settings.secrets_of(carrier))
        app.router.routes += CarrierWebhooks(carrier, gate, directory, metrics).routes()
        media = MediaEndpoint(carrier, gate, directory, clock, metrics, MediaLimits())
        app.router.routes.append(media.route())
    app.include_router(api_router(directory, api_gate))

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> Response:
        return PlainTextResponse(error.text, error.status, error.headers)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """The bridge takes calls."""
        ready = bool(app.state.ready) and directory.accepting
        return JSONResponse({"ready": ready, "providers": services.providers.names()}, 200 if ready else 503)

    @app.get("/metrics")
    def exposition(request: Request) -> Response:
        """Prometheus' text format; behind the API's gate, for it tells about calls."""
        api_gate.admit(request.scope)
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    return app


async def _watch_lag(clock: Clock, metrics: Metrics) -> None:
    """How late the event loop runs: what every call of this process feels."""
    while True:
        due = clock.now() + _LAG_EVERY_S
        await clock.sleep_until(due)
        metrics.loop_lag.observe(max(0.0, clock.now() - due))


async def _prepare_phrases(services: Services) -> None:
    failure = await services.phrasebook.prepare(services.manners.phrases(), services.providers.tts)
    if failure is not None:
        log.warning("phrases not prepared", provider=failure.provider, detail=failure.detail)
