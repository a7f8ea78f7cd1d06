"""Calls and trunks in pjsua2, tamed. Import it only where SIP is wanted: without the wheel it fails.

Threads. The library calls back on threads of its own, holding its lock on the call. A callback here reads what it
needs, connects the audio, and hands plain values to the event loop; it never waits and never decides. What it reads
has been cleaned of bytes that are no text: a peer may send anything. Commands come from threads of the endpoint's,
never from the event loop's: each may have to look a name up, or wait for the library's lock.

Lifetimes. A thread of the library that is about to call an object waits for the interpreter first; were the object
destroyed meanwhile, the process would crash. So trunks live until the library's threads are gone, and so does a call
unless the library itself says in a callback that it is over, in which it is let go of; everybody else holds a
`CallHandle`, which is empty from then on. Audio never passes through a Python object that the library could call when
it is gone: rings are native.
"""

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from itertools import count
from typing import Any, Protocol

import pjsua2 as pj

from telephony.sip.errors import CommandFailed, LibraryBusy
from telephony.sip.leg import RING_IN_MS, RING_OUT_MS
from telephony.sip.message import clean
from telephony.sip.quality import StreamCounts
from telephony.sip.sdp import choose_codecs
from telephony.sip.settings import Srtp, Transport, Trunk
from telephony.sip.signals import (
    AnswerSignalled,
    CallSignal,
    DialogState,
    DigitSignalled,
    MediaSignalled,
    MediaState,
    RegistrationSignalled,
    StateSignalled,
    StreamEnded,
    TransferSignalled,
    TrunkSignal,
)
from telephony.sip.uris import server_uri

log = logging.getLogger("telephony.sip")

_ring_keys = count(1)

_STATES = {
    pj.PJSIP_INV_STATE_CALLING: DialogState.CALLING,
    pj.PJSIP_INV_STATE_EARLY: DialogState.EARLY,
    pj.PJSIP_INV_STATE_CONNECTING: DialogState.CONNECTING,
    pj.PJSIP_INV_STATE_CONFIRMED: DialogState.CONFIRMED,
    pj.PJSIP_INV_STATE_DISCONNECTED: DialogState.DISCONNECTED,
}
_MEDIA = {
    pj.PJSUA_CALL_MEDIA_ACTIVE: MediaState.ACTIVE,
    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: MediaState.HELD_BY_PEER,
    pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: MediaState.HELD_BY_US,
}
_TIMED_OUT = 70_009
"""PJ_ETIMEDOUT: two seconds were not enough to lock the call."""
_DTMF_UPDATE = 1
"""Flag of a key's later packets; without it the packet begins a key (RFC 4733), or is the whole of it (SIP INFO)."""


class LibraryUser(Protocol):
    """The endpoint, as the library sees it. Called on the library's threads: it may only hand on what it is told."""

    def trunk_for(self, source: str, message: str) -> str | None:
        """The trunk that a request from that address belongs to; None for a stranger."""
        ...

    def invited(self, trunk: str, handle: "CallHandle", source: str, message: str) -> None: ...

    def refused(self, source: str, status: int) -> None:
        """The library refused an INVITE by itself."""
        ...

    def call_signalled(self, handle: "CallHandle", signal: CallSignal) -> None: ...

    def trunk_signalled(self, trunk: str, signal: TrunkSignal) -> None: ...

    def disconnected(self, transport: Transport) -> None:
        """A connection is gone."""
        ...


def explain(failure: Exception) -> str:
    """What the library says about a refusal."""
    return clean(str(getattr(failure, "reason", "")) or str(failure)) or type(failure).__name__


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A callback whose bug is logged: the library would print and swallow it."""

    @wraps(callback)
    def guarded(self: Any, prm: Any) -> None:
        try:
            callback(self, prm)
        except pj.Error as failure:  # the call went on, or away, while we looked
            log.debug("%s: %s", callback.__name__, explain(failure))
        except Exception:  # the one guard between the library's threads and us
            log.exception("%s failed", callback.__name__)

    return guarded


class CallHandle:
    """What everybody but the library holds of a call: `telephony.sip.call.Dialog`. Empty before and after its life."""

    def __init__(self, user: LibraryUser) -> None:
        self._user = user
        self.native: _Call | None = None

    def post(self, signal: CallSignal) -> None:
        """Tell the event loop; from any thread."""
        self._user.call_signalled(self, signal)

    def answer(self, status: int, headers: Mapping[str, str]) -> None:
        self._command(lambda call: call.answer(_operation(status, headers)))

    def hang_up(self, status: int, headers: Mapping[str, str]) -> None:
        self._command(lambda call: call.hangup(_operation(status, headers)))

    def hold(self) -> None:
        self._command(lambda call: call.setHold(pj.CallOpParam(True)))

    def resume(self) -> None:
        operation = pj.CallOpParam(True)
        operation.opt.flag = pj.PJSUA_CALL_UNHOLD
        self._command(lambda call: call.reinvite(operation))

    def press(self, digits: str) -> None:
        keys = pj.CallSendDtmfParam()
        keys.digits, keys.method = digits, pj.PJSUA_DTMF_METHOD_RFC2833
        self._command(lambda call: call.sendDtmf(keys))

    def refer(self, target: str, headers: Mapping[str, str]) -> None:
        self._command(lambda call: call.xfer(target, _operation(0, headers)))

    def refer_to(self, other: "CallHandle") -> None:
        replaced = other.native
        if replaced is None:
            raise CommandFailed("the other call is gone")
        self._command(lambda call: call.xferReplaces(replaced, _operation(0, {})))

    def counts(self) -> StreamCounts:
        native = self.native
        return StreamCounts() if native is None else native.counts(0)

    def _command(self, command: Callable[["_Call"], None]) -> None:
        native = self.native
        if native is None:
            return
        try:
            command(native)
        except pj.Error as failure:
            kind = LibraryBusy if failure.status == _TIMED_OUT else CommandFailed
            raise kind(explain(failure)) from None


class _Call(pj.Call):  # type: ignore[misc]  # pjsua2 has no types
    """One call in the library. Lives from INVITE to DISCONNECTED."""

    def __init__(self, account: "TrunkAccount", handle: CallHandle, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self.handle = handle
        handle.native = self
        self._living = account.living
        self._living.add(self)
        self._codecs = account.trunk.codecs
        self._srtp = account.trunk.srtp
        self._ring: Any = None
        self._key = 0

    @_guarded
    def onCallState(self, prm: Any) -> None:
        call = self.getInfo()
        state = _STATES.get(call.state)
        if state is None:
            return
        reason, call_id = clean(call.lastReason), clean(call.callIdString)
        signal = StateSignalled(state, call.lastStatusCode, reason, call_id, _incoming(prm.e))
        if state is DialogState.DISCONNECTED:
            ring, self._ring = self._ring, None
            if ring is not None:
                ring.close()
            handle = self.handle
            self._living.discard(self)
            handle.native = None  # the last thing: see above
            handle.post(signal)
        else:
            self.handle.post(signal)

    @_guarded
    def onCallMediaState(self, prm: Any) -> None:
        del prm
        call = self.getInfo()  # what is read of it is gone with it
        for media in call.media:
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                self._connect(media.index, _MEDIA.get(media.status, MediaState.NONE))
                return

    def _connect(self, index: int, state: MediaState) -> None:
        """Done while the library holds the call still: later, the port's number might be another call's."""
        if state is MediaState.ACTIVE:
            if self._ring is None:
                self._key = next(_ring_keys)
                self._ring = pj.AudioRing(self._key, RING_IN_MS, RING_OUT_MS)
            stream = self.getAudioMedia(index)
            stream.startTransmit(self._ring)
            self._ring.startTransmit(stream)
        elif self._ring is not None and state is not MediaState.NONE:
            self._disconnect(index)
        self.handle.post(MediaSignalled(state, self._ring, self._key))

    def _disconnect(self, index: int) -> None:
        try:
            stream = self.getAudioMedia(index)
            stream.stopTransmit(self._ring)
            self._ring.stopTransmit(stream)
        except pj.Error as failure:
            log.debug("nothing to disconnect: %s", explain(failure))

    @_guarded
    def onCallSdpCreated(self, prm: Any) -> None:
        prm.sdp.wholeSdp = choose_codecs(clean(prm.sdp.wholeSdp), self._codecs)

    @_guarded
    def onStreamDestroyed(self, prm: Any) -> None:
        self.handle.post(StreamEnded(self.counts(prm.streamIdx)))

    @_guarded
    def onDtmfEvent(self, prm: Any) -> None:
        if not prm.flags & _DTMF_UPDATE:
            self.handle.post(DigitSignalled(clean(prm.digit)))

    @_guarded
    def onCallTransferRequest(self, prm: Any) -> None:
        prm.statusCode = 603  # it would make us call whom the peer likes

    @_guarded
    def onCallReplaceRequest(self, prm: Any) -> None:
        prm.statusCode = 603

    @_guarded
    def onCallTransferStatus(self, prm: Any) -> None:
        self.handle.post(TransferSignalled(prm.statusCode, clean(prm.reason), prm.finalNotify))

    def counts(self, index: int) -> StreamCounts:
        """Of one stream, while it lives."""
        try:
            stream, statistics = self.getStreamInfo(index), self.getStreamStat(index)
        except pj.Error:
            return StreamCounts()
        measured = statistics.rtcp
        received, sent = measured.rxStat, measured.txStat
        return StreamCounts(
            codec=clean(stream.codecName),
            encrypted=bool(stream.proto & pj.PJMEDIA_TP_PROFILE_SRTP) or self._encrypted_all_the_same(),
            received=received.pkt,
            lost=received.loss,
            discarded=received.discard,
            sent=sent.pkt,
            lost_by_peer=sent.loss,
            jitter_us=received.jitterUsec.mean,
            jitter_max_us=received.jitterUsec.max,
            round_trip_us=measured.rttUsec.mean,
        )

    def _encrypted_all_the_same(self) -> bool:
        """SRTP that is optional may run under the name of plain RTP; only the library's own report tells."""
        return self._srtp is Srtp.OPTIONAL and "SRTP status: Active" in self.dump(True, "")


def _operation(status: int, headers: Mapping[str, str]) -> Any:
    operation = pj.CallOpParam(True)
    if status:
        operation.statusCode = status
    for name, value in headers.items():
        header = pj.SipHeader()
        header.hName, header.hValue = name, value
        operation.txOption.headers.append(header)
    return operation


def _incoming(event: Any) -> str:
    """The SIP message that caused `event`, if one came in."""
    if event.type == pj.PJSIP_EVENT_TSX_STATE and event.body.tsxState.type == pj.PJSIP_EVENT_RX_MSG:
        return clean(event.body.tsxState.src.rdata.wholeMsg)
    if event.type == pj.PJSIP_EVENT_RX_MSG:
        return clean(event.body.rxMsg.rdata.wholeMsg)
    return ""


class TrunkAccount(pj.Account):  # type: ignore[misc]  # pjsua2 has no types
    """One trunk in the library."""

    def __init__(self, user: LibraryUser, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.living: set[_Call] = set()
        """Its calls that the library knows, whoever else has forgotten them."""
        self._user = user

    def register(self) -> None:
        """Send a REGISTER, or refresh; the answer is a signal."""
        self._command(self.setRegistration, True)

    def unregister(self) -> None:
        """Sign off; the answer is a signal."""
        self._command(self.setRegistration, False)

    def ask(self) -> None:
        """Send an OPTIONS; the answer is a signal."""
        request = pj.SendRequestParam()
        request.method = "OPTIONS"
        request.txOption.targetUri = server_uri(self.trunk)
        self._command(self.sendRequest, request)

    @staticmethod
    def _command(function: Callable[[Any], None], argument: object) -> None:
        try:
            function(argument)
        except pj.Error as failure:
            raise CommandFailed(explain(failure)) from None

    def dial(self, handle: CallHandle, target: str, caller: str, headers: Mapping[str, str]) -> None:
        """Send an INVITE; what becomes of it is signalled. Raises `CommandFailed` if nothing could be sent."""
        call = _Call(self, handle)
        operation = _operation(0, headers)
        if caller:
            operation.txOption.localUri = caller
        try:
            call.makeCall(target, operation)
        except pj.Error as failure:
            self.living.discard(call)
            handle.native = None
            raise CommandFailed(explain(failure)) from None

    @_guarded
    def onRegState(self, prm: Any) -> None:
        source = str(prm.rdata.srcAddress)
        signal = RegistrationSignalled(prm.code, clean(prm.reason), prm.expiration, source)
        self._user.trunk_signalled(self.trunk.name, signal)

    @_guarded
    def onSendRequest(self, prm: Any) -> None:
        state = prm.e.body.tsxState
        source = str(state.src.rdata.srcAddress) if state.type == pj.PJSIP_EVENT_RX_MSG else ""
        signal = AnswerSignalled(state.tsx.statusCode, clean(state.tsx.statusText), source)
        self._user.trunk_signalled(self.trunk.name, signal)

    @_guarded
    def onIncomingCall(self, prm: Any) -> None:
        handle = CallHandle(self._user)
        _Call(self, handle, prm.callId)  # kept by the handle
        self._user.invited(self.trunk.name, handle, str(prm.rdata.srcAddress), clean(prm.rdata.wholeMsg))
