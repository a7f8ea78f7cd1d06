"""Two telephones, each with an endpoint of its own, call each other: what a call is to both of its ends."""

from collections.abc import Iterator

import pytest

from tests.telephony.sip.phones import Phone, need_pjsua2, two_phones


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Phone, Phone]]:
    need_pjsua2()
    with two_phones() as both:
        yield both


def connect(ann: Phone, bob: Phone, treatment: str = "answer", **request: object) -> tuple[int, int]:
    """A call from Ann to Bob, up to its answer, by the number each of them gives it."""
    bob.do("treat", how=treatment)
    calling = ann.dial(trunk="bob", target="5501", **request)
    called = bob.offered()["call"]
    ann.until("CallAnswered", call=calling)
    bob.until("CallAnswered", call=called)
    return calling, called


def end(phone: Phone, call: int, other: Phone, other_call: int, **order: object) -> tuple[dict, dict]:  # type: ignore[type-arg]
    phone.do("hang_up", call=call, **order)
    return phone.until("CallEnded", call=call), other.until("CallEnded", call=other_call)


def test_both_hear_each_other_and_it_ends_once_for_each(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    calling, called = connect(ann, bob)
    ann.hears(calling, loud=True)
    bob.hears(called, loud=True)
    ours, theirs = end(ann, calling, bob, called)
    assert (ours["by_peer"], theirs["by_peer"]) == (False, True)
    assert theirs["cause"] == {"status": 0, "q850": 16, "text": ""}
    measured = theirs["statistics"]
    assert measured["codec"] == "PCMU" and measured["packets_received"] > 20 and measured["mos"] > 4
    assert measured["packets_lost"] == 0


def test_a_hang_up_says_why(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    calling, called = connect(ann, bob)
    theirs, ours = end(bob, called, ann, calling, cause={"q850": 31, "text": "shift is over"})
    assert ours["cause"] == {"status": 0, "q850": 31, "text": "shift is over"}
    assert (theirs["by_peer"], ours["by_peer"]) == (False, True)


def test_the_invitation_tells_who_calls_and_what_the_carrier_adds(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    bob.do("treat", how="busy")
    headers = {"X-Account": "4711", "Diversion": "<sip:+15550100009@carrier.example>;reason=user-busy"}
    calling = ann.dial(trunk="bob", target="+15550100002", caller="+15550100001", display_name="Ann", headers=headers)
    offer = bob.offered()
    assert (offer["caller"]["user"], offer["caller"]["name"], offer["asserted"]) == ("+15550100001", "Ann", True)
    assert (offer["called"], offer["trunk"]) == ("+15550100002", "ann")
    assert (offer["diverted_from"], offer["diversion_reason"]) == ("+15550100009", "user-busy")
    assert offer["headers"] == {"x-account": "4711"}
    ended = ann.until("CallEnded", call=calling)
    assert (ended["cause"]["status"], ended["cause"]["q850"], ended["by_peer"]) == (486, 17, True)
    assert not bob.until("CallEnded", call=offer["call"])["by_peer"]


def test_a_caller_who_gives_up_while_it_rings(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    bob.do("treat", how="ring")
    calling = ann.dial(trunk="bob", target="5501")
    called = bob.offered()["call"]
    assert ann.until("CallProgressed", call=calling)["status"] == 180
    ours, theirs = end(ann, calling, bob, called)
    assert not ours["by_peer"]
    assert (theirs["cause"]["status"], theirs["by_peer"]) == (487, True)


def test_nobody_answers_in_time(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    bob.do("treat", how="ring")
    calling = ann.dial(trunk="bob", target="5501", answer_within_s=0.5)
    called = bob.offered()["call"]
    ended = ann.until("CallEnded", call=calling)
    assert (ended["cause"]["status"], ended["by_peer"]) == (408, False)
    assert bob.until("CallEnded", call=called)["cause"]["status"] == 487


def test_early_media_is_heard_before_the_answer(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    bob.do("treat", how="early")
    calling = ann.dial(trunk="bob", target="5501")
    called = bob.offered()["call"]
    assert ann.until("MediaOpened", call=calling)["early"]
    ann.hears(calling, loud=True)
    assert not any(fact["event"] == "CallAnswered" for fact in ann.told)
    bob.do("answer", call=called)
    ann.until("CallAnswered", call=calling)
    bob.until("CallAnswered", call=called)
    end(ann, calling, bob, called)


def test_each_key_is_told_once_in_both_directions(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    calling, called = connect(ann, bob)
    ann.do("press", call=calling, digits="1590*#aD")
    assert [bob.until("digit", call=called)["digit"] for _ in range(8)] == list("1590*#AD")
    bob.do("press", call=called, digits="77")
    assert [ann.until("digit", call=calling)["digit"] for _ in range(2)] == ["7", "7"]
    bob.hears(called, loud=True)
    end(ann, calling, bob, called)
    assert not any(fact["event"] == "digit" for fact in (*ann.told, *bob.told))


def test_a_peer_that_holds_is_silent_until_it_resumes(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    calling, called = connect(ann, bob)
    for _ in range(2):
        bob.hears(called, loud=True)
        ann.do("hold", call=calling)
        bob.until("CallHeld", call=called)
        bob.hears(called, loud=False)
        ann.hears(calling, loud=False)
        ann.do("resume", call=calling)
        bob.until("CallResumed", call=called)
        bob.hears(called, loud=True)
        ann.hears(calling, loud=True)
    end(ann, calling, bob, called)


def test_a_number_that_does_not_exist_at_the_far_end_ends_with_its_status(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    bob.do("refuse_new")
    calling = ann.dial(trunk="bob", target="5501")
    assert ann.until("CallEnded", call=calling)["cause"]["status"] == 503
    assert bob.until("refused")["reason"] == "draining"
    bob.do("take_new")
    end(ann, *((calls := connect(ann, bob))[:1]), bob, calls[1])


def test_a_transfer_that_the_peer_refuses_leaves_the_call_as_it_was(pair: tuple[Phone, Phone]) -> None:
    ann, bob = pair
    calling, called = connect(ann, bob)
    ann.do("transfer", call=calling, target="5502")
    over = ann.until("TransferEnded", call=calling)
    assert (over["succeeded"], over["status"]) == (False, 603)
    bob.hears(called, loud=True)
    end(ann, calling, bob, called)
