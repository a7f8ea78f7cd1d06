"""SIP as it is set: one trunk or several, typed, and refused by the variable's name when it cannot be meant."""

import re
from typing import Any

import pytest

from app.conversation.manners import Manners
from app.settings import SettingsError
from app.sip.settings import SipSettings, variables
from telephony.sip.settings import Codec, SessionTimers, Srtp, Transport, Trunk
from tests.app.test_settings import dotenv_of, uncommented

ONE = {"SIP_SERVER": "sip.example.net", "SIP_USER": "bridge", "SIP_PASSWORD": "s3cret-Trunk"}


def load(max_calls: int = 200, **given: str) -> SipSettings:
    settings = SipSettings.load(given, max_calls)
    assert settings is not None
    return settings


def test_without_a_trunk_there_is_no_sip() -> None:
    assert SipSettings.load({"PORT": "8080", "SIP_SERVER": "", "SIP_PORT": "5060"}, 200) is None


def test_a_server_a_user_and_a_password_are_a_trunk_that_registers() -> None:
    settings = load(**ONE)
    (trunk,) = settings.endpoint.trunks
    assert trunk == Trunk("sip", "sip.example.net", "bridge", "s3cret-Trunk")
    assert trunk.register
    assert settings.endpoint.max_calls == 200
    assert "s3cret" not in repr(settings)


def test_a_server_alone_is_a_trunk_that_does_not_register() -> None:
    (trunk,) = load(SIP_SERVER="192.0.2.7").endpoint.trunks
    assert not trunk.register


def test_everything_of_a_trunk_can_be_set() -> None:
    settings = load(
        **ONE,
        SIP_TRANSPORT="tls",
        SIP_REGISTER="false",
        SIP_SOURCES="192.0.2.0/24, 2001:db8::7",
        SIP_CODECS="opus, G.722,pcma",
        SIP_SRTP="required",
        SIP_TIMERS="off",
        SIP_CALLER="+15550100002",
        SIP_NUMBERS="+15550100002",
        SIP_DESTINATIONS="+49,+1",
        SIP_DIALS_PER_S="0.5",
        SIP_STUN_SERVER="stun.example.net",
    )
    (trunk,) = settings.endpoint.trunks
    assert (trunk.transport, trunk.register, trunk.srtp) == (Transport.TLS, False, Srtp.REQUIRED)
    assert trunk.codecs == (Codec.OPUS, Codec.G722, Codec.PCMA)
    assert trunk.addresses == ("192.0.2.0/24", "2001:db8::7")
    assert (trunk.session_timers, trunk.caller, trunk.stun) == (SessionTimers.OFF, "+15550100002", True)
    policy = settings.policies["sip"]
    assert (policy.numbers.patterns, policy.destinations.allowed) == (("+15550100002",), ("+49", "+1"))
    assert policy.dials_per_s == 0.5


def test_everything_of_the_endpoint_can_be_set() -> None:
    endpoint = load(
        **ONE,
        SIP_BIND="10.0.0.2",
        SIP_PORT="5070",
        SIP_TLS_PORT="5071",
        SIP_LISTEN="tcp,tls",
        SIP_RTP_PORTS="30000-31999",
        SIP_PUBLIC_ADDRESS="203.0.113.10",
        SIP_NAMESERVERS="10.0.0.53",
        SIP_CERTIFICATE="cert.pem",
        SIP_PRIVATE_KEY="key.pem",
        SIP_AUTHORITIES="ca.pem",
        SIP_VERIFY_SERVERS="no",
        SIP_REQUIRE_CLIENT_CERTIFICATE="yes",
    ).endpoint
    assert (endpoint.bind_address, endpoint.port, endpoint.tls_port) == ("10.0.0.2", 5070, 5071)
    assert endpoint.transports == (Transport.UDP, Transport.TCP, Transport.TLS)
    assert (endpoint.rtp_ports, endpoint.public_address) == ((30_000, 31_999), "203.0.113.10")
    assert (endpoint.tls.certificate, endpoint.tls.private_key, endpoint.tls.authorities) == (
        "cert.pem",
        "key.pem",
        "ca.pem",
    )
    assert (endpoint.tls.verify_servers, endpoint.tls.require_client_certificate) == (False, True)


def test_several_trunks_have_variables_of_their_own_and_share_the_others() -> None:
    settings = load(
        SIP_TRUNKS="Office, carrier",
        SIP_TRANSPORT="tcp",
        SIP_OFFICE_SERVER="10.0.0.5",
        SIP_OFFICE_DESTINATIONS="2",
        SIP_CARRIER_SERVER="sip.carrier.example",
        SIP_CARRIER_USER="bridge",
        SIP_CARRIER_PASSWORD="x",
        SIP_CARRIER_TRANSPORT="tls",
    )
    office, carrier = settings.endpoint.trunks
    assert (office.name, office.server, office.transport, office.register) == (
        "office",
        "10.0.0.5",
        Transport.TCP,
        False,
    )
    assert (carrier.name, carrier.transport, carrier.register) == ("carrier", Transport.TLS, True)
    assert settings.policies["office"].destinations.allowed == ("2",)
    assert settings.policies["carrier"].destinations.allowed == ()


def test_what_sip_adds_to_the_manners_of_calls() -> None:
    manners = load(**ONE, SIP_ANNOUNCEMENT="Recorded.", SIP_RING_S="20", SIP_HOLD_S="60", SIP_TRANSFER_S="15").manners(
        Manners(greeting="Hello.")
    )
    assert manners == Manners(greeting="Hello.", announcement="Recorded.", ring_s=20, hold_s=60, transfer_s=15)


def test_workers_have_ports_of_their_own() -> None:
    alone = load(**ONE, SIP_RTP_PORTS="10000-10999")
    assert alone.share(0, 1) == alone
    shares = [alone.share(number, 2) for number in (0, 1)]
    assert [(one.endpoint.port, one.endpoint.tls_port) for one in shares] == [(5060, 5061), (5062, 5063)]
    assert [one.endpoint.rtp_ports for one in shares] == [(10_000, 10_499), (10_500, 10_999)]
    assert all(one.has_siblings for one in shares)
    with pytest.raises(SettingsError, match=r"^SIP_RTP_PORTS: with 3 workers, 200 calls need 400 ports"):
        alone.share(0, 3)


def test_more_calls_than_were_compiled_in_are_not_promised() -> None:
    assert load(5000, **ONE).endpoint.max_calls == 1000


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SIP_USER": "bridge"}, "SIP_SERVER"),
        ({**ONE, "SIP_PORT": "plenty"}, "SIP_PORT"),
        ({**ONE, "SIP_TRANSPORT": "pigeon"}, "SIP_TRANSPORT"),
        ({**ONE, "SIP_CODECS": "G729"}, "SIP_CODECS"),
        ({**ONE, "SIP_SOURCES": "everywhere"}, "SIP_SOURCES"),
        ({**ONE, "SIP_NUMBERS": "+1*55"}, "SIP_NUMBERS"),
        ({**ONE, "SIP_DESTINATIONS": "everywhere"}, "SIP_DESTINATIONS"),
        ({**ONE, "SIP_DESTINATIONS": "-"}, "SIP_DESTINATIONS"),
        ({**ONE, "SIP_RTP_PORTS": "10000"}, "SIP_RTP_PORTS"),
        ({**ONE, "SIP_RTP_PORTS": "10000-10010"}, "SIP_RTP_PORTS"),
        ({**ONE, "SIP_LISTEN": "tls"}, "SIP_CERTIFICATE"),
        ({**ONE, "SIP_USER": 'a"b'}, "SIP_USER"),
        ({"SIP_SERVER": "x", "SIP_REGISTER": "true"}, "SIP_USER"),
        ({"SIP_TRUNKS": "a,b", "SIP_A_SERVER": "x"}, "SIP_B_SERVER"),
        ({"SIP_TRUNKS": "a", "SIP_A_SERVER": "x", "SIP_A_EXPIRES_S": "1"}, "SIP_A_EXPIRES_S"),
        ({"SIP_TRUNKS": "a,a", "SIP_A_SERVER": "x"}, "SIP_TRUNKS"),
        ({"SIP_TRUNKS": "auth", "SIP_AUTH_SERVER": "x"}, "SIP_TRUNKS"),
        ({"SIP_TRUNKS": "main office", "SIP_SERVER": "x"}, "SIP_TRUNKS"),
        ({**ONE, "SIP_PASWORD": "x"}, "SIP_PASWORD"),
        ({**ONE, "SIP_OFFICE_NUMBERS": "+1"}, "SIP_OFFICE_NUMBERS"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{named}: \S+") as refused:
        load(**given)
    assert "s3cret" not in str(refused.value)


def test_whose_certificates_let_callers_in_must_be_said() -> None:
    with pytest.raises(SettingsError, match=r"^SIP_REQUIRE_CLIENT_CERTIFICATE: .*SIP_AUTHORITIES"):
        load(**ONE, SIP_REQUIRE_CLIENT_CERTIFICATE="true")


def test_trunks_know_their_numbers() -> None:
    assert load(**ONE, SIP_NUMBERS="+4930111, +4930222*").endpoint.trunks[0].numbers == ("+4930111", "+4930222*")


def test_a_slip_of_the_pen_is_told_what_was_meant() -> None:
    with pytest.raises(SettingsError, match="is SIP_PASSWORD meant"):
        load(**ONE, SIP_PASWORD="x")


def test_every_variable_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load(**ONE, SIP_PORT="x", SIP_TLS_PORT="y")
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["SIP_PORT", "SIP_TLS_PORT"]


def test_the_example_shows_every_default() -> None:
    shown = {name: value for name, value in dotenv_of(uncommented()).items() if name.startswith("SIP_")}
    assert set(shown) == set(variables())
    assert load(**{**shown, **ONE}) == load(**ONE)


def test_every_variable_is_written_as_one() -> None:
    assert all(re.fullmatch(r"SIP(_[A-Z]+)+", name) for name in variables())


def test_without_the_library_the_command_that_makes_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import app.sip.setup as setup
    from telephony.sip.errors import SipUnavailable

    def missing() -> Any:
        raise SipUnavailable("pjsua2 cannot be imported")

    monkeypatch.setattr(setup, "load_library", missing)
    with pytest.raises(SettingsError, match=r"^SIP_SERVER: .*run `make sip`"):
        setup.pjsua_endpoint(load(**ONE).endpoint, clock=None)  # type: ignore[arg-type]
