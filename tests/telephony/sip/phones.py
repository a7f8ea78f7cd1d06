"""Telephones in processes of their own (`peer.py`), as tests hold them: told what to do, and waited for."""

import json
import queue
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
WITHIN_S = 15.0


def need_pjsua2() -> None:
    """Skip what needs the wheel where it is missing."""
    library = pytest.importorskip("pjsua2", reason="pjsua2 is not installed: run `make sip`")
    if not hasattr(library, "AudioRing"):
        pytest.skip("the installed pjsua2 has no audio ring: run `make sip`")


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports, of which the first four are free for UDP and TCP.

    Below those that the kernel gives to whoever connects: nobody may have them by the time they are used.
    """
    while True:
        first = random.randrange(12_000, 32_000 - count)
        if all(_is_free(port) for port in range(first, first + min(count, 4))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        try:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Phone:
    """One telephone. Facts that it tells are kept until they are waited for; each is found once."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.telephony.sip.peer", json.dumps(settings)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.until("ready")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._queue.put(json.loads(line))
        self._queue.put(None)

    def do(self, order: str, **arguments: Any) -> None:
        """Returns when it is done, but for the last thing that it does: to quit."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._process.stdin.flush()
        if order != "quit":
            self.until("did", order=order)

    def until(self, event: str, **expected: Any) -> dict[str, Any]:
        """The next fact that matches, which is taken out; those before it stay."""
        seen = 0
        while True:
            for number in range(seen, len(self.told)):
                fact = self.told[number]
                if fact["event"] == event and all(fact.get(name) == value for name, value in expected.items()):
                    return self.told.pop(number)
            seen = len(self.told)
            try:
                fact = self._queue.get(timeout=WITHIN_S)
            except queue.Empty:
                told = [fact for fact in self.told if fact["event"] != "heard"]
                raise AssertionError(f"no {event} {expected} in {told}") from None
            if fact is None:
                raise AssertionError(f"the phone died ({self._process.wait()}) before {event}: {self.told}")
            self.told.append(fact)

    def hears(self, call: int, *, loud: bool) -> None:
        """Return once half a second of what the call brings was all loud, or all silent."""
        while (share := self.until("heard", call=call)["loud"]) not in ((1.0,) if loud else (0.0,)):
            assert 0.0 <= share <= 1.0

    def dial(self, **request: Any) -> int:
        self.do("dial", **request)
        return int(self.until("dialled")["call"])

    def offered(self) -> dict[str, Any]:
        return self.until("offered")

    def leave(self) -> None:
        """Send it home."""
        if self._process.poll() is None:
            self.do("quit")

    def left(self) -> int:
        """Its exit status, once it is gone."""
        try:
            return self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join(WITHIN_S)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def phone_settings(port: int, **extra: Any) -> dict[str, Any]:
    """An endpoint on loopback for up to ten calls."""
    return {
        "bind_address": "127.0.0.1",
        "port": port,
        "rtp_ports": [first := free_ports(60), first + 59],
        "max_calls": 10,
        **extra,
    }


@contextmanager
def phones(*settings: dict[str, Any]) -> Iterator[tuple[Phone, ...]]:
    """So many telephones; each has to end without a crash."""
    running: list[Phone] = []
    try:
        for told in settings:
            running.append(Phone(told))
        yield tuple(running)
    finally:
        for phone in running:
            phone.leave()
        ends = [phone.left() for phone in running]
    assert ends == [0] * len(settings)


@contextmanager
def two_phones(
    trunk: dict[str, Any] | None = None, bobs: dict[str, Any] | None = None, address: str = "127.0.0.1", **extra: Any
) -> Iterator[tuple[Phone, Phone]]:
    """Ann, who calls, and Bob, who is called: each is the other's trunk, without a registrar.

    `trunk` goes for both, `bobs` for Bob besides; `extra` are settings of their endpoints, which are both at `address`.
    """
    here, there = free_ports(2), free_ports(2)
    while abs(here - there) < 4:
        there = free_ports(2)
    transport = (trunk or {}).get("transport", "udp")
    offset = 1 if transport == "tls" else 0
    host = f"[{address}]" if ":" in address else address
    ends = []
    for own, other, name in ((here, there, "bob"), (there, here, "ann")):
        line = {
            "name": name,
            "server": f"localhost:{other + offset}" if offset else f"{host}:{other}",
            "register": False,
        }
        line |= {"user": "ann" if name == "bob" else "bob", "options_every_s": 0, **(trunk or {})}
        line |= (bobs or {}) if name == "ann" else {}
        ends.append(phone_settings(own, trunks=[line], tls_port=own + 1, bind_address=address, **extra))
    with phones(*ends) as (ann, bob):
        yield ann, bob
