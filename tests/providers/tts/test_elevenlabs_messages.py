"""The vendor's messages in either spelling; what is none is said to be none and nothing else."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.errors import ProviderError
from providers.tts.elevenlabs_messages import decode
from providers.tts.elevenlabs_words import TimedCharacter

HI = (TimedCharacter("H", 0, 80), TimedCharacter("i", 80, 90))


def aligned(**durations: list[int]) -> dict[str, object]:
    return {"chars": ["H", "i"], "charStartTimesMs": [0, 80], **durations}


@pytest.mark.parametrize("spelling", ["charDurationsMs", "charsDurationsMs"])
def test_audio_comes_with_the_times_of_its_characters(spelling: str) -> None:
    times = aligned(**{spelling: [80, 90]})
    text = {"audio": base64.b64encode(b"\x7f\xff").decode(), "isFinal": None, "contextId": "t7", "alignment": times}
    message = decode(json.dumps(text))
    assert (message.audio, message.of_context, message.ends_context) == (b"\x7f\xff", "t7", False)
    assert message.characters() == HI


def test_the_alignment_of_the_normalised_text_serves_where_there_is_no_other() -> None:
    times = aligned(charDurationsMs=[80, 90])
    assert decode(json.dumps({"alignment": None, "normalizedAlignment": times})).characters() == HI
    assert decode(json.dumps({"alignment": times, "normalizedAlignment": {}})).characters() == HI
    assert decode("{}").characters() is None


@pytest.mark.parametrize("text", ['{"isFinal":true,"contextId":"t7"}', '{"is_final":true,"context_id":"t7"}'])
def test_the_end_of_a_context_is_known_in_both_spellings(text: str) -> None:
    message = decode(text)
    assert message.ends_context
    assert message.of_context == "t7"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ('{"error":"quota_exceeded","message":"Over.","code":1008}', "quota_exceeded Over. (1008)"),
        ('{"error":"quota_exceeded","message":null,"code":"1008"}', "quota_exceeded"),
        ('{"error":{"of":"another shape"},"message":["quota"]}', "{'of': 'another shape'} ['quota']"),
    ],
)
def test_an_error_keeps_its_words_whatever_their_shape(text: str, detail: str) -> None:
    assert decode(text).refusal().error().detail == detail


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
json_values = leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.sampled_from(["chars", "x"]), leaves)
fields = ["audio", "contextId", "isFinal", "alignment", "normalizedAlignment", "type", "error", "message", "code"]


@given(st.binary(max_size=40) | st.dictionaries(st.sampled_from(fields), json_values).map(json.dumps))
def test_whatever_arrives_is_a_message_or_a_decoding_error(arrived: bytes | str) -> None:
    try:
        message = decode(arrived)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    assert isinstance(message.refusal().error(), ProviderError)
    assert message.audio is None or isinstance(message.audio, bytes)
    message.characters()
