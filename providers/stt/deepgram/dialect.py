"""What the two protocols have in common, as one call's recognition sees them."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from providers.base import RecognitionEvent
from providers.errors import ProviderMalformed
from providers.stt.deepgram.vendor import NAME, AsyncDeepgramClient

T = TypeVar("T")

SURE = 0.8
"""Confidence from which a partial's words are as good as said."""
_LONGEST_S = 1e6


@dataclass(frozen=True, slots=True)
class Heard:
    """What a message says. The vendor has come as far as `reached_s` in the connection's audio; what stands before
    `settled_s` will not be needed again.

    A `FinalTranscript` with `finalized` may answer a `finalize`; whether somebody asked, the dialect does not know.
    """

    events: tuple[RecognitionEvent, ...] = ()
    settled_s: float = 0.0
    reached_s: float = 0.0


class Dialect(Protocol):
    """One of the two protocols and its state on one connection. `socket` is what `connect` gave."""

    chunk_ms: int
    """How much audio goes in one message."""
    idle_s: float
    """Without audio for so long, something must be sent."""
    idle_silence: bool
    """That something is silence; else it is a message of the protocol's own."""

    @property
    def expecting(self) -> bool:
        """Words are in the making: the vendor owes us messages."""
        ...

    @property
    def can_end_turn(self) -> bool:
        """`end_turn` would be heeded now."""
        ...

    def connect(self, client: AsyncDeepgramClient) -> AbstractAsyncContextManager[Any]: ...

    async def greeted(self, socket: Any) -> None:
        """Wait for what the vendor says first, if it is bound to say something."""
        ...

    async def keep_alive(self, socket: Any) -> None: ...

    async def end_turn(self, socket: Any) -> None:
        """Ask for the last words of the turn."""
        ...

    def hear(self, message: str | bytes) -> Heard:
        """Raises `ProviderError` for a message that says that all is lost, or that is none of the protocol."""
        ...

    def answer(self) -> Heard:
        """The vendor does not answer `end_turn`: the last partial is taken for its answer, once."""
        ...


class _Kind(msgspec.Struct, frozen=True):
    type: Any = None


_KINDS = msgspec.json.Decoder(_Kind)


def kind_of(message: str | bytes) -> Any:
    """The type of a message; None if it has none. Raises `ProviderMalformed` for what is no message."""
    if isinstance(message, bytes):
        raise ProviderMalformed(NAME, "a binary message")
    try:
        return _KINDS.decode(message).type
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError as error:
        raise ProviderMalformed(NAME, f"a message is no JSON: {error}") from error


def parsed(message: str | bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The fields that we need, checked. Raises `ProviderMalformed`."""
    try:
        return decoder.decode(message)
    except msgspec.DecodeError as error:
        raise ProviderMalformed(NAME, f"a message is not as promised: {error}") from error


def seconds(value: float) -> float:
    """A time within a stream. Raises `ProviderMalformed` for what can be none."""
    if not 0.0 <= value <= _LONGEST_S:
        raise ProviderMalformed(NAME, f"{value!r} is no time in a call")
    return value


def likelihood(value: float | None) -> float | None:
    """A confidence, brought into 0..1."""
    return None if value is None or value != value else min(1.0, max(0.0, value))
