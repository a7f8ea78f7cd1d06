"""Claude as a `LanguageModel`: one pooled client for the process, one streamed message for each reply."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self, cast

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncStream, DefaultAioHttpClient
from anthropic.types import RawMessageStreamEvent

from providers.base import Progress, ProviderContext, ReplyEvent, ReplyRequest, UsageReported
from providers.errors import ProviderMalformed, ProviderMisconfigured, ProviderTimedOut, ProviderUnavailable
from providers.llm.anthropic import request as layout
from providers.llm.anthropic.failures import SILENCE_S, of_sdk
from providers.llm.anthropic.settings import NAME, AnthropicSettings, read
from providers.llm.anthropic.stream import MessageStream
from telephony.clock import Clock

_CONNECTIONS = 1000
_IDLE_S = 300.0
"""A connection outlives the caller's turn; the SDK's own 5 s would mean a new TLS handshake for nearly every reply.
One that the vendor closed meanwhile is noticed before it is used again."""
_TAIL_S = 0.25
"""For the last bytes behind a complete message, which free its connection for the next reply."""


class Anthropic:
    """Streams replies with prompt caching. Enter it before use; closing a reply closes its HTTP stream.

    Never retries by itself: how often and with whom is decided by who knows the caller's patience. A reply that the
    vendor broke off raises what `failures` makes of it, whatever was said before. Thinking is switched off.
    """

    name = NAME

    def __init__(self, settings: AnthropicSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._open = AsyncExitStack()
        self._client: AsyncAnthropic | None = None

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
        """See `Warmable`: the vendor is asked whether it has the model. Not every gateway knows that path, so an answer
        is enough, whatever it says."""
        patience_s = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                await self._pool.models.with_raw_response.retrieve(self._settings.model)
        except anthropic.AuthenticationError as error:
            raise ProviderMisconfigured(NAME, "ANTHROPIC_API_KEY", "the vendor refuses it; set a valid key") from error
        except anthropic.InternalServerError as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=False) from error
        except anthropic.APIStatusError:
            pass
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=False) from error
        except TimeoutError:
            raise ProviderTimedOut(NAME, "connect", patience_s) from None

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ReplyEvent, None]:
        """Stream one reply. Its tool calls come when their arguments are complete, its tokens are in the usage."""
        message = MessageStream()
        try:
            async with await self._ask(request) as stream:
                _require_events(stream.response)
                yield Progress("connected")
                # The SDK's decoder of events, before the SDK makes models of them: see `stream`.
                events = cast("AsyncGenerator[Any, None]", AsyncStream.raw_events(stream.response))
                async with aclosing(events):
                    async for event in events:
                        for said in message.feed(event.data):
                            yield said
                        if tokens := message.take_prompt_tokens():
                            yield UsageReported(NAME, tokens)
                        if message.completed is not None:
                            await _read_to_the_end(events)
                            break
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise of_sdk(error, self._settings, self._clock.today(), begun=message.begun) from error
        except UnicodeDecodeError as error:
            raise ProviderMalformed(NAME, f"bytes that are no text: {error}") from error
        if message.completed is None:
            raise ProviderUnavailable(NAME, "the stream ended before the reply did")
        yield message.completed

    @property
    def _pool(self) -> AsyncAnthropic:
        if self._client is None:
            raise RuntimeError("enter the provider before use")
        return self._client

    async def _ask(self, request: ReplyRequest) -> AsyncStream[RawMessageStreamEvent]:
        settings = self._settings
        tools = layout.tools(request.tools)
        temperature = None if settings.temperature is None else {"temperature": settings.temperature}
        return await self._pool.messages.create(
            model=settings.model,
            max_tokens=settings.max_tokens,
            system=layout.system(request),
            tools=tools or anthropic.omit,
            messages=layout.messages(request),
            thinking={"type": "disabled"},
            stream=True,
            extra_body=temperature,  # no argument of its own any more, yet older models take it
        )


def _client(settings: AnthropicSettings) -> AsyncAnthropic:
    """The SDK over aiohttp, with which a reply costs a third less of the core than with what it uses by itself."""
    patience_s = settings.connect_timeout_s
    limits = httpx2.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S)
    timeout = httpx2.Timeout(SILENCE_S, connect=patience_s, pool=patience_s)
    return AsyncAnthropic(
        api_key=settings.api_key,
        base_url=settings.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=DefaultAioHttpClient(base_url=settings.base_url, limits=limits, timeout=timeout),
    )


def _require_events(response: httpx2.Response) -> None:
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise ProviderMalformed(NAME, f"an answer that is no event stream but {kind or 'of no type'}")


async def _read_to_the_end(events: AsyncGenerator[Any, None]) -> None:
    try:
        async with asyncio.timeout(_TAIL_S):
            async for _ in events:
                pass
    except (httpx2.HTTPError, UnicodeDecodeError, TimeoutError):
        pass  # the message is complete; only the connection is not used again


def create(context: ProviderContext) -> Anthropic:
    """Claude as the `ANTHROPIC_…` variables say. Raises `ProviderMisconfigured`."""
    return Anthropic(read(context.environment), context.clock)
