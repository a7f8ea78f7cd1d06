"""When a call has to look again: each of its states has a deadline, and so has what it waits for."""

from app.conversation.deadlines import DeadlineTable
from app.conversation.manners import Manners
from app.conversation.state import CallState, Phase
from telephony.clock import Alarm, Clock


class Timekeeper:
    """One call's deadlines. Its own are `floor` and `phase` (the state has lasted too long), `limit` (the call has)
    and `overtime` (the goodbye has); others set theirs in the `table`."""

    def __init__(self, clock: Clock, manners: Manners) -> None:
        self.table = DeadlineTable()
        self._clock = clock
        self._manners = manners
        self._alarm = Alarm(clock)
        self._silence_ends_at = 0.0

    def look_again(self) -> None:
        """A deadline has moved, or there is something to do."""
        self._alarm.ring()

    async def wait(self) -> None:
        """Return when a deadline has passed, or earlier to look again."""
        await self._alarm.wait_until(self.table.earliest())

    def expired(self) -> str | None:
        """The deadline that passed first, which is forgotten by that; None: none has."""
        return self.table.expire(self._clock.now())

    def arm(self, state: CallState, *, steered: bool) -> None:
        """Give the new state its deadline. `steered`: a transfer is done in mid-call, with a time limit of its own."""
        now = self._clock.now()
        match state.phase:
            case Phase.LIVE:
                self.table.clear("phase")
                self.table.set("floor", now + self._manners.floor_limit_s(state.floor))
            case Phase.ENDED:
                pass
            case phase:
                self.table.clear("floor")
                self.table.set("phase", now + self._phase_limit_s(phase, steered=steered))

    def _phase_limit_s(self, phase: Phase, *, steered: bool) -> float:
        if phase is Phase.TRANSFERRING and steered:
            return self._manners.transfer_s + self._manners.hang_up_s
        return self._manners.phase_limit_s(phase)

    def answered(self, at: float) -> None:
        """The call was answered then: it may last so long from there."""
        self.table.set("limit", at + self._manners.limit_s)

    def time_is_up(self) -> None:
        """So long is left for the goodbye."""
        self.table.set("overtime", self._clock.now() + self._manners.grace_s)

    def count_silence(self, since: float) -> None:
        """The caller may be silent from then on for as long as it is polite."""
        self._silence_ends_at = since + self._manners.silence_s

    def go_on_listening(self) -> None:
        """It was noise: his silence goes on being counted where it was, noise cannot reset it."""
        self.table.set("floor", max(self._silence_ends_at, self._clock.now()))

    def go_on_replying(self, silent_until: float) -> None:
        """The reply is not over, and may be silent for so long."""
        self.table.set("floor", silent_until)
