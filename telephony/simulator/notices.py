"""What somebody who watches a call is told while it goes on. `at_s` counts seconds from the answer of the call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class VerbFollowed:
    """The carrier does what the bridge's document says."""

    at_s: float
    verb: str


@dataclass(frozen=True, slots=True)
class CarrierWarned:
    """Something that Twilio's debugger would show; `code` is Twilio's."""

    at_s: float
    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class CallerSpeaks:
    """`barge_in`: the agent is speaking."""

    at_s: float
    text: str
    barge_in: bool


@dataclass(frozen=True, slots=True)
class CallerFellSilent:
    at_s: float


@dataclass(frozen=True, slots=True)
class CallerPressed:
    at_s: float
    digit: str


@dataclass(frozen=True, slots=True)
class AgentSpeaks:
    """`after_s` counts from the end of the caller's speech, or from the answer of the call before he has spoken."""

    at_s: float
    after_s: float
    answering: bool
    """The first sound since the caller spoke (or since the answer): the latency that a person perceives."""


@dataclass(frozen=True, slots=True)
class AgentFellSilent:
    """Told 250 ms later, when it is sure; `at_s` is the agent's last sound. `stop_s`: so long after a barge-in."""

    at_s: float
    stop_s: float | None


@dataclass(frozen=True, slots=True)
class BridgeReported:
    """A live event of the bridge's call API, as it came: `kind`, and the fields that go with it."""

    at_s: float
    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallOver:
    at_s: float
    ended_by: str


Notice = (
    VerbFollowed
    | CarrierWarned
    | CallerSpeaks
    | CallerFellSilent
    | CallerPressed
    | AgentSpeaks
    | AgentFellSilent
    | BridgeReported
    | CallOver
)
Watcher = Callable[[Notice], None]


def nobody(_notice: Notice) -> None:
    """The watcher of a call that nobody watches."""
