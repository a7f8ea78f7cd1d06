import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.wire import INVALID_MESSAGE, Clear, Mark, Media, StreamWriter, Unreadable, read

STREAM, CALL, ACCOUNT = "MZ" + "2" * 32, "CA" + "1" * 32, "AC" + "1" * 32


def writer() -> StreamWriter:
    return StreamWriter(STREAM, CALL, ACCOUNT)


def test_start_carries_what_the_documentation_says() -> None:
    assert json.loads(writer().start({"session": "s-81"})) == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM,
        "start": {
            "streamSid": STREAM,
            "accountSid": ACCOUNT,
            "callSid": CALL,
            "tracks": ["inbound"],
            "customParameters": {"session": "s-81"},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }


def test_counters_are_strings_and_count_all_messages_and_chunks() -> None:
    write = writer()
    messages = [
        write.start({}),
        write.media(b"\xff" * 160, 0),
        write.mark("utt-3"),
        write.dtmf("1"),
        write.media(b"\x7f" * 160, 20),
        write.unknown(),
        write.stop(),
    ]
    decoded = [json.loads(message) for message in messages]
    assert [message["sequenceNumber"] for message in decoded] == ["1", "2", "3", "4", "5", "6", "7"]
    assert decoded[1]["media"] == {
        "track": "inbound",
        "chunk": "1",
        "timestamp": "0",
        "payload": base64.b64encode(b"\xff" * 160).decode(),
    }
    assert decoded[4]["media"]["chunk"] == "2"
    assert decoded[4]["media"]["timestamp"] == "20"
    assert decoded[2]["mark"] == {"name": "utt-3"}
    assert decoded[3]["dtmf"] == {"track": "inbound_track", "digit": "1"}
    assert decoded[6]["stop"] == {"accountSid": ACCOUNT, "callSid": CALL}
    assert {message["streamSid"] for message in decoded} == {STREAM}


def test_reads_the_three_messages_of_a_bridge() -> None:
    media = read(b'{"event":"media","streamSid":"MZ1","media":{"payload":"AQI=","track":"x"},"more":1}')
    assert isinstance(media, Media)
    assert (media.media.payload, media.stream_sid) == (b"\x01\x02", "MZ1")
    mark = read(b'{"event":"mark","streamSid":"MZ1","mark":{"name":"utt \\u00fc"}}')
    assert isinstance(mark, Mark)
    assert mark.mark.name == "utt ü"
    assert read(b'{"streamSid":"MZ1","event":"clear"}') == Clear(stream_sid="MZ1")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"event":"dtmf","streamSid":"MZ1"}',
        b'{"event":"media","streamSid":"MZ1"}',
        b'{"event":"media","streamSid":"MZ1","media":{"payload":"not base64!"}}',
        b'{"event":"mark","streamSid":"MZ1","mark":{}}',
        b'{"event":"clear","streamSid":7}',
    ],
)
def test_anything_else_is_an_invalid_message(message: bytes) -> None:
    unreadable = read(message)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.code == INVALID_MESSAGE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_unreadable(message: bytes) -> None:
    assert isinstance(read(message), Media | Mark | Clear | Unreadable)
