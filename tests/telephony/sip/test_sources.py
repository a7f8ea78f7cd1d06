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


def test_of_several_trunks_at_one_address_the_one_is_meant_that_is_called() -> None:
    known = Sources(
        Trunk(name, "198.51.100.7", user=name, numbers=numbers, addresses=("192.0.2.0/24",))
        for name, numbers in (("sales", ("+4930111*",)), ("support", ("+4930222", "sales")), ("other", ()))
    )
    for source in ("198.51.100.7:5060", "192.0.2.9:5060"):
        assert known.trunks_of(source) == ("sales", "support", "other")
        called = {
            "support": "support",
            "4930222": "support",
            "+49 30 1115": "sales",
            "sales": "sales",
            "other": "other",
        }
        assert {number: known.trunk_of(source, number) for number in called} == called
        assert known.trunk_of(source, "+4930999") == known.trunk_of(source) == "sales"
    assert known.trunk_of("203.0.113.1:5060", "sales") is None
    assert not known.learn("support", ("198.51.100.7:5060",))


def test_trunks_whose_names_lead_to_one_address_share_it() -> None:
    known = Sources(Trunk(name, f"{name}.example", user=name) for name in ("sales", "support"))
    assert known.learn("sales", ("203.0.113.1",))
    assert not known.learn("support", ("203.0.113.1",))
    assert known.trunk_of("203.0.113.1:5060", "support") == "support"
