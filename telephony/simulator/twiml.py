"""TwiML as typed verbs, sans I/O.

Strict where Twilio refuses (`DocumentRejected`), tolerant where Twilio warns and goes on (`Document.warnings`).
Source: https://www.twilio.com/docs/voice/twiml and https://www.twilio.com/docs/voice/twiml/stream
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from telephony.simulator.errors import DocumentRejected

PARSE_FAILURE = 12100
SCHEMA_WARNING = 12200
INVALID_CONTENT_TYPE = 12300
STREAM_SCHEME_NOT_WSS = 31922
STREAM_URL_MALFORMED = 31923

PARAMETER_LIMIT = 500
"""Name and value of a `<Parameter>` are each shorter than this."""
DEFAULT_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: float


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Dial:
    """`targets` are the numbers and addresses in it, in order."""

    targets: tuple[str, ...]
    action: str | None
    method: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A bidirectional stream. `url` is absolute and has lost its query string, which Twilio does not carry."""

    url: str
    name: str
    parameters: tuple[tuple[str, str], ...]
    status_callback: str | None
    status_method: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Blocks until the stream ends; then asks `action`, if there is one, and forgets the rest of the document."""

    stream: Stream
    action: str | None
    method: str


Verb = Say | Pause | Redirect | Dial | Hangup | Reject | Connect
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that Twilio's debugger would show; `code` is Twilio's."""

    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Document:
    verbs: tuple[Verb, ...]
    warnings: tuple[Warned, ...] = ()


def read_document(content_type: str, body: str, url: str) -> Document:
    """What the answer of `url` tells the carrier to do. Raises `DocumentRejected` (the bridge's fault)."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body.strip():
        return Document(())
    if kind in {"text/xml", "application/xml", "text/html"} or (kind == "text/plain" and body.lstrip().startswith("<")):
        return parse_twiml(body, url)
    if kind == "text/plain":
        return Document((Say(body.strip()),))
    if kind.startswith("audio/"):
        return Document((Hangup(),), (Warned(SCHEMA_WARNING, f"{kind} is not played by this simulator"),))
    raise DocumentRejected(INVALID_CONTENT_TYPE, f"content type {kind or 'missing'}")


def parse_twiml(text: str, url: str) -> Document:
    """The verbs of `text`, relative addresses resolved against `url`. Raises `DocumentRejected`."""
    try:
        root = ElementTree.fromstring(text.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise DocumentRejected(PARSE_FAILURE, str(error)) from error
    if root.tag != "Response":
        raise DocumentRejected(PARSE_FAILURE, f"the root is <{root.tag}>, not <Response>")
    reader = _Reader(url)
    verbs = tuple(verb for verb in map(reader.verb, root) if verb is not None)
    return Document(verbs, tuple(reader.warnings))


class _Reader:
    """Reads the verbs of one document and collects what Twilio would warn about."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.warnings: list[Warned] = []
        self._verbs: dict[str, Callable[[Element], Verb | None]] = {
            "Connect": self._connect,
            "Dial": self._dial,
            "Hangup": lambda _: Hangup(),
            "Pause": lambda element: Pause(self._number(element, "length", DEFAULT_PAUSE_S)),
            "Redirect": self._redirect,
            "Reject": lambda element: Reject(element.get("reason", "rejected")),
            "Say": self._say,
        }

    def verb(self, element: Element) -> Verb | None:
        """The verb, or None with a warning for one that is unknown, broken or not performed here."""
        read = self._verbs.get(element.tag)
        if read is None:
            self._warn(f"<{element.tag}> is not performed")
            return None
        return read(element)

    def _warn(self, detail: str, code: int = SCHEMA_WARNING) -> None:
        self.warnings.append(Warned(code, detail))

    def _say(self, element: Element) -> Say:
        return Say("".join(element.itertext()).strip(), max(1, int(self._number(element, "loop", 1))))

    def _redirect(self, element: Element) -> Redirect:
        return Redirect(self._absolute((element.text or "").strip()), self._method(element))

    def _dial(self, element: Element) -> Dial:
        texts = (element.text, *(child.text for child in element))
        targets = tuple(text.strip() for text in texts if text and text.strip())
        return Dial(targets, self._address(element, "action"), self._method(element))

    def _connect(self, element: Element) -> Connect | None:
        streams = [child for child in element if child.tag == "Stream"]
        for child in element:
            if child.tag != "Stream":
                self._warn(f"<{child.tag}> in <Connect> is not performed")
        if len(streams) != 1:
            self._warn(f"<Connect> with {len(streams)} <Stream>: one is allowed")
            return None
        stream = self._stream(streams[0])
        if stream is None:
            return None
        return Connect(stream, self._address(element, "action"), self._method(element))

    def _stream(self, element: Element) -> Stream | None:
        address = element.get("url", "").strip()
        url = self._stream_url(address)
        if url is None:
            self._warn(f"stream url {address!r}", STREAM_URL_MALFORMED)
            return None
        if element.get("track", "inbound_track") != "inbound_track":
            self._warn(f"track {element.get('track')!r}: a <Connect> takes inbound_track only")
            return None
        return Stream(
            url,
            element.get("name", ""),
            tuple(self._parameters(element)),
            self._address(element, "statusCallback"),
            self._method(element, "statusCallbackMethod"),
        )

    def _stream_url(self, address: str) -> str | None:
        """The absolute websocket URL, without query and fragment; None when it is none."""
        try:
            absolute = address if "://" in address else urljoin(self._url.replace("http", "ws", 1), address)
            parts = urlsplit(absolute)
            usable = bool(address and parts.hostname) and parts.port != 0
        except ValueError:
            return None
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")) if usable else None

    def _parameters(self, element: Element) -> list[tuple[str, str]]:
        parameters = []
        for child in element:
            name, value = child.get("name"), child.get("value", "")
            if child.tag != "Parameter" or not name:
                self._warn(f"<{child.tag}> in <Stream> needs to be a <Parameter> with a name")
            elif max(len(name), len(value)) >= PARAMETER_LIMIT:
                self._warn(f"parameter {name[:20]!r} is not under {PARAMETER_LIMIT} characters")
            else:
                parameters.append((name, value))
        return parameters

    def _address(self, element: Element, attribute: str) -> str | None:
        address = element.get(attribute, "").strip()
        return self._absolute(address) if address else None

    def _absolute(self, address: str) -> str:
        """What is no address stays as it is: Twilio complains when it comes to request it."""
        try:
            return urljoin(self._url, address)
        except ValueError:
            return address

    def _method(self, element: Element, attribute: str = "method") -> str:
        method = element.get(attribute, "POST").upper()
        if method in {"GET", "POST"}:
            return method
        self._warn(f"{attribute} {method!r}: GET or POST")
        return "POST"

    def _number(self, element: Element, attribute: str, otherwise: float) -> float:
        text = element.get(attribute)
        if text is None:
            return otherwise
        try:
            return max(0.0, float(text))
        except ValueError:
            self._warn(f"{attribute} {text!r} is no number")
            return otherwise
