"""Who may call: the addresses of each trunk. Everybody else is a stranger, whatever he says in his headers.

Read by the library's threads while the event loop learns more: what they read is replaced, never changed.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from telephony.sip.dialled import matches
from telephony.sip.settings import Trunk
from telephony.sip.uris import host_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(source: str) -> Address | None:
    """The address in `address:port` or `[address]:port`; None if there is none. IPv4 in IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host_of(source))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


class Sources:
    """Trunks by address and network. An exact address wins over a network, a narrow network over a wide one; several
    trunks may be at either, in the order in which they were told."""

    def __init__(self, trunks: Iterable[Trunk]) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._addresses: Mapping[Address, tuple[str, ...]] = {}
        networks: dict[Network, tuple[str, ...]] = {}
        for trunk in self._trunks.values():
            self.learn(trunk.name, (trunk.server, trunk.proxy))
            for network in {ipaddress.ip_network(network, strict=False) for network in trunk.addresses}:
                networks[network] = (*networks.get(network, ()), trunk.name)
        self._networks = sorted(networks.items(), key=lambda entry: -entry[0].prefixlen)

    def learn(self, trunk: str, addresses: Iterable[str]) -> bool:
        """`trunk`'s server has these addresses too. True if one of them is new: nobody's until now."""
        known = dict(self._addresses)
        for address in map(address_of, addresses):
            if address is not None and trunk not in known.get(address, ()):
                known[address] = (*known.get(address, ()), trunk)
        new = known.keys() != self._addresses.keys()
        self._addresses = known
        return new

    def trunks_of(self, source: str) -> tuple[str, ...]:
        """Whose side a request from there is; none for a stranger."""
        address = address_of(source)
        if address is None:
            return ()
        known = self._addresses.get(address, ())
        return known or next((names for network, names in self._networks if address in network), ())

    def trunk_of(self, source: str, called: str = "") -> str | None:
        """The one trunk that a request from there belongs to; None for a stranger. Of several, the one that is `called`
        by its user, else by one of its numbers, else the first."""
        names = self.trunks_of(source)
        if len(names) < 2 or not called:
            return next(iter(names), None)
        trunks = [self._trunks[name] for name in names]
        by_user = (trunk for trunk in trunks if trunk.user == called)
        by_number = (trunk for trunk in trunks if any(matches(called, number) for number in trunk.numbers))
        return next(by_user, next(by_number, trunks[0])).name

    def listed(self) -> tuple[str, ...]:
        """All networks that may call, for the library's own filter: `192.0.2.0/24`."""
        exact = (f"{address}/{address.max_prefixlen}" for address in self._addresses)
        return (*exact, *(str(network) for network, _ in self._networks))
