"""The record of a call: its journal, what is folded from it, and the call's own time."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

import msgspec

from app.calls.journal import (
    AnomalyHeard,
    CallAnswered,
    CallBegun,
    Journal,
    JournalEvent,
    ProviderFailed,
    ProviderReplaced,
    TurnMeasured,
    UsageCounted,
)
from app.conversation.memory import fold
from app.conversation.transcript import Transcript
from app.conversation.turn import Turn
from app.conversation.usage import CallUsage
from app.telemetry.latency import LatencyBudgets
from providers.base import ProviderSwitched, UsageReported
from providers.errors import ProviderError
from telephony.anomalies import Anomaly
from telephony.carrier import CallOffered
from telephony.clock import Clock


class Counters(Protocol):
    """Where hot paths count."""

    def count(self, name: str, **labels: str) -> None: ...

    def add(self, name: str, amount: float, **labels: str) -> None: ...


class CallRecord:
    """What happened in one call. Times in the journal are seconds since the call was answered, or began to ring."""

    def __init__(self, clock: Clock, counters: Counters, past: Sequence[JournalEvent] = ()) -> None:
        """`past`: the stored journal of a call that another process carried until now."""
        self.journal = Journal(past)
        self.memory = fold(past)
        self.sealed = False
        self.usage = CallUsage()
        for provider, amounts in self.memory.usage.items():
            self.usage.add(provider, amounts)
        self.usage.take()
        self.counters = counters
        self.began = clock.now()
        self.answered_at = clock.today()
        self._clock = clock
        answered = self.memory.answered
        if answered is not None:
            today = self.answered_at
            self.answered_at = datetime.fromisoformat(answered.answered_at)
            self.began -= max(self.memory.at, answered.at + (today - self.answered_at).total_seconds())

    @property
    def transcript(self) -> Transcript:
        """What was said."""
        return self.memory.transcript

    def at(self) -> float:
        """Now, in the call's own time."""
        return round(self._clock.now() - self.began, 4)

    def seal(self) -> None:
        """Keep nothing from now on: somebody else writes the journal."""
        self.sealed = True

    def add(self, event: JournalEvent) -> None:
        """Keep what happened."""
        if self.sealed:
            return
        self.memory.apply(event)
        self.journal.append(event)

    def add_now(self, event: JournalEvent) -> None:
        """The same for an event of somebody who does not know the call's time."""
        self.add(msgspec.structs.replace(event, at=self.at()))

    def answered(self, carrier: str, offered: CallOffered, providers: dict[str, str], settings: dict[str, Any]) -> None:
        """Somebody is there."""
        self.answered_at = self._clock.today()
        self.add(
            CallAnswered(
                at=self.at(),
                call_id=offered.call_id,
                carrier=carrier,
                caller=offered.caller,
                called=offered.called,
                answered_at=self.answered_at.isoformat(timespec="milliseconds"),
                providers=providers,
                variables=dict(offered.variables),
                direction=offered.direction,
                settings=settings,
            )
        )

    def ringing(self, carrier: str, offered: CallOffered) -> None:
        """The call exists, and nobody has answered it yet."""
        self.add(
            CallBegun(
                at=self.at(),
                call_id=offered.call_id,
                carrier=carrier,
                caller=offered.caller,
                called=offered.called,
                direction=offered.direction,
                began_at=self.answered_at.isoformat(timespec="milliseconds"),
            )
        )

    def provider_failed(self, failure: ProviderError) -> None:
        """A provider let the call down."""
        kind = type(failure).__name__
        self.counters.count("provider_errors", provider=failure.provider, kind=kind)
        self.add(ProviderFailed(at=self.at(), provider=failure.provider, error=kind, detail=failure.detail))

    def provider_event(self, event: ProviderSwitched | UsageReported) -> None:
        """Something about the providers that came in a stream."""
        match event:
            case ProviderSwitched(error, successor):
                kind = type(error).__name__
                self.add(
                    ProviderReplaced(
                        at=self.at(), provider=error.provider, error=kind, detail=error.detail, successor=successor
                    )
                )
            case UsageReported(provider, amounts):
                self.usage.add(provider, amounts)

    def count_usage(self) -> None:
        """Keep what the call has cost since this was last done, if anything."""
        if new := self.usage.take():
            self.add(UsageCounted(at=self.at(), usage=new))

    def anomalies(self, heard: tuple[Anomaly, ...]) -> None:
        """Something is wrong with the caller's audio."""
        for anomaly in heard:
            name = type(anomaly).__name__
            self.counters.count("audio_anomalies", anomaly=name)
            self.add(AnomalyHeard(at=self.at(), anomaly=name, facts=asdict(anomaly)))

    def measure(self, turn: Turn, budgets: LatencyBudgets) -> None:
        """Keep the stamps of a turn that has ended, and what took longer than it may."""
        metrics = turn.metrics
        breaches = budgets.breaches(metrics)
        for breach in breaches:
            self.counters.count("budget_breaches", stage=breach.stage)
        stamps = metrics.stamps().items()
        self.add(
            TurnMeasured(
                at=self.at(),
                turn=turn.number,
                stamps={name: None if at is None else round(at - self.began, 4) for name, at in stamps},
                onset_s=metrics.response_onset,
                barge_in_stop_s=metrics.barge_in_stop,
                breaches=[
                    f"{breach.stage} took {breach.measured_s:.3f} s, budget {breach.budget_s:g} s"
                    for breach in breaches
                ],
            )
        )
