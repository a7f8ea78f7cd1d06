"""The signature that Twilio puts on webhooks and websocket upgrades.

Written from https://www.twilio.com/docs/usage/webhooks/webhooks-security, and on purpose not shared with the bridge's
own check of it: two readings of one page find more mistakes than one.
"""

import base64
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable

HEADER = "X-Twilio-Signature"


def sign(auth_token: str, url: str, form: Iterable[tuple[str, str]] = ()) -> str:
    """The header's value for a request to `url` (no fragment) with `form` as its POST fields.

    HMAC-SHA1 over the URL and all fields, sorted by name; a repeated name counts with its unique values, sorted.
    A websocket upgrade is signed with its `wss://` URL and no form.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for name, value in form:
        values[name].add(value)
    base = url + "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    return base64.b64encode(hmac.digest(auth_token.encode(), base.encode(), hashlib.sha1)).decode()
