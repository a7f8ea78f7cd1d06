"""Calls as the store has them: those of other processes, and those that are long over."""

from collections.abc import Collection, Iterable

import msgspec

from app.calls.journal import CallAnswered, CallBegun, JournalEvent, decode
from app.calls.redaction import Private, mask_number
from app.calls.seal import Seal
from app.calls.store.base import CallStore, StoredCall
from app.calls.store.errors import JournalUnreadable


class CallCard(msgspec.Struct, frozen=True):
    """A call in one line."""

    call_id: str
    carrier: str
    caller: str
    called: str
    direction: str
    answered_at: str
    ended: bool = False
    end_reason: str = ""
    duration_s: float = 0.0

    @classmethod
    def of(cls, call: CallAnswered | CallBegun) -> "CallCard":
        """The card of a call that begins, or that begins to ring."""
        at = call.answered_at if isinstance(call, CallAnswered) else call.began_at
        return cls(call.call_id, call.carrier, call.caller, call.called, call.direction, at)

    def shown(self, private: Collection[Private]) -> "CallCard":
        """The card with everything masked that is of these kinds."""
        if Private.NUMBERS not in private:
            return self
        return msgspec.structs.replace(self, caller=mask_number(self.caller), called=mask_number(self.called))


def card_place(call_id: str) -> str:
    """Where a card is stored, for its seal."""
    return f"card of call {call_id}"


def entry_place(call_id: str, number: int) -> str:
    """Where an entry is stored, for its seal."""
    return f"entry {number} of call {call_id}"


class CallArchive:
    """Reads what `JournalWriter` wrote. Everything may raise `StoreUnavailable` and `JournalUnreadable`."""

    def __init__(self, store: CallStore, seal: Seal | None = None) -> None:
        self._store = store
        self._seal = seal or Seal()

    async def calls(self, limit: int = 100, *, live: bool = False) -> list[CallCard]:
        """The newest calls, newest first. One that cannot be read is listed as such."""
        return [self._legible(stored) for stored in await self._store.calls(limit, live=live)]

    async def calls_of(self, caller: str, limit: int = 10) -> list[CallCard]:
        """The newest calls of one caller, newest first, also those that were sealed with an older key."""
        cards: list[CallCard] = []
        for key in self._seal.caller_keys(caller):
            cards += self._cards(await self._store.calls(limit, caller_key=key))
        return sorted(cards, key=lambda card: card.answered_at, reverse=True)[:limit]

    async def find(self, call_id: str) -> CallCard | None:
        """One call's card."""
        stored = await self._store.find(call_id)
        return self._card(stored) if stored else None

    async def events(self, call_id: str, after: int = -1) -> list[JournalEvent]:
        """A call's journal, or its entries numbered above `after`; empty for one that is unknown."""
        entries = await self._store.read(call_id, after)
        return [self._event(call_id, number, entry) for number, entry in enumerate(entries, after + 1)]

    def _cards(self, stored: Iterable[StoredCall]) -> list[CallCard]:
        return [self._card(call) for call in stored]

    def _card(self, stored: StoredCall) -> CallCard:
        plain = self._seal.open(card_place(stored.call_id), stored.card)
        try:
            return msgspec.json.decode(plain, type=CallCard)
        except msgspec.MsgspecError as error:
            raise JournalUnreadable(f"{card_place(stored.call_id)}: {error}") from error

    def _legible(self, stored: StoredCall) -> CallCard:
        try:
            return self._card(stored)
        except JournalUnreadable:
            return CallCard(stored.call_id, "?", "", "", "", "", stored.ended, "sealed with another key")

    def _event(self, call_id: str, number: int, entry: bytes) -> JournalEvent:
        place = entry_place(call_id, number)
        try:
            return decode(self._seal.open(place, entry))
        except msgspec.MsgspecError as error:
            raise JournalUnreadable(f"{place}: {error}") from error
