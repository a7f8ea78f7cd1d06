"""The codec lines of an SDP, chosen per trunk: the library knows one order of codecs for all. Sans I/O."""

import re
from collections.abc import Iterable

from telephony.sip.settings import Codec

_STATIC = {"0": "PCMU", "8": "PCMA", "9": "G722"}
"""Payload types that need no rtpmap (RFC 3551, table 4)."""
_RTPMAP = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+)[ ]?([^/\s]*)")
_BESIDES = ("telephone-event", "cn")
"""What is no codec, and stays."""


def choose_codecs(sdp: str, codecs: Iterable[Codec]) -> str:
    """`sdp` with only these codecs in its audio line, in this order; unchanged if none of them is there."""
    lines = sdp.split("\r\n")
    at = next((number for number, line in enumerate(lines) if line.startswith("m=audio ")), None)
    if at is None:
        return sdp
    end = next((number for number in range(at + 1, len(lines)) if lines[number].startswith("m=")), len(lines))
    media, port, protocol, *payloads = lines[at].split(" ")
    names = {payload: _STATIC.get(payload, "") for payload in payloads}
    for line in lines[at:end]:
        match = _RTPMAP.match(line)
        if match is not None and line.startswith("a=rtpmap:"):
            names[match[1]] = match[2]
    order = [codec.value.lower() for codec in codecs]
    chosen = [payload for codec in order for payload in payloads if names[payload].lower() == codec]
    if not chosen:
        return sdp
    chosen += [payload for payload in payloads if names[payload].lower() in _BESIDES]
    lines[at] = " ".join((media, port, protocol, *chosen))
    dropped = set(payloads) - set(chosen)
    kept = [line for line in lines[at + 1 : end] if not _belongs_to(line, dropped)]
    return "\r\n".join((*lines[: at + 1], *kept, *lines[end:]))


def _belongs_to(line: str, payloads: set[str]) -> bool:
    match = _RTPMAP.match(line)
    return match is not None and match[1] in payloads
