"""Asterisk is the PBX: the bridge registers there as a trunk, both call, sound and keys pass, and calls move on."""

from collections.abc import Iterator

import pytest

from tests.peers.sip.asterisk import Asterisk, pbx
from tests.peers.sip.network import network
from tests.telephony.sip.phones import Phone, free_ports, need_pjsua2, phone_settings, phones

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Phone, Asterisk]]:
    """A PBX, and a bridge that has registered there."""
    need_pjsua2()
    folder = tmp_path_factory.mktemp("office")
    with network(folder) as line, pbx(line, folder) as asterisk:
        ours = phone_settings(free_ports(2), trunks=[asterisk.trunk()]) | {"bind_address": line.ours}
        with phones(ours) as (phone,):
            phone.until("trunk", state="up")
            yield phone, asterisk


def hang_up(phone: Phone, call: int) -> None:
    phone.do("hang_up", call=call)
    phone.until("CallEnded", call=call)


def at_the_desk(phone: Phone) -> int:
    """A call that is through to the desk: before, Asterisk has nothing to transfer, and refuses with 400."""
    call = phone.dial(trunk="pbx", target="desk")
    phone.until("CallAnswered", call=call)
    phone.hears(call, loud=True)
    return call


def test_the_bridge_is_registered_as_the_pbx_sees_it(office: tuple[Phone, Asterisk]) -> None:
    _, asterisk = office
    assert "sip:bridge@" in asterisk.ask("pjsip show contacts")


def test_the_bridge_calls_and_hears_itself_through_the_pbx(office: tuple[Phone, Asterisk]) -> None:
    phone, _ = office
    call = phone.dial(trunk="pbx", target="echo")
    phone.until("CallAnswered", call=call)
    phone.hears(call, loud=True)
    hang_up(phone, call)


def test_the_pbx_calls_the_bridge_and_is_heard(office: tuple[Phone, Asterisk]) -> None:
    phone, asterisk = office
    asterisk.call_the_bridge("tone")
    call = phone.offered()["call"]
    phone.until("CallAnswered", call=call)
    phone.hears(call, loud=True)
    hang_up(phone, call)


def test_keys_from_the_pbx_arrive_once_and_in_order(office: tuple[Phone, Asterisk]) -> None:
    phone, _ = office
    call = phone.dial(trunk="pbx", target="keys")
    assert [phone.until("digit", call=call)["digit"] for _ in range(3)] == ["1", "5", "#"]
    ended = phone.until("CallEnded", call=call)
    assert ended["by_peer"] and ended["cause"]["q850"] == 16
    assert not [fact for fact in phone.told if fact["event"] == "digit"]


def test_a_key_to_the_pbx_is_understood(office: tuple[Phone, Asterisk]) -> None:
    phone, _ = office
    call = phone.dial(trunk="pbx", target="listen")
    phone.until("CallAnswered", call=call)
    phone.do("press", call=call, digits="7")
    assert phone.until("CallEnded", call=call)["cause"]["q850"] == 31


def test_a_busy_extension_is_told_as_such(office: tuple[Phone, Asterisk]) -> None:
    phone, _ = office
    call = phone.dial(trunk="pbx", target="busy")
    cause = phone.until("CallEnded", call=call)["cause"]
    assert cause["status"] == 486


def test_a_call_is_transferred_to_another_extension(office: tuple[Phone, Asterisk]) -> None:
    phone, asterisk = office
    call = at_the_desk(phone)
    phone.do("transfer", call=call, target="tone")
    transferred = phone.until("TransferEnded", call=call)
    assert transferred["succeeded"], transferred
    assert "Milliwatt" in asterisk.ask("core show channels concise")
    hang_up(phone, call)
    asterisk.ask("channel request hangup all")


def test_a_transfer_to_nobody_fails_with_a_reason_and_the_call_goes_on(office: tuple[Phone, Asterisk]) -> None:
    phone, _ = office
    call = at_the_desk(phone)
    phone.do("transfer", call=call, target="nobody")
    ended = phone.until("TransferEnded", call=call)
    assert not ended["succeeded"] and ended["status"] >= 400
    phone.hears(call, loud=True)
    hang_up(phone, call)
