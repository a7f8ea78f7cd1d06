"""The record of a call: its journal, the transcript folded from it, and the call's own time."""

from dataclasses import asdict
from typing import Protocol

import msgspec

from app.calls.journal import AnomalyHeard, Journal, JournalEvent, ProviderFailed, TurnMeasured
from app.conversation.transcript import Transcript
from app.conversation.turn import Turn
from app.telemetry.latency import LatencyBudgets
from providers.errors import ProviderError
from telephony.anomalies import Anomaly
from telephony.clock import Clock


class Counters(Protocol):
    """Where hot paths count."""

    def count(self, name: str, **labels: str) -> None: ...


class CallRecord:
    """What happened in one call. Times in the journal are seconds since the call was answered."""

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self.journal = Journal()
        self.transcript = Transcript()
        self.counters = counters
        self.began = clock.now()
        self.answered_at = clock.today()
        self._clock = clock

    def at(self) -> float:
        """Now, in the call's own time."""
        return round(self._clock.now() - self.began, 4)

    def add(self, event: JournalEvent) -> None:
        """Keep what happened."""
        self.journal.append(event)
        self.transcript.apply(event)

    def add_now(self, event: JournalEvent) -> None:
        """The same for an event of somebody who does not know the call's time."""
        self.add(msgspec.structs.replace(event, at=self.at()))

    def provider_failed(self, failure: ProviderError) -> None:
        """A provider let the call down."""
        kind = type(failure).__name__
        self.counters.count("provider_errors", provider=failure.provider, kind=kind)
        self.add(ProviderFailed(at=self.at(), provider=failure.provider, error=kind, detail=failure.detail))

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
