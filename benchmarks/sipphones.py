"""Hundreds of SIP telephones in one process: `benchmarks.phones` for a trunk instead of a media websocket.

All of them share two UDP sockets, one for SIP and one for RTP. The bridge sends each call's sound from a port of its
own, which tells them apart; so a tick of the bridge is one run through one socket here, whatever the number of calls.
When a packet arrived is what the kernel says (SO_TIMESTAMPNS): a generator that is late does not make the bridge late.

The callers are those of `benchmarks.phones`. Sound counts when it arrives: there is no playout here.
"""

import asyncio
import base64
import re
import socket
import struct
import time
from collections import defaultdict
from itertools import count

from benchmarks.phones import Caller, CallFailed, Heard
from benchmarks.rtp import FRAME_S, Sender, Stream

_SO_TIMESTAMPNS = 35
_BUFFER = 4 * 1024 * 1024
_TIMESPEC = struct.Struct("@ll")
_ANSWER_S = 10.0
_SILENT_AFTER_S = 0.080
"""Without sound for so long, the agent has been stopped, or is done; at some moments packets come in pairs."""
_HOST = "127.0.0.1"


class SipTrunk:
    """The far end of the bridge's trunk. Use it inside the event loop; `close` it."""

    def __init__(self, bridge_port: int, sip_port: int) -> None:
        self._bridge = (_HOST, bridge_port)
        self._sip, self._rtp = _stamping_socket(sip_port), _stamping_socket(0)
        self.sip_port = sip_port
        self.rtp_port: int = self._rtp.getsockname()[1]
        self._by_id: dict[str, SipPhone] = {}
        self._by_source: dict[int, SipPhone] = {}
        self._unclaimed: dict[int, list[tuple[bytes, float]]] = defaultdict(list)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sip, self._read_sip)
        loop.add_reader(self._rtp, self._read_rtp)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for used in (self._sip, self._rtp):
            loop.remove_reader(used)
            used.close()

    def add(self, call_id: str, phone: "SipPhone") -> None:
        self._by_id[call_id] = phone

    def remove(self, call_id: str) -> None:
        self._by_id.pop(call_id, None)

    def claim(self, port: int, phone: "SipPhone") -> None:
        """What comes from this port of the bridge's is the phone's, what came since its INVITE included."""
        self._by_source[port] = phone
        for packet, at in self._unclaimed.pop(port, ()):
            if at >= phone.invited_at:
                phone.arrived(packet, at)

    def send(self, message: str) -> None:
        self._sip.sendto(message.encode(), self._bridge)

    def send_rtp(self, packet: bytes, port: int) -> None:
        self._rtp.sendto(packet, (_HOST, port))

    def _read_sip(self) -> None:
        for data, at, _ in _drain(self._sip):
            message = data.decode()
            phone = self._by_id.get(header(message, "Call-ID"))
            if phone is not None:
                phone.signalled(message, at)
            elif message.startswith(("OPTIONS", "BYE")):
                self.send(response(message))

    def _read_rtp(self) -> None:
        for packet, at, port in _drain(self._rtp):
            phone = self._by_source.get(port)
            if phone is None or phone.hung_up:
                self._unclaimed[port].append((packet, at))
            else:
                phone.arrived(packet, at)


class SipPhone:
    """One call. What it says and does with what it hears is its caller's matter."""

    _numbers = count(1)

    def __init__(self, trunk: SipTrunk, behave: Caller) -> None:
        self.number = next(self._numbers)
        self.heard = Heard()
        self.stream = Stream()
        self.play_end = 0.0
        """When the last of the agent's sound ended on the wire, or will have."""
        self.due = 0.0
        self.hung_up = False
        self.invited_at = self.answered_at = 0.0
        self.first_sound_at: float | None = None
        self._behave = behave
        self._trunk = trunk
        self._call_id = f"call-{self.number}@{_HOST}"
        self._local = f"<sip:5501@{_HOST}:{trunk.sip_port}>;tag=p{self.number}"
        self._remote = self._target = ""
        self._sequence = 0
        self._answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sender = Sender(self.number)
        self._port = 0
        self._sounding = False

    async def dial(self, called: str = "5500") -> None:
        """INVITE, answer, ACK. Raises `CallFailed`."""
        host, port = self._trunk._bridge
        self._target = f"sip:{called}@{host}:{port}"
        self._remote = f"<{self._target}>"
        self._trunk.add(self._call_id, self)
        self.invited_at = time.monotonic()
        sdp = (
            f"v=0\r\no=- 1 1 IN IP4 {_HOST}\r\ns=-\r\nc=IN IP4 {_HOST}\r\nt=0 0\r\n"
            f"m=audio {self._trunk.rtp_port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"
            "a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
        )
        await self._ask("INVITE", sdp)

    async def hang_up(self) -> None:
        """BYE, and its answer. Raises `CallFailed`."""
        if not self.hung_up and self._port:
            self.hung_up = True
            await self._ask("BYE")
        self._trunk.remove(self._call_id)

    async def _ask(self, method: str, body: str = "") -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._sequence += 1
        self._request(method, body)
        try:
            async with asyncio.timeout(_ANSWER_S):
                status = await self._answer
        except TimeoutError:
            raise CallFailed(f"no answer to {method}") from None
        if not status.startswith("200"):
            raise CallFailed(f"{method}: {status}")

    def _request(self, method: str, body: str = "") -> None:
        content = "Content-Type: application/sdp\r\n" if body else ""
        self._trunk.send(
            f"{method} {self._target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {_HOST}:{self._trunk.sip_port};branch=z9hG4bK{method}{self.number}.{self._sequence}\r\n"
            f"Max-Forwards: 70\r\nFrom: {self._local}\r\nTo: {self._remote}\r\nCall-ID: {self._call_id}\r\n"
            f"CSeq: {self._sequence} {method}\r\nContact: <sip:5501@{_HOST}:{self._trunk.sip_port}>\r\n"
            f"{content}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def signalled(self, message: str, at: float) -> None:
        """A SIP message of this call's arrived."""
        if not message.startswith("SIP/2.0"):
            if not message.startswith("ACK"):
                self._trunk.send(response(message))
            if message.startswith("BYE") and not self.hung_up:
                self.heard.failure, self.hung_up = "the bridge hung up", True
            return
        status, method = message[8:].partition("\r\n")[0], header(message, "CSeq").partition(" ")[2]
        if status.startswith("1"):
            return
        if method == "INVITE":
            self._accept(message, at) if status.startswith("200") else self._request("ACK")
        if not self._answer.done():
            self._answer.set_result(status)

    def _accept(self, message: str, at: float) -> None:
        contact, port = re.search(r"(?m)^Contact:.*<([^>]+)>", message), re.search(r"(?m)^m=audio (\d+)", message)
        if contact is None or port is None:
            raise CallFailed(f"not an answer: {message}")
        self._target, self._remote = contact[1], header(message, "To")
        self._request("ACK")
        if not self._port:
            self.answered_at, self._port = at, int(port[1])
            self._trunk.claim(self._port, self)

    # sound

    def tick(self, due: float) -> None:
        """A frame out; and whether the agent has fallen silent."""
        self.due = due
        if not self._port or self.hung_up:
            return
        frame = base64.b64decode(self._behave.frame(self, due))  # callers prepare it for a media message
        self._trunk.send_rtp(self._sender.packet(frame), self._port)
        if self._sounding and due > self.play_end + _SILENT_AFTER_S:
            self._sounding = False
            self._behave.agent_cleared(self, self.play_end)

    def arrived(self, packet: bytes, at: float) -> None:
        """An RTP packet of this call's arrived."""
        silent_s = self.stream.arrived(packet, at)
        if silent_s is None:
            return
        if self.first_sound_at is None:
            self.first_sound_at = at
        self._behave.agent_sounds(self, silent_s, at)
        self._sounding, self.play_end = True, at + FRAME_S
        self.heard.sounded_s += FRAME_S


def header(message: str, name: str) -> str:
    """The value of a header, empty without one."""
    found = re.search(rf"(?mi)^{name}: *(.*?)\r$", message)
    return found[1] if found else ""


def response(request: str) -> str:
    """200 to a request within a call, or to an OPTIONS."""
    via = "".join(f"{line}\r\n" for line in request.split("\r\n") if line.lower().startswith("via:"))
    same = "".join(f"{name}: {header(request, name)}\r\n" for name in ("From", "To", "Call-ID", "CSeq"))
    return f"SIP/2.0 200 OK\r\n{via}{same}Content-Length: 0\r\n\r\n"


def _stamping_socket(port: int) -> socket.socket:
    """For UDP, on loopback; the kernel says when each packet came."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    made.bind((_HOST, port))
    made.setblocking(False)
    return made


def _drain(source: socket.socket) -> list[tuple[bytes, float, int]]:
    """All that waits: packet, time of arrival on the monotonic clock, port it came from."""
    found = []
    ahead_s = time.monotonic() - time.time()
    while True:
        try:
            packet, told, _, address = source.recvmsg(2048, 64)
        except BlockingIOError:
            return found
        seconds, nanoseconds = _TIMESPEC.unpack(told[0][2])
        found.append((packet, seconds + nanoseconds / 1e9 + ahead_s, address[1]))
