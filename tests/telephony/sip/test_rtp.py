"""Packets of a peer's own making: other packet lengths, comfort noise, a source that is not the one announced."""

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.telephony.sip.peer import TONE
from tests.telephony.sip.phones import Phone, free_ports, need_pjsua2, phone_settings, phones
from tests.telephony.sip.wire import Dialog, UserAgent


class Stream:
    """Sends RTP in real time from a socket of its own, and counts the payload sizes of what comes back."""

    def __init__(self, there: tuple[str, int], payload_type: int = 0, ptime_ms: int = 20, body: bytes = TONE) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.005)
        self._there, self.payload_type, self._ptime_ms, self.body = there, payload_type, ptime_ms, body
        self.sizes: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(self._ptime_ms / 1000):
            number += 1
            header = struct.pack(">BBHII", 0x80, self.payload_type, number, number * self._ptime_ms * 8, 0x1234)
            self._socket.sendto(header + self.body, self._there)
            try:
                while True:
                    self.sizes.append(len(self._socket.recv(2048)) - 12)
            except TimeoutError:
                continue


@pytest.fixture(scope="module")
def line() -> Iterator[tuple[Phone, UserAgent, tuple[str, int]]]:
    need_pjsua2()
    port = free_ports(2)
    with UserAgent() as agent:
        trunk = {"name": "wire", "server": f"{agent.address}:{agent.port}", "register": False, "options_every_s": 0}
        with phones(phone_settings(port, trunks=[trunk])) as (bob,):
            yield bob, agent, ("127.0.0.1", port)


Line = tuple[Phone, UserAgent, tuple[str, int]]


@contextmanager
def talking(line: Line, media: str, **stream: object) -> Iterator[tuple[Phone, int, Stream]]:
    """A call to Bob with that media line, and a stream to where his answer says."""
    bob, agent, there = line
    dialog: Dialog = agent.invite(there, body=agent.sdp(media))
    number = bob.offered()["call"]
    answer = dialog.answered()
    port = re.search(r"m=audio (\d+)", answer.body)
    assert port is not None
    with Stream(("127.0.0.1", int(port[1])), **stream) as sending:  # type: ignore[arg-type]
        yield bob, number, sending
    dialog.bye()
    bob.until("CallEnded", call=number)


PCMU = "m=audio {port} RTP/AVP 0 13 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"


@pytest.mark.parametrize("ptime_ms", [10, 30, 40])
def test_packets_of_another_length_are_heard_and_sent_as_asked(line: Line, ptime_ms: int) -> None:
    media = f"{PCMU.format(port=9)}a=ptime:{ptime_ms}\r\n"
    body = (TONE * 2)[: ptime_ms * 8]
    with talking(line, media, ptime_ms=ptime_ms, body=body) as (bob, number, stream):
        bob.hears(number, loud=True)
        bob.hears(number, loud=True)
        assert set(stream.sizes[5:]) == {ptime_ms * 8}


def test_what_we_send_goes_where_the_peer_sends_from(line: Line) -> None:
    with talking(line, PCMU.format(port=9)) as (bob, number, stream):  # port 9 takes nothing
        bob.hears(number, loud=True)
        bob.hears(number, loud=True)
        assert len(stream.sizes) > 20


def test_comfort_noise_is_no_speech(line: Line) -> None:
    with talking(line, PCMU.format(port=9)) as (bob, number, stream):
        bob.hears(number, loud=True)
        stream.payload_type, stream.body = 13, b"\x40"
        bob.hears(number, loud=False)
        stream.payload_type, stream.body = 0, TONE
        bob.hears(number, loud=True)
