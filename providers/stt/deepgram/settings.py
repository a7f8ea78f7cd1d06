"""Deepgram's variables, read and checked once."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from providers.errors import ProviderMisconfigured
from providers.stt.deepgram.vendor import NAME

_WEBSOCKET = {"https": "wss", "http": "ws", "wss": "wss", "ws": "ws"}
_OLDER = ("nova", "enhanced", "base", "whisper")
"""Names of models before nova-3, which is the first that knows keyterms."""


@dataclass(frozen=True)
class DeepgramSettings:
    """What `.env.example` explains under Deepgram. `api_key` never prints."""

    api_key: str
    base_url: str = "wss://api.deepgram.com"
    """Always ws or wss, without a slash at the end."""
    model: str = "nova-3"
    language: str = ""
    keyterms: tuple[str, ...] = ()
    endpointing_ms: int = 300
    eot_threshold: float | None = None
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int | None = None
    connect_s: float = 3.0
    gap_s: float = 3.0

    def __repr__(self) -> str:
        return f"DeepgramSettings(model={self.model!r}, base_url={self.base_url!r})"

    @property
    def flux(self) -> bool:
        """Flux models speak another protocol."""
        return self.model.startswith("flux-")


def read(environment: Mapping[str, str]) -> DeepgramSettings:
    """The settings. Raises `ProviderMisconfigured`, which names the variable.

    Ranges: https://developers.deepgram.com/docs/flux/configuration
    """
    key = environment.get("DEEPGRAM_API_KEY", "").strip()
    if not key:
        raise ProviderMisconfigured(NAME, "DEEPGRAM_API_KEY", "is not set; set a key of your Deepgram project")
    number = _Numbers(environment)
    settings = DeepgramSettings(
        api_key=key,
        base_url=_websocket_url(environment.get("DEEPGRAM_BASE_URL") or DeepgramSettings.base_url),
        model=environment.get("DEEPGRAM_MODEL") or DeepgramSettings.model,
        language=environment.get("DEEPGRAM_LANGUAGE", "").strip(),
        keyterms=_listed(environment.get("DEEPGRAM_KEYTERMS", "")),
        endpointing_ms=int(number.between("DEEPGRAM_ENDPOINTING_MS", 10, 5_000) or DeepgramSettings.endpointing_ms),
        eot_threshold=number.between("DEEPGRAM_EOT_THRESHOLD", 0.5, 1.0),
        eager_eot_threshold=number.between("DEEPGRAM_EAGER_EOT_THRESHOLD", 0.3, 0.9),
        eot_timeout_ms=_whole(number.between("DEEPGRAM_EOT_TIMEOUT_MS", 500, 60_000)),
        connect_s=number.between("DEEPGRAM_CONNECT_TIMEOUT_S", 0.05, 10) or DeepgramSettings.connect_s,
        gap_s=number.between("DEEPGRAM_GAP_TIMEOUT_S", 0.05, 60) or DeepgramSettings.gap_s,
    )
    _check(settings)
    return settings


def _check(settings: DeepgramSettings) -> None:
    """What no single variable shows. 0.7 is the vendor's own threshold where none is set."""
    eager, sure = settings.eager_eot_threshold, settings.eot_threshold or 0.7
    if eager is not None and eager > sure:
        raise ProviderMisconfigured(
            NAME, "DEEPGRAM_EAGER_EOT_THRESHOLD", f"{eager:g} is above DEEPGRAM_EOT_THRESHOLD ({sure:g}); set it lower"
        )
    if settings.keyterms and settings.model.startswith(_OLDER) and not settings.model.startswith("nova-3"):
        raise ProviderMisconfigured(
            NAME, "DEEPGRAM_KEYTERMS", f"{settings.model} knows no keyterms; unset it, or set DEEPGRAM_MODEL=nova-3"
        )
    if settings.model == "flux-general-en" and settings.language and not settings.language.startswith("en"):
        raise ProviderMisconfigured(
            NAME, "DEEPGRAM_LANGUAGE", "flux-general-en hears English only; set DEEPGRAM_MODEL=flux-general-multi"
        )


class _Numbers:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def between(self, variable: str, least: float, most: float) -> float | None:
        """The variable's number, None when it is not set."""
        text = self._environment.get(variable, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ProviderMisconfigured(NAME, variable, f"{text!r} is wrong; set a number from {least:g} to {most:g}")
        return value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (item.strip() for item in text.split(","))))


def _websocket_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in _WEBSOCKET or not parts.netloc:
        raise ProviderMisconfigured(
            NAME, "DEEPGRAM_BASE_URL", f"{url!r} is no address; set one like https://api.deepgram.com"
        )
    return parts._replace(scheme=_WEBSOCKET[parts.scheme]).geturl().rstrip("/")
