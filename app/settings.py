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
from pydantic_core import ErrorDetails

from app.calls.recovery import RecoverySettings
from app.calls.redaction import Private
from app.conversation.ear import BACKCHANNELS_EN, EarSettings, Hint, spoken_words
from app.conversation.manners import Manners
from app.conversation.speculation import Depth, SpeculationSettings
from app.conversation.turn import Deadlines
from app.telemetry.latency import PROFILES
from telephony.carrier import Carrier

_HINTS = {"eager": Hint.COMPLETE, "pause": Hint.PAUSE, "partial": Hint.STABLE}

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]

_DEFAULTS = Manners()
_EAR = EarSettings()
_RECOVERY = RecoverySettings()


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
    overflow: str = ""
    """Where new calls go when there are too many: another bridge's voice webhook, a number or SIP address."""
    max_lag_ms: Annotated[int, Field(ge=20, le=60_000)] = 250
    """A process whose event loop runs this late takes no new calls."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port; a supervisor keeps them running."""
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
    """Spoken while model or tools take their time; off: nothing is."""
    filler_after_ms: Milliseconds = int(_DEFAULTS.deadlines.filler_s * 1000)
    """Of waiting, foreseen or real."""
    speech_ahead_ms: Annotated[int, Field(ge=200, le=60_000)] = int(_DEFAULTS.deadlines.speech_ahead_s * 1000)
    """The voice is given the next piece of a reply when the rest of what it has made is heard within so long."""
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
    lease_s: Annotated[float, Field(ge=1, le=3_600)] = _RECOVERY.lease_s
    """A process that is not heard of for so long loses its calls to others."""
    recall_s: Annotated[float, Field(ge=0.2, le=3_600)] = _RECOVERY.recall_s
    """How long a call whose media is lost waits for its carrier to ask, before the carrier is told to."""
    bridge: str = _DEFAULTS.bridge
    """Spoken when a line that was lost for a moment (less than 0.7 s) is back and nobody was saying anything; empty:
    nothing."""
    ask_again: str = _DEFAULTS.ask_again
    """Spoken when what the caller said may be lost: another process took the call over, or the line was lost for longer
    while nobody was saying anything; off: `bridge` is spoken then, too."""
    endpoint_ms: Milliseconds = int(_EAR.endpoint_ms)
    """Silence that ends the caller's turn."""
    endpoint_complete_ms: Milliseconds = int(_EAR.complete_ms)
    endpoint_trailing_ms: Milliseconds = int(_EAR.trailing_ms)
    endpoint_spelling_ms: Milliseconds = int(_EAR.spelling_ms)
    endpoint_sounds_done_ms: Milliseconds = int(_EAR.sounds_done_ms)
    endpoint_slowest_ms: Milliseconds = int(_EAR.slowest_ms)
    sustained_ms: Milliseconds = int(_EAR.sustained_ms)
    """Speech so long takes the floor even if the recogniser stays silent."""
    level_voice: bool = True
    """Bring the caller's voice to one level for the recogniser."""
    noise_suppression: Literal["off", "low", "moderate", "high", "very-high"] = "off"
    """Of the caller's line, for the recogniser."""
    turn_model: Path | None = None
    """File of the model that judges by melody whether the caller is done; without it words and silence decide."""
    backchannels: str = ""
    """What listeners say without wanting the floor, separated by commas; empty: English ones; off: there are none."""
    speculation: Depth = SpeculationSettings().depth
    """How much of a reply is made before the caller's turn is confirmed."""
    speculate_on: Literal["eager", "pause", "partial"] = "eager"
    """What it takes to begin: the vendor's word, a pause of the caller, or words that are stable."""
    speculations_per_turn: Annotated[int, Field(ge=1, le=20)] = SpeculationSettings().most_per_turn
    speculations_per_minute: Annotated[int, Field(ge=1, le=600)] = SpeculationSettings().most_per_minute
    """Of one call."""
    lead_ms: Annotated[int, Field(ge=40, le=2_000)] = _DEFAULTS.lead_ms
    """How far playout may run ahead of real time."""
    latency_profile: Literal["default", "strict"] = "default"

    # what is told
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    state_dir: Path = Path("var")
    """Where what must outlive the process is kept."""

    # what is kept of calls
    store_url: SecretStr = SecretStr("sqlite:")
    """Where journals are: a file in `state_dir`, or a Redis that several machines share."""
    calls_kept_h: Annotated[float, Field(gt=0, le=100_000)] = 168.0
    """How long an ended call is kept."""
    journal_keys: SecretStr = SecretStr("")
    """What journals are sealed with: 32 bytes in base64; several, separated by commas: the first one seals."""
    redact_stored: str = ""
    """Masked before it is stored: words, digits, numbers, replies, tools."""
    redact_shown: str = ""
    """The same for what the API and `sidetone calls` show."""

    @pydantic.field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("give the whole address, like https://bridge.example.net")
        return value.rstrip("/")

    @pydantic.field_validator("redact_stored", "redact_shown")
    @classmethod
    def _names_what_is_private(cls, value: str) -> str:
        unknown = {*_listed(value)} - {*Private}
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: give any of {', '.join(Private)}, separated by commas")
        return value

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Self:
        """Read the environment and `.env`. Raises `SettingsError` naming every variable that is wrong."""
        merged = {name: value for name, value in (dotenv_values(env_file) if env_file else {}).items() if value}
        merged |= {name: value for name, value in (os.environ if environment is None else environment).items() if value}
        known = {name: merged[name.upper()] for name in _variables(cls) if name.upper() in merged}
        try:
            return cls(environment=merged, **known)  # type: ignore[arg-type]  # checked by pydantic, that is the point
        except pydantic.ValidationError as error:
            wrong = (f"{str(item['loc'][0]).upper()}: {in_words(item)}" for item in error.errors(include_input=False))
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

    def keys(self) -> list[str]:
        """The keys of journals, the one that seals first."""
        return _listed(self.journal_keys.get_secret_value())

    @property
    def private_stored(self) -> frozenset[Private]:
        """What of a call is masked before it is stored."""
        return frozenset(map(Private, _listed(self.redact_stored)))

    @property
    def private_shown(self) -> frozenset[Private]:
        """What of a call is masked where it is shown."""
        return frozenset(map(Private, _listed(self.redact_shown)))

    def recovery(self) -> RecoverySettings:
        """How long is waited for lost processes and streams."""
        return RecoverySettings(lease_s=self.lease_s, recall_s=self.recall_s, take_over_s=self.lease_s + 1.0)

    def manners(self) -> Manners:
        """How calls behave."""
        return Manners(
            instructions=self.instructions,
            notice=self.notice,
            filler="" if _is_off(self.filler) else self.filler,
            deadlines=Deadlines(filler_s=self.filler_after_ms / 1000, speech_ahead_s=self.speech_ahead_ms / 1000),
            greeting=self.greeting,
            reprompt=self.reprompt,
            goodbye=self.goodbye,
            apology=self.apology,
            silence_s=self.silence_s,
            reprompts=self.reprompts,
            limit_s=self.call_limit_s,
            grace_s=self.grace_s,
            bridge=self.bridge,
            ask_again="" if _is_off(self.ask_again) else self.ask_again,
            lead_ms=self.lead_ms,
            level_voice=self.level_voice,
            noise_suppression="" if self.noise_suppression == "off" else self.noise_suppression,
            transfer_to=self.transfer_to,
            budgets=PROFILES[self.latency_profile],
            speculation=SpeculationSettings(
                depth=self.speculation,
                least=_HINTS[self.speculate_on],
                most_per_turn=self.speculations_per_turn,
                most_per_minute=self.speculations_per_minute,
            ),
            ear=EarSettings(
                endpoint_ms=self.endpoint_ms,
                complete_ms=self.endpoint_complete_ms,
                trailing_ms=self.endpoint_trailing_ms,
                spelling_ms=self.endpoint_spelling_ms,
                sounds_done_ms=self.endpoint_sounds_done_ms,
                slowest_ms=self.endpoint_slowest_ms,
                sustained_ms=self.sustained_ms,
                backchannels=_backchannels(self.backchannels),
            ),
        )


def in_words(wrong: ErrorDetails) -> str:
    """What pydantic says is wrong with a value, or what a validator of ours says."""
    return wrong["msg"].removeprefix("Value error, ")


def _is_off(value: str) -> bool:
    """For texts: an empty variable counts as unset, so there is a word for none."""
    return value.strip().lower() == "off"


def _backchannels(listed: str) -> frozenset[str]:
    if _is_off(listed):
        return frozenset()
    return frozenset(map(spoken_words, filter(None, listed.split(",")))) or BACKCHANNELS_EN


def _listed(value: str) -> list[str]:
    return [*filter(None, (part.strip() for part in value.split(",")))]


def _variables(settings: type[Settings]) -> list[str]:
    """Fields that a variable sets: all but the environment itself, whose name is a popular variable."""
    return [name for name in settings.model_fields if name != "environment"]
