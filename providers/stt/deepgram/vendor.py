"""Deepgram's SDK: imported, given an address, and its exceptions turned into ours."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderUnavailable,
)

with warnings.catch_warnings():
    # The SDK stands on the legacy client of websockets, which says so when it is imported;
    # and it would import its parts in the middle of the first call.
    warnings.simplefilter("ignore", DeprecationWarning)
    from deepgram import AsyncDeepgramClient
    from deepgram.core.api_error import ApiError
    from deepgram.environment import DeepgramClientEnvironment
    from deepgram.listen.v1.client import AsyncV1Client
    from deepgram.listen.v1.socket_client import AsyncV1SocketClient
    from deepgram.listen.v2.client import AsyncV2Client
    from deepgram.listen.v2.socket_client import AsyncV2SocketClient

__all__ = [
    "NAME",
    "AsyncDeepgramClient",
    "AsyncV1Client",
    "AsyncV1SocketClient",
    "AsyncV2Client",
    "AsyncV2SocketClient",
    "Socket",
]

NAME = "deepgram"

Socket = AsyncV1SocketClient | AsyncV2SocketClient

_CLOSE_S = 1.0
"""For the closing handshake; a call that is over waits for nobody."""
_REFUSED = {400: "the request", 401: "DEEPGRAM_API_KEY", 402: "the account's balance", 403: "the key's rights"}
_BAD_AUDIO = 1008
"""Close code of `DATA-0000`: what we sent cannot be decoded, and would not be again."""
_UNINTELLIGIBLE = (1002, 1007, 1009)
"""Close codes that our side of the websocket sends when it cannot make sense of the other (RFC 6455, 7.4.1)."""


def client(api_key: str, base_url: str) -> AsyncDeepgramClient:
    """The SDK's client for a websocket address."""
    environment = DeepgramClientEnvironment(base=base_url, production=base_url, agent=base_url, agent_rest=base_url)
    return AsyncDeepgramClient(api_key=api_key, environment=environment)


def hasten_close(socket: Socket) -> None:
    """Have closing take a second at most: the SDK has no parameter for it, and the default is ten."""
    socket._websocket.close_timeout = _CLOSE_S


def hanging_up(socket: Socket) -> bool:
    """The closing handshake has begun, or is over: `recv` tells only when the vendor is done with it."""
    return not socket._websocket.open


def abandon(socket: Socket) -> None:
    """Hang up without a closing handshake: nobody is there to shake hands."""
    socket._websocket.transport.abort()


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the SDK and its websocket raise as a `ProviderError`."""
    try:
        yield
    except ApiError as error:
        raise _refusal(error) from error
    except ConnectionClosed as error:
        raise _closed(error) from error
    except InvalidHandshake as error:
        if isinstance(error.__cause__, OSError | EOFError):
            raise ProviderUnavailable(NAME, "the connection broke before our upgrade was answered") from error
        raise ProviderMalformed(NAME, f"the answer to our upgrade is no websocket's: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ProviderMalformed(NAME, f"a message is no JSON: {error}") from error
    except OSError as error:
        raise ProviderUnavailable(NAME, f"no connection: {error}") from error


def _refusal(error: ApiError) -> ProviderError:
    """The vendor's answer to our upgrade. The SDK keeps the status alone; the headers are those of its cause."""
    status = error.status_code or 0
    headers = getattr(error.__context__, "headers", None) or {}
    detail = f"status {status}" + (f", {why}" if (why := headers.get("dg-error")) else "")
    if status == 429:
        return ProviderRateLimited(NAME, detail, _seconds(headers.get("retry-after")))
    if 400 <= status < 500:
        return ProviderRejected(NAME, f"{_REFUSED.get(status, 'the request')} was refused: {detail}")
    return ProviderUnavailable(NAME, detail)


def _seconds(text: str | None) -> float | None:
    """`retry-after` in seconds; a date counts as none."""
    return float(text) if text is not None and text.strip().isdecimal() else None


def _closed(error: ConnectionClosed) -> ProviderError:
    """The vendor hung up on us: whatever the code says, we had not asked for it."""
    frame = error.rcvd
    if frame is None and error.sent is not None and error.sent.code in _UNINTELLIGIBLE:
        return ProviderMalformed(NAME, f"its websocket breaks the rules: {error.sent.reason}")
    if frame is None:
        return ProviderUnavailable(NAME, "the connection broke")
    detail = f"closed by the vendor: {frame.code} {frame.reason}".rstrip()
    return ProviderRejected(NAME, detail) if frame.code == _BAD_AUDIO else ProviderUnavailable(NAME, detail)
