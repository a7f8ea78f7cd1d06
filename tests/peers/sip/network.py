"""A network of the test's own: a namespace for the peer, and a line to it, clean or lossy. The test removes it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.sip.daemons import daemon, need_programs


@dataclass(frozen=True)
class Impairment:
    """What a line does to packets, in each direction."""

    loss: float
    delay_ms: float
    jitter_ms: float


@dataclass(frozen=True)
class Network:
    """`ours` is our address on the line, `theirs` the peer's, in the namespace `name`."""

    name: str
    ours: str
    theirs: str

    def inside(self, *command: str | Path) -> list[str | Path]:
        """The command as it runs in the peer's namespace."""
        return ["ip", "netns", "exec", self.name, *command]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        pytest.skip(f"no network namespace can be made here: ip {' '.join(words)}: {done.stderr.strip()}")


def _numbers() -> Iterator[int]:
    """From one that is this process's, so that tests that run at the same time do not meet."""
    return (number % 16_000 for number in range(7 * os.getpid(), 7 * os.getpid() + 16_000))


@contextmanager
def network(folder: Path, impairment: Impairment | None = None) -> Iterator[Network]:
    """A namespace with one line to it. Needs root."""
    need_programs("ip")
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    number = next(number for number in _numbers() if not Path(f"/run/netns/sidetone{number}").exists())
    first = f"10.{200 + number // 250 % 50}.{number % 250}"
    made = Network(f"sidetone{number}", f"{first}.1", f"{first}.2")
    _ip("netns", "add", made.name)
    try:
        _ip("-n", made.name, "link", "set", "lo", "up")
        devices = f"st{number}a", f"st{number}b"
        if impairment is None:
            _ip("link", "add", devices[0], "type", "veth", "peer", "name", devices[1])
            _address(made, devices)
            yield made
        else:
            if not Path("/dev/net/tun").exists():
                pytest.skip("no tunnel devices here")
            numbers = [str(impairment.loss), str(impairment.delay_ms), str(impairment.jitter_ms)]
            script = Path(__file__).with_name("lossy_line.py")
            with daemon("line", [sys.executable, script, *devices, *numbers], folder) as line:
                line.until("ready")
                _address(made, devices)
                yield made
    finally:
        _ip("netns", "delete", made.name)  # and with it its end of the line


def _address(made: Network, devices: tuple[str, str]) -> None:
    ours, theirs = devices
    _ip("link", "set", theirs, "netns", made.name)
    for where, device, own, other in (
        ((), ours, made.ours, made.theirs),
        (("-n", made.name), theirs, made.theirs, made.ours),
    ):
        _ip(*where, "addr", "add", f"{own}/32", "peer", other, "dev", device)
        _ip(*where, "link", "set", device, "up")
