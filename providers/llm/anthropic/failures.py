"""Whose fault it was, in the house's terms. The vendor's error type decides; the status only where there is no type.

An error in mid-stream comes after status 200, so that the status says nothing there.
"""

from datetime import datetime

import anthropic
import httpx2

from providers.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from providers.llm.anthropic.settings import NAME, AnthropicSettings
from providers.retry_after import retry_after_s

SILENCE_S = 30.0
"""Without a single byte of an answer, not even a ping, the connection counts as dead. The turn's own deadlines are
much shorter; this one is for whoever sets none."""

_FULL = frozenset({"rate_limit_error", "overloaded_error"})
_DOWN = frozenset({"api_error", "timeout_error", "conflict_error"})
_REFUSED = frozenset(
    {
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
    }
)
_OF_REQUEST, _OF_REQUEST_STATUSES = frozenset({"invalid_request_error", "request_too_large"}), (400, 413, 422)
"""What one call's conversation may bring about."""
_OF_ACCOUNT = ("credit balance", "usage limit")
"""Words of an `invalid_request_error` that every call would get: the vendor tells of an empty account like that."""
_VARIABLES = {
    "authentication_error": "ANTHROPIC_API_KEY",
    "permission_error": "ANTHROPIC_API_KEY",
    "not_found_error": "ANTHROPIC_MODEL",
}
"""The setting that is most likely wrong."""
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_FULL_STATUSES = (429, 529)
_DOWN_STATUSES = (408, 409, 499)
_SHOWN_CHARACTERS = 300


def of_vendor(kind: str | None, message: str, status: int = 200, retry_after_s: float | None = None) -> ProviderError:
    """An error that the vendor named: `kind` is its `error.type`."""
    detail = " ".join((f"{kind or f'status {status}'}: {message}").split())[:_SHOWN_CHARACTERS]
    variable = _VARIABLES.get(kind or _TYPES.get(status, ""))
    if variable:
        detail = f"{detail} (check {variable})"
    if kind in _FULL or (kind not in _DOWN | _REFUSED and status in _FULL_STATUSES):
        return ProviderRateLimited(NAME, detail, retry_after_s)
    if kind in _REFUSED:
        return ProviderRejected(NAME, detail, of_request=kind in _OF_REQUEST and not _is_of_account(message))
    if kind in _DOWN or status < 400 or status >= 500 or status in _DOWN_STATUSES:
        return ProviderUnavailable(NAME, detail)
    return ProviderRejected(NAME, detail, of_request=status in _OF_REQUEST_STATUSES)


def _is_of_account(message: str) -> bool:
    return any(words in message.lower() for words in _OF_ACCOUNT)


def of_sdk(
    error: anthropic.APIError | httpx2.HTTPError, settings: AnthropicSettings, today: datetime, *, begun: bool
) -> ProviderError:
    """An error that the SDK raised, or let through from its transport. `begun`: a part of the reply is here already."""
    cause = error.__cause__ if isinstance(error, anthropic.APIConnectionError) else error
    match cause:
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return ProviderTimedOut(NAME, "connect", settings.connect_timeout_s)
        case httpx2.WriteTimeout():
            return ProviderTimedOut(NAME, "first_result", settings.connect_timeout_s)
        case httpx2.TimeoutException():
            return ProviderTimedOut(NAME, "gap" if begun else "first_result", SILENCE_S)
        case httpx2.DecodingError():
            return ProviderMalformed(NAME, f"undecodable answer: {cause}")
        case anthropic.APIStatusError():
            message = cause.api_message or cause.response.reason_phrase
            if cause.request_id:
                message = f"{message} (request {cause.request_id})"
            return of_vendor(cause.type, message, cause.status_code, retry_after_s(cause.response.headers, today))
        case anthropic.APIError():
            return ProviderMalformed(NAME, cause.message)
        case _:
            return ProviderUnavailable(NAME, f"{type(cause).__name__}: {cause}")
