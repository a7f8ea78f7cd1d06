"""What ElevenLabs says when it will not, as the errors of the house.

Refusals come as an HTTP answer to the upgrade (`{"detail": {"status", "message"}}`), as a message on the socket
(`{"error", "message", "code"}`), or as nothing but a close code whose reason holds a sentence, possibly cut off.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)

NAME = "elevenlabs"
KEY_VARIABLE = "ELEVENLABS_API_KEY"

_LONGEST = 200
_KEY = re.compile(r"\bsk_\w+")  # should the vendor quote it
_KEY_REFUSED = ("invalid_api_key", "missing_permissions", "needs_authorization", "api key")
# In the order in which they are looked for: a sentence about a quota may also speak of a limit of characters.
_FULL = (
    "quota",
    "concurren",
    "busy",
    "max_active_conversations",
    "rate limit",
    "rate_limit",
    "too many",
    "too_many",
    "exceeded your",
)
_GONE = ("timeout", "timed out", "timed_out", "inactiv", "internal")
_NO = (*_KEY_REFUSED, "unusual_activity", "not_found", "not found", "character_limit", "voice", "model", "permission")
_BROKEN_PROTOCOL = (1002, 1003, 1007, 1009)
_GONE_CODES = (408, 1001, 1006, 1011, 1012, 1014)
_POLICY, _TRY_AGAIN_LATER = 1008, 1013


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection or a context ended. `code` is an HTTP status or a close code, 0 if there was none."""

    code: int
    word: str = ""
    sentence: str = ""
    retry_after_s: float | None = None

    def error(self) -> ProviderError:
        """A fresh exception: each speaker on a connection raises its own."""
        said = " ".join(f"{self.word} {self.sentence}".split())[:_LONGEST] or "no reason given"
        said = _KEY.sub("sk_…", said)
        detail = f"{said} ({self.code})" if self.code else said
        text = f"{self.word} {self.sentence}".lower()
        if any(known in text for known in _FULL) or self.code in (429, _TRY_AGAIN_LATER):
            return ProviderRateLimited(NAME, detail, self.retry_after_s)
        if self.code in (401, 403) or any(known in text for known in _KEY_REFUSED):
            variable = "" if self.code == 403 else KEY_VARIABLE  # what the plan does not allow is no fault of the key
            return ProviderRejected(NAME, f"{detail}; see {KEY_VARIABLE}", variable)
        if any(known in text for known in _GONE) or self.code in _GONE_CODES or 500 <= self.code < 600:
            return ProviderUnavailable(NAME, detail)
        if any(known in text for known in _NO) or 400 <= self.code < 500 or self.code == _POLICY:
            return ProviderRejected(NAME, detail)
        if self.code in _BROKEN_PROTOCOL or 100 <= self.code < 400:
            return ProviderMalformed(NAME, detail)
        if self.word or 3000 <= self.code < 5000:
            return ProviderRejected(NAME, detail)
        return ProviderUnavailable(NAME, detail)


def refused_upgrade(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """The vendor's answer to the upgrade, whatever shape its body has."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    detail = answer.get("detail") if isinstance(answer, dict) else None
    word = sentence = ""
    if isinstance(detail, dict):
        word, sentence = str(detail.get("status") or ""), str(detail.get("message") or "")
    elif isinstance(detail, str):
        sentence = detail
    elif isinstance(detail, list):  # 422: what was wrong with each field
        sentence = "; ".join(str(entry.get("msg", "")) for entry in detail if isinstance(entry, dict))
    return Refusal(status, word, sentence, _seconds(headers.get("retry-after", "")))


def _seconds(text: str) -> float | None:
    """`Retry-After` in seconds; its other form, a date, would need a clock that agrees with the vendor's."""
    return float(text) if text.isascii() and text.isdecimal() else None
