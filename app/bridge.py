"""The bridge: everything that the calls of a process share, built from its settings, and how long it lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import structlog

from app.calls.admission import Admission
from app.calls.books import Books
from app.calls.directory import Directory
from app.calls.kept import open_kept
from app.calls.neighbours import LocalNeighbours
from app.calls.processes import OwnProcess
from app.calls.returning import Returning
from app.calls.store.base import CallStore
from app.calls.store.errors import StoreUnavailable
from app.calls.switchboard import Switchboard
from app.calls.writer import JournalWriter
from app.conversation.phrasebook import Phrasebook
from app.conversation.phrasestore import PhraseStore
from app.conversation.services import Providers, Services
from app.conversation.tools import Toolbox, ToolSetup
from app.settings import Settings, SettingsError
from app.sip.calls import CARRIER as SIP
from app.sip.calls import EndpointFactory, SipCalls
from app.sip.settings import SipSettings
from app.sip.setup import pjsua_endpoint
from app.telemetry.metrics import Metrics
from app.telemetry.stalls import StallWatch
from app.telemetry.trunks import expose_trunks
from providers.base import Buffered, ProviderContext
from providers.buffers import fullest
from providers.errors import ProviderError
from providers.registry import build_all
from telephony.carrier import CallControl
from telephony.carriers import CARRIERS
from telephony.clock import Clock
from telephony.errors import MissingExtra, OurFault
from telephony.noise import WebRtcSuppressor
from telephony.turn_end import SmartTurn, TurnEndModel
from telephony.vad import VoiceActivity

_LAG_EVERY_S = 0.5
_BUFFERS_EVERY_S = 1.0
_DIALOGUE_TOOLS = "app.demo.tools"

log = structlog.get_logger()


class Bridge:
    """One process's parts, joined. `running` is its life."""

    def __init__(
        self, settings: Settings, clock: Clock, *, worker: tuple[int, int], endpoint: EndpointFactory | None = None
    ) -> None:
        """See `app.main.create_app`."""
        self.clock = clock
        self.metrics = Metrics()
        self._sip = SipSettings.load(settings.environment, settings.max_calls, worker)
        wanted = {"stt": settings.stt_provider, "llm": settings.llm_provider, "tts": settings.tts_provider}
        context = ProviderContext(settings.environment, clock, instruments=self.metrics)
        self._stt, self._llm, self._tts, self.chosen = build_all(wanted, context)
        self._activity = VoiceActivity()
        self._turn_end = _listening_extras(settings)
        self.services = self._built_services(settings)
        self.kept = open_kept(settings, clock)
        self._process = OwnProcess(settings.state_dir / "processes")
        self._admission = Admission(settings.max_calls, settings.max_lag_ms / 1000, settings.overflow)
        recovery = settings.recovery()
        if self._sip is not None:
            recovery = replace(recovery, grace_s={SIP: self._sip.variables.return_s})
        self._writer = JournalWriter(
            self.kept.store,
            clock,
            self.metrics,
            owner=self._process.name,
            lease_s=recovery.lease_s,
            seal=self.kept.seal,
            private=settings.private_stored,
        )
        self.directory = Directory(
            self.services,
            public_url=settings.base_url,
            token_lifetime_s=settings.token_lifetime_s,
            admission=self._admission,
            listener=self.metrics.observe,
            journals=self._writer,
        )
        self.metrics.live_calls.set_function(lambda: len(self.directory))
        self._controls = _controls(settings)
        self.switchboard = Switchboard(
            self.directory,
            self.services,
            Books(self.kept.store, self._writer, self.kept.archive, settings.state_dir / "stream-tokens.key"),
            others=self._process,
            neighbours=LocalNeighbours(settings.state_dir / "neighbours", clock),
            controls=self._controls,
            settings=recovery,
        )
        self.sip_calls = None if self._sip is None else self._trunk_calls(self._sip, endpoint)
        self._ready = False

    def _built_services(self, settings: Settings) -> Services:
        modules = [*filter(None, (name.strip() for name in settings.tools.split(",")))]
        if "dialogue" in self._llm.name.split(",") and not modules:
            modules = [_DIALOGUE_TOOLS]
        manners = settings.manners()
        return Services(
            providers=Providers(self._stt, self._llm, self._tts),
            activity=self._activity,
            toolbox=Toolbox.load(modules, ToolSetup(settings.state_dir, settings.environment, self.clock)),
            phrasebook=Phrasebook(PhraseStore(settings.state_dir / "phrases")),
            manners=manners if self._sip is None else self._sip.manners(manners),
            counters=self.metrics,
            clock=self.clock,
            turn_end=self._turn_end,
        )

    def _trunk_calls(self, sip: SipSettings, endpoint: EndpointFactory | None) -> SipCalls:
        return_s = sip.variables.return_s
        lost = Returning(
            self.switchboard,
            self.kept.store,
            self.kept.archive,
            self.clock,
            outlived=self._process.outlived,
            within_s=return_s,
        )
        endpoint = endpoint or pjsua_endpoint(sip.endpoint, self.clock)
        calls = SipCalls(sip, self.directory, self.services, endpoint, lost if return_s else None)
        self.directory.before_drain = calls.close_door
        expose_trunks(self.metrics.registry, calls.trunks)
        return calls

    @property
    def ready(self) -> bool:
        """New calls are taken."""
        return self._ready and self.directory.accepting

    def breakers(self) -> dict[str, Any]:
        """How each provider's breaker stands."""
        return {
            "stt": self._stt.roster.health(),
            "llm": self._llm.roster.health(),
            "tts": self._tts.roster.health(),
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take calls until it is left; then they end. Raises `ProviderMisconfigured` for a key that a vendor refuses,
        `StoreMisconfigured`, telephony's `EndpointFailed`."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._process)
            for provider in (self._stt, self._llm, self._tts):
                await stack.enter_async_context(provider)
            await _try_keys(self.services.providers)
            await stack.enter_async_context(self._turn_end or nullcontext())
            for control in self._controls.values():
                await stack.enter_async_context(control)
            await stack.enter_async_context(self.kept.store)
            await _look_at(self.kept.store)
            stack.push_async_callback(self._writer.finish)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            background = [
                group.create_task(self._activity.run(self.clock), name="voice activity"),
                group.create_task(_watch_lag(self.clock, self.metrics, self._admission), name="loop lag"),
                group.create_task(_watch_buffers(self.clock, self.metrics, self._stt, self.directory), name="buffers"),
                group.create_task(_prepare_phrases(self.services), name="phrases"),
                group.create_task(self._writer.run(), name="journals"),
            ]
            await stack.enter_async_context(self.directory)
            await stack.enter_async_context(self.switchboard)
            await stack.enter_async_context(self.sip_calls or nullcontext())
            self._ready = True
            yield
            self._ready = False
            for task in background:
                task.cancel()


def _controls(settings: Settings) -> dict[str, CallControl]:
    """The control over live calls of each carrier that has one and is set up for it. Raises `SettingsError`."""
    try:
        found = {name: carrier.control(settings.environment) for name, carrier in CARRIERS.items()}
    except OurFault as wrong:
        raise SettingsError(str(wrong)) from None
    return {name: control for name, control in found.items() if control is not None}


async def _look_at(store: CallStore) -> None:
    """Is the store there? Calls do not need it to begin. Raises `StoreMisconfigured`."""
    try:
        await store.check()
    except StoreUnavailable as failure:
        log.warning("calls go on without being stored until the store is there", reason=str(failure))


async def _try_keys(providers: Providers) -> None:
    """A vendor who is away may be back when somebody calls; one who refuses our key will not change his mind."""
    for failure in await providers.try_keys():
        log.warning("vendor not reached", provider=failure.provider, detail=failure.detail)


def _listening_extras(settings: Settings) -> TurnEndModel | None:
    """The turn-end model, if one is wanted. Raises `MissingExtra` or `SettingsError` for what is wanted and missing."""
    if settings.noise_suppression != "off":
        WebRtcSuppressor(settings.noise_suppression)  # each call makes its own
    try:
        return SmartTurn(settings.turn_model) if settings.turn_model else None
    except MissingExtra as missing:
        raise SettingsError(f"TURN_MODEL: {missing}") from None


async def _watch_lag(clock: Clock, metrics: Metrics, admission: Admission) -> None:
    """How late the event loop runs: what every call of this process feels."""
    with StallWatch() as stalls:
        while True:
            due = clock.now() + _LAG_EVERY_S
            await clock.sleep_until(due)
            late_s = max(0.0, clock.now() - due)
            stalls.beat(late_s)
            metrics.loop_lag.observe(late_s)
            metrics.level("tasks", len(asyncio.all_tasks()))
            admission.lagged(late_s)


async def _watch_buffers(clock: Clock, metrics: Metrics, stt: Buffered, directory: Directory) -> None:
    """How full the fullest buffer of each kind is, of all calls."""
    known: dict[str, float] = {}
    while True:
        fills = fullest([stt.fills(), *(session.fills() for session in directory.sessions())])
        known = {**dict.fromkeys(known, 0.0), **fills}
        for name, fill in known.items():
            metrics.level("buffer_fill", fill, buffer=name)
        await clock.sleep_until(clock.now() + _BUFFERS_EVERY_S)


async def _prepare_phrases(services: Services) -> None:
    """Until all are at hand: without them a vendor's failure is answered with silence."""
    pause_s = 1.0
    while (failure := await _prepared(services)) is not None:
        log.warning("phrases not prepared", provider=failure.provider, detail=failure.detail, again_in_s=pause_s)
        await services.clock.sleep_until(services.clock.now() + pause_s)
        pause_s = min(2 * pause_s, 60.0)


async def _prepared(services: Services) -> ProviderError | None:
    return await services.phrasebook.prepare(services.manners.phrases(), services.providers.tts)
