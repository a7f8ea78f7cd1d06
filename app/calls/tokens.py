"""One-time stream tokens: whoever holds one may attach a media stream to the one call it was made for.

A token proves itself: it carries its expiry and is sealed with a key that all processes share, so any of them can
issue it, and any can judge it without asking the others. Only that it was used before has to be known; this process
remembers it here, and all of them together in the store.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict

from app.calls.errors import TokenRejected

_CAPACITY = 10_000
_NONCE_BYTES = 12
_SEAL_BYTES = 18


class StreamTokens:
    """Single-use tokens that expire. Sans I/O; `wall_s` is wall time, seconds since the epoch.

    Bounded: of tokens used here the latest 10,000 are remembered.
    """

    def __init__(self, lifetime_s: float, key: bytes = b"") -> None:
        """Without a `key` the tokens are good in this process only."""
        self.lifetime_s = lifetime_s
        self.key = key or secrets.token_bytes(32)
        self._former = b""
        self._used: OrderedDict[str, None] = OrderedDict()

    def share(self, key: bytes) -> None:
        """Issue and judge with the key of all processes from now on; what was issued with the last one stays good."""
        if key != self.key:
            self.key, self._former = key, self.key

    def issue(self, call_id: str, wall_s: float) -> str:
        """A new token for this call. Tokens issued before stay valid: a carrier may use the answer to either try."""
        claim = f"{round(wall_s + self.lifetime_s):x}.{secrets.token_urlsafe(_NONCE_BYTES)}"
        return f"{claim}.{_seal(self.key, claim, call_id)}"

    def redeem(self, token: str, call_id: str, wall_s: float) -> None:
        """Use up a token. Raises `TokenRejected`; a token tried for the wrong call stays good for the right one."""
        claim, _, seal = token.rpartition(".")
        keys = filter(None, (self.key, self._former))
        if not any(hmac.compare_digest(_bytes(seal), _seal(key, claim, call_id).encode()) for key in keys):
            raise TokenRejected("not of this call")
        if wall_s > int(claim.partition(".")[0], 16):
            raise TokenRejected("expired")
        if token in self._used:
            raise TokenRejected("used")
        self._used[token] = None
        if len(self._used) > _CAPACITY:
            self._used.popitem(last=False)


def _seal(key: bytes, claim: str, call_id: str) -> str:
    digest = hmac.digest(key, _bytes(f"{claim}\n{call_id}"), "sha256")
    return urlsafe_b64encode(digest[:_SEAL_BYTES]).decode()


def _bytes(text: str) -> bytes:
    """Of anything that a peer may send as a token."""
    return text.encode("utf-8", "surrogatepass")
