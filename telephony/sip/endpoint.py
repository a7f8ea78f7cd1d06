"""The process's SIP endpoint: `telephony.sip.contracts.SipEndpoint`, on pjsua2.

It owns the library's life, one task per trunk, and the ticker that moves all sound. What the library's threads say is
handed to the event loop and told to whom it concerns; nothing else crosses between them.
"""

import asyncio
import resource
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from telephony.clock import Alarm, Clock
from telephony.sip.call import Call, Dialog
from telephony.sip.contracts import Direction, EndpointObserver
from telephony.sip.errors import CallRefused, CommandFailed, SipUnavailable, TooFewDescriptors
from telephony.sip.events import Cause, DialRequest, Party, TrunkStatus
from telephony.sip.leg import Ring, SipLeg
from telephony.sip.message import Message, read_invitation, user_of
from telephony.sip.orders import Orders
from telephony.sip.settings import EndpointSettings, Transport, Trunk
from telephony.sip.signals import CallSignal, TrunkSignal
from telephony.sip.sources import Sources
from telephony.sip.ticker import MediaTicker
from telephony.sip.trunk import TrunkKeeper
from telephony.sip.uris import caller_identity, check_headers, host_in, host_of, target_uri
from telephony.tasks import TaskGroup

if TYPE_CHECKING:
    from telephony.sip.library import Library
    from telephony.sip.pjsua import CallHandle

T = TypeVar("T")

_OTHER_DESCRIPTORS = 256
"""Besides the two of a call: websockets, providers, the journal, logs."""
_LOOK_UP_S, _LOOK_UP_EVERY_S, _LOOK_UP_AGAIN_S = 5.0, 300.0, 10.0
"""For one name; until the next time, and after a failure."""
_REASONS = {486: "full", 406: "incompatible", 488: "incompatible", 606: "incompatible"}
"""Why the library refuses an INVITE by itself, by what it answers."""
_REPORT_EVERY_S = 1.0
_COMMANDS_AT_ONCE, _NAMES_AT_ONCE = 16, 4
"""Commands to calls, and names of whom to call, that may wait for a resolver before others wait for them."""
_HANG_UP_S = 3.0
"""How long leaving waits for calls to end."""


def check_descriptors(max_calls: int) -> None:
    """Raise `TooFewDescriptors` if so many calls cannot be had with the process's limit of open files."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = 2 * max_calls + _OTHER_DESCRIPTORS
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise TooFewDescriptors(needed, allowed, max_calls)


def load_library() -> "type[Library]":
    """The half of this folder that needs pjsua2. Raises `SipUnavailable` without it."""
    try:
        from telephony.sip.library import Library
    except ImportError as missing:
        raise SipUnavailable(f"pjsua2 cannot be imported ({missing})") from None
    return Library


class Endpoint:
    """See `SipEndpoint`. One per process at a time; use it as `async with Endpoint(...) as endpoint`."""

    def __init__(self, settings: EndpointSettings, observer: EndpointObserver, clock: Clock) -> None:
        self.media_timeout_s = settings.media_timeout_s
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._trunks = {trunk.name: trunk for trunk in settings.trunks}
        self._sources = Sources(settings.trunks)
        self._calls: dict[Dialog, Call] = {}
        self._keepers: dict[str, TrunkKeeper] = {}
        self._refusal: Cause | None = None
        self._ending = False
        self._all_gone = Alarm(clock)
        self._stack = AsyncExitStack()
        self._group: TaskGroup | None = None

    # life

    async def __aenter__(self) -> "Endpoint":
        check_descriptors(self._settings.max_calls)
        self._loop = asyncio.get_running_loop()
        self._library = load_library()(self._settings, self)
        self._library.start()
        self._library.adopt_thread("sip-loop")
        self._library.admit(self._sources.listed())
        self._control = ThreadPoolExecutor(1, "sip-control", self._library.adopt_thread, ("sip-control",))
        self._commands = ThreadPoolExecutor(
            _COMMANDS_AT_ONCE, "sip-command", self._library.adopt_thread, ("sip-command",)
        )
        self._names = ThreadPoolExecutor(_NAMES_AT_ONCE, "sip-name")
        self._ticker = MediaTicker(self._library.read_all, self._clock)
        self._stack.push_async_callback(self._end_library)
        self._group = await self._stack.enter_async_context(TaskGroup())
        self._tasks = [self._group.create_task(self._ticker.run()), self._group.create_task(self._report_strangers())]
        for trunk in self._settings.trunks:
            keeper = self._keepers[trunk.name] = self._keeper(trunk)
            self._tasks.append(self._group.create_task(keeper.run()))
            self._tasks.append(self._group.create_task(self._look_up(trunk)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._leave()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._stack.__aexit__(kind, error, trace)

    async def _leave(self) -> None:
        """Hang everything up and sign off, as far as that can be done in a few seconds."""
        self.refuse_new(Cause(503, text="going away"))
        for call in tuple(self._calls.values()):
            call.hang_up(Cause(q850=16, text="going away"))
        deadline = self._clock.now() + _HANG_UP_S
        while self._calls and self._clock.now() < deadline:
            await self._all_gone.wait_until(deadline)
        await self.unregister()

    async def _end_library(self) -> None:
        for call in tuple(self._calls.values()):
            call.fail(Cause(q850=16, text="going away"))
        self._ending = True
        await self._loop.run_in_executor(self._control, lambda: self._commands.shutdown(cancel_futures=True))
        await self._loop.run_in_executor(self._control, self._library.release)
        await self._loop.run_in_executor(self._control, self._library.destroy)
        self._control.shutdown(wait=False)
        self._names.shutdown(wait=False)

    # what the application asks

    def trunks(self) -> tuple[TrunkStatus, ...]:
        return tuple(keeper.status for keeper in self._keepers.values())

    def calls(self) -> int:
        return len(self._calls)

    @property
    def late_ticks(self) -> int:
        """Media ticks that came more than 30 ms late: the process is overloaded."""
        return self._ticker.late_ticks

    def dial(self, request: DialRequest) -> Call:
        trunk = self._trunks.get(request.trunk)
        if trunk is None or self._group is None:
            raise CallRefused(f"there is no trunk {request.trunk!r}")
        headers = dict(request.headers)
        check_headers(headers)
        target, caller = target_uri(trunk, request.target), caller_identity(trunk, request.caller, request.display_name)
        if request.caller:
            headers.setdefault("P-Asserted-Identity", caller)
        handle = self._library.handle()
        peer = Party(target, user_of(target), "")
        call = self._calls[handle] = Call(self, handle, trunk.name, Direction.OUTBOUND, peer)
        call.answer_within(request.answer_within_s)
        self._group.create_task(self._dial(call, handle, target, caller, headers))
        return call

    def refuse_new(self, cause: Cause | None) -> None:
        self._refusal = cause

    async def unregister(self) -> None:
        for keeper in self._keepers.values():
            await keeper.sign_off()

    async def _dial(
        self, call: Call, handle: "CallHandle", target: str, caller: str, headers: Mapping[str, str]
    ) -> None:
        account = self._library.accounts[call.trunk]
        try:
            next_hop = host_of(account.trunk.proxy) or host_in(target)
            await self._patiently(next_hop, lambda: account.dial(handle, target, caller, headers))
        except CommandFailed as failure:
            call.fail(Cause(503, text=str(failure)))
        else:
            call.dialled()

    async def _patiently(self, host: str, command: Callable[[], None]) -> None:
        """On the control thread: a command that sends something to `host`. The library would look its name up under its
        lock, for which everything else waits: so it is asked only when the name is known to lead somewhere."""
        if not self._settings.nameservers:
            await self._loop.run_in_executor(self._names, self._check_name, host)
        await self._loop.run_in_executor(self._control, command)

    def _check_name(self, host: str) -> None:
        """Raise `CommandFailed` for a host without an address. Takes as long as the resolver does."""
        try:
            socket.getaddrinfo(host, None, socket.AF_INET6 if self._settings.ipv6 else socket.AF_INET)
        except (OSError, UnicodeError) as failure:
            raise CommandFailed(f"{host} has no address: {failure}") from None

    # trunks

    def _keeper(self, trunk: Trunk) -> TrunkKeeper:
        line = self._library.accounts[trunk.name]
        patiently = partial(self._patiently, host_of(trunk.proxy or trunk.server))
        return TrunkKeeper(trunk, line, self._clock, patiently, self._observer.trunk_changed)

    async def _look_up(self, trunk: Trunk) -> None:
        """Learn the addresses of a trunk's servers, now and then; what answers come from is learnt besides."""
        while True:
            found = [address for server in (trunk.server, trunk.proxy) for address in await self._addresses(server)]
            self._learn(trunk.name, *found)
            await self._clock.sleep_until(self._clock.now() + (_LOOK_UP_EVERY_S if found else _LOOK_UP_AGAIN_S))

    async def _addresses(self, server: str) -> tuple[str, ...]:
        if not server:
            return ()
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                found = await self._loop.getaddrinfo(host_of(server), None, type=socket.SOCK_DGRAM)
        except (TimeoutError, OSError):
            return ()
        return tuple(str(entry[4][0]) for entry in found)

    def _learn(self, trunk: str, *addresses: str) -> None:
        if self._sources.learn(trunk, addresses):
            self._library.admit(self._sources.listed())

    async def _report_strangers(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.now() + _REPORT_EVERY_S)
            for source, count in self._library.strangers():
                self._observer.invitation_refused(source, "stranger", count)

    # what the library says: on its threads, so it is only handed on

    def trunk_for(self, source: str, message: str) -> str | None:
        several = len(self._sources.trunks_of(source)) > 1
        return self._sources.trunk_of(source, user_of(Message(message).request_uri) if several else "")

    def invited(self, trunk: str, handle: "CallHandle", source: str, message: str) -> None:
        self._loop.call_soon_threadsafe(self._invited, trunk, handle, source, message)

    def refused(self, source: str, status: int) -> None:
        reason = _REASONS.get(status, "malformed")
        self._loop.call_soon_threadsafe(self._observer.invitation_refused, source, reason)

    def call_signalled(self, handle: "CallHandle", signal: CallSignal) -> None:
        self._loop.call_soon_threadsafe(self._call_signalled, handle, signal)

    def trunk_signalled(self, trunk: str, signal: TrunkSignal) -> None:
        self._loop.call_soon_threadsafe(self._trunk_signalled, trunk, signal)

    def disconnected(self, transport: Transport) -> None:
        self._loop.call_soon_threadsafe(self._disconnected, transport)

    # ... and told to whom it concerns, on the event loop

    def _invited(self, trunk: str, handle: "CallHandle", source: str, message: str) -> None:
        known = self._library.filters or self._sources.trunk_of(source) is not None
        if not known or self._refusal is not None:
            cause = Cause(403) if not known or self._refusal is None else self._refusal
            self._turn_away(handle, cause)
            self._observer.invitation_refused(source, "draining" if known else "stranger")
            return
        own_user = self._trunks[trunk].user
        invitation = read_invitation(
            message, trunk=trunk, source=source, own_user=own_user, received_at=self._clock.now()
        )
        call = self._calls[handle] = Call(self, handle, trunk, Direction.INBOUND, invitation.caller)
        call.call_id = invitation.call_id
        call.decide_within(self._settings.offer_within_s)
        self._observer.call_offered(call, invitation)

    def _turn_away(self, handle: "CallHandle", cause: Cause) -> None:
        orders = Orders(self.carry_out)
        orders.give(lambda: handle.hang_up(cause.status, {}), lambda _: None)  # else it was cancelled meanwhile

    def _call_signalled(self, handle: "CallHandle", signal: CallSignal) -> None:
        call = self._calls.get(handle)
        if call is not None:
            call.signalled(signal)

    def _trunk_signalled(self, trunk: str, signal: TrunkSignal) -> None:
        self._learn(trunk, signal.source)
        self._keepers[trunk].signalled(signal)

    def _disconnected(self, transport: Transport) -> None:
        for keeper in self._keepers.values():
            if keeper.trunk.transport is transport:
                keeper.disconnected()

    # what a call asks

    def carry_out(self, command: Callable[[], T]) -> "asyncio.Future[T]":
        if not self._ending:
            return self._loop.run_in_executor(self._commands, command)
        refused: asyncio.Future[T] = self._loop.create_future()
        refused.set_exception(CommandFailed("the library is about to end"))
        return refused

    def open_leg(self, ring: Ring, key: int) -> SipLeg:
        leg = SipLeg(ring, self._clock)
        self._ticker.add(key, leg)
        return leg

    def transfer_uri(self, trunk: str, target: str) -> str:
        return target_uri(self._trunks[trunk], target)

    def call_ended(self, call: Call) -> None:
        del self._calls[call.dialog]
        if not self._calls:
            self._all_gone.ring()
