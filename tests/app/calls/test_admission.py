"""Who may still come in, and where the others are sent."""

import pytest

from app.calls.admission import Admission
from telephony.carrier import Decision, Dial, HangUp, Redirect


def test_as_many_calls_as_there_may_be() -> None:
    admission = Admission(max_calls=2)
    assert [admission.refuses(calls) for calls in range(4)] == [None, None, "busy", "busy"]


def test_a_process_that_runs_late_takes_nobody_until_it_has_been_on_time_for_a_while() -> None:
    admission = Admission(max_calls=10, max_lag_s=0.25)
    admission.lagged(0.2)
    assert admission.refuses(0) is None
    admission.lagged(0.4)
    assert admission.refuses(0) == "overloaded"
    admission.lagged(0.0)
    assert admission.refuses(0) == "overloaded"
    for _ in range(3):
        admission.lagged(0.0)
    assert admission.refuses(0) is None


@pytest.mark.parametrize(
    ("overflow", "decision"),
    [
        ("", HangUp("busy")),
        ("+15550100009", Dial("+15550100009")),
        ("sip:desk@example.net", Dial("sip:desk@example.net")),
        ("https://other.example.net/twilio/voice", Redirect("https://other.example.net/twilio/voice")),
    ],
)
def test_whom_we_cannot_take_goes_where_the_setting_says(overflow: str, decision: Decision) -> None:
    assert Admission(1, overflow=overflow).elsewhere("busy") == decision
