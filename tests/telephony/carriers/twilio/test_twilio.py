import hashlib
import hmac
import json
import re
from base64 import b64decode, b64encode
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.carrier import (
    AudioReceived,
    CallStatus,
    ClearAudio,
    Dial,
    HangUp,
    MediaStarted,
    OpenStream,
    PlaceMark,
    PlayAudio,
    WebhookRequest,
)
from telephony.carriers.twilio import MAX_MESSAGE_CHARACTERS, TWILIO, Malformed, TwilioProtocol, TwilioWebhooks
from telephony.errors import MalformedMessage, OurFault, SignatureRejected

STREAM = "MZ22222222222222222222222222222222"
CALL = "CA11111111111111111111111111111111"
START = json.dumps(
    {"event": "start", "streamSid": STREAM, "start": {"callSid": CALL, "customParameters": {"token": "t"}}}
)


def media(payload: str, number: int = 1) -> str:
    fields = {"track": "inbound", "chunk": str(number), "timestamp": str(number * 20), "payload": payload}
    return json.dumps({"event": "media", "streamSid": STREAM, "media": fields})


@pytest.fixture
def protocol() -> TwilioProtocol:
    protocol = TwilioProtocol()
    (started,) = protocol.receive(START, 0.0)
    assert isinstance(started, MediaStarted)
    return protocol


# The stream


def test_every_reason_is_one_of_the_closed_set() -> None:
    assert all(re.fullmatch("[a-z0-9_]+", reason) for reason in Malformed)


def test_a_message_over_the_limit_is_dropped_and_the_stream_goes_on(protocol: TwilioProtocol) -> None:
    room = MAX_MESSAGE_CHARACTERS - len(media(""))
    longest = media("/" * (room - room % 4))
    assert len(protocol.receive(longest, 0.0)) == 1
    with pytest.raises(MalformedMessage) as caught:
        protocol.receive(longest + " " * 8, 0.0)
    assert caught.value.reason == Malformed.OVERSIZED
    assert protocol.receive(media("fw==", 2), 0.0) == (AudioReceived(b"\x7f", 40),)


@given(payload=st.binary(max_size=2000), name=st.text(max_size=60))
def test_what_is_sent_is_what_the_far_end_reads(payload: bytes, name: str) -> None:
    protocol = TwilioProtocol()
    protocol.receive(START, 0.0)
    played = json.loads(protocol.send(PlayAudio(payload)))
    assert played.keys() == {"event", "streamSid", "media"}
    assert (played["event"], played["streamSid"]) == ("media", STREAM)
    assert b64decode(played["media"]["payload"], validate=True) == payload
    placed = json.loads(protocol.send(PlaceMark(name)))
    assert placed == {"event": "mark", "streamSid": STREAM, "mark": {"name": name}}
    assert json.loads(protocol.send(ClearAudio())) == {"event": "clear", "streamSid": STREAM}


@given(stream=st.text(min_size=1, max_size=60))
def test_a_strange_stream_id_is_returned_as_it_came(stream: str) -> None:
    protocol = TwilioProtocol()
    protocol.receive(json.dumps({"event": "start", "streamSid": stream, "start": {"callSid": CALL}}), 0.0)
    for command in (PlayAudio(b"\xff"), PlaceMark("m"), ClearAudio()):
        assert json.loads(protocol.send(command))["streamSid"] == stream


@given(payload=st.binary(min_size=1, max_size=2000), number=st.integers(0, 10**9))
def test_received_audio_is_what_was_sent(payload: bytes, number: int) -> None:
    protocol = TwilioProtocol()
    protocol.receive(START, 0.0)
    (heard,) = protocol.receive(media(b64encode(payload).decode(), number), 0.0)
    assert heard == AudioReceived(payload, number * 20)


def test_no_message_of_ours_is_longer_than_we_would_take(protocol: TwilioProtocol) -> None:
    with pytest.raises(OurFault):
        protocol.send(PlayAudio(bytes(49 * 1024)))
    assert len(protocol.send(PlayAudio(bytes(47 * 1024)))) <= MAX_MESSAGE_CHARACTERS


# Signatures: the vectors of the protocol page. They were made with the vendor's own library.

TOKEN = "0123456789abcdef0123456789abcdef"
VOICE = "https://bridge.example.net/voice/incoming?tenant=7"
MEDIA = "wss://bridge.example.net/media"
FORM = (("CallSid", CALL), ("From", "+15550100001"), ("To", "+15550100002"), ("Direction", "inbound"))
JSON_URL = "https://bridge.example.net/hook?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
FORM_SHA1 = "oWGR3GnYnvcNfc+UDL+WQqWrFls="
FORM_SHA256 = "UYoOcCC4y4J5RLt+R4bocxhkEi1Qfw4i6SUFqjdcCwc="
BARE_SHA1 = "ojVqp0kPE2BCo8mqbuVWblNckXs="
MEDIA_SHA1 = "KSk8beRqILQ3l9Pk4dqTSibw6tY="
SHA256_SETTINGS = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"


def signed(
    signature: str | None,
    url: str = VOICE,
    form: tuple[tuple[str, str], ...] = (),
    settings: str = "",
    body: bytes = b"",
) -> WebhookRequest:
    headers = {} if signature is None else {"x-twilio-signature": signature}
    if settings:
        headers["x-twilio-webhooks-signature-settings"] = settings
    return WebhookRequest("POST", url, headers, form, body)


REPEATED = (("a", "x"), ("a", "y"), ("b", "2"), ("a", "x"))

GENUINE = {
    "form": signed(FORM_SHA1, form=FORM),
    "form in another order": signed(FORM_SHA1, form=FORM[::-1]),
    "form with its raw body": signed(FORM_SHA1, form=FORM, body=b"CallSid=..."),
    "form, SHA-256": signed(FORM_SHA256, form=FORM, settings=SHA256_SETTINGS),
    "form, SHA-256, spaced settings": signed(FORM_SHA256, form=FORM, settings="key=k , algorithm=hmac_sha256"),
    "form, settings that name no algorithm": signed(FORM_SHA1, form=FORM, settings="key=k"),
    "form, settings that name SHA-1": signed(FORM_SHA1, form=FORM, settings="key=k,algorithm=HMAC_SHA1"),
    "no parameters": signed(BARE_SHA1),
    "repeated value": signed("z7UlVT34cQWqthvGmjWTpiEDX+0=", form=REPEATED),
    "websocket": signed(MEDIA_SHA1, MEDIA),
    "JSON": signed("eqT+Wvhn+zZvaL8MgRW8F+SLj/o=", JSON_URL, body=b'{"a":1}'),
    "signed without the port that our URL has": signed(MEDIA_SHA1, "wss://bridge.example.net:443/media"),
    "likewise for https": signed(BARE_SHA1, VOICE.replace(".net", ".net:443")),
}

FORGED = {
    "no signature": signed(None, form=FORM),
    "empty signature": signed("", form=FORM),
    "another signature": signed(BARE_SHA1, form=FORM),
    "not even ASCII": signed("oWGR3GnYnvcNfc+UDL+WQqWrFl\xe9=", form=FORM),
    "cut short": signed(FORM_SHA1[:-1], form=FORM),
    "changed value": signed(FORM_SHA1, form=(*FORM[:1], ("From", "+15550100009"), *FORM[2:])),
    "added field": signed(FORM_SHA1, form=(*FORM, ("Extra", "1"))),
    "dropped field": signed(FORM_SHA1, form=FORM[:-1]),
    "another query": signed(FORM_SHA1, VOICE.replace("7", "8"), form=FORM),
    "another host": signed(FORM_SHA1, VOICE.replace("bridge", "bridge2"), form=FORM),
    "another port": signed(FORM_SHA1, VOICE.replace(".net", ".net:8443"), form=FORM),
    "SHA-256 value without its header": signed(FORM_SHA256, form=FORM),
    "SHA-1 value with the SHA-256 header": signed(FORM_SHA1, form=FORM, settings=SHA256_SETTINGS),
    "unknown algorithm": signed(FORM_SHA1, form=FORM, settings="key=k,algorithm=HMAC_MD5"),
    "websocket signed as https": signed("o0yLvAK9mHmfzsdGLe3wdf/ay7M=", MEDIA),
    "websocket signed with a slash": signed("tvH8NUoQZq1D3mh3g7M9CDXflnQ=", MEDIA),
    "websocket checked with a slash": signed(MEDIA_SHA1, MEDIA + "/"),
    "JSON, another body": signed("eqT+Wvhn+zZvaL8MgRW8F+SLj/o=", JSON_URL, body=b'{"a":2}'),
    "JSON, no hash": signed(BARE_SHA1, body=b'{"a":1}'),
    "JSON, another hash": signed("eqT+Wvhn+zZvaL8MgRW8F+SLj/o=", JSON_URL[:-1] + "3", body=b'{"a":1}'),
}


@pytest.mark.parametrize("request_", GENUINE.values(), ids=GENUINE)
def test_genuine_request_is_accepted(request_: WebhookRequest) -> None:
    TWILIO.webhooks.authenticate(request_, (TOKEN,))


@pytest.mark.parametrize("request_", FORGED.values(), ids=FORGED)
def test_forged_request_is_rejected_with_a_remedy(request_: WebhookRequest) -> None:
    with pytest.raises(SignatureRejected) as rejected:
        TWILIO.webhooks.authenticate(request_, (TOKEN,))
    assert rejected.value.remedy
    assert TOKEN not in f"{rejected.value} {rejected.value.remedy}"


@pytest.mark.parametrize("secrets", [(TOKEN, "new"), ("new", TOKEN)])
def test_either_secret_is_good_while_one_is_rotated(secrets: tuple[str, ...]) -> None:
    TWILIO.webhooks.authenticate(signed(FORM_SHA1, form=FORM), secrets)


@pytest.mark.parametrize("secrets", [(), ("other",), (TOKEN.upper(),)])
def test_no_other_secret_is_good(secrets: tuple[str, ...]) -> None:
    with pytest.raises(SignatureRejected):
        TWILIO.webhooks.authenticate(signed(FORM_SHA1, form=FORM), secrets)


@pytest.mark.parametrize(
    ("configured", "signed_by_twilio"),
    [
        ("https://bridge.example.net", "https://bridge.example.net:443"),
        ("https://bridge.example.net:443", "https://bridge.example.net"),
        ("https://bridge.example.net:8443", "https://bridge.example.net:8443"),
        ("http://bridge.example.net", "http://bridge.example.net:80"),
        ("wss://bridge.example.net", "wss://bridge.example.net:443"),
        ("wss://bridge.example.net", "wss://bridge.example.net:80"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
@pytest.mark.parametrize("target", ["/voice", "/voice?", "/v%6Fice?a=%20&b", "/"])
def test_the_default_port_may_be_signed_or_not(configured: str, signed_by_twilio: str, target: str) -> None:
    TWILIO.webhooks.authenticate(signed(sign(signed_by_twilio + target), configured + target), (TOKEN,))


def sign(url: str) -> str:
    return b64encode(hmac.new(TOKEN.encode(), url.encode(), hashlib.sha1).digest()).decode()


@pytest.mark.parametrize("near", ["/voice/", "/Voice", "/voice?", "/v%6Fice", "//voice", "/voice#"])
def test_a_target_that_only_looks_alike_is_rejected(near: str) -> None:
    with pytest.raises(SignatureRejected):
        TWILIO.webhooks.authenticate(
            signed(sign("https://bridge.example.net/voice"), "https://bridge.example.net" + near), (TOKEN,)
        )


# Webhook fields


def webhook(*fields: tuple[str, str], query: str = "") -> WebhookRequest:
    return WebhookRequest("POST", f"https://bridge.example.net/twilio/voice{query}", {}, fields)


def test_voice_webhook_offers_a_call() -> None:
    offered = TwilioWebhooks().call_offered(webhook(*FORM, ("FromCity", ""), ("Novelty", "1"), query="?tenant=7"))
    assert (offered.call_id, offered.caller, offered.called) == (CALL, "+15550100001", "+15550100002")
    assert offered.direction == "inbound"
    assert offered.variables == {**dict(FORM), "FromCity": "", "Novelty": "1", "tenant": "7"}


def test_voice_webhook_by_get_has_its_fields_in_the_query() -> None:
    offered = TwilioWebhooks().call_offered(
        WebhookRequest("GET", f"https://b.example/twilio/voice?CallSid={CALL}&From=%2B15550100001", {})
    )
    assert (offered.call_id, offered.caller) == (CALL, "+15550100001")


def test_a_field_of_the_form_cannot_be_overridden_by_the_query_nor_by_its_repetition() -> None:
    offered = TwilioWebhooks().call_offered(webhook(*FORM, ("From", "+1"), query="?From=%2B2&CallSid=x"))
    assert (offered.call_id, offered.caller) == (CALL, "+15550100001")


@pytest.mark.parametrize("party", ["+15550100001", "client:alice", "sip:bob@pbx.example:5060", "", "12", "Ünbekannt"])
def test_a_party_is_named_as_it_came(party: str) -> None:
    offered = TwilioWebhooks().call_offered(webhook(("CallSid", CALL), ("From", party), ("To", party)))
    assert (offered.caller, offered.called) == (party, party)


@pytest.mark.parametrize(
    "marker", ["anonymous", "Anonymous", "RESTRICTED", "+266696687", "+7378742833", "+2562533", "+8656696"]
)
def test_a_withheld_caller_has_no_name(marker: str) -> None:
    offered = TwilioWebhooks().call_offered(webhook(("CallSid", CALL), ("From", marker)))
    assert offered.caller == ""
    assert offered.variables["From"] == marker


@pytest.mark.parametrize(
    "call_id", [None, "", "CA1", CALL + "0", CALL + "\n", "XX" + CALL[2:], "CA" + "g" * 32, "CA" + "١" * 32]
)
def test_a_webhook_without_a_proper_call_is_malformed(call_id: str | None) -> None:
    request = webhook(("From", "+15550100001"), *([("CallSid", call_id)] if call_id is not None else []))
    for read in (TwilioWebhooks().call_offered, TwilioWebhooks().call_status):
        with pytest.raises(MalformedMessage) as caught:
            read(request)
        assert caught.value.reason == Malformed.BAD_CALL_ID


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        *((status, False) for status in ("queued", "initiated", "ringing", "in-progress", "answered", "paused", "")),
        *((status, True) for status in ("completed", "busy", "failed", "no-answer", "canceled")),
    ],
)
def test_call_status_says_whether_the_call_has_ended(status: str, ended: bool) -> None:
    assert TwilioWebhooks().call_status(webhook(("CallSid", CALL), ("CallStatus", status))) == CallStatus(
        CALL, status, ended
    )


def test_a_stopped_stream_is_no_ended_call() -> None:
    status = TwilioWebhooks().call_status(webhook(("CallSid", CALL), ("StreamEvent", "stream-stopped")))
    assert status == CallStatus(CALL, "stream-stopped", False)


# Documents


def verbs(decision: OpenStream | HangUp | Dial) -> list[ElementTree.Element]:
    document = TwilioWebhooks().document(decision)
    assert document.content_type == "text/xml"
    response = ElementTree.fromstring(document.body)
    assert response.tag == "Response"
    return list(response)


def test_open_stream_connects_and_comes_back_afterwards() -> None:
    connect, redirect = verbs(OpenStream(MEDIA, "https://bridge.example.net/twilio/after?a=1&b=<2>", 'to"k&n'))
    (stream,) = connect
    (parameter,) = stream
    assert (connect.tag, connect.attrib) == ("Connect", {})  # with an action the redirect would never be reached
    assert (stream.tag, stream.attrib) == ("Stream", {"url": MEDIA})
    assert (parameter.tag, parameter.attrib) == ("Parameter", {"name": "token", "value": 'to"k&n'})
    assert (redirect.tag, redirect.attrib) == ("Redirect", {"method": "POST"})
    assert redirect.text == "https://bridge.example.net/twilio/after?a=1&b=<2>#rc=3&rp=all"


def test_open_stream_refuses_what_twilio_would_drop() -> None:
    for lost in (
        OpenStream(MEDIA + "?token=t", "https://b.example/after", "t"),
        OpenStream(MEDIA, "https://b", "t" * 500),
    ):
        with pytest.raises(OurFault):
            TwilioWebhooks().document(lost)


def test_hang_up_may_speak_first() -> None:
    (hangup,) = verbs(HangUp())
    assert hangup.tag == "Hangup"
    say, hangup = verbs(HangUp("Sorry & <goodbye>\x00\x1b"))
    assert (say.tag, say.text, hangup.tag) == ("Say", "Sorry & <goodbye>", "Hangup")


@pytest.mark.parametrize(
    ("target", "noun", "text"),
    [
        ("+15550100003", None, "+15550100003"),
        ("sip:desk@pbx.example;transport=tls", "Sip", "sip:desk@pbx.example;transport=tls"),
        ("sips:desk@pbx.example", "Sip", "sips:desk@pbx.example"),
        ("client:alice", "Client", "alice"),
    ],
)
def test_dial_names_a_number_a_sip_address_or_a_client(target: str, noun: str | None, text: str) -> None:
    say, dial = verbs(Dial(target, "One moment."))
    assert (say.text, dial.tag) == ("One moment.", "Dial")
    assert ([child.tag for child in dial], "".join(dial.itertext())) == ([noun] if noun else [], text)
    assert [verb.tag for verb in verbs(Dial(target))] == ["Dial"]
