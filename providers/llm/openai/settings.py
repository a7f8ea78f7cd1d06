"""What can be set for a server of chat completions, read and checked before the first call."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from providers.errors import ProviderMisconfigured

NAME = "openai"
OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "none"
"""What a server of one's own is told that asks for no key."""


@dataclass(frozen=True)
class OpenAISettings:
    """One server, and how it is asked."""

    api_key: str = field(repr=False)
    model: str
    base_url: str = OPENAI_URL
    max_tokens: int = 1024
    """Of one reply, arguments of tools and hidden reasoning included."""
    temperature: float | None = None
    """None: the model's own. Reasoning models take none at all."""
    connect_timeout_s: float = 3.0


def read(environment: Mapping[str, str]) -> OpenAISettings:
    """The settings; an empty variable counts as unset. Raises `ProviderMisconfigured` naming the variable."""
    base_url = _base_url(environment)
    model = environment.get("OPENAI_MODEL", "").strip()
    if not model:
        raise ProviderMisconfigured(NAME, "OPENAI_MODEL", "set it to a model that the server has")
    max_tokens = _number(environment, "OPENAI_MAX_TOKENS", OpenAISettings.max_tokens)
    if max_tokens < 1 or not max_tokens.is_integer():
        raise ProviderMisconfigured(
            NAME, "OPENAI_MAX_TOKENS", f"{max_tokens:g} is no count; set a whole number above 0"
        )
    temperature = _number(environment, "OPENAI_TEMPERATURE", -1.0)
    if environment.get("OPENAI_TEMPERATURE") and not 0 <= temperature <= 2:
        raise ProviderMisconfigured(NAME, "OPENAI_TEMPERATURE", f"{temperature:g} is out of range; set 0 to 2")
    connect_timeout_s = _number(environment, "OPENAI_CONNECT_TIMEOUT_S", OpenAISettings.connect_timeout_s)
    if connect_timeout_s <= 0:
        raise ProviderMisconfigured(NAME, "OPENAI_CONNECT_TIMEOUT_S", "set seconds above 0")
    return OpenAISettings(
        api_key=_api_key(environment, base_url),
        model=model,
        base_url=base_url,
        max_tokens=int(max_tokens),
        temperature=None if temperature < 0 else temperature,
        connect_timeout_s=connect_timeout_s,
    )


def _api_key(environment: Mapping[str, str], base_url: str) -> str:
    key = environment.get("OPENAI_API_KEY", "").strip()
    if not key and base_url == OPENAI_URL:
        remedy = "set it to a key of your OpenAI account, or OPENAI_BASE_URL to a server that needs none"
        raise ProviderMisconfigured(NAME, "OPENAI_API_KEY", remedy)
    if not key.isascii() or not key.isprintable():
        raise ProviderMisconfigured(NAME, "OPENAI_API_KEY", "it holds characters that no key has; copy it again")
    return key or _NO_KEY


def _base_url(environment: Mapping[str, str]) -> str:
    url = environment.get("OPENAI_BASE_URL") or OPENAI_URL
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ProviderMisconfigured(NAME, "OPENAI_BASE_URL", f"{url!r} is no address; set one like {OPENAI_URL}")
    return url


def _number(environment: Mapping[str, str], variable: str, default: float) -> float:
    text = environment.get(variable)
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ProviderMisconfigured(NAME, variable, f"{text!r} is no number")
    return value
