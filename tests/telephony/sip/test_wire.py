"""A telephone and a user agent that says what well-behaved endpoints do not: strangers, nonsense, transfers, INFO."""

from collections.abc import Iterator

import pytest

from tests.telephony.sip.phones import Phone, free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.wire import Dialog, UserAgent


@pytest.fixture(scope="module")
def line() -> Iterator[tuple[Phone, UserAgent, tuple[str, int]]]:
    """Bob, a user agent that is his trunk, and Bob's address."""
    need_pjsua2()
    port = free_ports(2)
    with UserAgent() as agent:
        trunk = {"name": "wire", "server": f"{agent.address}:{agent.port}", "register": False, "options_every_s": 0}
        with phones(phone_settings(port, trunks=[trunk])) as (bob,):
            yield bob, agent, ("127.0.0.1", port)


Line = tuple[Phone, UserAgent, tuple[str, int]]


def call(line: Line, treatment: str = "answer", **invite: str) -> tuple[int, Dialog]:
    """A call to Bob, up to its answer: by the number that he gives it, and as a dialog."""
    bob, agent, there = line
    bob.do("treat", how=treatment)
    dialog = agent.invite(there, **invite)
    number = bob.offered()["call"]
    dialog.answered()
    bob.until("CallAnswered", call=number)
    return number, dialog


def placed(line: Line) -> tuple[int, Dialog]:
    """A call from Bob, answered."""
    bob, agent, _ = line
    number = bob.dial(trunk="wire", target="5502")
    invite = agent.until("INVITE")
    agent.answer(invite, "200 OK", body=agent.sdp())
    agent.until("ACK")
    bob.until("CallAnswered", call=number)
    return number, Dialog.of(agent, invite)


def test_a_stranger_is_refused_and_nobody_hears_of_it(line: Line) -> None:
    bob, _, there = line
    with UserAgent("127.0.0.9") as stranger:
        stranger.invite(there)
        stranger.until("INVITE", 403)
    assert bob.until("refused")["reason"] == "stranger"
    assert not any(fact["event"] == "offered" for fact in bob.told)


def test_an_invitation_with_nonsense_for_sdp_is_refused(line: Line) -> None:
    bob, agent, there = line
    agent.invite(there, body="v=0\r\nm=nonsense\r\n")
    agent.until("INVITE", 400)
    agent.invite(there, body=agent.sdp("m=audio 9 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n"))
    agent.until("INVITE", 488)
    assert not any(fact["event"] == "offered" for fact in bob.told)


def test_an_offer_may_be_left_to_us(line: Line) -> None:
    bob, agent, there = line
    bob.do("treat", how="answer")
    dialog = agent.invite(there, body="")
    number = bob.offered()["call"]
    offer = agent.until("INVITE", 200)
    assert "m=audio" in offer.body and "PCMU" in offer.body
    dialog.remote = offer.header("to")
    dialog.request("ACK", body=agent.sdp())
    bob.until("MediaOpened", call=number)
    dialog.bye()
    bob.until("CallEnded", call=number)


def test_the_caller_hangs_up_and_says_why(line: Line) -> None:
    bob, agent, _ = line
    number, dialog = call(line)
    dialog.request("BYE", 'Reason: SIP;cause=200;text="x", Q.850;cause=27;text="out of order"\r\n')
    agent.until("BYE", 200)
    ended = bob.until("CallEnded", call=number)
    assert (ended["cause"], ended["by_peer"]) == ({"status": 0, "q850": 27, "text": "x"}, True)


def test_keys_may_come_as_info(line: Line) -> None:
    bob, agent, _ = line
    number, dialog = call(line)
    dialog.request("INFO", body="Signal=5\r\nDuration=160\r\n", kind="application/dtmf-relay")
    agent.until("INFO", 200)
    assert bob.until("digit", call=number)["digit"] == "5"
    dialog.bye()
    bob.until("CallEnded", call=number)


def test_a_peer_that_wants_us_to_call_somebody_is_declined(line: Line) -> None:
    bob, agent, _ = line
    number, dialog = call(line)
    dialog.request("REFER", "Refer-To: <sip:+8821234@premium.example>\r\n")
    agent.until("REFER", 603)
    assert not any(fact["event"] == "CallEnded" for fact in bob.told)
    dialog.bye()
    bob.until("CallEnded", call=number)


def test_a_session_has_a_timer_where_the_caller_wants_one(line: Line) -> None:
    bob, agent, there = line
    bob.do("treat", how="answer")
    dialog = agent.invite(there, extra="Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nMin-SE: 90\r\n")
    number = bob.offered()["call"]
    answer = dialog.answered()
    assert answer.header("session-expires") == "90;refresher=uas"
    dialog.bye()
    bob.until("CallEnded", call=number)


def test_options_are_answered(line: Line) -> None:
    _, agent, there = line
    agent.options(there)
    assert "INVITE" in agent.until("OPTIONS", 200).header("allow")


def test_a_transfer_tells_its_progress_and_its_success(line: Line) -> None:
    bob, agent, _ = line
    number, dialog = placed(line)
    bob.do("transfer", call=number, target="+15550100003")
    refer = agent.until("REFER")
    assert "+15550100003@" in refer.header("refer-to")
    agent.answer(refer, "202 Accepted")
    for said, state in (
        ("100 Trying", "active;expires=60"),
        ("180 Ringing", "active;expires=60"),
        ("200 OK", "terminated;reason=noresource"),
    ):
        dialog.request(
            "NOTIFY", f"Event: refer\r\nSubscription-State: {state}\r\n", f"SIP/2.0 {said}\r\n", "message/sipfrag"
        )
        agent.until("NOTIFY", 200)
    over = bob.until("TransferEnded", call=number)
    assert (over["succeeded"], over["status"]) == (True, 200)
    assert bob.until("TransferProgressed", call=number, status=180)["reason"] == "Ringing"
    bob.do("hang_up", call=number)
    agent.answer(agent.until("BYE"), "200 OK")
    bob.until("CallEnded", call=number)


def test_a_transfer_without_an_outcome_is_given_up_in_time(line: Line) -> None:
    bob, agent, _ = line
    number, _ = placed(line)
    bob.do("transfer", call=number, target="5503", within_s=0.3)
    agent.answer(agent.until("REFER"), "202 Accepted")
    over = bob.until("TransferEnded", call=number)
    assert (over["succeeded"], over["status"]) == (False, 408)
    bob.do("hang_up", call=number)
    agent.answer(agent.until("BYE"), "200 OK")
    bob.until("CallEnded", call=number)


def test_an_attended_transfer_names_the_other_call(line: Line) -> None:
    bob, agent, _ = line
    first, _ = placed(line)
    second, other = placed(line)
    bob.do("transfer_to", call=first, other=second)
    refer = agent.until("REFER")
    assert f"Replaces={other.call_id.replace('@', '%40')}" in refer.header("refer-to").replace("%2D", "-")
    agent.answer(refer, "202 Accepted")
    for number in (first, second):
        bob.do("hang_up", call=number)
        agent.answer(agent.until("BYE"), "200 OK")
        bob.until("CallEnded", call=number)
    assert bob.until("TransferEnded", call=first)["succeeded"] is False


def test_a_peer_that_vanishes_does_not_keep_us(line: Line) -> None:
    bob, _, _ = line
    number, _ = call(line)
    bob.do("hang_up", call=number)  # the BYE is never answered
    assert not bob.until("CallEnded", call=number)["by_peer"]
