"""What a SIP endpoint can be told, and what cannot be meant."""

from typing import Any

import pytest

from telephony.sip.settings import EndpointSettings, SettingRejected, Tls, Transport, Trunk


def trunk(**told: Any) -> Trunk:
    return Trunk(**{"name": "t", "server": "sip.example", "user": "u", **told})


def endpoint(**told: Any) -> EndpointSettings:
    return EndpointSettings(**{"trunks": (trunk(),), **told})


@pytest.mark.parametrize(
    ("told", "setting"),
    [
        ({"name": ""}, "trunk"),
        ({"user": ""}, "user"),
        ({"user": "u>\r\n"}, "user"),
        ({"codecs": ()}, "codecs"),
        ({"expires_s": 5}, "expires_s"),
        ({"session_expires_s": 30}, "session_expires_s"),
        ({"addresses": ("10.0.0.300",)}, "addresses"),
    ],
)
def test_a_trunk_that_cannot_be_meant(told: dict[str, Any], setting: str) -> None:
    with pytest.raises(SettingRejected) as rejected:
        trunk(**told)
    assert rejected.value.setting == setting


@pytest.mark.parametrize(
    ("told", "setting"),
    [
        ({"trunks": ()}, "trunks"),
        ({"trunks": (trunk(), trunk())}, "trunks"),
        ({"rtp_ports": (20_000, 10_000)}, "rtp_ports"),
        ({"rtp_ports": (10_000, 10_099), "max_calls": 100}, "rtp_ports"),
        ({"max_calls": 2000, "rtp_ports": (1024, 65_000)}, "max_calls"),
        ({"listen": (Transport.TLS,)}, "tls"),
        ({"tls": Tls(require_client_certificate=True)}, "require_client_certificate"),
    ],
)
def test_an_endpoint_that_cannot_be_meant(told: dict[str, Any], setting: str) -> None:
    with pytest.raises(SettingRejected) as rejected:
        endpoint(**told)
    assert rejected.value.setting == setting


def test_transports_are_those_of_the_trunks_and_those_listened_on() -> None:
    both = endpoint(trunks=(trunk(transport=Transport.TLS), trunk(name="u")), listen=(Transport.TCP,))
    assert both.transports == (Transport.UDP, Transport.TCP, Transport.TLS)
    assert endpoint(tls=Tls("cert", "key"), listen=(Transport.TLS,)).transports == (Transport.UDP, Transport.TLS)


def test_a_password_is_not_shown() -> None:
    assert "s3cret" not in repr(endpoint(trunks=(trunk(password="s3cret"),)))
