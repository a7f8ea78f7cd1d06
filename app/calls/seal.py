"""Journals under lock and key: what is stored can be read only by who has the key.

AES-256 in Galois/Counter mode (NIST SP 800-38D), a random nonce for every piece, and the piece's place as associated
data: sealed bytes that were changed, or moved to another call or place, do not open. Several keys may be given: the
first one seals, each of them opens, so that a key is replaced by putting the new one in front.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from secrets import token_bytes

from app.calls.store.errors import JournalUnreadable, StoreMisconfigured

_SEALED = b"\x01"
"""First byte of what is sealed; JSON, which is not, never begins with it."""
_KEY_BYTES, _NAME_BYTES, _NONCE_BYTES = 32, 4, 12


class Seal:
    """Seals and opens pieces of journals; without a key it leaves them as they are, and opens none that are sealed."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """`keys`: each 32 bytes in base64. Raises `StoreMisconfigured`."""
        secrets = [_key(key) for key in keys]
        self._names = [hashlib.sha256(secret).digest()[:_NAME_BYTES] for secret in secrets]
        self._callers = secrets or [b""]
        if secrets:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError:
                raise StoreMisconfigured("JOURNAL_KEYS: sealing needs the package cryptography") from None
            self._ciphers = {name: AESGCM(secret) for name, secret in zip(self._names, secrets, strict=True)}

    def close(self, place: str, plain: bytes) -> bytes:
        """The piece as it is stored at this place."""
        if not self._names:
            return plain
        name, nonce = self._names[0], token_bytes(_NONCE_BYTES)
        return _SEALED + name + nonce + self._ciphers[name].encrypt(nonce, plain, place.encode())

    def open(self, place: str, stored: bytes) -> bytes:
        """The piece as it was. Raises `JournalUnreadable` when no key of ours fits, or it was tampered with."""
        if not stored.startswith(_SEALED):
            return stored
        name, rest = stored[1 : 1 + _NAME_BYTES], stored[1 + _NAME_BYTES :]
        if name not in self._names:
            raise JournalUnreadable(f"{place} is sealed with a key that is not among JOURNAL_KEYS")
        from cryptography.exceptions import InvalidTag

        try:
            return self._ciphers[name].decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise JournalUnreadable(f"{place} was changed since it was sealed") from None

    def caller_keys(self, caller: str) -> tuple[str, ...]:
        """What stands for a caller in the store, the present key's first; empty for an anonymous one."""
        if not caller:
            return ()
        return tuple(
            hmac.digest(secret, caller.encode("utf-8", "replace"), "sha256").hex()[:32] for secret in self._callers
        )


def _key(text: str) -> bytes:
    try:
        secret = base64.b64decode(text, altchars=b"-_" if {*text} & {*"-_"} else None, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise StoreMisconfigured("JOURNAL_KEYS: give 32 random bytes in base64, like `openssl rand -base64 32` prints")
    return secret
