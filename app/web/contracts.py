"""What the web front needs from the rest of the house."""

from typing import Protocol

from telephony.carrier import CallOffered, CallStatus, Carrier, Decision, MediaStarted
from telephony.leg import Leg


class Calls(Protocol):
    """The switchboard. The three webhook methods answer within the store's deadline: carrier and caller are waiting."""

    async def answer(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """What to do with a call. Carriers retry: a call that is known gets a new token for the same session."""
        ...

    async def after(self, carrier: Carrier, offered: CallOffered) -> Decision:
        """What to do with a call whose stream has ended."""
        ...

    async def status(self, carrier: Carrier, status: CallStatus) -> None:
        """Take note; an ended call ends its session. In any order with stop and close, and more than once."""
        ...

    async def serve(self, carrier: Carrier, token: str, started: MediaStarted, leg: Leg) -> None:
        """Attach `leg` to the session that `token` was made for, and return when the leg has ended.

        The socket is closed as soon as this returns or raises. Raises `TokenRejected`, also when `token` belongs to
        another call than `started.call_id`.
        """
        ...


class Counters(Protocol):
    """Where events are counted. A name has always the same labels, and every label few values."""

    def count(self, name: str, **labels: str) -> None:
        """One more of `name`."""
        ...
