"""The contract of a store: what processes share about calls.

A store keeps opaque bytes. What they mean (events, redacted and perhaps sealed) is the business of `app.calls.writer`
and `app.calls.archive`; who may write them is decided here.

**Ownership.** Each call has at most one lease. Acquiring it makes the call's *fence* one higher than any before; the
fence goes with everything that its owner writes, and what comes with an older one is refused. So an owner who was
away too long can neither speak for the call nor spoil its journal, however late he comes back.

**Going back.** A store may come back as it was some time ago (a replica that had not heard everything took over, a file
was restored), or empty. Then it has a fence below ours, or there is a hole before what we write: it has forgotten the
call, whose owner still is the one with the highest fence there ever was.

**Time** is wall time and belongs to the store (a server's, or the machine's): processes need no common clock.

Every method returns or raises within the store's deadline. Each may raise `StoreUnavailable`; those are harmless to
repeat, also when it is not known whether they were done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from app.calls.store.errors import FencedOff, Forgotten


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner` (a process) owns the call, as its `fence`-th owner."""

    call_id: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as others see it; `remaining_s` <= 0: it has run out or was given up, anybody may acquire the call."""

    lease: Lease
    remaining_s: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one call, to be appended in order.

    `first` is the sequence number of the first of them; a call's entries are numbered from 0 without a gap. Entries
    whose number is taken are passed over: a batch may be repeated.
    """

    call_id: str
    fence: int
    first: int
    entries: tuple[bytes, ...]
    card: bytes | None = None
    """What a list of calls shows of this one from now on; None: what it showed before."""
    caller_key: str = ""
    """Stands for who called, so that his calls can be found; needed once."""
    ended: bool = False
    """The call is over: its lease ends with this batch, and the time that it is kept for begins."""
    anew: bool = False
    """The call is written again from the beginning, here (`first` is 0): the entries that the store has of it go.
    To be repeated only until another batch follows."""


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call in a list."""

    call_id: str
    card: bytes
    began_at: float
    """Wall time of the first append, seconds since the epoch."""
    ended: bool


class JournalStore(Protocol):
    """Journals: append-only lists of entries, one for each call."""

    async def append(self, batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
        """Append all batches, in one go; answers with the refusals, one for each batch that was not stored.

        A batch with a fence lower than the store's is `FencedOff`. A call is `Forgotten` that has no lease in the store
        or one with a lower fence, and one that would have a gap before `first`.
        Raises `StoreFull`; then, as with every `StoreUnavailable`, each batch was stored whole or not at all.
        """
        ...

    async def read(self, call_id: str, after: int = -1) -> tuple[bytes, ...]:
        """A call's entries in order, those numbered above `after`; empty for a call that is unknown or forgotten."""
        ...

    async def calls(self, limit: int = 100, *, caller_key: str = "", live: bool = False) -> tuple[StoredCall, ...]:
        """The newest calls, newest first; only those of one caller, or only those that have not ended, if so asked."""
        ...

    async def find(self, call_id: str) -> StoredCall | None:
        """One call as the list shows it."""
        ...

    async def sweep(self) -> bool:
        """Forget what was kept long enough since it ended, or was abandoned; to be repeated now and then. True: that
        was not all, to be repeated soon."""
        ...


class Leases(Protocol):
    """Who owns which call."""

    async def acquire(
        self, call_id: str, owner: str, ttl_s: float, *, over: int | None = None, above: int = 0
    ) -> Lease:
        """Become the call's owner, with the next fence, if it has no owner now: it is new, or its lease has run out
        or was given up. `over` takes it from the owner with this fence even before (he is known to be dead, or has
        agreed); if the fence is another by now, as if `over` were not given. The new fence is higher than `above`,
        which matters when the store has forgotten the call; so an owner with a fence lower than that is none.

        An owner who acquires what he owns, above `above`, gets the same lease again, for another `ttl_s`. Raises
        `LeaseHeld`, or `CallOver`.
        """
        ...

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> tuple[FencedOff | Forgotten, ...]:
        """Own these calls for another `ttl_s` from now; answers with those that were lost (see `append`). One that
        ran out without anybody taking it is simply renewed; so is one that was given up. One that has ended is passed
        over."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give the call up, so that the next `acquire` gets it at once. Nothing happens if it is not ours any more."""
        ...

    async def holder(self, call_id: str) -> HeldLease | None:
        """Who owned the call last; None: it never had an owner, or has ended."""
        ...

    async def abandoned(self, limit: int = 100) -> tuple[HeldLease, ...]:
        """Calls that have not ended and whose lease has run out, the longest first."""
        ...


class Handshakes(Protocol):
    """What makes a token good once, in all processes together."""

    async def secret(self, name: str, offered: bytes) -> bytes:
        """What all processes share under this name: what the first of them offered."""
        ...

    async def use_once(self, token: str, ttl_s: float) -> bool:
        """True for the first to use this token; it is remembered for `ttl_s`, so let it not be valid for longer."""
        ...


class Mailboxes(Protocol):
    """Short messages to another process, like a command to a call that it owns."""

    async def post(self, owner: str, message: bytes, ttl_s: float) -> None:
        """Leave a message; nobody reads it after `ttl_s`. A box holds 1,000, beyond that the oldest are lost."""
        ...

    async def collect(self, owner: str, within_s: float) -> tuple[bytes, ...]:
        """Take what is in one's box, in order, each message once; waits up to `within_s` for the first."""
        ...


class Presence(Protocol):
    """Which processes are alive, and what they tell of themselves."""

    async def announce(self, owner: str, state: bytes, ttl_s: float) -> None:
        """Be listed with this state for `ttl_s`."""
        ...

    async def retire(self, owner: str) -> None:
        """Be listed no more."""
        ...

    async def present(self) -> Mapping[str, bytes]:
        """Who is listed now."""
        ...


class CallStore(JournalStore, Leases, Handshakes, Mailboxes, Presence, Protocol):
    """All of it, behind one address. An async context manager. Entering does not connect, so that a process can
    start without its store and find it later; leaving closes it."""

    async def check(self) -> None:
        """Be sure that it works. Raises `StoreMisconfigured` or `StoreUnavailable`."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
