"""Calls over SIP trunks: between the SIP endpoint and the directory of calls.

Inbound: offered ─► admitted by number, rate and room ─► a session of the directory ─► answered, with the leg attached.
Outbound: allowed by destination, rate and room ─► a session that rings ─► answered by whom we called.

Each SIP call has one task, its `Line`. Nothing is opened at a vendor before a call is let in, and what is refused is
counted and logged, with numbers masked.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import structlog

from app.calls.directory import Directory
from app.calls.errors import CallRefused
from app.calls.returning import LostCalls
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.sip import causes
from app.sip.admission import Admission, Refusal, host_of
from app.sip.call_back import CallBacks, answered
from app.sip.dialler import Dialler, Order
from app.sip.errors import DialRefused, NotAllowed, NotNow
from app.sip.far_end import SipFarEnd
from app.sip.line import Line
from app.sip.numbers import masked
from app.sip.settings import SipSettings
from telephony.audio import TELEPHONE
from telephony.carrier import CallOffered
from telephony.errors import OurFault
from telephony.leg import Leg
from telephony.sip.contracts import EndpointObserver, SipCall, SipEndpoint
from telephony.sip.errors import EndpointFailed
from telephony.sip.events import DialRequest, Invitation, TrunkState, TrunkStatus
from telephony.sip.settings import EndpointSettings
from telephony.tasks import TaskGroup

CARRIER = "sip"
"""The carrier's name in records and metrics; the trunk is one of the call's variables."""

_HEADERS_KEPT = 32
_HEADER_LENGTH = 256
_SIGN_OFF_S = 5.0
_GOODBYE_S = 2.0
_TRY_AGAIN_S = 2.0

EndpointFactory = Callable[[EndpointSettings, EndpointObserver], AbstractAsyncContextManager[SipEndpoint]]

log = structlog.get_logger()


class SipCalls:
    """`EndpointObserver`, and the way to place calls. An async context manager: the endpoint runs in it."""

    def __init__(
        self,
        settings: SipSettings,
        directory: Directory,
        services: Services,
        endpoint: EndpointFactory,
        lost: LostCalls | None = None,
    ) -> None:
        """`lost`: calls whose line died with its process, and whose callers may dial again."""
        self._settings = settings
        self._lost = lost
        self._directory = directory
        self._services = services
        self._clock = services.clock
        self._make_endpoint = endpoint
        self._endpoint: SipEndpoint | None = None
        self._admission = Admission(
            {name: policy.numbers for name, policy in settings.policies.items()},
            per_s=settings.variables.calls_per_s,
            per_source=settings.variables.calls_per_source,
        )
        self._dialler = Dialler(settings, self.trunks)
        self._stopping = asyncio.Event()
        self._group = TaskGroup()
        self._calling_back: asyncio.Task[None] | None = None
        self._lines: set[Line] = set()

    async def __aenter__(self) -> Self:
        """Raises `EndpointFailed`, unless another process may have our port for a while yet."""
        await self._group.__aenter__()
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._group.create_task(self._run_endpoint(started))
        try:
            await started
        except EndpointFailed:
            await self._group.__aexit__(None, None, None)
            raise
        if self._settings.variables.call_back:
            self._calling_back = self._group.create_task(self._call_back())
        return self

    async def _run_endpoint(self, started: "asyncio.Future[None]") -> None:
        while not self._stopping.is_set():
            try:
                async with self._make_endpoint(self._settings.endpoint, self) as self._endpoint:
                    if not started.done():
                        started.set_result(None)
                    await self._stopping.wait()
            except EndpointFailed as failure:
                if not (self._settings.has_siblings or started.done()):
                    started.set_exception(failure)
                    return
                if not started.done():
                    started.set_result(None)
                log.warning("no SIP yet: it is tried again", because=str(failure))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TRY_AGAIN_S):
                        await self._stopping.wait()
            finally:
                self._endpoint = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._calling_back is not None:
            self._calling_back.cancel()
        for line in tuple(self._lines):
            line.session.end("the bridge stops")
        given_up_at = self._clock.now() + _GOODBYE_S
        while self._lines and self._clock.now() < given_up_at:  # their causes must leave before the endpoint does
            await self._clock.sleep_until(self._clock.now() + 0.02)
        self._stopping.set()
        await self._group.__aexit__(kind, error, trace)

    def trunks(self) -> tuple[TrunkStatus, ...]:
        """The state of each trunk."""
        if self._endpoint is None:
            return tuple(TrunkStatus(name, TrunkState.STARTING) for name in self._settings.policies)
        return self._endpoint.trunks()

    async def close_door(self) -> None:
        """The process is going down: no new calls, and the registrars know; calls that live go on."""
        if self._endpoint is None:
            return
        self._endpoint.refuse_new(causes.DRAINING)
        try:
            async with asyncio.timeout(_SIGN_OFF_S):
                await self._endpoint.unregister()
        except TimeoutError:
            log.warning("a registrar did not answer the sign-off")

    # inbound

    def call_offered(self, call: SipCall, invitation: Invitation) -> None:
        refusal = self._admission.refuse(invitation, self._clock.now())
        if refusal is not None:
            self._refuse(call, invitation, refusal)
        elif self._lost is None or invitation.private:
            self._take_in(call, invitation)
        else:
            self._group.create_task(self._take_up(call, invitation, self._lost))

    async def _take_up(self, call: SipCall, invitation: Invitation, lost: LostCalls) -> None:
        """Go on with the call that this caller lost, if he did; else it is a new one."""
        call_id = await lost.find(CARRIER, _offered(invitation))
        session = None
        if call_id is not None:
            call.answer()  # he is back: nothing is announced or weighed again
            session = await lost.take(call_id)
        if session is None:
            self._take_in(call, invitation, accepted=call_id is not None)
            return
        self._services.counters.count("calls_returned")
        line = self._line(call, session, invitation.trunk)
        await self._serve(line, lambda: self._admission.leave(invitation))

    def _take_in(self, call: SipCall, invitation: Invitation, *, accepted: bool = False) -> None:
        """A new call: its session, and its answer, unless it is `accepted` already."""
        announcement = self._services.manners.announcement
        announcing = bool(self._services.phrasebook.phrase(announcement, TELEPHONE).speech) and not accepted
        far_end = self._far_end(call, invitation.trunk)
        try:
            session = self._directory.begin(CARRIER, _offered(invitation), far_end, ringing=announcing)
        except CallRefused as refused:
            self._admission.leave(invitation)
            cause = causes.DRAINING if refused.reason == "draining" else causes.FULL
            if accepted:
                call.hang_up(cause)
            else:
                self._refuse(call, invitation, Refusal(refused.reason, cause, retry_after_s=5))
            return
        if announcing:
            call.open_early_media()
        elif not accepted:
            call.answer()
        line = Line(call, session, far_end, self._services, announcing=announcing)
        self._group.create_task(self._serve(line, lambda: self._admission.leave(invitation)))

    def _refuse(self, call: SipCall, invitation: Invitation, refusal: Refusal) -> None:
        self._services.counters.count("sip_calls_refused", trunk=invitation.trunk, reason=refusal.reason)
        log.warning(
            "SIP call refused",
            reason=refusal.reason,
            trunk=invitation.trunk,
            source=host_of(invitation.source),
            called=masked(invitation.called),
        )
        after = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
        call.reject(refusal.cause, after)

    def invitation_refused(self, source: str, reason: str, count: int = 1) -> None:
        for _ in range(count):
            self._services.counters.count("sip_invitations_refused", reason=reason)
        log.warning("SIP invitations refused", reason=reason, source=host_of(source), count=count)

    def trunk_changed(self, status: TrunkStatus) -> None:
        self._services.counters.count("sip_trunk_changes", trunk=status.name, state=status.state.value)
        say = log.info if status.state is TrunkState.UP else log.warning
        say("trunk changed", trunk=status.name, state=status.state.value, status=status.status, reason=status.reason)

    # outbound

    def dial(self, order: Order) -> CallSession:
        """Call somebody; the session rings until he answers. Raises `DialRefused`."""
        try:
            request = self._dialler.request(order, self._clock.now())
            try:
                self._directory.check_room()
            except CallRefused as refused:
                raise NotNow(refused.reason, "no place for one more call") from refused
            call = self._place(request)
        except DialRefused as refused:
            self._services.counters.count("dials_refused", reason=refused.reason)
            log.warning("call not placed", reason=refused.reason, to=masked(order.to))
            raise
        variables = {**order.variables, "direction": "outbound", "trunk": request.trunk}
        caller = order.caller or self._dialler.shown(request.trunk)
        offered = CallOffered(_new_id(), caller, request.target, "outbound", variables)
        far_end = self._far_end(call, request.trunk)
        session = self._directory.begin(CARRIER, offered, far_end, ringing=True)
        self._group.create_task(self._serve(Line(call, session, far_end, self._services)))
        return session

    def route(self, to: str, trunk: str = "") -> tuple[str, str]:
        """The trunk, and the destination as it is dialled over it. Raises `NotAllowed`."""
        return self._dialler.route(to, trunk)

    def _place(self, request: DialRequest) -> SipCall:
        if self._endpoint is None:
            raise NotNow("starting", "the SIP endpoint is not up yet")
        try:
            return self._endpoint.dial(request)
        except OurFault as fault:
            raise NotAllowed("malformed", str(fault)) from fault

    async def _call_back(self) -> None:
        """Call whoever lost his line with a process, one after the other."""
        waiting = CallBacks(self._directory.sessions, CARRIER, self._clock)
        while True:
            await self._call_one_back(waiting)

    async def _call_one_back(self, waiting: CallBacks) -> None:
        session, order = await waiting.next()
        try:
            request = self._dialler.request(order, self._clock.now())
            call = self._place(request)
        except DialRefused as refused:
            log.warning("call not called back", call_id=session.call_id, reason=refused.reason)
            return
        leg = await answered(call)
        self._services.counters.count("calls_called_back", outcome="answered" if leg else "not answered")
        if leg is None:
            return
        if not waiting.lost(session):  # he was quicker
            call.hang_up(causes.ours("completed elsewhere"))
        else:
            self._group.create_task(self._serve(self._line(call, session, request.trunk, leg)))

    # lines

    def _far_end(self, call: SipCall, trunk: str) -> SipFarEnd:
        own = self._settings.variables

        def second(target: str) -> SipCall:
            return self._place(DialRequest(trunk, target, answer_within_s=own.transfer_s))

        return SipFarEnd(call, second, attended=own.attended_transfer, within_s=own.transfer_s)

    def _line(self, call: SipCall, session: CallSession, trunk: str, leg: Leg | None = None) -> Line:
        """A new line for a session that lost its own."""
        far_end = self._far_end(call, trunk)
        session.handover.far_end = far_end
        return Line(call, session, far_end, self._services, leg=leg)

    async def _serve(self, line: Line, leave: Callable[[], None] | None = None) -> None:
        self._lines.add(line)
        try:
            await line.serve()
        finally:
            self._lines.discard(line)
            if leave is not None:
                leave()


def _new_id() -> str:
    """Calls are known by a name of our own: a Call-ID is the peer's word, and may be anything."""
    return f"SIP{secrets.token_hex(16)}"


def _offered(invitation: Invitation) -> CallOffered:
    """The call as the conversation knows it."""
    caller = "anonymous" if invitation.private else invitation.caller.user or invitation.caller.uri
    known = {
        "direction": "inbound",
        "trunk": invitation.trunk,
        "sip_call_id": invitation.call_id,
        "caller_name": "" if invitation.private else invitation.caller.name,
        "caller_asserted": "yes" if invitation.asserted else "no",
        "diverted_from": invitation.diverted_from,
        "diversion_reason": invitation.diversion_reason,
    }
    headers = {name: value[:_HEADER_LENGTH] for name, value in list(invitation.headers.items())[:_HEADERS_KEPT]}
    variables = {**headers, **{name: value for name, value in known.items() if value}}
    return CallOffered(_new_id(), caller, invitation.called, "inbound", variables)
