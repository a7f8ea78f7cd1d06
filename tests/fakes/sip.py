"""A SIP endpoint without SIP: the contract of `telephony.sip`, with a network that does what a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from telephony.carrier import CarrierCapabilities
from telephony.clock import Clock
from telephony.errors import OurFault
from telephony.sip.contracts import Direction, EndpointObserver
from telephony.sip.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallHeld,
    CallProgressed,
    CallResumed,
    Cause,
    DialRequest,
    Invitation,
    MediaOpened,
    MediaStatistics,
    Party,
    TransferEnded,
    TransferProgressed,
    TrunkState,
    TrunkStatus,
)
from telephony.sip.settings import EndpointSettings
from tests.doubles import Line

LIKE_SIP = CarrierCapabilities(
    marks=True, marks_echo_on_clear=False, clear=True, resume=False, transfer=True, dtmf_out=True
)
MEASURED = MediaStatistics("PCMU", packets_received=500, packets_lost=5, jitter_ms=3.0, mos=4.2, round_trip_ms=20.0)


@dataclass
class FakeCall:
    """One dialog. What we do to it is in `done`; the far end acts through the methods below the line."""

    trunk: str
    direction: Direction
    peer: Party
    clock: Clock
    group: asyncio.TaskGroup
    call_id: str = "c-81@198.51.100.7"
    request: DialRequest | None = None
    done: list[str] = field(default_factory=list)
    cause: Cause | None = None
    """With which we ended or refused it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    over: bool = False
    answered: bool = False
    line: Line | None = None

    def __post_init__(self) -> None:
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[CallEvent]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, CallEnded):
                return

    def ring(self) -> None:
        self.done.append("ring")

    def open_early_media(self) -> None:
        self.done.append("early media")
        self.open_media(early=True)

    def answer(self, headers: Mapping[str, str] | None = None) -> None:
        if self.over:
            return
        self.done.append("answer")
        self.establish()

    def reject(self, cause: Cause, headers: Mapping[str, str] | None = None) -> None:
        if self.over or self.answered:
            return
        self.done.append("reject")
        self.headers = dict(headers or {})
        self._end(cause)

    def hang_up(self, cause: Cause | None = None) -> None:
        if not self.over:
            self.done.append("hang up")
            self._end(cause or Cause(q850=16))

    def hold(self) -> None:
        self.done.append("hold")

    def resume(self) -> None:
        self.done.append("resume")

    def press(self, digits: str) -> None:
        self.done.append(f"press {digits}")

    def transfer(self, target: str, *, within_s: float = 30.0, headers: Mapping[str, str] | None = None) -> None:
        self.done.append(f"refer {target}")

    def transfer_to(self, other: "FakeCall", *, within_s: float = 30.0) -> None:  # type: ignore[override]
        assert other.answered
        self.done.append(f"refer to {other.peer.user}")

    def statistics(self) -> MediaStatistics:
        return MEASURED if self.line is not None else MediaStatistics()

    def _end(self, cause: Cause) -> None:
        self.cause = cause
        self._over(cause, by_peer=False)

    def _over(self, cause: Cause, *, by_peer: bool) -> None:
        if self.over:
            return
        self.over = True
        if self.line is not None:
            self.line.close()
        self.tell(CallEnded(cause, by_peer, self.statistics()))

    # the far end

    def tell(self, event: CallEvent) -> None:
        self._events.put_nowait(event)

    def open_media(self, *, early: bool) -> Line:
        if self.line is None:
            self.line = Line(self.clock, capabilities=LIKE_SIP)
            self.group.create_task(self.line.run())
            self.tell(MediaOpened(self.line, early))
        return self.line

    def establish(self) -> Line:
        """200 and ACK."""
        line = self.open_media(early=False)
        self.answered = True
        self.tell(CallAnswered())
        return line

    def progress(self, status: int, reason: str) -> None:
        self.tell(CallProgressed(status, reason))

    def put_on_hold(self) -> None:
        self.tell(CallHeld())

    def take_back(self) -> None:
        self.tell(CallResumed())

    def refer_progress(self, status: int, reason: str) -> None:
        self.tell(TransferProgressed(status, reason))

    def refer_ends(self, status: int, reason: str = "") -> None:
        self.tell(TransferEnded(status < 300, status, reason))

    def peer_ends(self, cause: Cause = Cause()) -> None:  # noqa: B008 - frozen
        self._over(cause, by_peer=True)


INVITATION = Invitation(
    call_id="c-81@198.51.100.7",
    trunk="sip",
    source="198.51.100.7:5060",
    caller=Party("sip:+15550100001@carrier.example", "+15550100001", "Ana"),
    asserted=True,
    private=False,
    called="+15550100002",
)


class FakeEndpoint:
    """`SipEndpoint`."""

    def __init__(self, settings: EndpointSettings, observer: EndpointObserver, clock: Clock) -> None:
        self.settings, self.observer, self.clock = settings, observer, clock
        self.placed: list[FakeCall] = []
        self.refusing: Cause | None = None
        self.unregistered = False
        self.states = {trunk.name: TrunkStatus(trunk.name, TrunkState.UP, 200, "OK") for trunk in settings.trunks}
        self._all: list[FakeCall] = []
        self._group = asyncio.TaskGroup()

    @asynccontextmanager
    async def run(self) -> AsyncIterator["FakeEndpoint"]:
        async with self._group:
            yield self
            for call in self._all:
                call.hang_up(Cause(q850=16))

    def trunks(self) -> tuple[TrunkStatus, ...]:
        return tuple(self.states.values())

    def calls(self) -> int:
        return sum(not call.over for call in self._all)

    def dial(self, request: DialRequest) -> FakeCall:
        if "\r" in request.target or "\r" in request.caller:
            raise OurFault("does not fit into a SIP header")
        peer = Party(f"sip:{request.target}", request.target)
        call = FakeCall(request.trunk, Direction.OUTBOUND, peer, self.clock, self._group, request=request)
        self._all.append(call)
        self.placed.append(call)
        return call

    def refuse_new(self, cause: Cause | None) -> None:
        self.refusing = cause

    async def unregister(self) -> None:
        self.unregistered = True

    # the network

    def offer(self, **changes: object) -> FakeCall:
        """Somebody calls."""
        invitation = replace(INVITATION, **changes)  # type: ignore[arg-type]
        call = FakeCall(
            invitation.trunk, Direction.INBOUND, invitation.caller, self.clock, self._group, invitation.call_id
        )
        self._all.append(call)
        self.observer.call_offered(call, invitation)
        return call
