"""The line that a call is placed on: whom to call, how the carrier authenticates, what it does wrong on purpose."""

from dataclasses import dataclass, field

from telephony.simulator.faults import Fault, Network
from telephony.simulator.rest import Exchange
from telephony.simulator.webhook import Address

CALLER, CALLED = "+15550100001", "+15550100002"


@dataclass(frozen=True, slots=True)
class Line:
    """Any number of calls can be placed on one line, at the same time.

    Twilio streams over wss only: `allow_plain_ws` makes the exception that a bridge on this machine needs. With an
    `auth_token` webhooks and upgrades are signed, for `public_url` if the bridge believes that it lives there.
    """

    url: str
    voice_path: str = "/twilio/voice"
    status_path: str | None = "/twilio/status"
    fallback_path: str | None = None
    caller: str = CALLER
    called: str = CALLED
    account_sid: str = "AC00000000000000000000000000000001"
    auth_token: str | None = None
    public_url: str | None = None
    allow_plain_ws: bool = False
    api_token: str | None = None
    follow_events: bool = True
    """Listen to the live events of the bridge's call API, where it offers one."""
    record: bool = True
    """Keep the sound of the call: 16 kB a second."""
    time_limit_s: float = 600.0
    """The carrier ends the call after so long."""
    faults: frozenset[Fault] = frozenset()
    network: Network = field(default_factory=Network)
    exchange: Exchange = field(default_factory=Exchange)
    """Where the call can be updated while it is live; a `RestApi` lets the bridge do so."""

    @property
    def address(self) -> Address:
        return Address(self.url, self.public_url)
