"""Who may call: the addresses of each trunk. Everybody else is a stranger, whatever he says in his headers.

Read by the library's threads while the event loop learns more: what they read is replaced, never changed.
"""

import ipaddress
from collections.abc import Iterable, Mapping

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
    """Addresses and networks by trunk. An exact address wins over a network, a narrow network over a wide one."""

    def __init__(self, trunks: Iterable[Trunk]) -> None:
        self._addresses: Mapping[Address, str] = {}
        networks: list[tuple[Network, str]] = []
        for trunk in trunks:
            networks += [(ipaddress.ip_network(network, strict=False), trunk.name) for network in trunk.addresses]
            for server in (trunk.server, trunk.proxy):
                address = address_of(server)
                if address is not None:
                    self._addresses = {**self._addresses, address: trunk.name}
        self._networks = sorted(networks, key=lambda entry: -entry[0].prefixlen)

    def learn(self, trunk: str, addresses: Iterable[str]) -> bool:
        """`trunk`'s server has these addresses too. True if one of them is new."""
        found = {address: trunk for source in addresses if (address := address_of(source)) is not None}
        new = {address: name for address, name in found.items() if address not in self._addresses}
        self._addresses = {**self._addresses, **new}
        return bool(new)

    def trunk_of(self, source: str) -> str | None:
        """Whose side a request from there is; None for a stranger."""
        address = address_of(source)
        if address is None:
            return None
        known = self._addresses.get(address)
        if known is not None:
            return known
        return next((name for network, name in self._networks if address in network), None)

    def listed(self) -> tuple[str, ...]:
        """All networks that may call, for the library's own filter: `192.0.2.0/24`."""
        exact = (f"{address}/{address.max_prefixlen}" for address in self._addresses)
        return (*exact, *(str(network) for network, _ in self._networks))
