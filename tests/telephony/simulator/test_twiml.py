import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.errors import DocumentRejected
from telephony.simulator.twiml import (
    INVALID_CONTENT_TYPE,
    PARSE_FAILURE,
    SCHEMA_WARNING,
    STREAM_URL_MALFORMED,
    Connect,
    Dial,
    Document,
    Hangup,
    Pause,
    Redirect,
    Reject,
    Say,
    Stream,
    parse_twiml,
    read_document,
)

URL = "https://bridge.example.net/twilio/voice"


def parse(verbs: str) -> Document:
    return parse_twiml(f'<?xml version="1.0" encoding="UTF-8"?><Response>{verbs}</Response>', URL)


def stream(attributes: str, inside: str = "") -> Stream | None:
    verbs = parse(f"<Connect><Stream {attributes}>{inside}</Stream></Connect>").verbs
    return verbs[0].stream if verbs and isinstance(verbs[0], Connect) else None


def test_reads_a_stream_with_its_parameters_and_callback() -> None:
    document = parse(
        '<Connect action="/after" method="get"><Stream url="wss://media.example.net/m" name="leg-a" '
        'statusCallback="https://bridge.example.net/s"><Parameter name="token" value="t-1"/>'
        '<Parameter name="empty" value=""/></Stream></Connect>'
    )
    assert document.verbs == (
        Connect(
            Stream(
                "wss://media.example.net/m",
                "leg-a",
                (("token", "t-1"), ("empty", "")),
                "https://bridge.example.net/s",
                "POST",
            ),
            "https://bridge.example.net/after",
            "GET",
        ),
    )
    assert document.warnings == ()


def test_reads_every_other_verb_in_order() -> None:
    document = parse(
        '<Say loop="2">Sorry.</Say><Pause/><Pause length="2.5"/><Dial action="d">+15550100003</Dial>'
        "<Dial><Number>+1</Number><Sip>sip:a@b</Sip></Dial><Redirect>after?x=1</Redirect>"
        '<Reject reason="busy"/><Hangup/>'
    )
    base = "https://bridge.example.net/twilio/"
    assert document.verbs == (
        Say("Sorry.", 2),
        Pause(1.0),
        Pause(2.5),
        Dial(("+15550100003",), base + "d", "POST"),
        Dial(("+1", "sip:a@b"), None, "POST"),
        Redirect(base + "after?x=1", "POST"),
        Reject("busy"),
        Hangup(),
    )


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("wss://a.example/m?token=secret#x", "wss://a.example/m"),
        ("/media", "wss://bridge.example.net/media"),
        ("ws://127.0.0.1:8080/m", "ws://127.0.0.1:8080/m"),
        ("https://a.example/m", "https://a.example/m"),
    ],
)
def test_a_stream_url_loses_its_query_and_keeps_its_scheme(address: str, url: str) -> None:
    found = stream(f'url="{address}"')
    assert found is not None
    assert found.url == url


@pytest.mark.parametrize("address", ["", "wss://", "wss://a:port/x"])
def test_a_stream_without_a_usable_url_is_left_out_with_a_warning(address: str) -> None:
    document = parse(f'<Connect><Stream url="{address}"/></Connect><Hangup/>')
    assert document.verbs == (Hangup(),)
    assert [warned.code for warned in document.warnings] == [STREAM_URL_MALFORMED]


def test_parameters_over_the_limit_are_left_out_with_a_warning() -> None:
    document = parse(
        f'<Connect><Stream url="/m"><Parameter name="a" value="{"x" * 500}"/>'
        f'<Parameter name="b" value="{"x" * 499}"/><Parameter value="nameless"/></Stream></Connect>'
    )
    verb = document.verbs[0]
    assert isinstance(verb, Connect)
    assert [name for name, _ in verb.stream.parameters] == ["b"]
    assert len(document.warnings) == 2


@pytest.mark.parametrize(
    "verbs",
    [
        '<Start><Stream url="wss://a.example/m"/></Start>',
        '<Stop><Stream name="x"/></Stop>',
        "<Gather/>",
        '<Connect><Stream url="/m" track="both_tracks"/></Connect>',
        '<Connect><Stream url="/a"/><Stream url="/b"/></Connect>',
        "<Connect/>",
    ],
)
def test_what_is_not_performed_is_a_warning_and_the_document_goes_on(verbs: str) -> None:
    document = parse(verbs + "<Hangup/>")
    assert document.verbs == (Hangup(),)
    assert [warned.code for warned in document.warnings] == [SCHEMA_WARNING]


def test_nonsense_in_an_attribute_is_a_warning_and_takes_the_default() -> None:
    document = parse('<Pause length="long"/><Redirect method="PATCH">/x</Redirect>')
    assert document.verbs == (Pause(1.0), Redirect("https://bridge.example.net/x", "POST"))
    assert len(document.warnings) == 2


@pytest.mark.parametrize(
    "text", ["<Response>", "<response/>", "<html><body/></html>", "plain", "<Response/><Response/>"]
)
def test_what_is_no_twiml_is_rejected(text: str) -> None:
    with pytest.raises(DocumentRejected) as rejected:
        parse_twiml(text, URL)
    assert rejected.value.code == PARSE_FAILURE


@pytest.mark.parametrize("encoding", ["UTF-16", "latin-1", "nonsense"])
def test_the_encoding_that_a_decoded_document_still_declares_does_not_matter(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><Response><Say>Grüß Gott</Say></Response>'
    assert parse_twiml(text, URL).verbs == (Say("Grüß Gott"),)


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_rejected(text: str) -> None:
    for candidate in (text, f"<Response>{text}</Response>"):
        try:
            assert isinstance(parse_twiml(candidate, URL), Document)
        except DocumentRejected:
            pass


@given(st.text(alphabet="htpws:/[]@.?#1a ", max_size=30))
def test_any_address_is_read(address: str) -> None:
    document = parse(f'<Redirect>{address}</Redirect><Connect action="{address}"><Stream url="{address}"/></Connect>')
    assert isinstance(document.verbs[0], Redirect)


@pytest.mark.parametrize("kind", ["text/xml", "application/xml; charset=utf-8", "text/html", "TEXT/XML", "text/plain"])
def test_these_content_types_may_hold_twiml(kind: str) -> None:
    assert read_document(kind, "<Response><Hangup/></Response>", URL).verbs == (Hangup(),)


def test_plain_text_is_spoken() -> None:
    assert read_document("text/plain", " We are closed. ", URL).verbs == (Say("We are closed."),)


def test_an_empty_answer_has_no_verbs() -> None:
    assert read_document("", "", URL).verbs == ()


def test_audio_is_not_played_and_ends_the_call_with_a_warning() -> None:
    document = read_document("audio/mpeg", "ID3", URL)
    assert document.verbs == (Hangup(),)
    assert len(document.warnings) == 1


@pytest.mark.parametrize("kind", ["application/json", ""])
def test_other_content_types_are_rejected(kind: str) -> None:
    with pytest.raises(DocumentRejected) as rejected:
        read_document(kind, "{}", URL)
    assert rejected.value.code == INVALID_CONTENT_TYPE
