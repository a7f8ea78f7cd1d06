"""A SIP user agent of a few lines, for what no well-behaved endpoint would send. UDP on loopback, blocking.

It speaks as `address`, any of 127.0.0.0/8: to be a stranger it only takes another one. What it receives is answered by
the test, which says what comes next; nothing is done by itself but the acknowledgement of an answer.
"""

import hashlib
import re
import socket
from dataclasses import dataclass
from itertools import count
from typing import Self

_branches = count(1)
SDP = "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n{media}"
AUDIO = "m=audio 9 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"


@dataclass(frozen=True)
class Packet:
    """One SIP message and where it came from."""

    text: str
    source: tuple[str, int]

    @property
    def start(self) -> str:
        return self.text.partition("\r\n")[0]

    @property
    def status(self) -> int:
        """Of a response; 0 of a request."""
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        return self.header("cseq").split(" ")[1]

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    def header(self, name: str) -> str:
        match = re.search(rf"^{name}\s*:\s*(.*)$", self.text, re.IGNORECASE | re.MULTILINE)
        return match[1].strip() if match else ""

    def headers(self, name: str) -> str:
        """All lines of that header, as they came."""
        return "".join(f"{line}\r\n" for line in re.findall(rf"(?im)^{name}\s*:.*$", self.text.replace("\r", "")))


class UserAgent:
    """One address and port."""

    def __init__(self, address: str = "127.0.0.1", within_s: float = 10.0, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._socket.settimeout(within_s)
        self.address, self.port = self._socket.getsockname()
        self.contact = f"sip:wire@{self.address}:{self.port}"
        self.name, self.encoding = "wire", "utf-8"
        self._sequence = count(1)
        self._kept: list[Packet] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, text: str, to: tuple[str, int]) -> None:
        self._socket.sendto(text.encode(self.encoding), to)

    def receive(self) -> Packet:
        data, source = self._socket.recvfrom(65_535)
        return Packet(data.decode(self.encoding, "replace"), source)

    def until(self, method: str, status: int | None = None) -> Packet:
        """The next request of that method, or response to it with that status (0 for a request)."""
        wanted = status or 0
        for number, packet in enumerate(self._kept):
            if (packet.method, packet.status) == (method, wanted):
                return self._kept.pop(number)
        while True:
            packet = self.receive()
            if (packet.method, packet.status) == (method, wanted):
                return packet
            self._kept.append(packet)

    def silent(self, seconds: float) -> bool:
        """Whether nothing at all comes for so long."""
        before = self._socket.gettimeout()
        self._socket.settimeout(seconds)
        try:
            self._kept.append(self.receive())
        except TimeoutError:
            return not self._kept
        finally:
            self._socket.settimeout(before)
        return False

    def sdp(self, media: str = AUDIO) -> str:
        return SDP.format(address=self.address, media=media)

    def invite(self, to: tuple[str, int], user: str = "5501", extra: str = "", body: str | None = None) -> "Dialog":
        """Send an INVITE; see `Dialog`."""
        return Dialog(self, to, user, extra, self.sdp() if body is None else body)

    def options(self, to: tuple[str, int]) -> None:
        """Send an OPTIONS, outside of any call."""
        Dialog(self, to, "5501", "", "", "OPTIONS")

    def answer(self, request: Packet, status: str, extra: str = "", body: str = "", tag: str = "t1") -> None:
        """Respond to a request: `status` is `200 OK`."""
        to = request.header("to")
        tagged = to if "tag=" in to or status.startswith("100") else f"{to};tag={tag}"
        content = "Content-Type: application/sdp\r\n" if body else ""
        self.send(
            f"SIP/2.0 {status}\r\n{request.headers('via')}{request.headers('record-route')}"
            f"From: {request.header('from')}\r\nTo: {tagged}\r\nCall-ID: {request.header('call-id')}\r\n"
            f"CSeq: {request.header('cseq')}\r\nContact: <{self.contact}>\r\n{extra}{content}"
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            request.source,
        )

    def next_sequence(self) -> int:
        return next(self._sequence)


class Dialog:
    """A call that a `UserAgent` places, or took (`of`): requests within it are made here."""

    def __init__(
        self, agent: UserAgent, to: tuple[str, int], user: str, extra: str, body: str, method: str = "INVITE"
    ) -> None:
        self._agent, self._to = agent, to
        number = next(_branches)
        self.call_id = f"{agent.name}-{number}@{agent.address}"
        self.local = f"<sip:wire@{agent.address}:{agent.port}>;tag=w{number}"
        self.remote = f"<sip:{user}@{to[0]}:{to[1]}>"
        self.target = f"sip:{user}@{to[0]}:{to[1]}"
        self._sequence = 1
        self._branch = ""
        self.request(method, extra, body)

    @classmethod
    def of(cls, agent: UserAgent, invite: Packet, tag: str = "t1") -> "Dialog":
        """The called side of a dialog that `agent` answered."""
        dialog = cls.__new__(cls)
        dialog._agent, dialog._to = agent, invite.source
        dialog.call_id = invite.header("call-id")
        dialog.local, dialog.remote = f"{invite.header('to')};tag={tag}", invite.header("from")
        contact = re.search(r"<([^>]*)>", invite.header("contact"))
        assert contact is not None
        dialog.target, dialog._sequence, dialog._branch = contact[1], 1, ""
        return dialog

    def request(self, method: str, extra: str = "", body: str = "", kind: str = "application/sdp") -> None:
        """Send a request of the dialog; ACK and CANCEL go with the last INVITE."""
        if method not in ("ACK", "CANCEL"):
            self._sequence += 1
        if method != "CANCEL":
            self._branch = f"z9hG4bKw{next(_branches)}"
        content = f"Content-Type: {kind}\r\n" if body else ""
        self._agent.send(
            f"{method} {self.target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self._agent.address}:{self._agent.port};branch={self._branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: {self.local}\r\nTo: {self.remote}\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {self._sequence} {method}\r\nContact: <{self._agent.contact}>\r\n"
            f"{extra}{content}Content-Length: {len(body)}\r\n\r\n{body}",
            self._to,
        )

    def answered(self, extra: str = "") -> Packet:
        """Wait for the 200 and acknowledge it, with `extra` headers."""
        answer = self._agent.until("INVITE", 200)
        self.remote = answer.header("to")
        contact = re.search(r"<([^>]*)>", answer.header("contact"))
        assert contact is not None
        self.target = contact[1]
        self.request("ACK", extra)
        return answer

    def bye(self) -> None:
        self.request("BYE")
        self._agent.until("BYE", 200)


def digest_is_right(request: Packet, password: str, nonce: str) -> bool:
    """Whether a REGISTER carries the right MD5 digest (RFC 2617, without qop)."""
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.header("authorization")))
    if given.get("nonce") != nonce:
        return False
    ha1 = hashlib.md5(f"{given['username']}:{given['realm']}:{password}".encode()).hexdigest()
    ha2 = hashlib.md5(f"REGISTER:{given['uri']}".encode()).hexdigest()
    return given.get("response") == hashlib.md5(f"{ha1}:{nonce}:{ha2}".encode()).hexdigest()
