"""Which calls are placed, and how: the trunk, the destination as it is dialled, and how fast. Sans I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.sip.admission import Rate
from app.sip.errors import NotAllowed, NotNow
from app.sip.numbers import DestinationRefused
from app.sip.settings import SipSettings
from telephony.sip.events import DialRequest, TrunkState, TrunkStatus

_OUT_OF_ORDER = (TrunkState.DOWN, TrunkState.REJECTED, TrunkState.CLOSED)


@dataclass(frozen=True, slots=True)
class Order:
    """A call to place. Without `trunk`: the first one that may call this destination."""

    to: str
    caller: str = ""
    trunk: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialler:
    """Turns orders into requests, or refuses them."""

    def __init__(self, settings: SipSettings, trunks: Callable[[], tuple[TrunkStatus, ...]]) -> None:
        self._settings = settings
        self._trunks = trunks
        self._rates = {name: Rate(policy.dials_per_s) for name, policy in settings.policies.items()}

    def request(self, order: Order, now: float) -> DialRequest:
        """What the endpoint is to do. Raises `DialRefused`; what it allows counts against the trunk's rate."""
        trunk, target = self.route(order.to, order.trunk)
        status = next(status for status in self._trunks() if status.name == trunk)
        if status.state in _OUT_OF_ORDER:
            why = f"{status.status} {status.reason}".strip()
            raise NotNow("trunk_down", f"trunk {trunk} is {status.state}: {why}")
        if not self._rates[trunk].admit(trunk, now):
            raise NotNow("rate", f"trunk {trunk} takes no more calls this second")
        ring_s = self._settings.variables.ring_s
        return DialRequest(trunk, target, order.caller, headers=order.headers, answer_within_s=ring_s)

    def route(self, to: str, trunk: str = "") -> tuple[str, str]:
        """The trunk, and the destination as it is dialled over it. Raises `NotAllowed`."""
        policies = self._settings.policies
        if trunk and trunk not in policies:
            raise NotAllowed("trunk", f"there is no trunk {trunk!r}, only {', '.join(policies)}")
        refused = ""
        for name in (trunk,) if trunk else tuple(policies):
            try:
                return name, policies[name].destinations.admit(to)
            except DestinationRefused as refusal:
                refused = refusal.reason
        raise NotAllowed("destination", f"{refused}; SIP_DESTINATIONS lists what may be called")

    def shown(self, trunk: str) -> str:
        """Who we are to whom we call over this trunk."""
        own = next(own for own in self._settings.endpoint.trunks if own.name == trunk)
        return own.caller or own.user
