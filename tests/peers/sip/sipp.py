"""SIPp: calls as XML scenarios, from a caller who keeps to the protocol and from some who do not."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from telephony.simulator.voice import RECORDINGS
from tests.peers.sip.daemons import need_programs, wait_until
from tests.telephony.sip.phones import free_ports

SCENARIOS = Path(__file__).with_name("scenarios")
DIGITS = Path("/usr/share/sip-tester")
VOICE = RECORDINGS / "what-are-your-opening-hours.wav"
"""The caller's voice as SIPp takes it: 8-bit mu-law."""
WITHIN_S = 25


@contextmanager
def scenario(name: str, target: str, folder: Path, *options: str, source: str = "127.0.0.1") -> Iterator["Run"]:
    """The scenario of that name, played against `target`; ended at the latest with the block."""
    need_programs("sipp")
    run = Run(name, target, folder, options, source)
    try:
        yield run
    finally:
        run.stop()


class Run:
    """SIPp at work. It exits with 0 when every call went as its scenario says."""

    def __init__(self, name: str, target: str, folder: Path, options: tuple[str, ...], source: str) -> None:
        self._folder = folder
        for name_here, there in (("pcap", DIGITS), ("voice.wav", VOICE)):
            if not (folder / name_here).exists():
                (folder / name_here).symlink_to(there)
        port = free_ports(4)
        command = ["sipp", target, "-sf", SCENARIOS / f"{name}.xml", "-i", source, "-mi", source, "-p", port]
        command += ["-mp", port + 2, "-m", 1, "-nostdin", "-trace_err", "-error_file", f"{name}.errors"]
        command += ["-trace_msg", "-message_file", f"{name}.messages"]
        command += ["-timeout", WITHIN_S, "-timeout_error", *options]
        self._name = name
        with (folder / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def received(self, start: str, times: int = 1) -> None:
        """Return once that many messages that start so have arrived."""
        messages = self._folder / f"{self._name}.messages"

        def arrived() -> bool:
            return messages.exists() and messages.read_text(errors="replace").count(f"\n{start}") >= times

        wait_until(arrived, f"sipp receives {start} {times} times")

    def finish(self) -> None:
        """Wait for its end; fail with what went otherwise than the scenario says."""
        code = self._process.wait(WITHIN_S + 10)
        errors = self._folder / f"{self._name}.errors"
        assert code == 0, f"sipp {self._name}: {code}\n{errors.read_text()[:3000] if errors.exists() else ''}"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)
