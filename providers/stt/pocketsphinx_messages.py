"""What the bridge and a PocketSphinx worker say to each other: length-prefixed messages over a pipe."""

import struct

import msgspec

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size
MESSAGE_LIMIT = 4 * 1024 * 1024
"""No message is longer; the longest is the set-up, with its grammar and sentences."""


class SetUp(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """First of all: what to expect (see `providers.base.Grammar`)."""

    jsgf: str
    sentences: tuple[str, ...]


class Open(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A call begins."""

    call: int


class Audio(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Sound of a call, µ-law 8 kHz."""

    call: int
    payload: bytes


class Finalize(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer with `Final` now."""

    call: int


class Close(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A call ends."""

    call: int


ToWorker = SetUp | Open | Audio | Finalize | Close


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The models are loaded."""

    words: int


class Partial(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The utterance so far."""

    call: int
    text: str
    stable: bool
    complete: bool


class Final(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The utterance; empty if nothing was said or nothing understood."""

    call: int
    text: str
    confidence: float


FromWorker = Ready | Partial | Final

_encoder = msgspec.msgpack.Encoder()


def encode(message: ToWorker | FromWorker) -> bytes:
    """A message as it goes over the pipe."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def length(prefix: bytes) -> int:
    """Bytes of the message that follows. Raises `ValueError` if that cannot be."""
    size: int = _LENGTH.unpack(prefix)[0]
    if size > MESSAGE_LIMIT:
        raise ValueError(f"a message of {size} bytes")
    return size
