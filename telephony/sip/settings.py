"""What a SIP endpoint is told to be: plain values, checked when they are made."""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

from telephony.errors import OurFault


class SettingRejected(OurFault, ValueError):
    """A SIP setting that cannot be meant. `setting` is the field's name."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class Transport(StrEnum):
    """What carries the signalling."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class Codec(StrEnum):
    """Speech codecs, by the names that SDP gives them (RFC 3551, RFC 7587)."""

    PCMU = "PCMU"
    PCMA = "PCMA"
    G722 = "G722"
    OPUS = "opus"


class Srtp(StrEnum):
    """Media encryption with keys from the SDP (SDES, RFC 4568); worth something over TLS only."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class SessionTimers(StrEnum):
    """RFC 4028."""

    OFF = "off"
    ACCEPTED = "accepted"  # offered, and used when the peer supports them
    REQUIRED = "required"  # a peer without them gets no call


ALL_CODECS = (Codec.PCMU, Codec.PCMA, Codec.G722, Codec.OPUS)
_BREAKS = ("\r", "\n", "\0", "<", ">", '"')


def _plain(setting: str, value: str) -> None:
    """Raise unless `value` can stand in a header without changing the message."""
    if any(mark in value for mark in _BREAKS):
        raise SettingRejected(setting, f"{value!r} does not fit into a SIP header")


@dataclass(frozen=True, slots=True)
class Trunk:
    """One line to a carrier or PBX.

    With `register` it keeps itself registered as `user` at `server`; without, both sides know each other's address.
    Calls are accepted from `server`'s addresses and from `addresses`.
    """

    name: str
    """Ours; a metric label, the same for the life of the process."""
    server: str
    """Registrar or peer: `host` or `host:port`. Over TLS the certificate must carry this host."""
    user: str = ""
    password: str = field(default="", repr=False)
    transport: Transport = Transport.UDP
    register: bool = True
    realm: str = "*"
    """The digest challenge that the password is for; `*` answers every realm."""
    auth_user: str = ""
    """The digest's user name, where it is not `user`."""
    domain: str = ""
    """The host of our own address, where it is not `server`'s."""
    proxy: str = ""
    """Outbound proxy, `host` or `host:port`, that every request goes through."""
    expires_s: int = 300
    """Asked of the registrar; refreshed in good time before what it grants."""
    addresses: tuple[str, ...] = ()
    """Further networks that calls may come from: `192.0.2.0/24`, `2001:db8::7`."""
    numbers: tuple[str, ...] = ()
    """Numbers that are called over it, see `telephony.sip.dialled`: they tell trunks at one address apart."""
    codecs: tuple[Codec, ...] = ALL_CODECS
    """In order of preference."""
    srtp: Srtp = Srtp.OFF
    caller: str = ""
    """The number or name shown when we call, where it is not `user`."""
    session_timers: SessionTimers = SessionTimers.ACCEPTED
    session_expires_s: int = 1800
    options_every_s: float = 30.0
    """How often a trunk that does not register is asked whether it is there (OPTIONS); 0 = never, it counts as up."""
    stun: bool = False
    """Learn the public address of signalling and media from the endpoint's STUN server."""

    def __post_init__(self) -> None:
        for name in ("name", "server", "user", "realm", "auth_user", "domain", "proxy", "caller"):
            _plain(name, getattr(self, name))
        if not self.name or not self.server:
            raise SettingRejected("trunk", "needs a name and a server")
        if self.register and not self.user:
            raise SettingRejected("user", f"trunk {self.name} registers, but as whom?")
        if not self.codecs:
            raise SettingRejected("codecs", f"trunk {self.name} has none")
        if self.expires_s < 20:
            raise SettingRejected("expires_s", "20 seconds at least")
        if self.session_expires_s < 90:
            raise SettingRejected("session_expires_s", "90 seconds at least (RFC 4028, section 4)")
        for network in self.addresses:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise SettingRejected("addresses", f"{network!r} is neither an address nor a network") from None


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates for SIP over TLS. TLS 1.2 at least; what we connect to is verified, name included."""

    certificate: str = ""
    """File (PEM) that we show; needed to listen, and for mutual TLS."""
    private_key: str = ""
    authorities: str = ""
    """File (PEM) of those we trust; empty for the system's."""
    verify_servers: bool = True
    require_client_certificate: bool = False
    """Mutual TLS: who connects with a certificate that `authorities` signed may call from any address. It takes
    `authorities`: the system's sign for everybody."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """The process's one SIP endpoint."""

    trunks: tuple[Trunk, ...]
    bind_address: str = "0.0.0.0"
    """Where to listen. With an IPv6 address (`::` for all) signalling and media are IPv6's alone."""
    port: int = 5060
    """UDP and TCP, as far as trunks or `listen` use them; 0 = any free one."""
    tls_port: int = 5061
    listen: tuple[Transport, ...] = ()
    """Transports to open besides those of the trunks."""
    tls: Tls = field(default_factory=Tls)
    rtp_ports: tuple[int, int] = (10_000, 20_000)
    """First and last. A call needs two; a closed call's ports rest before they are used again."""
    public_address: str = ""
    """What peers see of us, where it is not `bind_address`: in Contact, Via and SDP."""
    stun_server: str = ""
    nameservers: tuple[str, ...] = ()
    """DNS servers for SRV records (RFC 3263); without, names are looked up as the system does, addresses only."""
    max_calls: int = 250
    user_agent: str = "Sidetone"
    offer_within_s: float = 10.0
    """How long an offered call may wait for the application's decision; then it is refused with 500."""
    media_timeout_s: float = 60.0
    """An answered call that nobody holds, and that brings no packet for so long, is hung up; 0 = never."""

    def __post_init__(self) -> None:
        names = [trunk.name for trunk in self.trunks]
        if not names or len(set(names)) != len(names):
            raise SettingRejected("trunks", "at least one, each with a name of its own")
        first, last = self.rtp_ports
        if not 1024 <= first <= last <= 65_535:
            raise SettingRejected("rtp_ports", f"{first} to {last} is no range of ports")
        if last - first + 1 < 2 * self.max_calls:
            raise SettingRejected("rtp_ports", f"{self.max_calls} calls need {2 * self.max_calls} ports")
        if not 1 <= self.max_calls <= 1000:
            raise SettingRejected("max_calls", "1 to 1000: that many are compiled in")
        if Transport.TLS in self.listen and not (self.tls.certificate and self.tls.private_key):
            raise SettingRejected("tls", "to listen takes a certificate and its private key")
        if self.tls.require_client_certificate and not self.tls.authorities:
            raise SettingRejected("require_client_certificate", "takes authorities, whose certificates alone may call")

    @property
    def ipv6(self) -> bool:
        """Which of the two families the endpoint speaks."""
        return ":" in self.bind_address

    @property
    def transports(self) -> tuple[Transport, ...]:
        """What is opened, in a fixed order."""
        wanted = {trunk.transport for trunk in self.trunks} | set(self.listen)
        return tuple(transport for transport in Transport if transport in wanted)
