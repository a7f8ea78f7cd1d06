"""baresip as a telephone with SRTP, in a namespace: it refuses to live on loopback."""

import json
import socket
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from telephony.simulator.sound import read_linear
from telephony.simulator.voice import RECORDINGS
from tests.peers.sip.daemons import READY_WITHIN_S, answers_options, daemon, need_programs
from tests.peers.sip.network import Network

PORT, CONTROL_PORT = 5060, 4444
CONFIG = """sip_listen {theirs}:{port}
audio_source aufile,{folder}/voice.wav
audio_player aufile,{folder}/heard.wav
audio_alert aufile,{folder}/voice.wav
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports 20000-20100
module_path {modules}
module g711.so
module aufile.so
module srtp.so
module uuid.so
module_app account.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {theirs}:{control}
"""


class Baresip:
    """The telephone, told what to do over its control socket (JSON in netstrings)."""

    def __init__(self, network: Network) -> None:
        self.address = f"{network.theirs}:{PORT}"
        self._socket = socket.create_connection((network.theirs, CONTROL_PORT), timeout=READY_WITHIN_S)
        self._received = b""
        self.told: list[dict[str, Any]] = []

    def do(self, command: str, params: str = "") -> None:
        """`dial`, `hangup`, `hold`, `resume`, `sndcode`."""
        text = json.dumps({"command": command, "params": params}).encode()
        self._socket.sendall(b"%d:%s," % (len(text), text))

    def until(self, kind: str) -> dict[str, Any]:
        """The next event of that type, `CALL_ESTABLISHED` say."""
        while True:
            fact = self._next()
            if fact.get("event") and fact.get("type") == kind:
                return fact
            self.told.append(fact)

    def _next(self) -> dict[str, Any]:
        while True:
            length, colon, rest = self._received.partition(b":")
            if colon and len(rest) > int(length):
                self._received = rest[int(length) + 1 :]
                fact: dict[str, Any] = json.loads(rest[: int(length)])
                return fact
            more = self._socket.recv(65536)
            assert more, f"baresip hung up its control socket after {self.told}"
            self._received += more

    def close(self) -> None:
        self._socket.close()


@contextmanager
def telephone(network: Network, folder: Path, account: str = "", certificate: Path | None = None) -> Iterator[Baresip]:
    """A telephone that answers at once. `account`: further parameters, `;mediaenc=srtp-mand` say. `certificate`: a file
    of the one that it shows, and its key."""
    need_programs("baresip")
    modules = next((found.parent for found in Path("/usr/lib").glob("**/baresip/modules/srtp.so")), None)
    if modules is None:
        pytest.skip("baresip is here without its modules")
    names = {"theirs": network.theirs, "port": PORT, "control": CONTROL_PORT, "folder": folder, "modules": modules}
    shown = f"sip_certificate {certificate}\n" if certificate else ""
    (folder / "config").write_text(CONFIG.format(**names) + shown)
    (folder / "accounts").write_text(f"<sip:phone@{network.theirs}:{PORT}>;regint=0;answermode=auto{account}\n")
    (folder / "contacts").touch()
    with wave.open(str(folder / "voice.wav"), "wb") as voice:
        voice.setnchannels(1)
        voice.setsampwidth(2)
        voice.setframerate(8000)
        speech = read_linear(RECORDINGS / "what-are-your-opening-hours.wav")
        voice.writeframes(b"".join([speech.astype("<i2").tobytes()] * 20))
    with daemon("baresip", network.inside("baresip", "-f", folder), folder) as running:
        running.until("baresip is ready")
        running.until_true(lambda: answers_options(network.theirs, PORT), "baresip answers OPTIONS")
        phone = Baresip(network)
        try:
            yield phone
        finally:
            phone.close()
