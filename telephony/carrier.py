"""The carrier's side of a call as values: events in, commands out, and what a carrier can do.

A carrier is one file under `telephony/carriers/`. It does no I/O: its `CarrierProtocol` turns websocket messages
into events and commands into messages, its `Webhooks` turn HTTP requests into calls and decisions into documents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import msgspec

from telephony.audio import AudioFormat

TOKEN_PARAMETER = "token"
"""The name in `MediaStarted.parameters` under which `OpenStream.token` comes back."""

# Events: what the far end tells us over the media stream


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """The stream is open: from here on audio flows. `parameters` carries our stream token."""

    call_id: str
    stream_id: str
    parameters: Mapping[str, str]
    audio: AudioFormat


class AudioReceived(msgspec.Struct, frozen=True, gc=False):
    """Caller's audio in the stream's format, any whole number of samples. `timestamp_ms` counts from stream start.

    Made for every frame of every call, so it is a Struct: a dataclass takes four times as long to make.
    """

    payload: bytes
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The carrier says that everything before this mark was played, or was cleared: the ledger knows which."""

    name: str


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed one key: `0`-`9`, `*`, `#`, `A`-`D`."""

    digit: str


@dataclass(frozen=True, slots=True)
class MediaStopped:
    """The stream ends. The call may live on: this is no hang-up."""


CarrierEvent = MediaStarted | AudioReceived | MarkReached | DigitPressed | MediaStopped

# Commands: what we tell the far end


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """Append audio, in the stream's format, to what the far end plays."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class PlaceMark:
    """Ask for `MarkReached(name)` once everything sent so far has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Drop everything sent and not yet played."""


CarrierCommand = PlayAudio | PlaceMark | ClearAudio

# The protocol


@dataclass(frozen=True, slots=True)
class CarrierCapabilities:
    """What the ledger and the session adapt to; they never ask for a carrier's name."""

    marks: bool
    """The far end confirms playback by echoing marks."""
    marks_echo_on_clear: bool
    """`ClearAudio` makes outstanding marks come back, so an echo after a clear proves nothing."""
    clear: bool
    """The far end can drop what it holds; without it the pacer's lead is all that a barge-in leaves playing."""
    resume: bool
    """After a lost stream the carrier asks us what to do next, so the call can get a new stream."""
    transfer: bool
    dtmf_out: bool


class CarrierProtocol(Protocol):
    """One media stream, sans I/O. Not thread-safe; one object per websocket."""

    def receive(self, message: str | bytes, now: float) -> tuple[CarrierEvent, ...]:
        """Events of one websocket message, in order; `()` for messages that mean nothing to a call.

        Raises `MalformedMessage` (the peer's fault; drop the message, keep the stream) and nothing else.
        """
        ...

    def send(self, command: CarrierCommand) -> str | bytes:
        """The websocket message for one command. Raises `OurFault` before `MediaStarted` was received."""
        ...


# Webhooks


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """An HTTP request or websocket upgrade as the carrier sent it.

    `url` is the configured public URL plus the raw path and query, exactly as the carrier signed it. `headers` has
    lower-case names. `form` keeps repeated names and blank values, in order; empty for GET and upgrades.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    form: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class CallOffered:
    """A call that the carrier asks us to answer, or about which it asks what to do next."""

    call_id: str
    caller: str
    called: str
    direction: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallStatus:
    """The carrier's word on a call's state. `ended` is terminal; `status` is the carrier's own term, for the record."""

    call_id: str
    status: str
    ended: bool


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Connect the call's audio to `media_url`, hand over `token`, and ask `after_url` when the stream has ended."""

    media_url: str
    after_url: str
    token: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call, after the carrier's own voice has said `say`, if anything."""

    say: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """Hand the call to another number or SIP address, after the carrier's own voice has said `say`, if anything."""

    target: str
    say: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Ask `url` what to do with the call: another bridge takes it."""

    url: str


Decision = OpenStream | HangUp | Dial | Redirect


@dataclass(frozen=True, slots=True)
class AnswerDocument:
    """The HTTP answer that carries a decision."""

    content_type: str
    body: str


class Webhooks(Protocol):
    """The HTTP side of a carrier, sans I/O. `secrets` are the settings that the carrier signs with; one or more, so
    that a secret can be rotated without refusing calls."""

    def authenticate(self, request: WebhookRequest, secrets: tuple[str, ...]) -> None:
        """Return if the carrier signed `request` with one of `secrets`; raise `SignatureRejected` otherwise.

        For a websocket upgrade `request.url` has the `wss://` scheme. Compares in constant time.
        """
        ...

    def call_offered(self, request: WebhookRequest) -> CallOffered:
        """The call that a voice webhook is about. Raises `MalformedMessage` when it names none."""
        ...

    def call_status(self, request: WebhookRequest) -> CallStatus:
        """The content of a status callback. Raises `MalformedMessage` when it names no call."""
        ...

    def document(self, decision: Decision) -> AnswerDocument:
        """What to answer so that the carrier does `decision`."""
        ...


class CallControl(Protocol):
    """What a carrier lets us do with a live call from outside its stream. An async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def redirect(self, call_id: str, url: str) -> None:
        """Have the carrier leave whatever it does with the call and ask `url` what to do now, by POST.

        Raises `CallGone` (it is over), `ControlRefused` (our setting is wrong) or `ControlUnreachable` (worth another
        try), within its own deadline.
        """
        ...


@dataclass(frozen=True, slots=True)
class Carrier:
    """One carrier, whole: what `telephony.carriers.CARRIERS` maps a name to."""

    name: str
    capabilities: CarrierCapabilities
    webhooks: Webhooks
    protocol: type[CarrierProtocol]
    """Called without arguments for each new media stream."""
    secret_variables: tuple[str, ...]
    """Environment variables that hold signing secrets; the first is the one to set, the others are for rotation."""
    personal: frozenset[str] = frozenset()
    """Those of `CallOffered.variables` that tell who or where somebody is, beside the numbers in them."""
    control: Callable[[Mapping[str, str]], CallControl | None] = lambda _: None
    """From the environment to the control over live calls; None: not set up, or the carrier has no such thing. Raises
    `OurFault` for a setting that is wrong."""
