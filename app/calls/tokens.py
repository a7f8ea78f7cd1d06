"""One-time stream tokens: whoever holds one may attach a media stream to the one call it was made for."""

import hmac
import secrets
from collections import OrderedDict

from app.calls.errors import TokenRejected

_CAPACITY = 10_000


class StreamTokens:
    """Single-use tokens that expire. Sans I/O; bounded: beyond 10,000 outstanding the oldest are forgotten."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._issued: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def issue(self, call_id: str, now: float) -> str:
        """A new token for this call. Tokens issued before stay valid: a carrier may use the answer to either try."""
        while self._issued and (len(self._issued) >= _CAPACITY or self._oldest_expired(now)):
            self._issued.popitem(last=False)
        token = secrets.token_urlsafe(24)
        self._issued[token] = (call_id, now + self._lifetime_s)
        return token

    def redeem(self, token: str, call_id: str, now: float) -> None:
        """Use up a token. Raises `TokenRejected`; a token tried for the wrong call is used up too."""
        known = self._issued.pop(token, None)
        if known is None:
            raise TokenRejected("unknown or used")
        owner, expires_at = known
        if now > expires_at:
            raise TokenRejected("expired")
        if not hmac.compare_digest(owner.encode(), call_id.encode()):
            raise TokenRejected("of another call")

    def _oldest_expired(self, now: float) -> bool:
        _, expires_at = next(iter(self._issued.values()))
        return expires_at < now
