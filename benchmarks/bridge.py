"""Starts and stops the process under test."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import BRIDGE_CORE

_START_S = 30.0
_STOP_S = 15.0

SETTINGS = {
    "STT_PROVIDER": "bench",
    "LLM_PROVIDER": "bench",
    "TTS_PROVIDER": "bench",
    "GREETING": "Hello.",
    "MAX_CALLS": "2000",
    "SILENCE_S": "60",
}


@dataclass(frozen=True)
class Bridge:
    """A running process under test."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running(*options: str, **settings: str) -> Iterator[Bridge]:
    """A process under test on its core; `options` as `benchmarks.serve` takes them, `settings` as the bridge does."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON", "ASTERISK"))}
    inherited["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    kept = tempfile.TemporaryDirectory(prefix="sidetone-")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve", str(port), str(BRIDGE_CORE), *options],
        env={**inherited, **SETTINGS, "PORT": str(port), "STATE_DIR": kept.name, **settings},
    )
    try:
        wait_until(lambda: _is_ready(port), process)
        yield Bridge(process.pid, port)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kept.cleanup()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Ask a process that starts until it is ready. Raises `RuntimeError` for one that ends, or takes too long."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with code {process.returncode}")
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} was not ready within {_START_S:g} s")


def _is_ready(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return connection.recv(64).split()[1:2] == [b"200"]
