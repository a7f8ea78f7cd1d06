"""SIP calls over a fake endpoint, in virtual time: calls come in and go out, with their journals to look at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from app.calls.directory import Directory
from app.calls.journal import CallEnded, JournalEvent
from app.conversation.session import CallSession
from app.sip.calls import SipCalls
from app.sip.settings import SipSettings
from telephony.sip.contracts import EndpointObserver
from telephony.sip.settings import EndpointSettings
from tests.calls.world import World
from tests.doubles import FRAME_S, Line
from tests.fakes.sip import FakeCall, FakeEndpoint

E = TypeVar("E", bound=JournalEvent)

TRUNK = {
    "SIP_SERVER": "sip.example.net",
    "SIP_USER": "bridge",
    "SIP_PASSWORD": "s3cret",
    "SIP_DESTINATIONS": "+1555,+49",
}


class Board:
    """SIP calls and everybody around it."""

    def __init__(self, world: World, directory: Directory, sip_calls: SipCalls, endpoint: FakeEndpoint) -> None:
        self.world, self.directory, self.sip_calls, self.endpoint = world, directory, sip_calls, endpoint

    def session(self, place: int = -1) -> CallSession:
        """Of the newest call, or another."""
        return list(self.directory.sessions())[place]

    async def until(self, condition: Callable[[], object], within_s: float = 60.0) -> None:
        deadline = self.world.clock.now() + within_s
        while not condition():
            assert self.world.clock.now() < deadline, "did not happen"
            await asyncio.sleep(0.01)

    async def until_said(self, session: CallSession, text: str) -> None:
        """Wait until the agent was heard to say this."""
        await self.until(lambda: text in " ".join(message_texts(session)))

    async def until_ended(self, session: CallSession) -> CallEnded:
        await self.until(lambda: events(session, CallEnded))
        return events(session, CallEnded)[0]

    def counted(self, name: str, **labels: str) -> float:
        return self.world.metrics.registry.get_sample_value(f"sidetone_{name}_total", labels) or 0.0


@asynccontextmanager
async def board(world: World | None = None, *, max_calls: int = 10, **variables: str) -> AsyncIterator[Board]:
    world = world or World()
    settings = SipSettings.load({**TRUNK, **variables}, max_calls)
    assert settings is not None
    world.manners = settings.manners(world.manners)
    services = world.services()
    await world.phrasebook.prepare(world.manners.phrases(), world.tts)
    made: list[FakeEndpoint] = []

    def endpoint(set_: EndpointSettings, observer: EndpointObserver) -> AbstractAsyncContextManager[FakeEndpoint]:
        made.append(FakeEndpoint(set_, observer, world.clock))
        return made[0].run()

    directory = Directory(services, public_url="https://x.example", max_calls=max_calls)
    async with directory, SipCalls(settings, directory, services, endpoint) as sip_calls:
        yield Board(world, directory, sip_calls, made[0])


def events(session: CallSession, kind: type[E]) -> list[E]:
    return [event for event in session.record.journal.events if isinstance(event, kind)]


def kinds(session: CallSession) -> list[str]:
    """The journal as names of its events."""
    return [type(event).__name__ for event in session.record.journal.events]


def message_texts(session: CallSession) -> list[str]:
    return [getattr(message, "text", "") for message in session.record.transcript.messages()]


def line_of(call: FakeCall) -> Line:
    assert call.line is not None
    return call.line


def sounding(call: FakeCall) -> bool:
    """The agent is audible right now."""
    line = call.line
    return line is not None and bool(line.heard) and line.clock.now() - line.heard[-1][0] < 2.5 * FRAME_S
