"""Where calls are kept: what processes share, and how this one writes and reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.calls.journal import Journal, JournalEvent
from app.calls.store.base import CallStore, Lease
from app.calls.store.errors import StoreError
from app.conversation.session import CallSession


@dataclass(frozen=True, slots=True)
class Left:
    """A journal as who wrote it leaves it to whoever writes it on: the store has its first `stored` entries for sure,
    and perhaps some of those that come next, which are `waiting`."""

    stored: int
    waiting: tuple[JournalEvent, ...] = ()
    above: int = 0
    """The highest fence that is known of the call."""
    owners: frozenset[str] = frozenset()
    """Who has left the call since anybody could ask the store for it: if one of them seems to hold it, nobody does."""
    anew: bool = False
    """What the store has of the call is of the past, and goes (see `Batch`)."""


class Archive(Protocol):
    """Stored journals (`app.calls.archive.CallArchive`)."""

    async def events(self, call_id: str, after: int = -1) -> list[JournalEvent]:
        """A call's journal so far, those numbered above `after`; empty for one that is unknown. Raises `StoreError`."""
        ...


class Writer(Protocol):
    """Writes the journals of this process's calls to the store (`app.calls.writer.JournalWriter`)."""

    on_lost: Callable[[str, StoreError], None]
    """Told of each call that turns out to be somebody else's."""

    @property
    def away(self) -> bool:
        """The store did not take what it was given last."""
        ...

    def forget(self, call_id: str) -> Lease | None:
        """Write no more of this call; the lease that it was written under."""
        ...

    def leave(self, call_id: str) -> Left | None:
        """The same; answers with what somebody else has to know to write it on, or None: it was not written here."""
        ...

    def lease(self, call_id: str) -> Lease | None:
        """Under which it writes this call."""
        ...

    def leases(self) -> tuple[Lease, ...]:
        """All of them."""
        ...

    def rewrite(self, call_id: str) -> None:
        """The store has forgotten the call."""
        ...

    def begin(self, call: CallSession, journal: Journal, lease: Lease, *, left: Left) -> None:
        """Write a call on that was left."""
        ...

    async def settle(self, call_id: str) -> bool:
        """Return when everything of this call is stored; False: it cannot be for now."""
        ...


@dataclass(frozen=True, slots=True)
class Books:
    """Where calls are kept: what processes share, and how this one writes and reads it."""

    store: CallStore
    writer: Writer
    archive: Archive
    key_file: Path | None = None
    """Where the key of stream tokens is left for a process of this machine that starts without the store."""
