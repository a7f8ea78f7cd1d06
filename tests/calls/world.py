"""A whole call in virtual time: scripted providers, a line with a caller, and the journal to look at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from app.calls.journal import CallerSaid, JournalEvent, ReplyEnded
from app.conversation.manners import Manners
from app.conversation.phrasebook import Phrasebook
from app.conversation.services import Providers, Services
from app.conversation.session import CallSession
from app.conversation.tools import Toolbox
from app.telemetry.metrics import Metrics
from providers.base import ProviderContext
from providers.resilience.recognisers import RecogniserChain
from providers.scripted import ScriptedLanguageModel, ScriptedSpeechToText, ScriptedTextToSpeech
from telephony.carrier import CallOffered
from telephony.clock import LoopClock
from tests.doubles import EnergyDetector, Line

E = TypeVar("E", bound=JournalEvent)


@dataclass
class World:
    """Everything a call needs, with the knobs that tests turn."""

    manners: Manners = field(default_factory=Manners)
    toolbox: Toolbox = field(default_factory=Toolbox)
    texts: tuple[str, ...] = ("what are your opening hours", "thank you")

    def __post_init__(self) -> None:
        self.clock = LoopClock()
        self.stt = ScriptedSpeechToText(self.clock, self.texts, ends_turn=False)
        self.llm = ScriptedLanguageModel(self.clock)
        self.tts = ScriptedTextToSpeech(self.clock)
        self.metrics = Metrics()
        self.phrasebook = Phrasebook()

    def recogniser(self) -> RecogniserChain:
        """The recogniser as the registry gives it to the bridge."""
        return RecogniserChain([self.stt], ProviderContext({}, self.clock, instruments=self.metrics))

    def services(self) -> Services:
        return Services(
            providers=Providers(self.recogniser(), self.llm, self.tts),
            activity=EnergyDetector(self.clock),
            toolbox=self.toolbox,
            phrasebook=self.phrasebook,
            manners=self.manners,
            counters=self.metrics,
            clock=self.clock,
        )

    def with_manners(self, **changes: Any) -> "World":
        self.manners = replace(self.manners, **changes)
        return self

    @asynccontextmanager
    async def call(self, call_id: str = "CA1") -> AsyncIterator["Call"]:
        """A call that is answered, with a line attached."""
        session = CallSession(
            "twilio", CallOffered(call_id, "+15550100001", "+15550100002", "inbound"), self.services()
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(session.run())
            await asyncio.sleep(0)
            call = Call(self, session, group, running)
            call.connect()
            yield call
            if not running.done():
                session.caller_gone("completed")
            call.line.close()


@dataclass
class Call:
    """One call under test."""

    world: World
    session: CallSession
    group: asyncio.TaskGroup
    running: "asyncio.Task[None]"

    def connect(self) -> Line:
        """A (new) leg."""
        self.line = Line(self.world.clock)
        self.group.create_task(self.line.run())
        self.detached = self.session.attach(self.line, "MZ1")
        return self.line

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait, in virtual time, until the condition holds."""
        deadline = self.world.clock.now() + within_s
        while not condition():
            assert self.world.clock.now() < deadline, f"did not happen; state {self.session.state}"
            await asyncio.sleep(0.01)

    async def until_heard_out(self) -> None:
        """Wait until the agent has begun and ended a reply."""
        ended = len(self.events(ReplyEnded))
        await self.until(lambda: len(self.events(ReplyEnded)) > ended)

    async def greeting(self) -> None:
        await self.until_heard_out()

    def events(self, kind: type[E]) -> list[E]:
        return [event for event in self.session.record.journal.events if isinstance(event, kind)]

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.events(CallerSaid)]

    @property
    def replies(self) -> list[tuple[str, str]]:
        """(reason, heard) of each reply."""
        return [(event.reason, event.heard) for event in self.events(ReplyEnded)]
