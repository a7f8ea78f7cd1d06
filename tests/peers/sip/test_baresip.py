"""baresip is a telephone with SRTP, on a line of its own, clean or bad: it calls, is called, and is heard."""

from pathlib import Path

import pytest

from tests.peers.sip.baresip import telephone
from tests.peers.sip.network import Impairment, Network, network
from tests.telephony.sip.phones import free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.test_transports import certificate

pytestmark = pytest.mark.peer

BAD_LINE = Impairment(loss=0.05, delay_ms=20, jitter_ms=30)


def bridge(line: Network, **trunk: object) -> dict[str, object]:
    """Settings of the bridge at our end of the line."""
    carrier = {"name": "phone", "server": f"{line.theirs}:5060", "user": "bridge", "register": False}
    carrier |= {"options_every_s": 0, **trunk}
    return phone_settings(free_ports(2), trunks=[carrier]) | {"bind_address": line.ours}


@pytest.mark.parametrize("srtp", ["optional", "required"])
def test_a_telephone_that_insists_on_srtp_calls_in(tmp_path: Path, srtp: str) -> None:
    need_pjsua2()
    with network(tmp_path) as line, telephone(line, tmp_path, ";mediaenc=srtp-mand") as baresip:
        ours = bridge(line, srtp=srtp)
        with phones(ours) as (phone,):
            baresip.do("dial", f"sip:bridge@{line.ours}:{ours['port']}")
            call = phone.offered()["call"]
            baresip.until("CALL_ESTABLISHED")
            while phone.until("heard", call=call)["loud"] == 0.0:
                pass  # until it speaks
            baresip.do("sndcode", "7")
            assert phone.until("digit", call=call)["digit"] == "7"
            baresip.do("hangup")
            ended = phone.until("CallEnded", call=call)
            assert ended["by_peer"] and ended["statistics"]["encrypted"]


def test_a_telephone_that_insists_on_srtp_is_called(tmp_path: Path) -> None:
    need_pjsua2()
    with (
        network(tmp_path) as line,
        telephone(line, tmp_path, ";mediaenc=srtp-mand"),
        phones(bridge(line, srtp="required")) as (phone,),
    ):
        call = phone.dial(trunk="phone", target="phone")
        phone.until("CallAnswered", call=call)
        while phone.until("heard", call=call)["loud"] == 0.0:
            pass  # until it speaks
        phone.do("hang_up", call=call)
        assert phone.until("CallEnded", call=call)["statistics"]["encrypted"]


def test_a_telephone_in_clear_is_refused_where_srtp_is_required(tmp_path: Path) -> None:
    need_pjsua2()
    with network(tmp_path) as line, telephone(line, tmp_path) as baresip:
        ours = bridge(line, srtp="required")
        with phones(ours) as (phone,):
            baresip.do("dial", f"sip:bridge@{line.ours}:{ours['port']}")
            assert "488" in str(baresip.until("CALL_CLOSED"))
            assert not [fact for fact in phone.told if fact["event"] == "CallAnswered"]


def test_a_stranger_with_a_certificate_of_our_authority_calls_in(tmp_path: Path) -> None:
    need_pjsua2()
    tls = certificate(tmp_path / "tls", "bridge.example")
    both = tmp_path / "both.pem"
    both.write_text(Path(tls["certificate"]).read_text() + Path(tls["private_key"]).read_text())
    with network(tmp_path) as line, telephone(line, tmp_path, certificate=both) as baresip:
        ours = bridge(line, server="192.0.2.7") | {"listen": ["tls"], "tls_port": free_ports(2)}
        with phones({**ours, "tls": {**tls, "require_client_certificate": True}}) as (phone,):
            baresip.do("dial", f"sip:bridge@{line.ours}:{ours['tls_port']};transport=tls")
            call = phone.offered()["call"]
            baresip.until("CALL_ESTABLISHED")
            while phone.until("heard", call=call)["loud"] == 0.0:
                pass  # until it speaks
            baresip.do("hangup")
            assert phone.until("CallEnded", call=call)["by_peer"]


def test_over_a_bad_line_a_call_is_made_heard_and_ended_and_its_loss_is_measured(tmp_path: Path) -> None:
    need_pjsua2()
    with network(tmp_path, BAD_LINE) as line, telephone(line, tmp_path) as baresip:
        ours = bridge(line)
        with phones(ours) as (phone,):
            baresip.do("dial", f"sip:bridge@{line.ours}:{ours['port']}")
            call = phone.offered()["call"]
            baresip.until("CALL_ESTABLISHED")
            for _ in range(10):  # five seconds
                phone.until("heard", call=call)
            phone.do("hang_up", call=call)
            measured = phone.until("CallEnded", call=call)["statistics"]
    assert measured["packets_lost"] > 0
    assert measured["jitter_max_ms"] > 5
    assert measured["mos"] < 4.3
