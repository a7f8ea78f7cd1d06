"""What a store refuses, and how it fails. The type says whose fault it is and what to do."""


class StoreError(Exception):
    """Anything that a store raises."""


class StoreUnavailable(StoreError):
    """The store is slow, gone or broken (not ours to mend): keep what was to be written, try again later."""


class StoreFull(StoreUnavailable):
    """The store has no room left (its operator's fault): make room; until then keep and retry as above."""


class StoreMisconfigured(StoreError):
    """An address or a key that cannot work (our user's fault): says which setting, and what to change."""


class LeaseHeld(StoreError):
    """Somebody else owns the call (nobody's fault): leave it to him, or wait until the lease runs out."""

    def __init__(self, call_id: str, owner: str, fence: int, remaining_s: float) -> None:
        super().__init__(f"call {call_id} belongs to {owner} for another {remaining_s:.1f} s")
        self.call_id = call_id
        self.owner = owner
        self.fence = fence
        self.remaining_s = remaining_s


class CallOver(StoreError):
    """The call has ended; nobody can own it any more (the carrier was late)."""


class Forgotten(StoreError):
    """The store knows nothing of the call, or not all that we wrote (it came back empty, or as it was before): acquire
    the call above our fence, and write its journal anew from the beginning."""

    def __init__(self, call_id: str) -> None:
        super().__init__(f"the store has forgotten call {call_id}")
        self.call_id = call_id


class FencedOff(StoreError):
    """We have lost the call to a newer owner (our fault: we were too late): stop speaking in it at once."""

    def __init__(self, call_id: str, fence: int, newer: int) -> None:
        super().__init__(f"call {call_id} was taken over: our fence is {fence}, the newest is {newer}")
        self.call_id = call_id
        self.fence = fence
        self.newer = newer


class JournalUnreadable(StoreError):
    """Stored bytes that no key of ours opens, or that are no journal (our user's fault: a key is missing)."""
