"""A bridge is killed in mid-call: its caller dials again, and the conversation goes on where it was."""

from pathlib import Path

import pytest

from tests.peers.sip.daemons import wait_until
from tests.peers.sip.served import served
from tests.telephony.sip.phones import free_ports, need_pjsua2, phone_settings, phones

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]


def test_a_caller_who_dials_again_after_a_crash_gets_his_conversation_back(tmp_path: Path) -> None:
    need_pjsua2()
    here, there = free_ports(2), free_ports(2)
    line = {"name": "bridge", "server": f"127.0.0.1:{here}", "register": False, "user": "5501", "options_every_s": 0}
    settings = {"SIP_SERVER": f"127.0.0.1:{there}", "SIP_USER": "5500"}
    with phones(phone_settings(there, trunks=[line])) as (phone,):
        with served(tmp_path, here, **settings) as bridge:
            lost = phone.dial(trunk="bridge", target="5500")
            phone.until("CallAnswered", call=lost)
            (call,) = bridge.ask("/api/calls")
            call_id = call["call_id"]
            wait_until(lambda: "reply_ended" in bridge.kinds(call_id), "the caller is greeted", 30.0)
            phone.do("press", call=lost, digits="2")
            wait_until(lambda: bridge.kinds(call_id).count("reply_ended") == 2, "the caller has his answer", 30.0)
            bridge.kill()
        phone.do("hang_up", call=lost)
        phone.until("CallEnded", call=lost)
        with served(tmp_path, here, **settings) as bridge:
            again = phone.dial(trunk="bridge", target="5500")
            phone.until("CallAnswered", call=again)
            wait_until(lambda: bridge.kinds(call_id).count("leg_attached") == 2, "the call has its caller back")
            kinds = bridge.kinds(call_id)
            taken = kinds.index("call_taken_over")
            wait_until(lambda: "reply_started" in bridge.kinds(call_id)[taken:], "he is greeted")
            assert kinds[:taken].count("caller_said") == 1
            assert [call["call_id"] for call in bridge.ask("/api/calls")] == [call_id]
            phone.do("hang_up", call=again)
            wait_until(lambda: bridge.kinds(call_id)[-1:] == ["call_ended"], "the call has ended")
