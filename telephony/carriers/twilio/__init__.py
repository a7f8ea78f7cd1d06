"""Twilio: Programmable Voice webhooks, TwiML and bidirectional Media Streams. Sans I/O.

Sources: https://www.twilio.com/docs/voice/media-streams/websocket-messages (the messages),
https://www.twilio.com/docs/voice/twiml (documents and webhooks),
https://www.twilio.com/docs/usage/webhooks/webhooks-security (signatures).
"""

import hashlib
import hmac
import re
from base64 import b64encode
from binascii import b2a_base64
from collections.abc import Iterator
from enum import StrEnum
from typing import assert_never
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape, quoteattr

import msgspec

from telephony.audio import TELEPHONE
from telephony.carrier import (
    TOKEN_PARAMETER,
    AnswerDocument,
    AudioReceived,
    CallOffered,
    CallStatus,
    Carrier,
    CarrierCapabilities,
    CarrierCommand,
    CarrierEvent,
    ClearAudio,
    Decision,
    Dial,
    DigitPressed,
    HangUp,
    MarkReached,
    MediaStarted,
    MediaStopped,
    OpenStream,
    PlaceMark,
    PlayAudio,
    Redirect,
    WebhookRequest,
)
from telephony.carriers.twilio.control import PERSISTENTLY, twilio_control
from telephony.errors import MalformedMessage, OurFault, SignatureRejected

MAX_MESSAGE_CHARACTERS = 64 * 1024
"""Longest message that is looked at, either way. Twilio publishes no limit; its own messages have about 400."""

_MAX_PLAY_BYTES = MAX_MESSAGE_CHARACTERS * 3 // 4 - 1024
_MAX_PARAMETER_CHARACTERS = 499  # https://www.twilio.com/docs/voice/twiml/stream: "under 500"
_MAX_STREAM_ID_CHARACTERS = 64


class Malformed(StrEnum):
    """Why a message was dropped: every `MalformedMessage.reason` of this carrier, and so every metric label."""

    BINARY = "binary"
    OVERSIZED = "oversized"
    NOT_JSON = "not_json"
    BAD_FIELDS = "bad_fields"
    BAD_BASE64 = "bad_base64"
    BAD_DIGIT = "bad_digit"
    BAD_CALL_ID = "bad_call_id"
    MEDIA_FORMAT = "media_format"
    BEFORE_START = "before_start"
    DUPLICATE_START = "duplicate_start"
    WRONG_STREAM = "wrong_stream"
    LATE_FRAME = "late_frame"
    AFTER_STOP = "after_stop"


# The messages that Twilio sends. Fields that a call has no use for are not named, and so never looked at.


class _Connected(msgspec.Struct, tag_field="event", tag="connected", gc=False):
    pass


class _MediaFormat(msgspec.Struct, rename="camel", gc=False):
    encoding: str
    sample_rate: int
    channels: int = 1


class _StartFields(msgspec.Struct, rename="camel", gc=False):
    call_sid: str
    custom_parameters: dict[str, str] | None = None
    media_format: _MediaFormat | None = None


class _Start(msgspec.Struct, tag_field="event", tag="start", rename="camel", gc=False):
    stream_sid: str
    start: _StartFields


class _MediaFields(msgspec.Struct, gc=False):
    payload: bytes
    timestamp: int
    chunk: int
    track: str = "inbound"


class _Media(msgspec.Struct, tag_field="event", tag="media", rename="camel", gc=False):
    stream_sid: str
    media: _MediaFields


class _DtmfFields(msgspec.Struct, gc=False):
    digit: str


class _Dtmf(msgspec.Struct, tag_field="event", tag="dtmf", rename="camel", gc=False):
    stream_sid: str
    dtmf: _DtmfFields


class _MarkFields(msgspec.Struct, gc=False):
    name: str


class _Mark(msgspec.Struct, tag_field="event", tag="mark", rename="camel", gc=False):
    stream_sid: str
    mark: _MarkFields


class _Stop(msgspec.Struct, tag_field="event", tag="stop", rename="camel", gc=False):
    stream_sid: str


class _Envelope(msgspec.Struct, gc=False):
    event: str


class _EncodedPayload(msgspec.Struct, gc=False):
    payload: str


class _EncodedMedia(msgspec.Struct, gc=False):
    media: _EncodedPayload


# Not strict: counters are documented as strings, but a number is as good.
_decode = msgspec.json.Decoder(_Connected | _Start | _Media | _Mark | _Dtmf | _Stop, strict=False).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_encoded_media = msgspec.json.Decoder(_EncodedMedia).decode

_EVENTS = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})
_INBOUND = frozenset({"inbound", "inbound_track"})
_DIGITS = frozenset("0123456789*#ABCD")
_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)

# Beside its own errors the decoder raises UnicodeError on lone surrogates, RecursionError on deep nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class TwilioProtocol:
    """One bidirectional Media Stream: `CarrierProtocol`. The reasons of its `MalformedMessage` are `Malformed`."""

    __slots__ = ("_chunk", "_media_head", "_stopped", "_stream_sid", "_timestamp")

    def __init__(self) -> None:
        self._stream_sid: str | None = None
        self._stopped = False
        self._chunk = -1
        self._timestamp = -1
        self._media_head = ""

    def receive(self, message: str | bytes, now: float) -> tuple[CarrierEvent, ...]:
        if not isinstance(message, str):
            raise MalformedMessage(Malformed.BINARY)
        if len(message) > MAX_MESSAGE_CHARACTERS:
            raise MalformedMessage(Malformed.OVERSIZED, f"{len(message)} characters")
        try:
            incoming = _decode(message)
        except _UNREADABLE:
            return _ignore_or_blame(message)
        if isinstance(incoming, _Media):  # first, because there are fifty a second
            return self._media(incoming)
        if isinstance(incoming, _Connected):
            return ()
        if isinstance(incoming, _Start):
            return (self._start(incoming),)
        self._check_stream(incoming.stream_sid)
        return (self._control(incoming),)

    def _media(self, message: _Media) -> tuple[CarrierEvent, ...]:
        self._check_stream(message.stream_sid)
        media = message.media
        if media.track not in _INBOUND or not media.payload:
            return ()
        # TCP keeps the order, so a frame that is newer by neither of its two counters was sent twice or held back.
        # Asking both means that one counter gone wrong does not silence the caller.
        if media.timestamp <= self._timestamp and media.chunk <= self._chunk:
            raise MalformedMessage(Malformed.LATE_FRAME)
        self._timestamp = media.timestamp
        self._chunk = media.chunk
        return (AudioReceived(media.payload, media.timestamp),)

    def _control(self, message: _Mark | _Dtmf | _Stop) -> CarrierEvent:
        if isinstance(message, _Mark):
            return MarkReached(message.mark.name)
        if isinstance(message, _Dtmf):
            digit = message.dtmf.digit.upper()
            if digit not in _DIGITS:
                raise MalformedMessage(Malformed.BAD_DIGIT)
            return DigitPressed(digit)
        self._stopped = True
        return MediaStopped()

    def _check_stream(self, stream_sid: str) -> None:
        if self._stream_sid is None:
            raise MalformedMessage(Malformed.BEFORE_START)
        if stream_sid != self._stream_sid:
            raise MalformedMessage(Malformed.WRONG_STREAM)
        if self._stopped:
            raise MalformedMessage(Malformed.AFTER_STOP)

    def _start(self, message: _Start) -> MediaStarted:
        if self._stream_sid is not None:
            raise MalformedMessage(Malformed.DUPLICATE_START)
        stream_sid, fields = message.stream_sid, message.start
        if not 0 < len(stream_sid) <= _MAX_STREAM_ID_CHARACTERS:
            raise MalformedMessage(Malformed.BAD_FIELDS, "streamSid")
        if not _CALL_SID.fullmatch(fields.call_sid):
            raise MalformedMessage(Malformed.BAD_CALL_ID)
        sent_as = fields.media_format
        if sent_as is not None and (sent_as.encoding, sent_as.sample_rate, sent_as.channels) != (
            "audio/x-mulaw",
            TELEPHONE.rate_hz,
            1,
        ):
            raise MalformedMessage(Malformed.MEDIA_FORMAT, f"{sent_as.encoding} {sent_as.sample_rate} Hz"[:80])
        self._stream_sid = stream_sid
        self._media_head = f'{{"event":"media","streamSid":{_quoted(stream_sid)},"media":{{"payload":"'
        return MediaStarted(fields.call_sid, stream_sid, fields.custom_parameters or {}, TELEPHONE)

    def send(self, command: CarrierCommand) -> str:
        if self._stream_sid is None:
            raise OurFault("nothing can be sent before the stream has started")
        # The keys in the documented order; text, because Twilio drops binary messages (warning 31950).
        if isinstance(command, PlayAudio):
            if len(command.payload) > _MAX_PLAY_BYTES:
                raise OurFault(f"{len(command.payload)} bytes of audio in one message: at most {_MAX_PLAY_BYTES}")
            return f'{self._media_head}{b2a_base64(command.payload, newline=False).decode("ascii")}"}}}}'
        if isinstance(command, PlaceMark):
            name = _quoted(command.name)
            return f'{{"event":"mark","streamSid":{_quoted(self._stream_sid)},"mark":{{"name":{name}}}}}'
        if isinstance(command, ClearAudio):
            return f'{{"event":"clear","streamSid":{_quoted(self._stream_sid)}}}'
        assert_never(command)


def _ignore_or_blame(message: str) -> tuple[()]:
    """An event that we do not know is none of our business; anything else that cannot be read is the peer's fault."""
    try:
        event = _decode_envelope(message).event
    except msgspec.ValidationError as error:
        raise MalformedMessage(Malformed.BAD_FIELDS, str(error)) from None
    except _UNREADABLE:
        raise MalformedMessage(Malformed.NOT_JSON) from None
    if event not in _EVENTS:
        return ()
    if event == "media":
        try:
            encoded = _decode_encoded_media(message).media.payload
        except _UNREADABLE:
            raise MalformedMessage(Malformed.BAD_FIELDS, event) from None
        if not _is_base64(encoded):
            raise MalformedMessage(Malformed.BAD_BASE64)
    raise MalformedMessage(Malformed.BAD_FIELDS, event)


def _is_base64(text: str) -> bool:
    try:
        msgspec.convert(text, bytes)
    except msgspec.ValidationError:
        return False
    return True


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


# Signatures

_SIGNATURE = "x-twilio-signature"
_SIGNATURE_SETTINGS = "x-twilio-webhooks-signature-settings"
_ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_DEFAULT_PORTS = {"https": ("443",), "wss": ("443", "80"), "http": ("80",), "ws": ("80",)}
"""Twilio signs with or without the default port, and its own library takes 80 for that of `wss`."""

# Webhook fields

_ENDED = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})

_WITHHELD_WORDS = ("ANONYMOUS", "BLOCKED", "PRIVATE", "RESTRICTED", "UNAVAILABLE", "UNKNOWN")
# A withheld number comes as such a word or, on older routes, as the keys that spell it: +266696687 is ANONYMOUS.
# https://www.twilio.com/en-us/changelog/upcoming-changes-to-withheld-caller-ids-behavior-for-dial-calls
_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
_WITHHELD = frozenset({*_WITHHELD_WORDS, *(f"+{word.translate(_KEYPAD)}" for word in _WITHHELD_WORDS)})

_PARTIES = ("Caller", "Called", "From", "To")
_PERSONAL = frozenset(
    {
        *(f"{party}{place}" for party in _PARTIES for place in ("City", "State", "Zip", "Country")),
        "CallerName",
        "ForwardedFrom",
        "CalledVia",
        "StirPassportToken",
        *(f"SipHeader_{name}" for name in ("Remote-Party-ID", "P-Asserted-Identity", "P-Preferred-Identity")),
    }
)
"""https://www.twilio.com/docs/voice/twiml#request-parameters; the token has both numbers inside, in base64."""

# Documents

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 (5th ed.), section 2.2


class TwilioWebhooks:
    """Programmable Voice over HTTP: `Webhooks`. Its secrets are account auth tokens or webhook shared keys."""

    def authenticate(self, request: WebhookRequest, secrets: tuple[str, ...]) -> None:
        signature = request.headers.get(_SIGNATURE)
        if not signature:
            raise SignatureRejected(
                "no signature", "only Twilio may call this URL; if this was Twilio, a proxy drops X-Twilio-Signature"
            )
        algorithm = _algorithm(request.headers.get(_SIGNATURE_SETTINGS, ""))
        if request.body and not request.form:
            _check_body_hash(request)
        given = signature.encode("utf-8", "replace")
        tail = _signed_tail(request.form)
        genuine = False
        for variant in _port_variants(request.url):
            signed = (variant + tail).encode("utf-8", "replace")
            for secret in secrets:
                digest = hmac.new(secret.encode(), signed, algorithm).digest()
                genuine |= hmac.compare_digest(b64encode(digest), given)
        if not genuine:
            raise SignatureRejected(
                "wrong signature",
                f"checked against {request.url.partition('?')[0]}: compare PUBLIC_URL with the URL that Twilio "
                "has (scheme, host, port, trailing slash), and TWILIO_AUTH_TOKEN with the account's auth token",
            )

    def call_offered(self, request: WebhookRequest) -> CallOffered:
        fields = _fields(request)
        return CallOffered(
            call_id=_call_sid(fields),
            caller=_identity(fields.get("From", "")),
            called=_identity(fields.get("To", "")),
            direction=fields.get("Direction", ""),
            variables=fields,
        )

    def call_status(self, request: WebhookRequest) -> CallStatus:
        fields = _fields(request)
        # Stream status callbacks may be pointed at the same URL: they tell of a stream, never of the call's end.
        status = fields.get("CallStatus") or fields.get("StreamEvent", "")
        return CallStatus(_call_sid(fields), status, ended=status in _ENDED)

    def document(self, decision: Decision) -> AnswerDocument:
        match decision:
            case OpenStream():
                verbs = _open_stream(decision)
            case HangUp(say):
                verbs = f"{_say(say)}<Hangup/>"
            case Dial(target, say):
                verbs = f"{_say(say)}<Dial>{_dialled(target)}</Dial>"
            case Redirect(url):
                verbs = f'<Redirect method="POST">{_text(url)}</Redirect>'
            case _:
                assert_never(decision)
        return AnswerDocument("text/xml", f'<?xml version="1.0" encoding="UTF-8"?><Response>{verbs}</Response>')


def _algorithm(settings: str) -> str:
    """The hash that `X-Twilio-Webhooks-Signature-Settings: key=…,algorithm=…` names; SHA-1 when it names none."""
    for setting in settings.split(","):
        name, _, value = setting.partition("=")
        if name.strip() == "algorithm" and value.strip():
            algorithm = _ALGORITHMS.get(value.strip().upper())
            if algorithm is None:
                raise SignatureRejected("unknown algorithm", "Twilio signs with an algorithm that this version lacks")
            return algorithm
    return "sha1"


def _signed_tail(form: tuple[tuple[str, str], ...]) -> str:
    """What follows the URL in the signed string: names in order, each with its distinct values in order."""
    return "".join(name + value for name, value in sorted(set(form)))


def _check_body_hash(request: WebhookRequest) -> None:
    """A body that is no form is covered by a hash in the URL, which the signature covers."""
    query = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    claimed = query.get("bodySHA256", "").lower().encode("utf-8", "replace")
    if not hmac.compare_digest(hashlib.sha256(request.body).hexdigest().encode(), claimed):
        raise SignatureRejected("unsigned body", "the body is no form and bodySHA256 in the URL does not match it")


def _port_variants(url: str) -> Iterator[str]:
    """The URL without the default port and with it; with any other port just as it is. Nothing else is touched."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):  # no port: the colon, if any, is inside an IPv6 address
        host, port = authority, ""
    ports = _DEFAULT_PORTS.get(scheme, ())
    if port and port not in ports:
        yield url
        return
    yield f"{scheme}{separator}{host}{slash}{path}"
    for default in ports:
        yield f"{scheme}{separator}{host}:{default}{slash}{path}"


def _fields(request: WebhookRequest) -> dict[str, str]:
    """The query's and the form's fields, the first value of each name; the form, which Twilio fills, goes first."""
    query = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    return dict(reversed((*request.form, *query)))


def _call_sid(fields: dict[str, str]) -> str:
    call_sid = fields.get("CallSid", "")
    if not _CALL_SID.fullmatch(call_sid):
        raise MalformedMessage(Malformed.BAD_CALL_ID, "CallSid is missing" if not call_sid else "CallSid is malformed")
    return call_sid


def _identity(party: str) -> str:
    """A number, `client:…` or `sip:…` as it came; empty when it is withheld."""
    return "" if party.upper() in _WITHHELD else party


def _open_stream(decision: OpenStream) -> str:
    if "?" in decision.media_url:
        raise OurFault("Twilio drops the query of a stream's URL: use a path or a parameter")
    if len(decision.token) > _MAX_PARAMETER_CHARACTERS:
        raise OurFault(f"a stream parameter has at most {_MAX_PARAMETER_CHARACTERS} characters")
    return (
        f"<Connect><Stream url={_attribute(decision.media_url)}>"
        f"<Parameter name={_attribute(TOKEN_PARAMETER)} value={_attribute(decision.token)}/>"
        f'</Stream></Connect><Redirect method="POST">{_text(decision.after_url + PERSISTENTLY)}</Redirect>'
    )


def _say(text: str) -> str:
    return f"<Say>{_text(text)}</Say>" if text else ""


def _dialled(target: str) -> str:
    scheme, colon, rest = target.partition(":")
    if colon and scheme in ("sip", "sips"):
        return f"<Sip>{_text(target)}</Sip>"
    if colon and scheme == "client":
        return f"<Client>{_text(rest)}</Client>"
    return _text(target)


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("", text))


TWILIO = Carrier(
    name="twilio",
    capabilities=CarrierCapabilities(
        marks=True, marks_echo_on_clear=True, clear=True, resume=True, transfer=True, dtmf_out=False
    ),
    webhooks=TwilioWebhooks(),
    protocol=TwilioProtocol,
    secret_variables=("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY"),
    personal=_PERSONAL,
    control=twilio_control,
)
