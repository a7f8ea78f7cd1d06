import pytest

from telephony.simulator.signature import sign

TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://bridge.example.net/voice/incoming?tenant=7"
FORM = [
    ("To", "+15550100002"),
    ("CallSid", "CA11111111111111111111111111111111"),
    ("Direction", "inbound"),
    ("From", "+15550100001"),
]


@pytest.mark.parametrize(
    ("url", "form", "signature"),
    [
        (URL, FORM, "oWGR3GnYnvcNfc+UDL+WQqWrFls="),
        (URL, [], "ojVqp0kPE2BCo8mqbuVWblNckXs="),
        (URL, [("b", "2"), ("a", "x"), ("a", "y"), ("a", "x")], "z7UlVT34cQWqthvGmjWTpiEDX+0="),
        ("wss://bridge.example.net/media", [], "KSk8beRqILQ3l9Pk4dqTSibw6tY="),
        ("https://bridge.example.net/media", [], "o0yLvAK9mHmfzsdGLe3wdf/ay7M="),
        ("wss://bridge.example.net/media/", [], "tvH8NUoQZq1D3mh3g7M9CDXflnQ="),
    ],
    ids=["form", "no fields", "repeated field", "upgrade", "other scheme", "trailing slash"],
)
def test_signs_as_twilio_does(url: str, form: list[tuple[str, str]], signature: str) -> None:
    assert sign(TOKEN, url, form) == signature
