"""A real Redis server on a port of its own, for tests; ended by its process id."""

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest

_PROGRAM = "redis-server"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """`start` and `stop` it as often as a test likes; what it knew is gone with it. Skips the test where there is no
    such program."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        if shutil.which(_PROGRAM) is None:
            pytest.skip(f"no {_PROGRAM} on this machine")
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it takes connections."""
        fixed = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._folder))
        self._process = subprocess.Popen(
            [_PROGRAM, *(() if "--port" in self._options else ("--port", str(self.port))), *fixed, *self._options],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise AssertionError(f"{_PROGRAM} did not start")

    def pause(self) -> None:
        """It answers nobody, and closes no connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Wait for something real."""
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.01)
