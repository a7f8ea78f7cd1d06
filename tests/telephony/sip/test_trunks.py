"""What a trunk does to be up: registering with digest, refusals, a registrar that goes and comes back, OPTIONS."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.telephony.sip.phones import ROOT, Phone, free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.wire import Packet, UserAgent, digest_is_right

PASSWORD = "s3cret-Trunk"
NONCE = "9f2c5b7e"


@contextmanager
def registering(**trunk: Any) -> Iterator[tuple[Phone, UserAgent]]:
    """A phone whose trunk registers, and its registrar."""
    need_pjsua2()
    with UserAgent(within_s=20) as registrar:
        line = {"name": "wire", "server": f"{registrar.address}:{registrar.port}", "user": "bridge1"}
        line |= {"password": PASSWORD, "expires_s": 60, **trunk}
        with phones(phone_settings(free_ports(2), trunks=[line])) as (phone,):
            yield phone, registrar


def challenge(registrar: UserAgent) -> Packet:
    """Ask the next REGISTER for its digest; answers the one that brings it."""
    request = registrar.until("REGISTER")
    if not request.header("authorization"):
        registrar.answer(request, "401 Unauthorized", f'WWW-Authenticate: Digest realm="wire", nonce="{NONCE}"\r\n')
        request = registrar.until("REGISTER")
    return request


def accept(registrar: UserAgent, request: Packet, expires_s: int = 60) -> None:
    contact = request.header("contact").partition(";expires")[0]
    registrar.answer(request, "200 OK", f"Contact: {contact};expires={expires_s}\r\n")


def test_a_trunk_registers_with_digest_and_signs_off_when_it_goes() -> None:
    with registering() as (phone, registrar):
        request = challenge(registrar)
        assert digest_is_right(request, PASSWORD, NONCE)
        assert "expires: 60" in request.text.lower()
        accept(registrar, request)
        assert phone.until("trunk", state="up")["status"] == 200
        phone.do("quit")
        last = challenge(registrar)
        assert "expires: 0" in last.text.lower()
        registrar.answer(last, "200 OK")


def test_a_registration_is_refreshed_before_it_ends() -> None:
    with registering(expires_s=20) as (phone, registrar):
        accept(registrar, challenge(registrar), expires_s=8)  # the registrar's word counts
        phone.until("trunk", state="up")
        request = registrar.until("REGISTER")
        assert "expires: 20" in request.text.lower()
        accept(registrar, request, expires_s=60)


def test_a_wrong_password_is_no_reason_to_insist() -> None:
    with registering() as (phone, registrar):
        request = challenge(registrar)
        registrar.answer(request, "403 Forbidden")
        status = phone.until("trunk", state="rejected")
        assert (status["status"], status["retry_in_s"]) == (403, 300.0)
        assert registrar.silent(1.5)


def test_a_registrar_that_cannot_just_now_is_asked_again_and_again_until_it_can() -> None:
    with registering() as (phone, registrar):
        for _ in range(2):
            registrar.answer(registrar.until("REGISTER"), "503 Service Unavailable")
            assert phone.until("trunk", state="down")["status"] == 503
        accept(registrar, challenge(registrar))
        phone.until("trunk", state="up")


def test_calls_come_in_over_a_registration_to_whom_was_dialled() -> None:
    with registering() as (phone, registrar):
        request = challenge(registrar)
        accept(registrar, request)
        phone.until("trunk", state="up")
        dialog = registrar.invite(request.source, user="bridge1", extra="P-Asserted-Identity: <tel:+15550100001>\r\n")
        offer = phone.offered()
        assert (offer["caller"]["user"], offer["asserted"], offer["trunk"]) == ("+15550100001", True, "wire")
        dialog.answered()
        dialog.bye()
        phone.until("CallEnded")


def test_of_several_trunks_at_one_server_a_call_comes_over_the_one_it_is_for() -> None:
    need_pjsua2()
    port = free_ports(2)
    with UserAgent() as server:
        line = {"server": f"{server.address}:{server.port}", "register": False, "options_every_s": 0}
        trunks = [
            {"name": "sales", "user": "sales", "numbers": ["+4930111"], **line},
            {"name": "support", "user": "support", "numbers": ["+4930222"], **line},
        ]
        with phones(phone_settings(port, trunks=trunks)) as (phone,):
            for called, trunk in (
                ("sales", "sales"),
                ("support", "support"),
                ("+4930222", "support"),
                ("+4930111", "sales"),
                ("5501", "sales"),
            ):
                dialog = server.invite(("127.0.0.1", port), user=called)
                assert phone.offered()["trunk"] == trunk
                dialog.answered()
                dialog.bye()
                phone.until("CallEnded")


def test_a_trunk_without_registration_is_up_as_long_as_it_answers() -> None:
    with registering(register=False, options_every_s=0.2) as (phone, registrar):
        registrar.answer(registrar.until("OPTIONS"), "404 Not Found")  # it is there, whatever it thinks of us
        phone.until("trunk", state="up")
        for _ in range(2):
            registrar.answer(registrar.until("OPTIONS"), "503 Service Unavailable")
        phone.until("trunk", state="down")
        registrar.answer(registrar.until("OPTIONS"), "200 OK")
        phone.until("trunk", state="up")


def test_a_connection_that_is_lost_is_made_and_registered_anew() -> None:
    need_pjsua2()
    with socket.create_server(("127.0.0.1", 0)) as registrar:
        registrar.settimeout(20)
        port = registrar.getsockname()[1]
        line = {"name": "wire", "server": f"127.0.0.1:{port}", "user": "bridge1", "transport": "tcp"}
        with phones(phone_settings(free_ports(2), trunks=[line])) as (phone,):
            connection, _ = registrar.accept()
            connection.sendall(granted(Packet(connection.recv(65_535).decode(), ("", 0))))
            phone.until("trunk", state="up")
            connection.close()
            connection, _ = registrar.accept()
            assert connection.recv(65_535).startswith(b"REGISTER")
            connection.close()
            assert phone.until("trunk", state="down")["status"] >= 500


def granted(request: Packet) -> bytes:
    """The 200 to a REGISTER."""
    kept = "".join(request.headers(name) for name in ("via", "from", "to", "call-id", "cseq", "contact"))
    return f"SIP/2.0 200 OK\r\n{kept}Expires: 300\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_port_that_is_taken_is_said_so_and_nothing_crashes() -> None:
    need_pjsua2()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind(("127.0.0.1", 0))
        port = squatter.getsockname()[1]
        settings = phone_settings(port, trunks=[{"name": "t", "server": "127.0.0.1:9", "register": False}])
        command = [sys.executable, "-m", "tests.telephony.sip.peer", json.dumps(settings)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert ": Address already in use" in ended.stderr
