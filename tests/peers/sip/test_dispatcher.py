"""The Kamailio of deploy/: registered at the trunk, before two bridges of which one is killed; it calls out, too."""

from pathlib import Path

import pytest

from tests.peers.sip.daemons import wait_until
from tests.peers.sip.kamailio import ADDRESS, Kamailio, dispatcher
from tests.peers.sip.served import SCRIPTED, Served, served
from tests.telephony.sip.phones import Phone, free_ports, phone_settings, phones

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

CALLER = {"user": "caller", "password": "s3cret-Caller"}


def call_in(phone: Phone) -> int:
    number = phone.dial(trunk="carrier", target="bridge")
    phone.until("CallAnswered", call=number)
    return number


def live(*bridges: Served) -> list[int]:
    return sorted(sum(call["phase"] != "ended" for call in bridge.ask("/api/calls")) for bridge in bridges)


def test_calls_go_to_the_bridge_with_the_fewest_and_to_the_other_when_one_dies(
    kamailio: Kamailio, tmp_path: Path
) -> None:
    proxy, first = free_ports(1), free_ports(4)
    settings = {
        "SIP_SERVER": f"{ADDRESS}:{proxy}",
        "SIP_USER": "bridge",
        "SIP_DESTINATIONS": f"@{ADDRESS}:{proxy}",
        **SCRIPTED,
    }
    with (
        served(tmp_path / "one", first, **settings) as one,
        served(tmp_path / "two", first + 2, **settings) as two,
        dispatcher(tmp_path / "proxy", kamailio, proxy, (first, first + 2)),
        phones(phone_settings(free_ports(2), trunks=[kamailio.trunk(**CALLER)])) as (phone,),
    ):
        phone.until("trunk", state="up")
        calls = [call_in(phone) for _ in range(4)]
        assert live(one, two) == [2, 2]
        (told,) = {call["called"] for call in one.ask("/api/calls")}
        assert told == "bridge"
        for call in calls:
            phone.do("hang_up", call=call)
            phone.until("CallEnded", call=call)
        wait_until(lambda: live(one, two) == [0, 0], "all calls have ended at the bridges")

        one.kill()
        calls = [call_in(phone) for _ in range(3)]
        assert live(two) == [3]
        for call in calls:
            phone.do("hang_up", call=call)
            phone.until("CallEnded", call=call)

        call_id = two.order("/api/calls", to=f"sip:caller@{ADDRESS}:{proxy}")["call_id"]
        number = phone.offered()["call"]
        phone.until("CallAnswered", call=number)
        two.order(f"/api/calls/{call_id}/end")
        phone.until("CallEnded", call=number)
