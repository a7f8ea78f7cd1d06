"""What the bridge and a worker process say to each other: msgpack, each message behind its length.

The bridge configures a worker once; then `Audio`, `Finalize` and `Close` name the call they are about. The worker
answers `Ready` or `Unusable` to the first, and from then on sends what it hears.
"""

import struct

import msgspec

_LENGTH = struct.Struct(">I")
LENGTH_BYTES = _LENGTH.size

LONGEST = 1 << 24
"""Bytes of a message beyond which the other side has lost its mind."""


class Malformed(Exception):
    """Bytes that are no message: the other side's fault, and the end of it."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Positional, so that an audio message is its audio and a few bytes."""


# From the bridge


class Configure(_Message, frozen=True):
    """What to listen for. `folder` is where models may be written; the bridge removes it."""

    jsgf: str
    sentences: tuple[str, ...]
    folder: str


class Audio(_Message, frozen=True):
    """µ-law, 8 kHz, any number of samples. The first one opens the call."""

    call: int
    payload: bytes


class Finalize(_Message, frozen=True):
    """The turn is over: answer `Final(finalized=True)` to all audio before this."""

    call: int


class Close(_Message, frozen=True):
    call: int


Order = Configure | Audio | Finalize | Close

# From a worker


class Ready(_Message, frozen=True):
    """Warm: the first call waits for nothing."""


class Unusable(_Message, frozen=True):
    """The grammar cannot be listened for, and why; the worker ends."""

    remedy: str


class Partial(_Message, frozen=True):
    call: int
    text: str
    stable: bool
    complete: bool


class Final(_Message, frozen=True):
    call: int
    text: str
    confidence: float | None
    finalized: bool


class Lost(_Message, frozen=True):
    """Audio that came faster than it could be decoded."""

    call: int
    lost_ms: float


Report = Ready | Unusable | Partial | Final | Lost

_encode = msgspec.msgpack.Encoder().encode
_orders = msgspec.msgpack.Decoder(Order)
_reports = msgspec.msgpack.Decoder(Report)


def packed(message: Order | Report) -> bytes:
    """`message` as it goes through the pipe."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def length(header: bytes | bytearray) -> int:
    """Bytes of the message behind `header`. Raises `Malformed`."""
    count: int = _LENGTH.unpack(header)[0]
    if count > LONGEST:
        raise Malformed(f"a message of {count} bytes")
    return count


def report(body: bytes) -> Report:
    """What a worker says. Raises `Malformed`."""
    try:
        decoded: Report = _reports.decode(body)
        return decoded
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from error


class Orders:
    """The worker's end: bytes in, as they come, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Order]:
        """Orders that `data` completes. Raises `Malformed`."""
        self._buffer += data
        orders = []
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + length(self._buffer[:LENGTH_BYTES])
            if len(self._buffer) < end:
                break
            try:
                orders.append(_orders.decode(self._buffer[LENGTH_BYTES:end]))
            except msgspec.DecodeError as error:
                raise Malformed(str(error)) from error
            del self._buffer[:end]
        return orders
