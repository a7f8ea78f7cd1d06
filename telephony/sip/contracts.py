"""What an application may ask of a SIP endpoint and its calls, and what it must be ready to be told.

Everything here is for the event loop's thread alone. Commands return at once and never raise for what the network or
the peer does: that comes as an event. They raise `OurFault` for what no call can do.
"""

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Protocol

from telephony.sip.events import CallEvent, Cause, DialRequest, Invitation, MediaStatistics, Party, TrunkStatus


class Direction(StrEnum):
    """Who called."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class SipCall(Protocol):
    """One SIP dialog, from INVITE to its end.

    Iterating yields its events in order; `CallEnded` is the last, always, exactly once, and then the iterator ends. One
    iterator. Commands that come too late (the call has ended meanwhile) do nothing.
    """

    @property
    def call_id(self) -> str:
        """SIP Call-ID; empty for an outgoing call until its INVITE is made."""
        ...

    @property
    def trunk(self) -> str: ...

    @property
    def direction(self) -> Direction: ...

    @property
    def peer(self) -> Party:
        """The other end: who calls, or who is called."""
        ...

    def __aiter__(self) -> AsyncIterator[CallEvent]: ...

    # an inbound call that was offered

    def ring(self) -> None:
        """180, no sound yet."""
        ...

    def open_early_media(self) -> None:
        """183 with SDP: `MediaOpened(early=True)` follows, what is played is heard before the answer."""
        ...

    def answer(self, headers: Mapping[str, str] | None = None) -> None:
        """200. `MediaOpened` and `CallAnswered` follow."""
        ...

    def reject(self, cause: Cause, headers: Mapping[str, str] | None = None) -> None:
        """Refuse with `cause.status` (300 to 699), and with a Reason header if `cause.q850` is known."""
        ...

    # any call

    def hang_up(self, cause: Cause | None = None) -> None:
        """End it: BYE, CANCEL or a refusal, whatever fits. Default Q.850 cause 16, normal clearing."""
        ...

    def hold(self) -> None:
        """Put the peer on hold (re-INVITE, sendonly)."""
        ...

    def resume(self) -> None:
        """Take the peer back."""
        ...

    def press(self, digits: str) -> None:
        """Send keys `0`-`9 * # A-D` (RFC 4733)."""
        ...

    def transfer(self, target: str, *, within_s: float = 30.0, headers: Mapping[str, str] | None = None) -> None:
        """Blind: ask the peer to call `target` (REFER). `TransferProgressed` events, then one `TransferEnded`."""
        ...

    def transfer_to(self, other: "SipCall", *, within_s: float = 30.0) -> None:
        """Attended: ask the peer to take over our end of `other`, an answered call (REFER with Replaces)."""
        ...

    def statistics(self) -> MediaStatistics:
        """What was measured so far."""
        ...


class SipEndpoint(Protocol):
    """The process's SIP endpoint, while its `async with` block runs.

    Entering starts it and its trunks (it does not wait for registrations); leaving hangs everything up and unregisters.
    """

    def trunks(self) -> tuple[TrunkStatus, ...]: ...

    def calls(self) -> int:
        """Calls that live, offered ones included."""
        ...

    def dial(self, request: DialRequest) -> SipCall:
        """Place a call. Raises `OurFault` for an unknown trunk or a target that fits no header; the rest are events."""
        ...

    def refuse_new(self, cause: Cause | None) -> None:
        """From now on offers are refused with this before the application hears of them; None takes them again."""
        ...

    async def unregister(self) -> None:
        """Sign off at the registrars, so that new calls go elsewhere; calls that live go on. For a drain."""
        ...


class EndpointObserver(Protocol):
    """The application, as the endpoint sees it. Called on the event loop; must not block."""

    def call_offered(self, call: SipCall, invitation: Invitation) -> None:
        """Somebody calls. Ring, answer or reject it, now or soon; iterate it from a task of your own."""
        ...

    def trunk_changed(self, status: TrunkStatus) -> None: ...

    def invitation_refused(self, source: str, reason: str, count: int = 1) -> None:
        """INVITEs were refused before they became calls. `reason` is a metric label: `draining`, `full`, `malformed`,
        `incompatible` (no common codec or encryption), or `stranger`: told once a second, with the number of his
        requests of any kind."""
        ...
