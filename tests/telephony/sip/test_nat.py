"""Behind a NAT: what peers are told is the address that the outside sees, learnt from a STUN server or set."""

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.telephony.sip.phones import free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.wire import UserAgent

OUTSIDE = "203.0.113.9"
_BINDING_REQUEST, _BINDING_RESPONSE, _MAPPED_ADDRESS, _XOR_MAPPED_ADDRESS = 0x0001, 0x0101, 0x0001, 0x0020
_COOKIE = 0x2112A442


@contextmanager
def stun_server() -> Iterator[str]:
    """A STUN server (RFC 5389) that sees everybody at `OUTSIDE`, with the port that he has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        serving = threading.Thread(target=_serve, args=(listening,), daemon=True)
        serving.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", listening.getsockname())
        serving.join()


def _serve(listening: socket.socket) -> None:
    while True:
        request, source = listening.recvfrom(2048)
        if not request:
            return
        kind, _, cookie = struct.unpack_from("!HHI", request)
        if kind == _BINDING_REQUEST:
            port, address = source[1], int(ipaddress.IPv4Address(OUTSIDE))
            plain = struct.pack("!HHBBHI", _MAPPED_ADDRESS, 8, 0, 1, port, address)
            hidden = struct.pack("!HHBBHI", _XOR_MAPPED_ADDRESS, 8, 0, 1, port ^ (_COOKIE >> 16), address ^ _COOKIE)
            told = plain + hidden if cookie == _COOKIE else plain
            listening.sendto(struct.pack("!HH", _BINDING_RESPONSE, len(told)) + request[4:20] + told, source)


def answered(**endpoint: str) -> tuple[str, str]:
    """Contact and SDP of the answer to a call from a static trunk."""
    port = free_ports(2)
    with UserAgent() as agent:
        trunk = {"name": "wire", "server": f"{agent.address}:{agent.port}", "register": False, "options_every_s": 0}
        with phones(phone_settings(port, trunks=[{**trunk, "stun": "stun_server" in endpoint}], **endpoint)) as (bob,):
            dialog = agent.invite(("127.0.0.1", port))
            call = bob.offered()["call"]
            answer = dialog.answered()
            dialog.bye()
            bob.until("CallEnded", call=call)
    return answer.header("contact"), answer.body


def test_a_stun_server_tells_the_address_that_peers_are_told() -> None:
    need_pjsua2()
    with stun_server() as server:
        contact, sdp = answered(stun_server=server)
    assert f"@{OUTSIDE}:" in contact or f"sip:{OUTSIDE}:" in contact
    assert f"c=IN IP4 {OUTSIDE}" in sdp


def test_an_address_that_is_set_is_told_to_peers() -> None:
    need_pjsua2()
    contact, sdp = answered(public_address=OUTSIDE)
    assert OUTSIDE in contact
    assert f"c=IN IP4 {OUTSIDE}" in sdp


def test_without_an_answer_of_the_stun_server_calls_are_taken_all_the_same() -> None:
    need_pjsua2()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        _, sdp = answered(stun_server=f"127.0.0.1:{mute.getsockname()[1]}")
    assert "c=IN IP4 127.0.0.1" in sdp
