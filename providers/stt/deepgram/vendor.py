"""Deepgram's SDK: imported, given an address, and its exceptions turned into ours."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from struct import Struct

import httpx
from websockets import frames
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
    import deepgram.listen.v1.client as live
    import deepgram.listen.v2.client as flux
    from deepgram import AsyncDeepgramClient
    from deepgram.core.api_error import ApiError
    from deepgram.environment import DeepgramClientEnvironment
    from deepgram.listen.v1.client import AsyncV1Client
    from deepgram.listen.v1.socket_client import AsyncV1SocketClient
    from deepgram.listen.v2.client import AsyncV2Client
    from deepgram.listen.v2.socket_client import AsyncV2SocketClient

__all__ = [
    "NAME",
    "ApiError",
    "AsyncDeepgramClient",
    "AsyncV1Client",
    "AsyncV1SocketClient",
    "AsyncV2Client",
    "AsyncV2SocketClient",
    "Socket",
]

NAME = "deepgram"
KEY_VARIABLE = "DEEPGRAM_API_KEY"

Socket = AsyncV1SocketClient | AsyncV2SocketClient

_CLOSE_S = 1.0
"""For the closing handshake; a call that is over waits for nobody."""
_CONNECT = "websockets_client_connect"
for _module in (live, flux):
    # The SDK has no parameters for it: the default offers to deflate what is compressed already, and takes ten seconds
    # to close.
    _connect = partial(getattr(_module, _CONNECT), compression=None, close_timeout=_CLOSE_S)
    setattr(_module, _CONNECT, _connect)

_REFUSED = {400: "the request", 401: KEY_VARIABLE, 402: "the account's balance", 403: "the key's rights"}
_BAD_AUDIO = 1008
"""Close code of `DATA-0000`: what we sent cannot be decoded, and would not be again."""
_HEAD = Struct("!BBH")
_BINARY = 0x80 | frames.Opcode.BINARY  # FIN: a whole message
_MASKED_16 = 0x80 | 126  # a length of 16 bits follows; of audio there is always more than fits in seven
_mask: Callable[[bytes, bytes], bytes] = frames.apply_mask  # type: ignore[attr-defined] # in C where that was built
_UNINTELLIGIBLE = (1002, 1007, 1009)
"""Close codes that our side of the websocket sends when it cannot make sense of the other (RFC 6455, 7.4.1)."""


def client(api_key: str, base_url: str, http_client: httpx.AsyncClient) -> AsyncDeepgramClient:
    """The SDK's client for a websocket address; what goes by HTTP goes to the same place, over `http_client`."""
    http = "http" + base_url.removeprefix("ws")
    environment = DeepgramClientEnvironment(base=http, production=base_url, agent=base_url, agent_rest=http)
    return AsyncDeepgramClient(api_key=api_key, environment=environment, httpx_client=http_client)


def hanging_up(socket: Socket) -> bool:
    """The closing handshake has begun, or is over: `recv` tells only when the vendor is done with it."""
    return not socket._websocket.open


def takes_at_once(socket: Socket) -> bool:
    """A message would not have to wait: the link is up, and nothing stands before it."""
    return not hanging_up(socket) and socket._websocket.transport.get_write_buffer_size() == 0


def send_at_once(socket: Socket, audio: bytes) -> None:
    """Send audio, up to 64 kB, over a link that `takes_at_once`: nothing waits, so no task is needed. One whole binary
    frame of a client (RFC 6455, section 5.2), put together here because the library takes five times as long."""
    key = next(_keys)
    socket._websocket.transport.write(_HEAD.pack(_BINARY, _MASKED_16, len(audio)) + key + _mask(audio, key))


def _mask_keys() -> Iterator[bytes]:
    """Keys that nobody can foretell (RFC 6455, section 5.3), each used once; drawn from the system 1,024 at a time."""
    while True:
        drawn = os.urandom(4096)
        for at in range(0, len(drawn), 4):
            yield drawn[at : at + 4]


_keys = _mask_keys()


async def received(socket: Socket) -> str | bytes:
    """The next message as it comes. The SDK would try each of its models on every message, which costs more than all
    that we do with one, and checks nothing."""
    message: str | bytes = await socket._websocket.recv()
    return message


def abandon(socket: Socket) -> None:
    """Hang up without a closing handshake: nobody is there to shake hands."""
    socket._websocket.transport.abort()


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the SDK and its websocket raise as a `ProviderError`."""
    try:
        yield
    except ApiError as error:
        raise refusal(error, getattr(error.__context__, "headers", None) or {}) from error
    except ConnectionClosed as error:
        raise _closed(error) from error
    except InvalidHandshake as error:
        if isinstance(error.__cause__, OSError | EOFError):
            raise ProviderUnavailable(NAME, "the connection broke before our upgrade was answered") from error
        raise ProviderMalformed(NAME, f"the answer to our upgrade is no websocket's: {error}") from error
    except OSError as error:
        raise ProviderUnavailable(NAME, f"no connection: {error}") from error


def refusal(error: ApiError, headers: Mapping[str, str]) -> ProviderError:
    """The vendor's no. Of an upgrade the SDK keeps the status alone; the headers are those of its cause."""
    status = error.status_code or 0
    detail = f"status {status}" + (f", {why}" if (why := headers.get("dg-error")) else "")
    if status == 429:
        return ProviderRateLimited(NAME, detail, _seconds(headers.get("retry-after")))
    if 400 <= status < 500:
        variable = KEY_VARIABLE if status == 401 else ""
        return ProviderRejected(NAME, f"{_REFUSED.get(status, 'the request')} was refused: {detail}", variable)
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
