"""Kamailio is the carrier: the trunk registers there with digest, survives its restart, and calls come through it."""

from pathlib import Path
from typing import Any

import pytest

from tests.peers.sip.kamailio import Kamailio
from tests.peers.sip.sipp import scenario
from tests.telephony.sip.phones import free_ports, phone_settings, phones

pytestmark = pytest.mark.peer


def tls(kamailio: Kamailio) -> dict[str, Any]:
    """Settings of a bridge that trusts this carrier's certificate."""
    return {"tls": {"authorities": str(kamailio.authority)}}


def over_tls(kamailio: Kamailio) -> dict[str, object]:
    return kamailio.trunk(server=f"localhost:{kamailio.tls_port}", transport="tls")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_trunk_registers_with_digest(kamailio: Kamailio, transport: str) -> None:
    with phones(phone_settings(free_ports(2), trunks=[kamailio.trunk(transport=transport)])) as (phone,):
        phone.until("trunk", state="up")
        assert kamailio.registrations() == 1


def test_a_wrong_password_is_told_as_such(kamailio: Kamailio) -> None:
    with phones(phone_settings(free_ports(2), trunks=[kamailio.trunk(password="guessed")])) as (phone,):
        assert phone.until("trunk", state="rejected")["status"] in (401, 403)


def test_over_tls_the_carriers_certificate_is_verified_and_a_restart_is_survived(kamailio: Kamailio) -> None:
    trunk = over_tls(kamailio)
    with phones(phone_settings(free_ports(2), trunks=[trunk], **tls(kamailio))) as (phone,):
        phone.until("trunk", state="up")
        kamailio.stop()
        phone.until("trunk", state="down")
        kamailio.start()
        phone.until("trunk", state="up")


def test_a_carrier_whose_certificate_nobody_signed_is_not_talked_to(kamailio: Kamailio) -> None:
    with phones(phone_settings(free_ports(2), trunks=[over_tls(kamailio)])) as (phone,):
        phone.until("trunk", state="down")
        assert kamailio.registrations() == 0


def test_a_call_comes_through_the_carrier(kamailio: Kamailio, tmp_path: Path) -> None:
    with phones(phone_settings(free_ports(2), trunks=[kamailio.trunk()])) as (phone,):
        phone.until("trunk", state="up")
        with scenario("hold", f"127.0.0.1:{kamailio.port}", tmp_path, "-s", "bridge") as calling:
            call = phone.offered()["call"]
            phone.until("CallHeld", call=call)
            phone.until("CallResumed", call=call)
            calling.finish()
        assert phone.until("CallEnded", call=call)["by_peer"]
