"""One SIP call as the application sees it: `telephony.sip.contracts.SipCall`.

What the library signals becomes events, what the application asks becomes commands. The library may be anywhere
between the two at any time, so every command may come too late, and whatever happens there is one `CallEnded`.
Runs on the event loop's thread alone; the library's side is asked elsewhere, for it may take its time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol, TypeVar, assert_never

from telephony.sip.contracts import Direction, SipCall
from telephony.sip.errors import CallRefused, CommandFailed, LibraryBusy
from telephony.sip.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallHeld,
    CallProgressed,
    CallResumed,
    Cause,
    MediaOpened,
    MediaStatistics,
    Party,
    TransferEnded,
    TransferProgressed,
)
from telephony.sip.inbox import Inbox
from telephony.sip.leg import Ring, SipLeg
from telephony.sip.message import read_reason, reason_header
from telephony.sip.orders import Orders, when_done
from telephony.sip.quality import StreamCounts, summarise
from telephony.sip.signals import (
    CallSignal,
    DialogState,
    DigitSignalled,
    MediaSignalled,
    MediaState,
    StateSignalled,
    StreamEnded,
    TransferSignalled,
)
from telephony.sip.uris import check_headers

T = TypeVar("T")

_NORMAL_CLEARING = Cause(q850=16)
_WATCH_EVERY_S = 5.0
_AGAIN_S = 0.5
"""Until the library is asked again that was busy."""
_LAST_WORD_S = 40.0
"""After a hang-up, for a library that never says that it is done: longer than any SIP transaction (64 T1)."""


class Dialog(Protocol):
    """The library's side of one call. Commands may look names up and take their time; they raise `CommandFailed`, and
    do nothing once it is gone."""

    def answer(self, status: int, headers: Mapping[str, str]) -> None: ...
    def hang_up(self, status: int, headers: Mapping[str, str]) -> None: ...
    def hold(self) -> None: ...
    def resume(self) -> None: ...
    def press(self, digits: str) -> None: ...
    def refer(self, target: str, headers: Mapping[str, str]) -> None: ...
    def refer_to(self, other: Any) -> None: ...
    def counts(self) -> StreamCounts: ...


class CallOwner(Protocol):
    """The endpoint, as its calls see it."""

    media_timeout_s: float

    def carry_out(self, command: Callable[[], T]) -> "asyncio.Future[T]":
        """Run what asks the library, off the event loop. What it raises is the future's."""
        ...

    def open_leg(self, ring: Ring, key: int) -> SipLeg:
        """A leg for the ring of that key, driven from now on."""
        ...

    def transfer_uri(self, trunk: str, target: str) -> str:
        """The URI of a transfer's target. Raises `CallRefused`."""
        ...

    def call_ended(self, call: "Call") -> None: ...


class _Stage(StrEnum):
    OFFERED = "offered"
    UNDER_WAY = "under way"  # dialled, or ringing here
    ANSWERED = "answered"
    ENDED = "ended"


class Call:
    """A call of ours or of the peer's; see `SipCall` for what may be asked of it."""

    def __init__(self, owner: CallOwner, dialog: Dialog, trunk: str, direction: Direction, peer: Party) -> None:
        self.call_id = ""
        self.trunk = trunk
        self.direction = direction
        self.peer = peer
        self.dialog = dialog
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._inbox: Inbox[CallEvent] = Inbox()
        self._orders = Orders(owner.carry_out)
        self._insisted: Callable[[], None] | None = None  # what the library has to do, whatever it takes
        self._stage = _Stage.OFFERED if direction is Direction.INBOUND else _Stage.UNDER_WAY
        self._accepted = False  # 200 was sent or received
        self._leaving: Cause | None = None  # ours, once we have decided to end it
        self._leg: SipLeg | None = None
        self._media = MediaState.NONE
        self._streams: list[StreamCounts] = []
        self._transfer: asyncio.TimerHandle | None = None
        self._transfer_accepted = False
        self._deadline: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._packets = 0
        self._quiet_s = 0.0

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self._inbox

    @property
    def ended(self) -> bool:
        """`CallEnded` was told."""
        return self._stage is _Stage.ENDED

    # what the application asks

    def ring(self) -> None:
        self._respond(180, {})

    def open_early_media(self) -> None:
        self._respond(183, {})

    def answer(self, headers: Mapping[str, str] | None = None) -> None:
        self._accepted = True
        self._respond(200, headers or {})

    def reject(self, cause: Cause, headers: Mapping[str, str] | None = None) -> None:
        if not 300 <= cause.status <= 699:
            raise CallRefused(f"{cause.status} refuses no call")
        if self.direction is Direction.INBOUND and not self._accepted:
            self._end(cause, headers or {})

    def hang_up(self, cause: Cause | None = None) -> None:
        self._end(cause or _NORMAL_CLEARING, {})

    def hold(self) -> None:
        self._try(self.dialog.hold)

    def resume(self) -> None:
        self._try(self.dialog.resume)

    def press(self, digits: str) -> None:
        if not digits or set(digits.upper()) - set("0123456789*#ABCD"):
            raise CallRefused(f"{digits!r} are no keys of a telephone")
        self._try(lambda: self.dialog.press(digits.upper()))

    def transfer(self, target: str, *, within_s: float = 30.0, headers: Mapping[str, str] | None = None) -> None:
        uri = self._owner.transfer_uri(self.trunk, target)
        check_headers(headers or {})
        self._refer(lambda: self.dialog.refer(uri, headers or {}), within_s)

    def transfer_to(self, other: SipCall, *, within_s: float = 30.0) -> None:
        if not isinstance(other, Call):
            raise CallRefused("the other call is not of this endpoint")
        replaced = other.dialog
        self._refer(lambda: self.dialog.refer_to(replaced), within_s)

    def statistics(self) -> MediaStatistics:
        return summarise((*self._streams, self.dialog.counts()))

    # what the endpoint asks

    def decide_within(self, seconds: float) -> None:
        """Refuse it with 500 unless somebody decides; for an offered call."""
        self._deadline = self._loop.call_later(seconds, self.reject, Cause(500, text="nobody decided"))

    def answer_within(self, seconds: float) -> None:
        """Cancel it unless it is answered; for a call of ours."""
        self._deadline = self._loop.call_later(seconds, self.hang_up, Cause(408, 19, "no answer"))

    def dialled(self) -> None:
        """The INVITE was sent, and a hang-up that came before may be done now."""
        if self._leaving is not None:
            self._command_end(self._leaving, {})

    def fail(self, cause: Cause) -> None:
        """The library is done with the call and will not say so."""
        self._finish(cause, by_peer=False)

    def signalled(self, signal: CallSignal) -> None:
        """What the library says happened."""
        if self.ended:
            return
        match signal:
            case StateSignalled():
                self._moved(signal)
            case MediaSignalled():
                self._media_changed(signal)
            case DigitSignalled(digit):
                if self._leg is not None:
                    self._leg.press(digit)
            case TransferSignalled():
                self._transfer_moved(signal)
            case StreamEnded(counts):
                self._streams.append(counts)
            case _:
                assert_never(signal)

    # the dialog

    def _respond(self, status: int, headers: Mapping[str, str]) -> None:
        check_headers(headers)
        if self.direction is Direction.OUTBOUND or self._stage not in (_Stage.OFFERED, _Stage.UNDER_WAY):
            return
        if self._leaving is not None:
            return
        self._stage = _Stage.UNDER_WAY
        self._disarm()
        self._insist(lambda: self.dialog.answer(status, headers))

    def _end(self, cause: Cause, headers: Mapping[str, str]) -> None:
        check_headers(headers)
        if self._leaving is None and not self.ended:
            self._leaving = cause
            self._disarm()
            self._command_end(cause, headers)

    def _command_end(self, cause: Cause, headers: Mapping[str, str]) -> None:
        reason = reason_header(cause)
        everything = {**headers, "Reason": reason} if reason else headers
        unanswered = self.direction is Direction.INBOUND and not self._accepted
        self._deadline = self._loop.call_later(_LAST_WORD_S, self.fail, cause)
        self._orders.drop()
        self._insist(lambda: self.dialog.hang_up(cause.status or (480 if unanswered else 0), everything))

    def _insist(self, command: Callable[[], None]) -> None:
        """Have the library do it, later if it is busy: an answer or an end comes about by nothing else. The newest such
        command counts."""
        self._give_in()
        self._insisted = command

        def refused(failure: CommandFailed) -> None:  # if not busy, it has moved on, and the signal is on its way
            if isinstance(failure, LibraryBusy) and self._insisted is command:
                self._again = self._loop.call_later(_AGAIN_S, self._insist, command)

        self._orders.give(command, refused, urgent=True)

    def _give_in(self) -> None:
        self._insisted = None
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _try(self, command: Callable[[], None]) -> None:
        """Have the library do it, if it can; if not the call has moved on, and the signal of that is on its way."""
        self._orders.give(command, lambda _: None)

    def _moved(self, signal: StateSignalled) -> None:
        self.call_id = self.call_id or signal.call_id
        match signal.state:
            case DialogState.CALLING:
                pass
            case DialogState.EARLY:
                if self.direction is Direction.OUTBOUND:
                    self._inbox.put(CallProgressed(signal.status, signal.reason))
            case DialogState.CONNECTING:
                self._accepted = True
            case DialogState.CONFIRMED:
                self._accepted = True
                if self._stage is not _Stage.ANSWERED:
                    self._stage = _Stage.ANSWERED
                    if self._leaving is None:
                        self._disarm()
                    self._inbox.put(CallAnswered())
            case DialogState.DISCONNECTED:
                self._disconnected(signal)

    def _disconnected(self, signal: StateSignalled) -> None:
        if self._leaving is not None:
            self._finish(self._leaving, by_peer=False)
            return
        hung_up = self._stage is _Stage.ANSWERED and signal.status < 300
        cause = Cause(0 if hung_up else signal.status, text="" if hung_up else signal.reason)
        self._finish(read_reason(signal.message, cause), by_peer=True)

    def _finish(self, cause: Cause, *, by_peer: bool) -> None:
        if self.ended:
            return
        self._stage = _Stage.ENDED
        self._disarm()
        self._give_in()
        if self._watch is not None:
            self._watch.cancel()
        if self._transfer is not None:  # whoever takes a call over may hang up without another word
            self._transfer_over(self._transfer_accepted and by_peer, 0, "the call has ended")
        if self._leg is not None:
            self._leg.close()
        self._inbox.put(CallEnded(cause, by_peer, summarise(self._streams)))
        self._inbox.close()
        self._owner.call_ended(self)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # media

    def _media_changed(self, signal: MediaSignalled) -> None:
        before, self._media = self._media, signal.state
        if signal.ring is not None and self._leg is None:
            self._leg = self._owner.open_leg(signal.ring, signal.key)
            self._inbox.put(MediaOpened(self._leg, early=not self._accepted))
            self._watch_media()
        if signal.state is MediaState.HELD_BY_PEER and before is not MediaState.HELD_BY_PEER:
            self._inbox.put(CallHeld())
        elif signal.state is MediaState.ACTIVE and before is MediaState.HELD_BY_PEER:
            self._inbox.put(CallResumed())

    def _watch_media(self) -> None:
        """A peer that is gone without a word sends nothing, and no BYE either."""
        if not self._owner.media_timeout_s:
            return
        when_done(self._owner.carry_out(self.dialog.counts), self._weigh)

    def _weigh(self, counted: "asyncio.Future[StreamCounts]") -> None:
        if self.ended:
            return
        limit_s, packets = self._owner.media_timeout_s, counted.result().received
        talking = self._stage is _Stage.ANSWERED and self._media is MediaState.ACTIVE
        if packets != self._packets or not talking:
            self._packets, self._quiet_s = packets, 0.0
        else:
            self._quiet_s += _WATCH_EVERY_S
        if self._quiet_s >= limit_s:
            self.hang_up(Cause(status=0, q850=102, text="no media"))
        else:
            self._watch = self._loop.call_later(_WATCH_EVERY_S, self._watch_media)

    # transfers

    def _refer(self, command: Callable[[], None], within_s: float) -> None:
        if self._transfer is not None:
            raise CallRefused("a transfer is under way already")
        if self.ended:
            return
        self._transfer_accepted = False
        begun = self._loop.call_later(within_s, self._transfer_over, False, 408, "no outcome in time")
        self._transfer = begun

        def refused(_: CommandFailed) -> None:
            if self._transfer is begun:
                self._transfer_over(False, 481, "the call cannot be transferred now")

        self._orders.give(command, refused)

    def _transfer_moved(self, signal: TransferSignalled) -> None:
        if self._transfer is None:
            return  # it came after its time was up
        self._transfer_accepted = self._transfer_accepted or signal.status < 300
        if signal.final:
            self._transfer_over(200 <= signal.status < 300, signal.status, signal.reason)
        else:
            self._inbox.put(TransferProgressed(signal.status, signal.reason))

    def _transfer_over(self, succeeded: bool, status: int, reason: str) -> None:
        if self._transfer is not None:
            self._transfer.cancel()
            self._transfer = None
        self._inbox.put(TransferEnded(succeeded, status, reason))
