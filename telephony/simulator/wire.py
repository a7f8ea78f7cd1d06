"""The messages of a media stream as Twilio writes and reads them, sans I/O and cheap enough for hundreds of calls.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

MALFORMED_MESSAGE: Final = 31950
INVALID_MESSAGE: Final = 31951

CONNECTED: Final = '{"event":"connected","protocol":"Call","version":"1.0.0"}'


class _Payload(msgspec.Struct):
    payload: bytes


class _Name(msgspec.Struct):
    name: str


class Media(msgspec.Struct, tag="media", tag_field="event"):
    """Audio to append; the payload is no longer base64."""

    media: _Payload
    stream_sid: str = msgspec.field(name="streamSid", default="")


class Mark(msgspec.Struct, tag="mark", tag_field="event"):
    mark: _Name
    stream_sid: str = msgspec.field(name="streamSid", default="")


class Clear(msgspec.Struct, tag="clear", tag_field="event"):
    stream_sid: str = msgspec.field(name="streamSid", default="")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that Twilio answers with a warning; `code` is Twilio's."""

    code: int
    detail: str


_decoder: msgspec.json.Decoder[Media | Mark | Clear] = msgspec.json.Decoder(Media | Mark | Clear)


def read(message: bytes) -> Media | Mark | Clear | Unreadable:
    """The bridge's text message. Its `stream_sid` is the reader's to check."""
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Unreadable(INVALID_MESSAGE, str(error))


class StreamWriter:
    """Writes the messages of one stream and counts them: `sequenceNumber` and `chunk` are strings that start at "1"."""

    def __init__(self, stream_sid: str, call_sid: str, account_sid: str) -> None:
        self._stream_sid = stream_sid
        self._call_sid = call_sid
        self._account_sid = account_sid
        self._sequence = 0
        self._chunk = 0
        self._media_head = '{"event":"media","sequenceNumber":"'
        self._media_middle = f'","streamSid":"{stream_sid}","media":{{"track":"inbound","chunk":"'

    @property
    def frames(self) -> int:
        return self._chunk

    def start(self, parameters: Mapping[str, str]) -> str:
        return self._numbered(
            "start",
            {
                "streamSid": self._stream_sid,
                "accountSid": self._account_sid,
                "callSid": self._call_sid,
                "tracks": ["inbound"],
                "customParameters": dict(parameters),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        )

    def media(self, audio: bytes, timestamp_ms: int) -> str:
        """The hot one: two messages per call and 20 ms, so no encoder but joined strings."""
        self._sequence += 1
        self._chunk += 1
        payload = b64encode(audio).decode("ascii")
        return (
            f'{self._media_head}{self._sequence}{self._media_middle}{self._chunk}","timestamp":"{timestamp_ms}",'
            f'"payload":"{payload}"}}}}'
        )

    def mark(self, name: str) -> str:
        return self._numbered("mark", {"name": name})

    def dtmf(self, digit: str) -> str:
        return self._numbered("dtmf", {"track": "inbound_track", "digit": digit})

    def stop(self) -> str:
        return self._numbered("stop", {"accountSid": self._account_sid, "callSid": self._call_sid})

    def unknown(self) -> str:
        """An event that no documentation names: a fault to inject."""
        return self._numbered("telemetry", {"note": "a new kind of event"})

    def _numbered(self, event: str, part: Mapping[str, object]) -> str:
        self._sequence += 1
        return json.dumps(
            {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self._stream_sid, event: part},
            separators=(",", ":"),
        )
