"""The switchboard: a carrier's request, wherever it lands, finds the process that carries the call, or makes it this.

Any process may be asked about any call. One rule covers them all: **a call belongs where its caller is on the line.**
A media stream that lands here for a call that another process carries takes the call over (`app.calls.custody`). So a
crash, a deployment and a stream that the load balancer sent elsewhere are the same thing.

A store that cannot be reached, or takes its time, never stops a call that this process has, and takes in new ones: they
have no lease until it answers, and only neighbours could carry them on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self

import structlog

from app.calls.asking import Claim, ask, promptly
from app.calls.books import Books, Left
from app.calls.custody import Custody, Others
from app.calls.directory import Directory
from app.calls.errors import TokenRejected
from app.calls.journal import JournalEvent
from app.calls.lost_calls import LostCalls
from app.calls.messages import (
    Answer,
    CarrierSaid,
    GiveBack,
    GiveUp,
    HandOver,
    HangUpCall,
    Inquire,
    Known,
    Message,
    PressKeys,
    TransferCall,
    decode,
    encode,
)
from app.calls.neighbours import Neighbours, NoNeighbours
from app.calls.recovery import RecoverySettings
from app.calls.sharing import SharedKey
from app.calls.store.base import HeldLease
from app.calls.store.errors import CallOver, LeaseHeld, StoreError
from app.conversation.memory import SessionMemory, fold
from app.conversation.services import Services
from app.conversation.session import CallSession
from app.conversation.state import Phase
from telephony.carrier import CallControl, CallOffered, CallStatus, Carrier, Decision, HangUp, MediaStarted
from telephony.leg import Leg
from telephony.tasks import TaskGroup

log = structlog.get_logger()

_MESSAGE_TTL_S = 10.0
_COLLECT_S = 5.0
_ASK_AGAIN_S = 0.02
_RETRY_S = 1.0


class Switchboard:
    """`app.web.contracts.Calls` for one process among others. An async context manager inside the directory's."""

    def __init__(
        self,
        directory: Directory,
        services: Services,
        books: Books,
        *,
        others: Others,
        neighbours: Neighbours | None = None,
        controls: Mapping[str, CallControl] | None = None,
        settings: RecoverySettings | None = None,
    ) -> None:
        """`others` tells this process from the others, of which `neighbours` are asked without the store; `controls`
        are the carriers' by name."""
        self.directory = directory
        """The calls of this process."""
        self._clock = services.clock
        self._store, self._writer, self._archive = books.store, books.writer, books.archive
        self._key_file = books.key_file
        self._others = others
        self._neighbours = neighbours or NoNeighbours()
        settings = settings or RecoverySettings()
        self._group = TaskGroup()
        self.custody = Custody(directory, services, books, others, self._neighbours, settings, self._group.create_task)
        self._tasks: list[asyncio.Task[None]] = []
        books.writer.on_lost = lambda call_id, _: self.custody.lose(call_id)
        self._lost_calls = LostCalls(directory, services, books.store, controls or {}, settings, self.custody)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        key = SharedKey(self.directory.tokens, self._store, self._clock, self._key_file)
        await key.agree()
        listening = self._neighbours.listen(self)
        for work in (key.run(), self.custody.ownership.run(), self._read_messages(), self._lost_calls.run(), listening):
            self._tasks.append(self._group.create_task(work))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.custody.closing = True
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    # what carriers ask

    async def answer(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """A call comes in, or its webhook is repeated, perhaps at another process than the first time."""
        call_id, directory = offered.call_id, self.directory
        if directory.knows(call_id):
            return directory.answer(carrier, offered)
        refusal = directory.refusal()
        if refusal is not None:
            return refusal
        claim: Claim | None = None
        try:
            async with self.custody.taking(call_id):
                claim = ask(self._group, self.custody.claim(call_id))
                lease = await promptly(claim)
                if lease.fence > 1 and not directory.knows(call_id):
                    await self.custody.adopted(lease, "its webhook came here")
        except LeaseHeld:
            return directory.open_stream(carrier, call_id)
        except CallOver:
            return HangUp()
        except StoreError as error:
            known = await self._neighbours.ask(Inquire(call_id))
            if isinstance(known, Known):
                return directory.open_stream(carrier, call_id) if known.live else HangUp()
            log.warning("call without a lease for now", call_id=call_id, because=str(error))
            return directory.answer(carrier, offered, claim)
        return directory.answer(carrier, offered, lease)

    async def after(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """The call's stream has ended: what now? Told by the neighbour who carries it, or from its journal."""
        call_id, directory = offered.call_id, self.directory
        if directory.knows(call_id):
            return directory.after(carrier, offered)
        known = await self._neighbours.ask(Inquire(call_id, stream_lost=True))
        if isinstance(known, Known):
            return directory.next_step(carrier, call_id, known)
        try:
            memory = fold(await self._archive.events(call_id))
            if memory.answered is None:
                return await self._begin_again(carrier, offered)
        except CallOver:
            return HangUp()
        except StoreError as error:
            log.warning("call unknown for now", call_id=call_id, because=str(error))
            return directory.reopen_stream(carrier, call_id)
        return directory.next_step(carrier, call_id, _standing(call_id, memory))

    async def _begin_again(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """A call whose process is gone before a word of it was stored, perhaps not even whose it is. Raises
        `StoreError`."""
        call_id, directory = offered.call_id, self.directory
        async with self.custody.taking(call_id):
            if not directory.knows(call_id):
                lease = await self.custody.wrest(call_id)
                if not await self.custody.adopted(lease, "its carrier asked"):
                    return directory.answer(carrier, offered, lease)
        return directory.after(carrier, offered)

    async def status(self, carrier: Carrier, status: CallStatus) -> None:
        """The carrier's word on a call; only its end matters."""
        if not status.ended:
            return
        if self.directory.knows(status.call_id):
            self.directory.status(carrier, status)
        else:
            await self._tell_owner(CarrierSaid(status.call_id, status.status))

    async def serve(self, carrier: Carrier, token: str, started: MediaStarted, leg: Leg) -> None:
        """Attach a media stream to its call, which is taken over if need be; returns when the stream is gone and the
        journal says so. Raises `TokenRejected`."""
        call_id, tokens = started.call_id, self.directory.tokens
        tokens.redeem(token, call_id, self._clock.today().timestamp())
        await self._use_once(token)
        if self.directory.find(call_id) is None:
            await self.custody.take_over(call_id, "its stream came here")
        try:
            await self.directory.attach(started, leg)
        finally:
            await self._writer.settle(call_id)  # the carrier asks next, perhaps another process

    async def end(self, call_id: str, reason: str) -> bool:
        """Hang up a call, whoever carries it; False: there is no such call."""
        session = self.directory.find(call_id)
        if session is not None:
            session.end(reason)
            return True
        return await self._tell_owner(HangUpCall(call_id, reason))

    async def steer(self, message: TransferCall | PressKeys) -> bool:
        """Pass this on to the other process that has the call's line. False: none that lives has it. Raises
        `StoreError`."""
        known = await self._neighbours.ask(message)
        if isinstance(known, Known):
            return known.live
        holder = await self._store.holder(message.call_id)
        if holder is None or not self._lives(holder):
            return False
        await self._store.post(holder.lease.owner, encode(message), _MESSAGE_TTL_S)
        return True

    async def _use_once(self, token: str) -> None:
        try:
            if not await promptly(ask(self._group, self._store.use_once(token, self.directory.tokens.lifetime_s))):
                raise TokenRejected("used")
        except StoreError as error:  # this process has checked all that it can
            log.warning("token not marked as used", because=str(error))

    # neighbours

    def asked(self, message: Message) -> Answer | None:
        """A neighbour's question; None: not about a call of ours. What is asked to be handed over is left already."""
        call_id = message.call_id
        match message:
            case HandOver():
                return self.custody.leave_to_neighbour(call_id)
            case Inquire(stream_lost=True):
                return self.directory.stream_lost(call_id)
            case _:
                known = self.directory.standing(call_id)
                self._obey(message)
                return known

    def carry_on(self, events: Sequence[JournalEvent], left: Left, reason: str) -> None:
        """A neighbour's call is ours from now on."""
        self.custody.carry_on(events, left, reason)

    # messages

    async def _tell_owner(self, message: Message) -> bool:
        """Pass a message on to whoever carries the call; if nobody does, it is ours for that purpose."""
        known = await self._neighbours.ask(message)
        if isinstance(known, Known):
            return known.live
        try:
            holder = await self._store.holder(message.call_id)
            if holder is None:
                return False
            if self._lives(holder):
                await self._store.post(holder.lease.owner, encode(message), _MESSAGE_TTL_S)
            else:
                await self.custody.take_over(message.call_id, "to end it")
                self._obey(message)
        except (StoreError, TokenRejected) as error:
            log.warning("message not passed on", call_id=message.call_id, because=str(error))
            return False
        return True

    def _lives(self, holder: HeldLease) -> bool:
        """Another process has the call, and may well be alive."""
        owner = holder.lease.owner
        return holder.remaining_s > 0 and owner != self._others.name and not self._others.outlived(owner)

    async def _read_messages(self) -> None:
        away = False
        while True:
            try:
                contents = await self._store.collect(self._others.name, _COLLECT_S)
                away = False
            except StoreError as error:
                if not away:
                    log.warning("no messages", because=str(error))
                away = True
                await self._clock.sleep_until(self._clock.now() + _RETRY_S)
                continue
            for content in contents:
                message = decode(content)
                if isinstance(message, GiveUp | GiveBack):
                    self._group.create_task(self._give_up(message))
                elif message is not None:
                    self._obey(message)

    async def _give_up(self, message: GiveUp | GiveBack) -> None:
        lease = self._writer.lease(message.call_id)
        if lease is not None and lease.fence == message.fence:
            await self.custody.hand_over(message.call_id, if_idle=isinstance(message, GiveBack))

    def _obey(self, message: Message) -> None:
        session = self.directory.find(message.call_id)
        if session is None:
            return
        match message:
            case CarrierSaid(status=status):
                session.caller_gone(status)
            case HangUpCall(reason=reason):
                session.end(reason)
            case TransferCall(target=target, reason=reason, attended=attended):
                session.transfer(target, reason, attended=attended)
            case PressKeys(digits=digits):
                session.press(digits)
            case _:
                pass


def _standing(call_id: str, memory: SessionMemory) -> Known | None:
    """How a call stands whose journal says so much; None: there is no call in it."""
    if memory.answered is None:
        return None
    over = bool(memory.transfer_reason) or memory.phase in (Phase.ENDED, Phase.ENDING)
    crashed = memory.end_reason == CallSession.CRASHED
    return Known(call_id, live=not over, transfer=bool(memory.transfer_reason), crashed=crashed)
