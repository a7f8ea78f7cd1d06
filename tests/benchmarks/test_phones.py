"""The lean telephones speak the protocol that they leave most of out."""

import asyncio

import pytest
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from benchmarks.phones import Caller, Exchange, Phone, WebSocket, header


@pytest.mark.parametrize("size", [1, 125, 126, 390, 65535])
def test_a_server_reads_what_a_phone_frames(size: int) -> None:
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(header(size) + b"x" * size)
    (frame,) = server.events_received()
    assert frame.opcode is Opcode.TEXT  # type: ignore[union-attr]
    assert bytes(frame.data) == b"x" * size  # type: ignore[union-attr]


@pytest.mark.parametrize("cut", [1, 3, 7, 130, 10_000])
def test_messages_are_whole_however_the_network_cuts_them(cut: int) -> None:
    sent = [b"a", b"b" * 125, b"c" * 126, b"d" * 5000]
    stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    for message in sent:
        size = len(message)
        stream += b"\x81" + (bytes([size]) if size < 126 else bytes([126]) + size.to_bytes(2)) + message

    async def receive() -> list[bytes]:
        received: list[bytes] = []
        socket = WebSocket(received.append, lambda: None)
        for at in range(0, len(stream), cut):
            socket.data_received(stream[at : at + cut])
        return received

    assert asyncio.run(receive()) == sent


def test_an_exchange_spreads_its_phones_evenly_over_a_frame() -> None:
    async def place() -> list[int]:
        exchange = Exchange(slots=4)
        for _ in range(10):
            exchange.connect(Phone(1, Caller()))
        return [len(slot) for slot in exchange._slots]

    assert asyncio.run(place()) == [3, 3, 2, 2]
