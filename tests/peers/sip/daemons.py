"""Other people's programs as peers: started in a folder of their own, awaited until they work, ended by process."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

READY_WITHIN_S = 20.0
END_WITHIN_S = 10.0
POLL_S = 0.02


def need_programs(*names: str) -> None:
    """Skip, saying what is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def wait_until(done: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s"
        time.sleep(POLL_S)


class Daemon:
    """A program that runs until it is stopped; what it prints is kept in a file."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def said(self, pattern: str) -> bool:
        return re.search(pattern, self.log.read_text(errors="replace")) is not None

    def until(self, pattern: str, within_s: float = READY_WITHIN_S) -> None:
        """Return once it has printed that. Fails at once if it died."""
        self.until_true(lambda: self.said(pattern), f"{self.name} says {pattern}", within_s)

    def until_true(self, done: Callable[[], bool], what: str, within_s: float = READY_WITHIN_S) -> None:
        def looked() -> bool:
            ended = self.process.poll()
            assert ended is None, f"{self.name} ended with {ended}:\n{self.log.read_text(errors='replace')[-3000:]}"
            return done()

        wait_until(looked, what, within_s)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_WITHIN_S)


@contextmanager
def daemon(name: str, command: Sequence[str | Path], folder: Path) -> Iterator[Daemon]:
    """The program, started; its user waits for what tells that it is ready."""
    running = Daemon(name, command, folder)
    try:
        yield running
    finally:
        running.stop()


def answers_options(address: str, port: int) -> bool:
    """Whether somebody answers OPTIONS there, over UDP: then a SIP server works, and does not only run."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(("127.0.0.1" if address.startswith("127.") else "", 0))
        asking.settimeout(0.2)
        asking.connect((address, port))
        own = "{}:{}".format(*asking.getsockname())
        lines = (
            f"OPTIONS sip:{address}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{time.monotonic_ns()};rport",
            "Max-Forwards: 70",
            f"From: <sip:ready@{own}>;tag=1",
            f"To: <sip:{address}:{port}>",
            f"Call-ID: {time.monotonic_ns()}@{own}",
            "CSeq: 1 OPTIONS",
            f"Contact: <sip:ready@{own}>",
            "Content-Length: 0",
        )
        try:
            asking.send(("\r\n".join(lines) + "\r\n\r\n").encode())
            return asking.recv(4096).startswith(b"SIP/2.0 ")
        except OSError:
            return False


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate of its own authority for `host`, and its key (PEM)."""
    need_programs("openssl")
    own, key = folder / "certificate.pem", folder / "key.pem"
    kind = "IP" if host[0].isdigit() else "DNS"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-keyout",
        str(key),
        "-out",
        str(own),
        "-subj",
        f"/CN={host}",
        "-addext",
        f"subjectAltName={kind}:{host}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return own, key
