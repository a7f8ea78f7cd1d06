"""Who may call."""

from telephony.sip.settings import Trunk
from telephony.sip.sources import Sources


def sources() -> Sources:
    return Sources(
        (
            Trunk("wide", "sip.wide.example", register=False, addresses=("192.0.2.0/24", "2001:db8::/32")),
            Trunk("narrow", "198.51.100.7:5060", register=False, addresses=("192.0.2.128/25",)),
        )
    )


def test_a_source_belongs_to_the_trunk_whose_network_is_narrowest() -> None:
    known = sources()
    assert known.trunk_of("192.0.2.5:5060") == "wide"
    assert known.trunk_of("192.0.2.200:1") == "narrow"
    assert known.trunk_of("[2001:db8::1]:5060") == "wide"
    assert known.trunk_of("::ffff:192.0.2.5") == "wide"


def test_a_trunks_server_is_no_stranger() -> None:
    assert sources().trunk_of("198.51.100.7:9999") == "narrow"


def test_everybody_else_is_one() -> None:
    for source in ("198.51.100.8:5060", "", "nonsense", "[::1]:5060"):
        assert sources().trunk_of(source) is None


def test_addresses_are_learnt_and_an_address_stays_with_its_first_trunk() -> None:
    known = sources()
    assert known.learn("wide", ("203.0.113.1:5060", "not an address", ""))
    assert known.trunk_of("203.0.113.1:7") == "wide"
    assert not known.learn("narrow", ("203.0.113.1:5060",))
    assert known.trunk_of("203.0.113.1:7") == "wide"
    assert {"203.0.113.1/32", "198.51.100.7/32", "192.0.2.0/24", "2001:db8::/32"} <= set(known.listed())
