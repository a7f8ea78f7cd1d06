"""Whose fault it was, in the house's terms. Servers of this protocol agree on statuses more than on names."""

from datetime import datetime
from typing import Any

import httpx2
import openai

from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.llm.openai.settings import NAME, OpenAISettings
from providers.retry_after import retry_after_s

SILENCE_S = 30.0
"""Without a single byte of an answer the connection counts as dead; the turn's own deadlines are much shorter."""

_FULL = frozenset({"rate_limit_exceeded", "rate_limit_error", "overloaded_error", "server_overloaded"})
_OF_ACCOUNT = frozenset(
    {"insufficient_quota", "invalid_api_key", "authentication_error", "permission_error", "model_not_found"}
)
_REFUSED = _OF_ACCOUNT | {"invalid_request_error", "context_length_exceeded", "content_filter"}
_OF_REQUEST_STATUSES = (200, 400, 413, 422)
"""With these a refusal is about the request, unless it names the account; 200 is that of an error in mid-stream."""
_VARIABLES = {401: "OPENAI_API_KEY", 403: "OPENAI_API_KEY", 404: "OPENAI_MODEL and OPENAI_BASE_URL"}
"""The setting that is most likely wrong."""
_DOWN_STATUSES = (408, 409, 499)
_SHOWN_CHARACTERS = 300


def of_vendor(named: dict[str, Any], status: int = 200, wait_s: float | None = None) -> ProviderError:
    """An error object of the server, before the stream or in it. Code and type of it decide, then the status:
    an empty account (`insufficient_quota`) is told with the status of a full server."""
    kinds = {str(named[key]) for key in ("code", "type") if named.get(key)}
    names = ", ".join(sorted(kinds)) or f"status {status}"
    detail = " ".join(f"{names}: {named.get('message') or 'no message'}".split())[:_SHOWN_CHARACTERS]
    if status in _VARIABLES:
        detail = f"{detail} (check {_VARIABLES[status]})"
    of_request = status in _OF_REQUEST_STATUSES and not kinds & _OF_ACCOUNT
    if status < 500 and kinds & _REFUSED:
        return ProviderRejected(NAME, detail, of_request=of_request)
    if status in (429, 529) or kinds & _FULL:
        return ProviderRateLimited(NAME, detail, wait_s)
    if status < 400 or status >= 500 or status in _DOWN_STATUSES:
        return ProviderUnavailable(NAME, detail)
    return ProviderRejected(NAME, detail, of_request=of_request)


def of_sdk(
    error: openai.APIError | httpx2.HTTPError, settings: OpenAISettings, today: datetime, *, begun: bool
) -> ProviderError:
    """An error that the SDK raised, or let through from its transport. `begun`: a part of the reply is here already."""
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    match cause:
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return ProviderTimedOut(NAME, "connect", settings.connect_timeout_s)
        case httpx2.WriteTimeout():
            return ProviderTimedOut(NAME, "first_result", settings.connect_timeout_s)
        case httpx2.TimeoutException():
            return ProviderTimedOut(NAME, "gap" if begun else "first_result", SILENCE_S)
        case httpx2.DecodingError():
            return ProviderMalformed(NAME, f"undecodable answer: {cause}")
        case openai.APIStatusError():
            named = cause.body if isinstance(cause.body, dict) else {"message": cause.response.reason_phrase}
            return of_vendor(named, cause.status_code, retry_after_s(cause.response.headers, today))
        case openai.APIError():
            return ProviderMalformed(NAME, cause.message)
        case _:
            return ProviderUnavailable(NAME, f"{type(cause).__name__}: {cause}")
