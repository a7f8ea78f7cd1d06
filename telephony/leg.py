"""A leg: one live ear and mouth of a call. A websocket leg and a SIP leg look alike to the session."""

from collections.abc import Callable
from typing import Protocol

from telephony.audio import AudioFormat
from telephony.carrier import CarrierCapabilities, CarrierCommand, CarrierEvent


class Playout(Protocol):
    """Where a leg takes its sound from. Sans I/O; implemented by `telephony.playout.Playout`."""

    def due(self, now: float) -> tuple[CarrierCommand, ...]:
        """Commands that leave now: at most one `PlayAudio` of whole frames, and the marks that follow it."""
        ...

    def next_due(self, now: float) -> float | None:
        """When to ask again; None when there is nothing to send until `Leg.wake` is called."""
        ...


class Leg(Protocol):
    """One media path. The session that it is attached to is its only user."""

    capabilities: CarrierCapabilities
    audio: AudioFormat

    async def listen(self, take: Callable[[CarrierEvent], None]) -> None:
        """Hand `take` the carrier's events, in order, until the path is gone; those first that came before.

        Each as it comes, from the event loop and with no task's switch in between: `take` must not wait, and what it
        raises ends the path and is raised from here. For the leg's single listener.
        """
        ...

    async def play(self, playout: Playout) -> None:
        """Send what `playout` says is due, until the path is gone. The leg's single writer: control leaves first."""
        ...

    def wake(self) -> None:
        """Something new is to be sent: look now, not at the time agreed before."""
        ...

    def clear(self) -> None:
        """Drop what the far end holds. Synchronous: fills the control slot, which leaves before any media."""
        ...

    def close(self) -> None:
        """End the media path (not the call). Idempotent; `listen` and `play` return soon after."""
        ...
