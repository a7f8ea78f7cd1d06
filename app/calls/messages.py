"""What processes tell each other about calls.

Short messages: through the store's mailboxes, or straight to a neighbour, who answers (`app.calls.neighbours`).
"""

from collections.abc import Iterable
from typing import Self

import msgspec

from app.calls.books import Left
from app.calls.journal import JournalEvent, to_json
from app.calls.journal import decode as decode_event
from app.calls.journal import encode as encode_event


class Message(msgspec.Struct, frozen=True, tag_field="kind"):
    """About one call."""

    call_id: str


class GiveUp(Message, frozen=True):
    """Somebody else has the caller on the line: leave the call to him. Only for the owner with this fence."""

    fence: int


class GiveBack(Message, frozen=True):
    """The caller is on the line of whoever had the call before: leave it to him, if you have no line. Only for the
    owner with this fence."""

    fence: int


class CarrierSaid(Message, frozen=True):
    """The carrier's word that the call is over."""

    status: str


class HangUpCall(Message, frozen=True):
    """Somebody asks for the call's end."""

    reason: str


class TransferCall(Message, frozen=True):
    """Somebody asks for the call to be handed over to `target`; see `CallSession.transfer`."""

    target: str
    reason: str
    attended: bool | None = None


class PressKeys(Message, frozen=True):
    """Somebody asks for keys to be pressed at the far end."""

    digits: str


class Inquire(Message, frozen=True):
    """Do you know this call? `stream_lost`: its carrier asks what to do without one."""

    stream_lost: bool = False


class HandOver(Message, frozen=True):
    """The caller is with us (`reason`): leave the call, and tell what there is to know."""

    reason: str


class Answer(msgspec.Struct, frozen=True, tag_field="kind"):
    """Of a process that knows the call, to a neighbour."""

    call_id: str


class Known(Answer, frozen=True):
    """How it stands. One that is over was handed on to a human (`transfer`), broke by our fault (`crashed`), or just
    ended."""

    live: bool
    transfer: bool = False
    crashed: bool = False


class HandedOver(Answer, frozen=True):
    """It is yours: `past` is all that is known of it, `waiting` what of that is perhaps not stored yet (see `Left`)."""

    past: list[msgspec.Raw]
    waiting: list[msgspec.Raw]
    stored: int
    above: int
    owners: list[str]
    anew: bool = False

    @classmethod
    def of(cls, call_id: str, past: Iterable[JournalEvent], left: Left) -> Self:
        waiting, owners = _written(left.waiting), sorted(left.owners)
        return cls(call_id, _written(past), waiting, left.stored, left.above, owners, left.anew)

    def read(self) -> tuple[list[JournalEvent], Left]:
        """The journal, and how it is to be written on. Raises `msgspec.MsgspecError`."""
        past = [decode_event(bytes(event)) for event in self.past]
        waiting = tuple(decode_event(bytes(event)) for event in self.waiting)
        return past, Left(self.stored, waiting, self.above, frozenset(self.owners), self.anew)


def _written(events: Iterable[JournalEvent]) -> list[msgspec.Raw]:
    return [msgspec.Raw(encode_event(event)) for event in events]


AnyMessage = GiveUp | GiveBack | CarrierSaid | HangUpCall | TransferCall | PressKeys | Inquire | HandOver
AnyAnswer = Known | HandedOver

_messages: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
_answers: msgspec.json.Decoder[AnyAnswer | None] = msgspec.json.Decoder(AnyAnswer | None)


def encode(message: Message | Answer | None) -> bytes:
    return to_json(message)


def decode(content: bytes) -> AnyMessage | None:
    """The message; None for one of a later version of this program."""
    try:
        return _messages.decode(content)
    except msgspec.DecodeError:
        return None


def decode_answer(content: bytes) -> AnyAnswer | None:
    """The answer; None for a process that does not know the call, and for one of a later version."""
    try:
        return _answers.decode(content)
    except msgspec.DecodeError:
        return None
