"""A reply's text: fillers, what the model says, and what is withdrawn again."""

from app.conversation.wording import Wording


def test_a_preface_that_nobody_heard_was_never_said() -> None:
    wording = Wording()
    wording.put_before("One moment, please.")
    wording.add("We are open.")
    assert wording.text == "One moment, please. We are open."
    wording.drop_preface()
    assert (wording.text, wording.preface) == ("We are open.", "")


def test_each_round_of_tools_is_told_what_was_said_since_the_one_before() -> None:
    wording = Wording()
    wording.put_before("One moment.")
    wording.add("Let me see.")
    assert wording.since_tools() == "One moment. Let me see."
    wording.part()
    assert wording.put_between("Nearly there.") == "Nearly there. "
    wording.add("It is free.")
    assert wording.since_tools() == "Nearly there. It is free."
    assert wording.text == "One moment. Let me see. Nearly there. It is free."


def test_what_tools_were_told_stays_told_when_the_preface_goes() -> None:
    wording = Wording()
    wording.put_before("One moment.")
    assert wording.since_tools() == "One moment."
    wording.drop_preface()
    wording.add("It is free.")
    assert wording.since_tools() == "It is free."


def test_a_preface_that_comes_late_is_said_first_and_told_to_no_tool() -> None:
    wording = Wording()
    wording.add("Let me see.")
    assert wording.since_tools() == "Let me see."
    wording.put_before("One moment.")
    assert wording.text == "One moment. Let me see."
    wording.part()
    wording.add("It is free.")
    assert wording.since_tools() == "It is free."
    wording.drop_preface()
    assert wording.text == "Let me see. It is free."


def test_a_withdrawn_end_counts_no_more() -> None:
    wording = Wording()
    wording.add("We are open on Mon")
    wording.withdraw(4)
    wording.withdraw(0)
    assert wording.text == "We are open on"


def test_a_reply_that_is_carried_on_tells_its_tools_only_what_is_new() -> None:
    wording = Wording()
    wording.carry_on("Let me see. It", "Let me see.")
    wording.add("is free.")
    assert wording.text == "Let me see. It is free."
    assert wording.since_tools() == "It is free."
