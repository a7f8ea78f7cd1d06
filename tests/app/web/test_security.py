import base64
import hashlib
import hmac
from typing import Any

import pytest

from app.web.security import ApiGate, CarrierGate, RequestRefused, require_local
from telephony.carriers.twilio import TWILIO
from telephony.errors import OurFault
from tests.app.web.doubles import http_scope, websocket_scope

SECRET = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://bridge.example.net"


def signed(url: str, form: tuple[tuple[str, str], ...] = ()) -> tuple[str, str]:
    text = url + "".join(name + value for name, value in sorted(form))
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()
    return "x-twilio-signature", base64.b64encode(digest).decode()


def refusal(gate: CarrierGate | ApiGate, scope: dict[str, Any]) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        gate.admit(scope)
    return refused.value


# Signed


def test_a_webhook_is_checked_against_the_public_url_whatever_the_request_says() -> None:
    form = (("CallSid", "CA1"), ("From", "+1"))
    gate = CarrierGate(TWILIO, PUBLIC, (SECRET,))
    scope = http_scope(
        "/twilio/v%6Fice?tenant=%37",
        headers=[("Host", "10.0.0.7:8080"), signed(PUBLIC + "/twilio/v%6Fice?tenant=%37", form)],
        client=("10.0.0.1", 4711),
    )
    request = gate.admit(scope, form)
    assert gate.signed
    assert request.url == PUBLIC + "/twilio/v%6Fice?tenant=%37"
    assert request.form == form
    assert request.headers["host"] == "10.0.0.7:8080"


@pytest.mark.parametrize(
    ("public", "wss"),
    [
        (PUBLIC, "wss://bridge.example.net/twilio/media"),
        (PUBLIC + "/", "wss://bridge.example.net/twilio/media"),
        (PUBLIC + ":8443/tel", "wss://bridge.example.net:8443/tel/twilio/media"),
        ("http://localhost:8080", "ws://localhost:8080/twilio/media"),
    ],
)
def test_an_upgrade_is_checked_against_the_websocket_url(public: str, wss: str) -> None:
    gate = CarrierGate(TWILIO, public, (SECRET,))
    assert gate.admit(websocket_scope(headers=[signed(wss)])).url == wss
    as_http = wss.replace("ws", "http", 1)
    assert refusal(gate, websocket_scope(headers=[signed(as_http)])).reason == "signature"


@pytest.mark.parametrize("headers", [[], [("x-twilio-signature", "AAAA")], [signed(PUBLIC + "/other")]])
def test_a_forged_request_is_refused_with_a_remedy_that_the_peer_does_not_see(headers: list[tuple[str, str]]) -> None:
    refused = refusal(CarrierGate(TWILIO, PUBLIC, (SECRET,)), http_scope("/twilio/voice", headers))
    assert (refused.status, refused.reason) == (403, "signature")
    assert refused.remedy
    assert "TWILIO_AUTH_TOKEN" not in refused.text
    assert SECRET not in refused.remedy + refused.text


def test_a_doubled_signature_header_matches_nothing() -> None:
    header = signed(PUBLIC + "/twilio/voice")
    gate = CarrierGate(TWILIO, PUBLIC, (SECRET,))
    gate.admit(http_scope("/twilio/voice", [header]))
    assert refusal(gate, http_scope("/twilio/voice", [header, header])).status == 403


def test_a_loopback_request_needs_its_signature_too_once_there_is_a_secret() -> None:
    assert refusal(CarrierGate(TWILIO, PUBLIC, (SECRET,)), http_scope("/twilio/voice")).reason == "signature"


def test_an_empty_secret_is_none() -> None:
    assert not CarrierGate(TWILIO, PUBLIC, ("", "")).signed
    gate = CarrierGate(TWILIO, PUBLIC, ("", SECRET))
    gate.admit(http_scope("/twilio/voice", [signed(PUBLIC + "/twilio/voice")]))
    forged = base64.b64encode(hmac.new(b"", (PUBLIC + "/twilio/voice").encode(), hashlib.sha1).digest()).decode()
    assert refusal(gate, http_scope("/twilio/voice", [("x-twilio-signature", forged)])).status == 403


@pytest.mark.parametrize(
    "public", ["", "bridge.example.net", "ftp://bridge.example.net", "https://", "https://b?x=1", "https://b#x", "//b"]
)
def test_a_public_url_that_cannot_be_signed_is_our_fault(public: str) -> None:
    with pytest.raises(OurFault, match="PUBLIC_URL"):
        CarrierGate(TWILIO, public, (SECRET,))


# This machine only

OWN = [
    {"headers": [("host", host)]}
    for host in ("localhost", "LocalHost:8080", "127.0.0.1", "127.8.9.10:80", "[::1]", "[::1]:8080")
] + [
    {"client": ("::1", 1)},
    {"client": ("127.4.4.4", 1)},
    {"client": ("::ffff:127.0.0.1", 1)},
    {"headers": [("host", "localhost:8080"), ("origin", "http://localhost:8080")]},
    {"headers": [("Host", "LOCALHOST:8080"), ("Origin", "http://localhost:8080")]},
]

HOST = ("host", "localhost:8080")
FOREIGN = [
    *(
        ("host_not_loopback", {"headers": [("host", host)]})
        for host in (
            "",
            "bridge.example.net",
            "localhost.example.net",
            "localhost.",
            "127.0.0.1.nip.io",
            "127.1",
            "0.0.0.0",
            "192.168.1.2:8080",
            "[::2]",
            "[::1].example.net",
            "::1",
            "::1:8080",
            "[127.0.0.1",
            "localhost:80:80",
            "localhost:http",
            "user@localhost",
            "localhost, localhost",
            "2130706433",
        )
    ),
    ("host_not_loopback", {"headers": []}),
    ("host_not_loopback", {"headers": [HOST, ("Host", "evil.example")]}),
    *(
        ("foreign_origin", {"headers": [HOST, ("origin", origin)]})
        for origin in (
            "https://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1:8080",
            "null",
            "",
            "localhost:8080",
            "http://localhost:8080@evil.example",
        )
    ),
    *(
        ("forwarded", {"headers": [HOST, (name, "203.0.113.9")]})
        for name in (
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-FORWARDED-PROTO",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "Via",
        )
    ),
    *(
        ("peer_not_loopback", {"client": client})
        for client in (None, ("192.168.1.2", 1), ("10.0.0.1", 1), ("::2", 1), ("::ffff:10.0.0.1", 1), ("testclient", 1))
    ),
]


@pytest.mark.parametrize("scope_of", [http_scope, websocket_scope])
@pytest.mark.parametrize("changes", OWN)
def test_without_a_secret_this_machine_is_served(scope_of: Any, changes: dict[str, Any]) -> None:
    scope = scope_of("/twilio/voice", **changes)
    CarrierGate(TWILIO, PUBLIC, ()).admit(scope)
    ApiGate(None).admit(scope)


@pytest.mark.parametrize("scope_of", [http_scope, websocket_scope])
@pytest.mark.parametrize(("reason", "changes"), FOREIGN)
def test_without_a_secret_nobody_else_is_served(scope_of: Any, reason: str, changes: dict[str, Any]) -> None:
    scope = scope_of("/twilio/voice", **changes)
    refused = refusal(CarrierGate(TWILIO, PUBLIC, ()), scope)
    assert (refused.status, refused.reason) == (403, reason)
    assert "TWILIO_AUTH_TOKEN" in refused.text
    assert "PUBLIC_URL" in refused.text
    refused = refusal(ApiGate(None), scope)
    assert (refused.status, refused.reason) == (403, reason)
    assert "API_TOKEN" in refused.text


def test_local_scopes_are_local() -> None:
    require_local(http_scope(), "")
    require_local(websocket_scope(), "")


# The API


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
def test_the_api_admits_its_token_from_anywhere(header: str) -> None:
    ApiGate("s3cret").admit(http_scope(headers=[("Authorization", header)], client=("203.0.113.9", 1)))


@pytest.mark.parametrize("header", [None, "", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3cret\xe9"])
def test_the_api_refuses_everything_else_even_from_this_machine(header: str | None) -> None:
    headers = [("host", "localhost:8080"), *([("authorization", header)] if header is not None else [])]
    refused = refusal(ApiGate("s3cret"), http_scope(headers=headers))
    assert (refused.status, refused.headers) == (401, {"www-authenticate": "Bearer"})
