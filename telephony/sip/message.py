"""SIP messages as text: the few headers that a call cares about. Sans I/O; nothing in here trusts the sender.

pjsip has parsed a message before we see it, so this only has to find headers again: unfolded, with compact names
(RFC 3261, section 7.3.3) spelled out, whatever the case they came in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from telephony.sip.events import Cause, Invitation, Party

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "r": "refer-to", "s": "subject"}
_FOLD = re.compile(r"\r?\n[ \t]+")
_NAME_ADDR = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<words>[^"<]*?))\s*<(?P<uri>[^>]*)>(?P<rest>.*)', re.DOTALL
)
_URI = re.compile(r"(?P<scheme>sips?|tel):(?:(?P<user>[^@;?]*)@)?(?P<rest>[^;?]*)", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(?P<name>[A-Za-z0-9_.-]+)\s*(?:=\s*(?:"(?P<quoted>[^"]*)"|(?P<value>[^;,\s]*)))?')
_SURROGATE = re.compile("[\ud800-\udfff]")
_CUSTOM_LIMIT, _CUSTOM_BYTES = 32, 1024
"""Custom headers taken from one INVITE, and the longest value: what is more is no use to a conversation."""


class Message:
    """One SIP message. Header names are matched in any case; a missing header is empty."""

    def __init__(self, text: str) -> None:
        head = clean(text).partition("\r\n\r\n")[0]
        self.start_line, _, headers = _FOLD.sub(" ", head).partition("\r\n")
        self.headers: tuple[tuple[str, str], ...] = tuple(_split(line) for line in headers.split("\r\n") if ":" in line)

    @cached_property
    def _first(self) -> Mapping[str, str]:
        return dict(reversed(self.headers))

    def header(self, name: str) -> str:
        """The first header of that name."""
        return self._first.get(name.lower(), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Every header of that name, in order."""
        return tuple(value for found, value in self.headers if found == name.lower())

    @property
    def request_uri(self) -> str:
        """Of a request; empty for a response."""
        parts = self.start_line.split(" ")
        return parts[1] if len(parts) == 3 and parts[2].startswith("SIP/") else ""


def clean(text: str) -> str:
    """As text that can be stored and logged: bytes that were no UTF-8 become replacement characters.

    For every text that comes out of the library: what its peers sent is in it, and such bytes are lone surrogates.
    """
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    name = name.strip().lower()
    return _COMPACT.get(name, name), value.strip()


@dataclass(frozen=True, slots=True)
class Address:
    """A header of the form `"name" <uri>;parameters`; without angle brackets the parameters are the header's."""

    party: Party
    parameters: Mapping[str, str]


def parse_address(value: str) -> Address:
    """The first address of a header value; an empty party if there is none."""
    match = _NAME_ADDR.match(value)
    if match is None:
        uri, mark, rest = value.strip().partition(";")
        return Address(_party(uri.partition(",")[0].strip(), ""), _parameters(mark + rest))
    name = match["words"].strip() if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
    return Address(_party(match["uri"].strip(), name), _parameters(match["rest"]))


def _party(uri: str, name: str) -> Party:
    return Party(uri, user_of(uri), name)


def user_of(uri: str) -> str:
    """The user part of a `sip:` URI, or the number of a `tel:` URI, without its parameters and escapes."""
    match = _URI.match(uri)
    if match is None:
        return ""
    if match["scheme"].lower() == "tel":
        return match["rest"]
    return unquote(match["user"] or "").partition(":")[0].partition(";")[0]


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(text.partition(",")[0] if '"' not in text else text):
        value = match["value"] if match["quoted"] is None else match["quoted"]
        found.setdefault(match["name"].lower(), value or "")
    return found


# What an INVITE says


def read_invitation(text: str, *, trunk: str, source: str, own_user: str, received_at: float) -> Invitation:
    """The INVITE `text` as the application sees it. `own_user` is the one we are registered as: it calls nobody."""
    message = Message(text)
    asserted = message.header("p-asserted-identity")
    caller = parse_address(asserted or message.header("from")).party
    if asserted and not caller.name:
        caller = Party(caller.uri, caller.user, parse_address(message.header("from")).party.name)
    called = user_of(message.request_uri)
    if not called or called == own_user:
        called = parse_address(message.header("to")).party.user or called
    diverted_from, diversion_reason = _diversion(message)
    return Invitation(
        call_id=message.header("call-id"),
        trunk=trunk,
        source=source,
        caller=caller,
        asserted=bool(asserted),
        private="id" in re.split(r"[;,\s]+", message.header("privacy").lower()),
        called=called,
        diverted_from=diverted_from,
        diversion_reason=diversion_reason,
        headers=_custom(message),
        received_at=received_at,
    )


def _diversion(message: Message) -> tuple[str, str]:
    """Who was called first, and why he was not reached: RFC 5806, else RFC 7044."""
    diversions = message.all("diversion")
    if diversions:
        first = parse_address(_last_of(diversions[-1]))  # the newest comes first
        return first.party.user, first.parameters.get("reason", "")
    history = message.all("history-info")
    if history and ("cause%3d" in "".join(history).lower() or "cause=" in "".join(history).lower()):
        first = parse_address(history[0])
        cause = re.search(r"cause(?:%3d|=)(\d+)", "".join(history), re.IGNORECASE)
        return first.party.user, cause[1] if cause else ""
    return "", ""


def _last_of(value: str) -> str:
    """The last of several addresses in one header."""
    return re.split(r",\s*(?=\"|<|sips?:|tel:)", value)[-1]


def _custom(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in message.headers:
        if name.startswith("x-") and name not in found and len(found) < _CUSTOM_LIMIT:
            found[name] = value[:_CUSTOM_BYTES]
    return found


# Why a call ended


def read_reason(text: str, cause: Cause) -> Cause:
    """`cause`, with what the message's Reason headers (RFC 3326) add to it."""
    q850, said = cause.q850, ""
    for header in Message(text).all("reason"):
        for value in re.split(r",(?=\s*(?:Q\.850|SIP)\b)", header, flags=re.IGNORECASE):
            protocol, _, rest = value.strip().partition(";")
            parameters = _parameters(";" + rest)
            if protocol.strip().lower() == "q.850" and parameters.get("cause", "").isdecimal():
                q850 = int(parameters["cause"]) or q850  # 0 is no cause: Asterisk's word for not knowing one
            said = said or parameters.get("text", "")
    return Cause(cause.status, q850, said or cause.text)


def reason_header(cause: Cause) -> str:
    """The value of a Reason header for `cause`; empty when it has no Q.850 code."""
    if cause.q850 is None:
        return ""
    said = re.sub(r'[^ -~]|["\\]', "", cause.text)
    return f"Q.850;cause={cause.q850}" + (f';text="{said}"' if said else "")


_STATUS_TO_Q850 = {
    # RFC 3398, section 8.2.6.1, and ITU-T Q.1912.5
    400: 127, 401: 57, 403: 21, 404: 1, 405: 127, 407: 57, 408: 102, 410: 22, 415: 79, 420: 127, 480: 18, 481: 127,
    482: 127, 483: 25, 484: 28, 485: 1, 486: 17, 487: 16, 488: 88, 500: 41, 501: 79, 502: 38, 503: 41, 504: 102,
    505: 127, 600: 17, 603: 21, 604: 1, 606: 88,
}  # fmt: skip


def q850_of(status: int) -> int | None:
    """ISDN's cause for a SIP status; None where there is none."""
    return _STATUS_TO_Q850.get(status)
