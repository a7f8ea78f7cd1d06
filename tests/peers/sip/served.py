"""The bridge in a process of its own, as `sidetone serve` starts it: it can be killed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.peers.sip.daemons import Daemon
from tests.peers.sip.office import TOKEN
from tests.telephony.sip.phones import ROOT, free_ports

SCRIPTED = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted"}
STARTED_WITHIN_S = 60.0


class Served:
    """A running bridge."""

    def __init__(self, daemon: Daemon, url: str) -> None:
        self.daemon = daemon
        self._client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"})

    def ask(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def order(self, path: str, **wanted: Any) -> Any:
        return self._client.post(path, json=wanted).raise_for_status().json()

    def refused(self, path: str, **wanted: Any) -> httpx.Response:
        """The answer to an order that is not carried out."""
        answer = self._client.post(path, json=wanted)
        assert answer.is_error
        return answer

    def is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kinds(self, call_id: str) -> list[str]:
        """What happened in a call so far."""
        answer = self._client.get(f"/api/calls/{call_id}")
        return [] if answer.status_code == 404 else [event["kind"] for event in answer.json()["events"]]

    def close(self) -> None:
        self._client.close()

    def kill(self) -> None:
        """Without a word to anybody."""
        self.daemon.process.kill()
        self.daemon.process.wait(10)


@contextmanager
def served(folder: Path, sip_port: int, **environment: str) -> Iterator[Served]:
    """A bridge that keeps its state in `folder`, ready for calls."""
    folder.mkdir(exist_ok=True)
    port, first = free_ports(1), free_ports(60)
    variables = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "STATE_DIR": str(folder),
        "API_TOKEN": TOKEN,
        "MAX_CALLS": "10",
        "SIP_BIND": "127.0.0.1",
        "SIP_PORT": str(sip_port),
        "SIP_RTP_PORTS": f"{first}-{first + 59}",
        "SIP_OPTIONS_S": "0",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    command = [sys.executable, "-m", "app.cli", "serve"]
    running = Daemon(f"bridge-{sip_port}", command, folder, {**os.environ, **variables})
    bridge = Served(running, f"http://127.0.0.1:{port}")
    try:
        running.until_true(bridge.is_ready, "the bridge is ready", STARTED_WITHIN_S)
        yield bridge
    finally:
        bridge.close()
        running.stop()
