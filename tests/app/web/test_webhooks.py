import asyncio
import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from app.web.security import CarrierGate
from app.web.webhooks import MAX_BODY_BYTES, CarrierWebhooks
from telephony.carrier import CallStatus
from telephony.carriers import CARRIERS
from tests.app.web.doubles import CALL, HttpAnswer, TallyCounters, TokenBook, http_scope, request, run_virtual

SECRET = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://bridge.example.net"
FORM = {"CallSid": CALL, "From": "+15550100001", "To": "+15550100002", "Direction": "inbound", "Note": "ünï & =\t"}
FORM_TYPE = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
HOST = ("host", "localhost:8080")


class Bridge:
    """The webhooks of every carrier, in front of a token book."""

    def __init__(self, *secrets: str) -> None:
        self.calls = TokenBook()
        self.counters = TallyCounters()
        self.app = Starlette(
            routes=[
                route
                for carrier in CARRIERS.values()
                for route in CarrierWebhooks(
                    carrier, CarrierGate(carrier, PUBLIC, secrets), self.calls, self.counters
                ).routes()
            ]
        )
        self.app.router.redirect_slashes = False

    def ask(self, path: str, *chunks: bytes, headers: Any = (HOST, FORM_TYPE), **changes: Any) -> HttpAnswer:
        answers: list[HttpAnswer] = []

        async def scenario() -> None:
            answers.append(await request(self.app, http_scope(path, headers, **changes), *chunks))

        run_virtual(scenario())
        return answers[0]

    def post(self, path: str, form: Any = FORM, **changes: Any) -> HttpAnswer:
        return self.ask(path, urlencode(form).encode(), **changes)


def token_in(answer: HttpAnswer) -> str:
    parameter = ElementTree.fromstring(answer.body).find("Connect/Stream/Parameter")
    assert parameter is not None
    return parameter.attrib["value"]


def test_voice_answers_a_document_that_opens_a_stream() -> None:
    bridge = Bridge()
    answer = bridge.post("/twilio/voice?tenant=7")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert token_in(answer) == "token-0"
    (offered,) = bridge.calls.offered
    assert (offered.call_id, offered.caller, offered.direction) == (CALL, "+15550100001", "inbound")
    assert offered.variables == {**FORM, "tenant": "7"}


def test_voice_by_get_reads_the_query() -> None:
    bridge = Bridge()
    answer = bridge.ask(f"/twilio/voice?{urlencode(FORM)}", b"", method="GET", headers=[HOST])
    assert (answer.status, token_in(answer)) == (200, "token-0")
    assert bridge.calls.offered[0].variables == FORM


def test_a_retried_webhook_gets_another_token_for_the_same_call() -> None:
    bridge = Bridge()
    first, second = token_in(bridge.post("/twilio/voice")), token_in(bridge.post("/twilio/voice"))
    assert first != second
    assert bridge.calls.tokens == {first: CALL, second: CALL}


def test_after_asks_what_comes_next_and_status_ends_it() -> None:
    bridge = Bridge()
    assert token_in(bridge.post("/twilio/after")) == "token-0"
    status = bridge.post("/twilio/status", {**FORM, "CallStatus": "completed", "SequenceNumber": "3"})
    assert (status.status, status.body) == (204, b"")
    assert bridge.calls.statuses == [CallStatus(CALL, "completed", True)]
    (hangup,) = ElementTree.fromstring(bridge.post("/twilio/after").body)
    assert hangup.tag == "Hangup"


@pytest.mark.parametrize("path", ["voice", "after", "status"])
@pytest.mark.parametrize("form", [{}, {"CallSid": "CA1"}, {"CallSid": ""}, {"callsid": CALL}])
def test_a_webhook_that_names_no_call_is_a_bad_request(path: str, form: dict[str, str]) -> None:
    bridge = Bridge()
    answer = bridge.post(f"/twilio/{path}", form)
    assert answer.status == 400
    assert answer.body.startswith(b"bad_call_id")
    assert bridge.counters.of("webhooks_refused", carrier="twilio", reason="bad_call_id") == 1
    assert not bridge.calls.offered
    assert not bridge.calls.statuses


@pytest.mark.parametrize(
    "content_type", [[], [("content-type", "")], [("Content-Type", "APPLICATION/x-www-form-URLENCODED")]]
)
def test_a_form_is_read_whatever_the_spelling_of_its_type(content_type: list[tuple[str, str]]) -> None:
    assert Bridge().post("/twilio/voice", headers=[HOST, *content_type]).status == 200


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_another_type_is_not_read_as_a_form(content_type: str) -> None:
    assert Bridge().post("/twilio/voice", headers=[HOST, ("content-type", content_type)]).status == 400


def test_a_form_may_come_in_pieces() -> None:
    body = urlencode(FORM).encode()
    assert Bridge().ask("/twilio/voice", *(body[i : i + 7] for i in range(0, len(body), 7)), b"").status == 200


# Bounds


def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end() -> None:
    bridge = Bridge()
    assert bridge.ask("/twilio/voice", urlencode(FORM).encode() + b"&x=" + b"y" * 60_000).status == 200
    chunks = [b"x" * 16_384] * 1000
    answer = bridge.ask("/twilio/voice", *chunks)
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert bridge.counters.of("webhooks_refused", carrier="twilio", reason="body_size") == 1
    assert str(MAX_BODY_BYTES).encode() in answer.body


def test_a_body_that_never_comes_is_given_up() -> None:
    assert Bridge().ask("/twilio/voice").status == 408


def test_a_peer_that_goes_away_while_sending_leaves_nothing() -> None:
    bridge = Bridge()

    async def scenario() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        await bridge.app(http_scope("/twilio/voice", [HOST]), receive, HttpAnswer().send)

    run_virtual(scenario())
    assert not bridge.calls.offered


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["voice", "after", "status"])
def test_other_methods_are_not_allowed(path: str, method: str) -> None:
    bridge = Bridge()
    answer = bridge.post(f"/twilio/{path}?{urlencode(FORM)}", method=method)
    assert answer.status == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(",", " ").split())
    assert not bridge.calls.offered


@pytest.mark.parametrize("path", ["/twilio/voice/", "/twilio//voice", "/Twilio/voice", "/voice", "/telco/voice"])
def test_other_paths_are_not_there(path: str) -> None:
    assert Bridge().post(path).status == 404


# Who may come in


def test_without_a_secret_a_tunnel_is_refused_and_told_what_to_set() -> None:
    bridge = Bridge()
    answer = bridge.post("/twilio/voice", headers=[HOST, FORM_TYPE, ("x-forwarded-for", "203.0.113.9")])
    assert answer.status == 403
    assert b"TWILIO_AUTH_TOKEN" in answer.body
    assert bridge.counters.of("webhooks_refused", carrier="twilio", reason="forwarded") == 1
    assert not bridge.calls.offered


def signature_of(text: str) -> tuple[str, str]:
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()
    return "X-Twilio-Signature", base64.b64encode(digest).decode()


@pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/after?tenant=7", "/twilio/status"])
def test_with_a_secret_a_signed_request_is_served_and_an_unsigned_one_is_not(path: str) -> None:
    bridge = Bridge(SECRET)
    body = "".join(name + value for name, value in sorted(FORM.items()))
    outside = {"client": ("203.0.113.9", 1)}
    headers = [("host", "bridge.example.net"), FORM_TYPE]
    signed = [*headers, signature_of(PUBLIC + path + body)]
    assert bridge.post(path, headers=signed, **outside).status in (200, 204)
    forged = {**FORM, "From": "+15550100009"}
    for answer in (
        bridge.post(path, headers=headers, **outside),
        bridge.post(path, forged, headers=signed, **outside),
        bridge.post(path + ("&" if "?" in path else "?x"), headers=signed, **outside),
        bridge.ask(f"{path}?{urlencode(FORM)}", b"", headers=signed, method="GET", **outside),
    ):
        assert answer.status == 403
    assert bridge.counters.of("webhooks_refused", carrier="twilio", reason="signature") == 4
    assert len(bridge.calls.offered) + len(bridge.calls.statuses) == 1


def test_with_a_secret_the_signed_blank_and_repeated_fields_count() -> None:
    bridge = Bridge(SECRET)
    pairs = [("CallSid", CALL), ("FromCity", ""), ("a", "y"), ("a", "x"), ("a", "y")]
    signed = signature_of(f"{PUBLIC}/twilio/voiceCallSid{CALL}FromCityaxay")
    assert bridge.post("/twilio/voice", pairs, headers=[HOST, FORM_TYPE, signed]).status == 200


def test_a_body_on_a_get_request_is_not_looked_at() -> None:
    bridge = Bridge(SECRET)
    path = f"/twilio/voice?CallSid={CALL}&From=%2B1"
    answer = bridge.post(path, headers=[HOST, FORM_TYPE, signature_of(PUBLIC + path)], method="GET")
    assert answer.status == 200
    assert bridge.calls.offered[0].caller == "+1"


# Anything at all


@pytest.mark.parametrize("secrets", [(), (SECRET,)])
@given(
    path=st.sampled_from(["voice", "after", "status"]),
    query=st.from_regex(r"[!-~]{0,30}", fullmatch=True),
    body=st.binary(max_size=300)
    | st.lists(st.tuples(st.text(), st.text())).map(lambda pairs: urlencode(pairs).encode())
    | st.dictionaries(
        st.sampled_from(["CallSid", "From", "CallStatus"]), st.sampled_from([CALL, "completed", "\0", "<&"])
    ).map(lambda fields: urlencode(fields).encode()),
    content_type=st.sampled_from(["application/x-www-form-urlencoded", "application/json", "", "x/y; charset=utf-7"]),
    signature=st.text(st.characters(max_codepoint=255), max_size=40),
    settings=st.text(st.characters(max_codepoint=255), max_size=40),
    method=st.sampled_from(["GET", "POST"]),
)
def test_any_request_gets_a_document_or_is_told_its_fault(
    secrets: tuple[str, ...],
    path: str,
    query: str,
    body: bytes,
    content_type: str,
    signature: str,
    settings: str,
    method: str,
) -> None:
    bridge = Bridge(*secrets)
    headers = [
        HOST,
        ("content-type", content_type),
        ("x-twilio-signature", signature),
        ("x-twilio-webhooks-signature-settings", settings),
    ]
    answer = bridge.ask(f"/twilio/{path}?{query}", body, headers=headers, method=method)
    if answer.status == 200:
        ElementTree.fromstring(answer.body)
    else:
        assert answer.status == 204 or 400 <= answer.status < 500
    if secrets:
        assert answer.status == 403


def test_many_requests_at_once_keep_their_calls_apart() -> None:
    bridge = Bridge()
    calls = [f"CA{number:032x}" for number in range(50)]
    tokens: dict[str, str] = {}

    async def ring(call: str) -> None:
        answer = await request(bridge.app, http_scope("/twilio/voice", [HOST, FORM_TYPE]), b"CallSid=", call.encode())
        tokens[call] = token_in(answer)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(ring(call))

    run_virtual(scenario())
    assert {tokens[call]: call for call in calls} == bridge.calls.tokens
