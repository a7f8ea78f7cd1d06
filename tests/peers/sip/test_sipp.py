"""SIPp calls: as it should be, and as it happens. The trunk is static: both sides know each other's address."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.sip.daemons import need_programs
from tests.peers.sip.sipp import scenario
from tests.telephony.sip.phones import Phone, free_ports, need_pjsua2, phone_settings, phones

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def line() -> Iterator[tuple[Phone, str]]:
    """A bridge and its address; SIPp on 127.0.0.1 is its trunk."""
    need_pjsua2()
    need_programs("sipp")
    port = free_ports(2)
    trunk = {"name": "sipp", "server": "127.0.0.1:9", "user": "bridge", "register": False, "options_every_s": 0}
    with phones(phone_settings(port, trunks=[trunk])) as (phone,):
        yield phone, f"127.0.0.1:{port}"


def test_a_call_brings_voice_a_key_who_calls_and_why_it_ends(line: tuple[Phone, str], tmp_path: Path) -> None:
    phone, target = line
    phone.do("treat", how="answer")
    with scenario("call", target, tmp_path, "-s", "+15550100002") as calling:
        offer = phone.offered()
        assert (offer["caller"]["user"], offer["asserted"], offer["called"]) == ("+15550100001", True, "+15550100002")
        assert (offer["diverted_from"], offer["diversion_reason"]) == ("+15550100009", "user-busy")
        assert offer["headers"]["x-campaign"] == "spring"
        assert phone.until("digit", call=offer["call"])["digit"] == "5"
        while phone.until("heard", call=offer["call"])["loud"] == 0.0:
            pass  # until the caller speaks
        calling.finish()
    ended = phone.until("CallEnded", call=offer["call"])
    assert ended["by_peer"] and ended["cause"]["q850"] == 16
    assert not [fact for fact in phone.told if fact["event"] == "digit"], "a key counts once"
    assert ended["statistics"]["codec"] == "PCMU"


def test_a_caller_who_gives_up_is_let_go(line: tuple[Phone, str], tmp_path: Path) -> None:
    phone, target = line
    phone.do("treat", how="ring")
    with scenario("cancel", target, tmp_path) as calling:
        call = phone.offered()["call"]
        ended = phone.until("CallEnded", call=call)
        assert ended["by_peer"] and ended["cause"]["status"] == 487
        calling.finish()


def test_hold_and_resume_are_told_and_answered(line: tuple[Phone, str], tmp_path: Path) -> None:
    phone, target = line
    phone.do("treat", how="answer")
    with scenario("hold", target, tmp_path) as calling:
        call = phone.offered()["call"]
        phone.until("CallHeld", call=call)
        phone.until("CallResumed", call=call)
        calling.finish()
    phone.until("CallEnded", call=call)


def test_a_call_over_ipv6_is_held_and_resumed(tmp_path: Path) -> None:
    need_pjsua2()
    port = free_ports(2)
    trunk = {"name": "sipp", "server": "[::1]:9", "user": "bridge", "register": False, "options_every_s": 0}
    with (
        phones(phone_settings(port, trunks=[trunk]) | {"bind_address": "::1"}) as (phone,),
        scenario("hold", f"[::1]:{port}", tmp_path, source="::1") as calling,
    ):
        call = phone.offered()["call"]
        phone.until("CallHeld", call=call)
        phone.until("CallResumed", call=call)
        calling.finish()
        phone.until("CallEnded", call=call)


@pytest.mark.parametrize("media", ["audio 6000 RTP/AVP 3 18", "video 6000 RTP/AVP 31"])
def test_an_offer_without_a_common_codec_is_refused(line: tuple[Phone, str], tmp_path: Path, media: str) -> None:
    phone, target = line
    phone.do("treat", how="answer")
    with scenario("bad_sdp", target, tmp_path, "-key", "media", media) as calling:
        calling.finish()


def test_an_offer_that_cannot_be_read_is_refused(line: tuple[Phone, str], tmp_path: Path) -> None:
    phone, target = line
    with scenario("broken_sdp", target, tmp_path) as calling:
        phone.until("refused", reason="malformed")
        calling.finish()


def test_what_arrives_twice_happens_once(line: tuple[Phone, str], tmp_path: Path) -> None:
    phone, target = line
    phone.do("treat", how="ring")
    with scenario("retransmissions", target, tmp_path) as calling:
        call = phone.offered()["call"]
        calling.received("SIP/2.0 180", times=2)
        phone.do("answer", call=call)
        calling.finish()
    phone.until("CallEnded", call=call)
    assert not [fact for fact in phone.told if fact["event"] in ("offered", "CallEnded")]


def test_a_flood_of_strangers_is_refused_and_a_friend_still_gets_through(
    line: tuple[Phone, str], tmp_path: Path
) -> None:
    phone, target = line
    phone.do("treat", how="answer")
    flood = ("-m", "400", "-r", "200", "-l", "400")
    with scenario("stranger", target, tmp_path, *flood, source="127.0.0.9") as strangers:
        phone.until("refused", reason="stranger")
        with scenario("hold", target, tmp_path) as friend:
            call = phone.offered()["call"]
            phone.until("CallAnswered", call=call)
            friend.finish()
        strangers.finish()
    phone.until("CallEnded", call=call)
    assert not [fact for fact in phone.told if fact["event"] == "offered"]
