"""The codecs of an SDP, chosen."""

from hypothesis import given
from hypothesis import strategies as st

from telephony.sip.sdp import choose_codecs
from telephony.sip.settings import ALL_CODECS, Codec

OFFER = "\r\n".join(
    (
        "v=0",
        "o=- 1 1 IN IP4 203.0.113.10",
        "m=audio 30000 RTP/AVP 0 8 9 96 101 102 13",
        "c=IN IP4 203.0.113.10",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:102 telephone-event/48000",
        "a=rtpmap:13 CN/8000",
        "a=sendrecv",
        "m=video 0 RTP/AVP 8",
        "a=rtpmap:8 H264/90000",
        "",
    )
)


def audio_line(sdp: str) -> str:
    return next(line for line in sdp.split("\r\n") if line.startswith("m=audio"))


def test_only_the_chosen_codecs_are_left_in_the_order_chosen() -> None:
    chosen = choose_codecs(OFFER, (Codec.OPUS, Codec.PCMA))
    assert audio_line(chosen) == "m=audio 30000 RTP/AVP 96 8 101 102 13"
    assert "PCMU" not in chosen and "useinbandfec" in chosen
    assert chosen.endswith("m=video 0 RTP/AVP 8\r\na=rtpmap:8 H264/90000\r\n"), "other media are none of ours"


def test_payload_types_need_no_map_where_they_are_fixed() -> None:
    assert audio_line(choose_codecs(OFFER, (Codec.G722,))) == "m=audio 30000 RTP/AVP 9 101 102 13"


def test_an_offer_with_none_of_them_is_let_be() -> None:
    offer = "m=audio 1 RTP/AVP 18\r\na=rtpmap:18 G729/8000"
    assert choose_codecs(offer, ALL_CODECS) == offer
    assert choose_codecs("v=0\r\n", ALL_CODECS) == "v=0\r\n"


@given(st.lists(st.sampled_from(ALL_CODECS), min_size=1, unique=True))
def test_choosing_again_changes_nothing(codecs: list[Codec]) -> None:
    once = choose_codecs(OFFER, codecs)
    assert choose_codecs(once, codecs) == once
