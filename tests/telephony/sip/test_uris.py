"""URIs of a trunk and of whom we call; nothing gets into a header that does not belong there."""

import pytest

from telephony.sip.errors import CallRefused
from telephony.sip.settings import Transport, Trunk
from telephony.sip.uris import (
    caller_identity,
    check_headers,
    host_in,
    host_of,
    route_uri,
    server_uri,
    target_uri,
    trunk_identity,
)

UDP = Trunk("t", "sip.carrier.example:5070", "bridge1", "x")
TLS = Trunk("t", "sip.carrier.example", "bridge1", "x", Transport.TLS, domain="customer.example", proxy="edge.example")


def test_where_a_trunk_registers_and_as_whom() -> None:
    assert server_uri(UDP) == "sip:sip.carrier.example:5070"
    assert server_uri(TLS) == "sip:sip.carrier.example;transport=tls"
    assert route_uri(TLS) == "<sip:edge.example;transport=tls;lr>"
    assert trunk_identity(UDP) == "<sip:bridge1@sip.carrier.example:5070>"
    assert trunk_identity(TLS) == "<sip:bridge1@customer.example>"
    assert trunk_identity(Trunk("t", "10.0.0.1", register=False)) == "<sip:10.0.0.1>"


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("+15550100003", "sip:+15550100003@sip.carrier.example:5070"),
        ("*72#", "sip:*72%23@sip.carrier.example:5070"),
        ("desk@pbx.example", "sip:desk@pbx.example"),
        ("sip:desk@pbx.example;transport=tcp", "sip:desk@pbx.example;transport=tcp"),
    ],
)
def test_whom_we_call(target: str, uri: str) -> None:
    assert target_uri(UDP, target) == uri


@pytest.mark.parametrize("target", ["", "two words", "a@b>\r\nX: y", "sip:a@b>;x", "tel:+1", "a@b@c", "+1" * 40])
def test_what_is_no_target(target: str) -> None:
    with pytest.raises(CallRefused):
        target_uri(UDP, target)


def test_who_calls() -> None:
    assert caller_identity(UDP, "", "") == ""
    assert caller_identity(UDP, "+1555", "") == "<sip:+1555@sip.carrier.example:5070>"
    assert caller_identity(TLS, "", "Front Desk") == '"Front Desk" <sip:bridge1@customer.example>'
    assert caller_identity(TLS, "ann@x.example", "") == "<sip:ann@x.example>"
    for caller, name in (("a b", ""), ("", 'x" <sip:evil@x>'), ("", "a\r\nb"), ("", "\ud83d")):
        with pytest.raises(CallRefused):
            caller_identity(UDP, caller, name)


@pytest.mark.parametrize(
    "headers", [{"X Y": "1"}, {"X": "a\r\nB: c"}, {"X\r\n": "a"}, {"X": "a" * 2000}, {"": "a"}, {"X": "\ud83d"}]
)
def test_headers_that_would_change_the_message(headers: dict[str, str]) -> None:
    check_headers({"X-Account": "4711 and more"})
    with pytest.raises(CallRefused):
        check_headers(headers)


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("a.example", "a.example"),
        ("a.example:5060", "a.example"),
        ("[2001:db8::7]:5060", "2001:db8::7"),
        ("::1", "::1"),
    ],
)
def test_a_host_without_its_port(server: str, host: str) -> None:
    assert host_of(server) == host


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("sip:1@a.example", "a.example"),
        ("sips:1:p@a.example:5061;transport=tls?X=a@b", "a.example"),
        ("sip:a.example;lr", "a.example"),
        ("sip:1@[2001:db8::7]:5060", "2001:db8::7"),
    ],
)
def test_the_host_in_a_uri(uri: str, host: str) -> None:
    assert host_in(uri) == host
