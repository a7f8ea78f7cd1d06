"""What can be set for Anthropic, read and checked before the first call."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from providers.errors import ProviderMisconfigured

NAME = "anthropic"


@dataclass(frozen=True)
class AnthropicSettings:
    """One vendor account, and how it is asked."""

    api_key: str = field(repr=False)
    base_url: str = "https://api.anthropic.com"
    model: str = "claude-haiku-5-5"
    """One whose thinking can be switched off: a caller on the line does not wait for thoughts."""
    max_tokens: int = 1024
    """Of one reply, arguments of tools included."""
    temperature: float | None = None
    """None: the model's own. The newest models take none at all."""
    connect_timeout_s: float = 3.0


def read(environment: Mapping[str, str]) -> AnthropicSettings:
    """The settings; an empty variable counts as unset. Raises `ProviderMisconfigured` naming the variable."""
    return AnthropicSettings(
        api_key=_api_key(environment),
        base_url=_base_url(environment),
        model=environment.get("ANTHROPIC_MODEL") or AnthropicSettings.model,
        max_tokens=_max_tokens(environment),
        temperature=_temperature(environment),
        connect_timeout_s=_connect_timeout_s(environment),
    )


def _api_key(environment: Mapping[str, str]) -> str:
    key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not key:
        raise ProviderMisconfigured(NAME, "ANTHROPIC_API_KEY", "set it to a key of your Anthropic account")
    if not key.isascii() or not key.isprintable():
        raise ProviderMisconfigured(NAME, "ANTHROPIC_API_KEY", "it holds characters that no key has; copy it again")
    return key


def _base_url(environment: Mapping[str, str]) -> str:
    url = environment.get("ANTHROPIC_BASE_URL") or AnthropicSettings.base_url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        remedy = f"{url!r} is no address; set one like {AnthropicSettings.base_url}"
        raise ProviderMisconfigured(NAME, "ANTHROPIC_BASE_URL", remedy)
    return url


def _max_tokens(environment: Mapping[str, str]) -> int:
    value = _number(environment, "ANTHROPIC_MAX_TOKENS")
    if value is None:
        return AnthropicSettings.max_tokens
    if value < 1 or not value.is_integer():
        raise ProviderMisconfigured(NAME, "ANTHROPIC_MAX_TOKENS", f"{value:g} is no count; set a whole number above 0")
    return int(value)


def _temperature(environment: Mapping[str, str]) -> float | None:
    value = _number(environment, "ANTHROPIC_TEMPERATURE")
    if value is not None and not 0 <= value <= 1:
        raise ProviderMisconfigured(NAME, "ANTHROPIC_TEMPERATURE", f"{value:g} is out of range; set 0 to 1, or nothing")
    return value


def _connect_timeout_s(environment: Mapping[str, str]) -> float:
    value = _number(environment, "ANTHROPIC_CONNECT_TIMEOUT_S")
    if value is None:
        return AnthropicSettings.connect_timeout_s
    if value <= 0:
        remedy = f"{value:g} gives no time at all; set seconds above 0"
        raise ProviderMisconfigured(NAME, "ANTHROPIC_CONNECT_TIMEOUT_S", remedy)
    return value


def _number(environment: Mapping[str, str], variable: str) -> float | None:
    text = environment.get(variable)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ProviderMisconfigured(NAME, variable, f"{text!r} is no number")
    return value
