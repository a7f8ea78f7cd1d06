"""Chat completions as a `LanguageModel`: one pooled client for the process, one streamed completion for each reply."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self, cast

import httpx2
import msgspec
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient

from providers.base import Progress, ProviderContext, ReplyEvent, ReplyRequest, UsageReported
from providers.errors import ProviderMalformed, ProviderMisconfigured, ProviderTimedOut, ProviderUnavailable
from providers.llm.openai import request as layout
from providers.llm.openai.failures import SILENCE_S, of_sdk
from providers.llm.openai.settings import NAME, OPENAI_URL, OpenAISettings, read
from providers.llm.openai.stream import Completion, Lines
from telephony.clock import Clock

_CONNECTIONS = 1000
_IDLE_S = 300.0
"""A connection outlives the caller's turn, so that a reply rarely begins with a TLS handshake."""
_TAIL_S = 0.25
"""For the last bytes behind a complete reply, which free its connection for the next."""


class OpenAI:
    """Streams replies of a server of chat completions. Enter it before use; closing a reply closes its HTTP stream.

    Never retries by itself: how often and with whom is decided by who knows the caller's patience.
    """

    name = NAME

    def __init__(self, settings: OpenAISettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._open = AsyncExitStack()
        self._client: AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        """Open the pool; `warm` puts a first connection into it."""
        async with AsyncExitStack() as stack:
            self._client = await stack.enter_async_context(_client(self._settings))
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._client = None
        await self._open.aclose()

    async def warm(self) -> None:
        """See `Warmable`: the server is asked whether it has the model. Not every gateway knows that path, so an answer
        is enough, whatever it says."""
        patience_s = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                await self._pool.models.with_raw_response.retrieve(self._settings.model)
        except openai.AuthenticationError as error:
            raise ProviderMisconfigured(NAME, "OPENAI_API_KEY", "the server refuses it; set a valid key") from error
        except openai.InternalServerError as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=False) from error
        except openai.APIStatusError:
            pass
        except (openai.APIError, httpx2.HTTPError) as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=False) from error
        except TimeoutError:
            raise ProviderTimedOut(NAME, "connect", patience_s) from None

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream one reply. Its tool calls come when the model has stopped, its tokens are in the usage."""
        completion, lines = Completion(), Lines()
        body = self._body(request)
        try:
            async with self._pool.chat.completions.with_streaming_response.create(**body) as response:
                _require_events(response.headers)
                yield Progress("connected")
                yield UsageReported(NAME, {"input_tokens_estimated": _estimated_tokens(body)})
                received = cast("AsyncGenerator[bytes, None]", response.iter_bytes())
                async with aclosing(received):
                    async for part in received:
                        for data in lines.feed(part):
                            for said in completion.feed(data):
                                yield said
                        if completion.finished:
                            await _read_to_the_end(received)
                            break
        except (openai.APIError, httpx2.HTTPError) as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=completion.begun) from error
        if completion.stop_reason is None:
            raise ProviderUnavailable(NAME, "the stream ended before the reply did")
        yield completion.completed()

    @property
    def _pool(self) -> AsyncOpenAI:
        if self._client is None:
            raise RuntimeError("enter the provider before use")
        return self._client

    def _body(self, request: ReplyRequest) -> dict[str, Any]:
        settings = self._settings
        # OpenAI's newer models refuse the older name; older servers know no other.
        limit = "max_completion_tokens" if settings.base_url == OPENAI_URL else "max_tokens"
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": layout.messages(request),
            limit: settings.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body["tools"] = layout.tools(request.tools)
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        return body


def _estimated_tokens(body: Mapping[str, Any]) -> int:
    """Of a prompt, should its reply never come to the end, where the server counts: four characters make about one."""
    return len(msgspec.json.encode([body["messages"], body.get("tools")])) // 4


def _client(settings: OpenAISettings) -> AsyncOpenAI:
    """The SDK over aiohttp, as Anthropic's is, and for the same reason."""
    patience_s = settings.connect_timeout_s
    limits = httpx2.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S)
    timeout = httpx2.Timeout(SILENCE_S, connect=patience_s, pool=patience_s)
    return AsyncOpenAI(
        api_key=settings.api_key,
        base_url=settings.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=DefaultAioHttpClient(base_url=settings.base_url, limits=limits, timeout=timeout),
    )


def _require_events(headers: httpx2.Headers) -> None:
    kind = headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise ProviderMalformed(NAME, f"an answer that is no event stream but {kind or 'of no type'}")


async def _read_to_the_end(received: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_TAIL_S):
            async for _ in received:
                pass
    except (httpx2.HTTPError, TimeoutError):
        pass  # the reply is complete; only the connection is not used again


def create(context: ProviderContext) -> OpenAI:
    """The server as the `OPENAI_…` variables say. Raises `ProviderMisconfigured`."""
    return OpenAI(read(context.environment), context.clock)
