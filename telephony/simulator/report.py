"""The result of a call as values: what was heard, what was measured, and whether it was as the script expects."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from telephony.simulator.bridge import BridgeEvent
from telephony.simulator.measure import Exchange, Gap, Percentiles, percentiles
from telephony.simulator.sound import stereo_wav
from telephony.simulator.stream import MarkEcho


class EndedBy(StrEnum):
    """Who or what ended the call."""

    CALLER = "caller"
    AGENT = "agent"  # a <Hangup>, or the end of the document
    CARRIER = "carrier"  # no usable answer from the bridge
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True, slots=True)
class Recording:
    """The call as heard, from its answer on: two µ-law tracks at 8 kHz of equal length, sample-aligned."""

    caller: bytes
    agent: bytes

    def wav(self) -> bytes:
        """16-bit stereo, the caller on the left, the agent on the right."""
        return stereo_wav(self.caller, self.agent)


@dataclass(frozen=True, slots=True)
class WebhookMade:
    """One HTTP request to the bridge. `status` is None when there was no usable answer."""

    at_s: float
    purpose: str
    url: str
    status: int | None
    took_s: float


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One media stream. `closed_by` is `caller` (the call ended on his side), `carrier` (the call was updated), `agent`
    or `network`; `close_code` 1006: without a close frame. `unplayed_s`: audio that its end cut off."""

    stream_sid: str
    url: str
    opened_s: float
    closed_s: float
    closed_by: str
    close_code: int
    close_reason: str
    frames_sent: int
    media_received: int
    heard_s: float
    unplayed_s: float
    clears: int
    foreign_stream: int
    """Messages with another stream's id: ignored, as Twilio does."""
    marks: tuple[MarkEcho, ...]


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """`code` is Twilio's."""

    at_s: float
    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation. `passed` None: it could not be judged, `measured` says why. `step` None: of the whole call."""

    step: int | None
    expected: str
    passed: bool | None
    measured: str


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """`who`: the `caller`, by his script; the `agent`, by what the bridge says was heard of him; or `understood`, what
    the bridge made of the caller."""

    at_s: float
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Whether the simulator itself kept time: frames sent more than 5 ms late, and by how much the worst. A figure
    measured by a simulator that was late itself says little about the bridge."""

    frames: int
    late: int
    worst_ms: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """Times are seconds from the answer of the call unless a name says otherwise."""

    call_sid: str
    url: str
    script: str
    placed: datetime
    answered_after_s: float
    """From the first webhook to its answer."""
    duration_s: float
    ended_by: EndedBy
    greeting_s: float | None
    """From the first stream's opening to the agent's first audible sample, if he spoke before the caller."""
    exchanges: tuple[Exchange, ...]
    gaps: tuple[Gap, ...]
    verbs: tuple[tuple[float, str], ...]
    webhooks: tuple[WebhookMade, ...]
    streams: tuple[StreamReport, ...]
    warnings: tuple[WarningRaised, ...]
    events: tuple[BridgeEvent, ...]
    events_offered: bool
    pace: Pace
    verdicts: tuple[Verdict, ...] = ()
    recording: Recording | None = field(default=None, repr=False)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.passed is False)

    @property
    def onset_s(self) -> Percentiles | None:
        """Of the answers: end of the caller's speech to the first audible sample."""
        return percentiles(exchange.onset_s for exchange in self.exchanges)

    @property
    def stop_s(self) -> Percentiles | None:
        """Of the barge-ins: onset of the caller's speech to the agent's last audible sample."""
        return percentiles(exchange.stop_s for exchange in self.exchanges)

    @property
    def transcript(self) -> tuple[TranscriptLine, ...]:
        """Who said what, in order; without the bridge's events only the caller's part is known."""
        lines = [TranscriptLine(exchange.from_s, "caller", exchange.text) for exchange in self.exchanges]
        for event in self.events:
            if event.kind == "caller_said":
                lines.append(TranscriptLine(event.at_s, "understood", str(event.fields.get("text", ""))))
            elif event.kind == "reply_ended":
                words = event.fields.get("heard", event.fields.get("said", ""))
                lines.append(TranscriptLine(event.at_s, "agent", str(words)))
        return tuple(sorted(lines, key=lambda line: line.at_s))

    def json(self) -> bytes:
        """Everything but the sound, indented."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        del content["recording"]
        content["transcript"] = msgspec.to_builtins(self.transcript)
        content["summary"] = msgspec.to_builtins({"onset_s": self.onset_s, "stop_s": self.stop_s})
        return msgspec.json.format(msgspec.json.encode(content), indent=2)
