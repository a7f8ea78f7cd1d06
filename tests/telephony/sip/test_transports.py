"""Calls over TCP and TLS, with encrypted media, and with each of the codecs."""

import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.telephony.sip.phones import Phone, free_ports, need_pjsua2, phone_settings, phones, two_phones


def certificate(folder: Path, name: str) -> dict[str, Any]:
    """TLS settings with a self-signed certificate for `name` in `folder`, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file = str(folder / "certificate.pem")
    return {"certificate": file, "private_key": str(folder / "key.pem"), "authorities": file}


def converse(ann: Phone, bob: Phone) -> dict[str, Any]:
    """A call in which both hear each other; what Bob measured."""
    calling = ann.dial(trunk="bob", target="5501")
    called = bob.offered()["call"]
    ann.hears(calling, loud=True)
    bob.hears(called, loud=True)
    ann.do("hang_up", call=calling)
    ann.until("CallEnded", call=calling)
    measured: dict[str, Any] = bob.until("CallEnded", call=called)["statistics"]
    return measured


@pytest.mark.parametrize("codec", ["PCMA", "G722", "opus"])
def test_a_call_over_tcp_uses_the_codec_that_both_have(codec: str) -> None:
    need_pjsua2()
    with two_phones({"transport": "tcp"}, {"codecs": [codec]}) as (ann, bob):
        measured = converse(ann, bob)
        assert measured["codec"].lower() == codec.lower()
        assert not measured["encrypted"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_over_ipv6(transport: str) -> None:
    need_pjsua2()
    with two_phones({"transport": transport}, address="::1") as (ann, bob):
        assert converse(ann, bob)["packets_received"] > 20


def test_a_call_over_tls_with_encrypted_media(tmp_path: Path) -> None:
    need_pjsua2()
    tls = certificate(tmp_path / "tls", "localhost")
    with two_phones({"transport": "tls", "srtp": "required"}, tls=tls) as (ann, bob):
        assert converse(ann, bob)["encrypted"]


def test_encryption_that_is_optional_is_used_where_the_peer_can() -> None:
    need_pjsua2()
    with two_phones({"srtp": "optional"}) as (ann, bob):
        assert converse(ann, bob)["encrypted"]


def test_a_peer_that_cannot_encrypt_gets_no_call_where_it_must() -> None:
    need_pjsua2()
    with two_phones({"srtp": "off"}, {"srtp": "required"}) as (ann, bob):
        calling = ann.dial(trunk="bob", target="5501")
        assert ann.until("CallEnded", call=calling)["cause"]["status"] in (488, 406)
        assert not any(fact["event"] == "offered" for fact in bob.told)


def test_a_certificate_for_somebody_else_is_no_certificate(tmp_path: Path) -> None:
    need_pjsua2()
    with two_phones({"transport": "tls"}, tls=certificate(tmp_path / "tls", "elsewhere.example")) as (ann, bob):
        calling = ann.dial(trunk="bob", target="5501")
        assert ann.until("CallEnded", call=calling)["cause"]["status"] == 503
        assert not any(fact["event"] == "offered" for fact in bob.told)


def answer_over_tls(port: int, shown: dict[str, Any] | None) -> bytes:
    """What an OPTIONS from a stranger is answered over TLS, who shows that certificate; nothing if he is shut out."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(shown["certificate"], shown["private_key"])
    request = (
        "OPTIONS sip:bridge@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.9:9;branch=z9hG4bK-1;rport\r\n"
        "From: <sip:ann@example.net>;tag=1\r\nTo: <sip:bridge@example.net>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    stranger = socket.create_connection(("127.0.0.1", port), timeout=15.0, source_address=("127.0.0.9", 0))
    try:
        with stranger, context.wrap_socket(stranger) as connection:
            connection.sendall(request.encode())
            return connection.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_over_mutual_tls_a_certificate_decides_who_is_heard(tmp_path: Path) -> None:
    need_pjsua2()
    ours, other = certificate(tmp_path / "ours", "ours.example"), certificate(tmp_path / "other", "other.example")
    port = free_ports(4)
    trunk = {"name": "carrier", "server": "192.0.2.7", "register": False, "options_every_s": 0}
    told = phone_settings(port, trunks=[trunk], listen=["tls"], tls_port=port + 2)
    with phones({**told, "tls": {**ours, "require_client_certificate": True}}):
        assert answer_over_tls(port + 2, ours).startswith(b"SIP/2.0 200")
        assert answer_over_tls(port + 2, other) == b""
        assert answer_over_tls(port + 2, None) == b""
