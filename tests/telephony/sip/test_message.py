"""What is read from SIP messages, and written into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.events import Cause, Invitation, Party
from telephony.sip.message import (
    Message,
    clean,
    parse_address,
    q850_of,
    read_invitation,
    read_reason,
    reason_header,
    user_of,
)


def invite(*headers: str, uri: str = "sip:+15550100002@203.0.113.10:5060;transport=udp") -> Invitation:
    given_from = any(header.lower().startswith(("from:", "f:")) for header in headers)
    lines = [
        f"INVITE {uri} SIP/2.0",
        *([] if given_from else ['From: "Ana" <sip:+15550100001@carrier.example>;tag=f1']),
    ]
    text = "\r\n".join(
        (*lines, "To: <sip:+15550100009@carrier.example>", "Call-ID: c-81", *headers, "", "v=0\r\nX-No: body")
    )
    return read_invitation(text, trunk="t", source="198.51.100.7:5060", own_user="bridge", received_at=5.0)


def test_an_invite_says_who_calls_whom() -> None:
    assert invite() == Invitation(
        call_id="c-81",
        trunk="t",
        source="198.51.100.7:5060",
        caller=Party("sip:+15550100001@carrier.example", "+15550100001", "Ana"),
        asserted=False,
        private=False,
        called="+15550100002",
        received_at=5.0,
    )


def test_the_carriers_word_goes_before_the_callers() -> None:
    offer = invite("P-Asserted-Identity: <sip:+4420@carrier.example>", "Privacy: header;id")
    assert (offer.caller.user, offer.caller.name, offer.asserted, offer.private) == ("+4420", "Ana", True, True)


def test_a_telephone_number_may_be_a_tel_uri() -> None:
    assert invite("P-Asserted-Identity: tel:+15550100001;phone-context=x").caller.user == "+15550100001"


def test_whom_a_registration_was_dialled_for_stands_in_to() -> None:
    assert invite(uri="sip:bridge@10.0.0.1").called == "+15550100009"


@pytest.mark.parametrize(
    ("headers", "diverted"),
    [
        (("Diversion: <sip:2@x>;reason=no-answer", "Diversion: <sip:1@x>;reason=user-busy"), ("1", "user-busy")),
        (('Diversion: "Two" <sip:2@x>;reason=no-answer, <sip:1@x>;reason="time-of-day"',), ("1", "time-of-day")),
        (("History-Info: <sip:1@x?Reason=SIP%3Bcause%3D486>;index=1, <sip:2@x>;index=1.1",), ("1", "486")),
        (("History-Info: <sip:1@x>;index=1",), ("", "")),
        ((), ("", "")),
    ],
)
def test_a_forwarded_call_says_who_was_called_first(headers: tuple[str, ...], diverted: tuple[str, str]) -> None:
    offer = invite(*headers)
    assert (offer.diverted_from, offer.diversion_reason) == diverted


def test_custom_headers_are_taken_by_lower_case_name_and_within_bounds() -> None:
    offer = invite("X-Account: 4711", "x-account: later", "X-Long: " + "a" * 2000, *(f"X-{n}: {n}" for n in range(40)))
    assert offer.headers["x-account"] == "4711"
    assert len(offer.headers["x-long"]) == 1024 and len(offer.headers) == 32
    assert "x-no" not in offer.headers


def test_compact_and_folded_headers_are_headers() -> None:
    message = Message("BYE sip:x SIP/2.0\r\nf: <sip:a@b>\r\nReason: Q.850;\r\n\tcause=16\r\nX:\r\n\r\n")
    assert message.header("From") == "<sip:a@b>"
    assert message.header("reason") == "Q.850; cause=16"
    assert message.header("missing") == ""


def test_bytes_that_are_no_utf8_become_text_that_can_be_stored() -> None:
    text = b'INVITE sip:1@x SIP/2.0\r\nFrom: "J\xf6rg" <sip:2@x>\r\n\r\n'.decode("utf-8", "surrogateescape")
    read_invitation(text, trunk="t", source="s", own_user="", received_at=0).caller.name.encode()


@given(st.text() | st.text(st.characters(categories=["Cs"])))
def test_cleaned_text_can_always_be_encoded_and_what_is_text_stays(text: str) -> None:
    assert len(clean(text).encode()) >= len(text)
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("value", "name", "user", "tag"),
    [
        ('"A \\"quoted\\" name" <sip:1@x;user=phone>;tag=t', 'A "quoted" name', "1", "t"),
        ("Plain Name <sips:b@x:5061>;tag=9", "Plain Name", "b", "9"),
        ("sip:c@x;tag=z", "", "c", "z"),
        ("<sip:x.example>", "", "", ""),
        ("sip:%2B1555:secret@x", "", "+1555", ""),
        ("", "", "", ""),
    ],
)
def test_addresses_in_all_their_forms(value: str, name: str, user: str, tag: str) -> None:
    address = parse_address(value)
    assert (address.party.name, address.party.user, address.parameters.get("tag", "")) == (name, user, tag)


@given(st.text())
def test_no_header_breaks_the_reader(text: str) -> None:
    parse_address(text)
    user_of(text)
    read_reason(f"BYE x SIP/2.0\r\nReason: {text}\r\n\r\n", Cause())
    read_invitation(text, trunk="t", source="s", own_user="", received_at=0)


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        (('Reason: Q.850;cause=16;text="Normal call clearing"',), Cause(0, 16, "Normal call clearing")),
        (("Reason: SIP;cause=480;text=gone, q.850 ;cause=18",), Cause(0, 18, "gone")),
        (("Reason: SIP;cause=200", "Reason: Q.850;cause=31"), Cause(0, 31, "said by status")),
        (("Reason: Q.850;cause=x",), Cause(0, None, "said by status")),
        (("Reason: Q.850;cause=0",), Cause(0, None, "said by status")),
        ((), Cause(0, None, "said by status")),
    ],
)
def test_a_reason_is_read_as_far_as_it_goes(headers: tuple[str, ...], cause: Cause) -> None:
    text = "\r\n".join(("BYE sip:x SIP/2.0", *headers, "", ""))
    assert read_reason(text, Cause(0, None, "said by status")) == cause


def test_a_reason_is_written_so_that_it_is_read_again() -> None:
    cause = Cause(0, 21, 'not "that"\r\nInjected: yes')
    written = reason_header(cause)
    assert "\r" not in written and "\n" not in written
    assert read_reason(f"BYE x SIP/2.0\r\nReason: {written}\r\n\r\n", Cause()) == Cause(0, 21, "not thatInjected: yes")
    assert reason_header(Cause(486)) == ""


def test_a_status_has_its_isdn_cause() -> None:
    assert (q850_of(486), q850_of(404), q850_of(200)) == (17, 1, None)
