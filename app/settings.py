"""Every setting, typed and checked at start. The only reader of the environment.

Values come from the process environment and from a `.env` file beside it; the environment wins, and an empty value
counts as unset. Providers and carriers read their own variables from `Settings.environment`, so that adding one of
them changes nothing here; `.env.example` lists all.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic
from dotenv import dotenv_values
from pydantic import Field, SecretStr

from app.conversation.ear import BACKCHANNELS_EN, EarSettings, spoken_words
from app.conversation.manners import Manners
from app.telemetry.latency import PROFILES
from telephony.carrier import Carrier

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]

_DEFAULTS = Manners()
_EAR = EarSettings()


class SettingsError(Exception):
    """A setting that is missing or wrong (our user's fault): the text names each variable and what to do."""


class Settings(pydantic.BaseModel, frozen=True):
    """The process's settings; a field's name in capitals is its variable."""

    environment: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Everything that was set, for providers and carriers; holds secrets, never prints."""

    # the door
    host: str = "127.0.0.1"
    """Address to listen on. Behind a proxy in another container: 0.0.0.0."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    public_url: str = ""
    """What carriers call us, e.g. https://bridge.example.net: signatures are checked against it."""
    api_token: SecretStr = SecretStr("")
    """Bearer token of the REST API; without it the API answers this machine only."""
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 200
    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """How long live calls may go on after the process was told to stop."""
    token_lifetime_s: Seconds = 60.0
    """A stream token is good for one stream, this long."""
    transfer_to: str = ""
    """Number or SIP address of a human; without it the agent offers none."""

    # who listens, thinks and speaks
    stt_provider: str = ""
    llm_provider: str = ""
    tts_provider: str = ""
    tools: str = ""
    """Modules with tools, separated by commas; the embedded dialogue brings its own."""

    # manners
    instructions: str = "You are a friendly assistant on the telephone. Answer in one or two short spoken sentences."
    """What a vendor's model is told about its part."""
    notice: str = ""
    """Spoken first, to its end whatever the caller does: a legal notice."""
    filler: str = _DEFAULTS.filler
    """Spoken while tools take their time."""
    greeting: str = ""
    """Spoken when the call is answered; empty: the model speaks first."""
    reprompt: str = _DEFAULTS.reprompt
    goodbye: str = _DEFAULTS.goodbye
    apology: str = _DEFAULTS.apology
    silence_s: Seconds = _DEFAULTS.silence_s
    reprompts: Annotated[int, Field(ge=0, le=20)] = _DEFAULTS.reprompts
    call_limit_s: Seconds = _DEFAULTS.limit_s
    grace_s: Seconds = _DEFAULTS.grace_s
    """How long a call whose media is lost waits for a new stream."""
    endpoint_ms: Milliseconds = int(_EAR.endpoint_ms)
    """Silence that ends the caller's turn."""
    endpoint_complete_ms: Milliseconds = int(_EAR.complete_ms)
    endpoint_trailing_ms: Milliseconds = int(_EAR.trailing_ms)
    level_voice: bool = True
    """Bring the caller's voice to one level for the recogniser."""
    backchannels: str = ""
    """What listeners say without wanting the floor, separated by commas; empty: English ones."""
    lead_ms: Annotated[int, Field(ge=40, le=2_000)] = _DEFAULTS.lead_ms
    """How far playout may run ahead of real time."""
    latency_profile: Literal["default", "strict"] = "default"

    # what is told
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    state_dir: Path = Path("var")
    """Where what must outlive the process is kept."""

    @pydantic.field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("give the whole address, like https://bridge.example.net")
        return value.rstrip("/")

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Self:
        """Read the environment and `.env`. Raises `SettingsError` naming every variable that is wrong."""
        merged = {name: value for name, value in (dotenv_values(env_file) if env_file else {}).items() if value}
        merged |= {name: value for name, value in (os.environ if environment is None else environment).items() if value}
        known = {name: merged[name.upper()] for name in _variables(cls) if name.upper() in merged}
        try:
            return cls(environment=merged, **known)  # type: ignore[arg-type]  # checked by pydantic, that is the point
        except pydantic.ValidationError as error:
            wrong = (f"{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors(include_input=False))
            raise SettingsError("\n".join(wrong)) from None

    def secrets_of(self, carrier: Carrier) -> tuple[str, ...]:
        """What the carrier signs with, as far as it is set. Raises `SettingsError` if they cannot be checked."""
        secrets = tuple(filter(None, (self.environment.get(name, "") for name in carrier.secret_variables)))
        if secrets and not self.public_url:
            raise SettingsError(
                f"PUBLIC_URL: {carrier.secret_variables[0]} is set, and signatures cover the address that the carrier "
                "called: set PUBLIC_URL to it, like https://bridge.example.net"
            )
        return secrets

    @property
    def base_url(self) -> str:
        """Where carriers reach us: the public URL, or this machine for local development."""
        return self.public_url or f"http://127.0.0.1:{self.port}"

    def manners(self) -> Manners:
        """How calls behave."""
        return Manners(
            instructions=self.instructions,
            notice=self.notice,
            filler=self.filler,
            greeting=self.greeting,
            reprompt=self.reprompt,
            goodbye=self.goodbye,
            apology=self.apology,
            silence_s=self.silence_s,
            reprompts=self.reprompts,
            limit_s=self.call_limit_s,
            grace_s=self.grace_s,
            lead_ms=self.lead_ms,
            level_voice=self.level_voice,
            transfer_to=self.transfer_to,
            budgets=PROFILES[self.latency_profile],
            ear=EarSettings(
                endpoint_ms=self.endpoint_ms,
                complete_ms=self.endpoint_complete_ms,
                trailing_ms=self.endpoint_trailing_ms,
                backchannels=frozenset(map(spoken_words, filter(None, self.backchannels.split(","))))
                or BACKCHANNELS_EN,
            ),
        )


def _variables(settings: type[Settings]) -> list[str]:
    """Fields that a variable sets: all but the environment itself, whose name is a popular variable."""
    return [name for name in settings.model_fields if name != "environment"]
