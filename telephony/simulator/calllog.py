"""What happened in one call, on the call's own time: seconds from its answer."""

from telephony.clock import Clock
from telephony.simulator.notices import CarrierWarned, VerbFollowed, Watcher
from telephony.simulator.report import WarningRaised, WebhookMade
from telephony.simulator.twiml import Warned

WARNINGS_KEPT = 1000
"""The first ones of a call; a peer that does nothing but wrong must not fill the memory."""


class CallLog:
    """Collects for the report and tells the watcher. Times before the answer are negative once it has come."""

    def __init__(self, clock: Clock, watch: Watcher) -> None:
        self.origin = clock.now()
        self.warnings: list[WarningRaised] = []
        self.verbs: list[tuple[float, str]] = []
        self.webhooks: list[WebhookMade] = []
        self.tell = watch
        self._clock = clock

    def answered(self) -> None:
        """The call's time begins now; what was logged before moves with it."""
        took_s = self.now_s()
        self.origin += took_s
        self.webhooks = [
            WebhookMade(made.at_s - took_s, made.purpose, made.url, made.status, made.took_s) for made in self.webhooks
        ]
        self.warnings = [WarningRaised(raised.at_s - took_s, raised.code, raised.detail) for raised in self.warnings]

    def now_s(self) -> float:
        return self._clock.now() - self.origin

    def warn(self, warned: Warned) -> None:
        if len(self.warnings) < WARNINGS_KEPT:
            self.warnings.append(WarningRaised(self.now_s(), warned.code, warned.detail))
        self.tell(CarrierWarned(self.now_s(), warned.code, warned.detail))

    def note_verb(self, verb: str) -> None:
        self.verbs.append((self.now_s(), verb))
        self.tell(VerbFollowed(self.now_s(), verb))
