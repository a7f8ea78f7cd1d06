"""Runs it here, for real: two bridges, a Redis that they share, and HAProxy in front. `make cluster`; Ctrl-C ends all.

Needs redis-server and haproxy (Debian: apt install). Settings come from the environment and `.env`, as for a
single bridge; PORT is the proxy's port, the others are taken as they are free. Prints the process ids, so that you
can kill one and hear what happens: a bridge that dies is started again. SIGHUP replaces one bridge after the other.
"""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

CONFIG = Path(__file__).with_name("haproxy.cfg")
STARTED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Part:
    """One process of the cluster, with its output in a file. A context manager: it runs until the block ends."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], state: Path) -> None:
        self.name = name
        self.log = state / f"{name}.log"
        self.last_signal = signal.SIGTERM
        self._command = command
        self._environment = environment
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        print(f"  {self.name:9} pid {self.process.pid:<7} log {self.log}", flush=True)

    @property
    def dead(self) -> bool:
        return self.process.poll() is not None

    def stop(self, number: signal.Signals) -> None:
        """Tell it, and wait for it."""
        self.process.send_signal(number)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(self.last_signal)


class Bridge(Part):
    """A bridge on a port of its own."""

    def __init__(self, number: int, command: list[str], environment: dict[str, str], state: Path) -> None:
        self.port = free_port()
        super().__init__(f"bridge-{number}", command, {**environment, "PORT": str(self.port)}, state)
        self.last_signal = signal.SIGINT  # in the end nobody comes after it

    def ready(self) -> bool:
        return answers(f"http://127.0.0.1:{self.port}/readyz")


def wait_until(what: str, true: Callable[[], bool], parts: list[Part]) -> None:
    """Raises `SystemExit`, with the ends of the logs, when it does not come true in time or a part has died."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while not true():
        if time.monotonic() > deadline or any(part.dead for part in parts):
            ends = (f"{part.log.name}: {part.log.read_text(errors='replace')[-800:].strip()}" for part in parts)
            sys.exit("\n\n".join((f"{what} does not answer.", *ends)))
        time.sleep(LOOK_EVERY_S)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Cluster:
    """All of it, once it runs."""

    def __init__(self, told: argparse.Namespace, state: Path, stack: ExitStack) -> None:
        """Raises `SystemExit` when a part does not start."""
        redis_port = free_port()
        options = ["--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(state), "--save", ""]
        redis = stack.enter_context(Part("redis", ["redis-server", *options], dict(os.environ), state))
        wait_until("Redis", lambda: accepts(redis_port), [redis])
        environment = {
            **os.environ,
            "STORE_URL": f"redis://127.0.0.1:{redis_port}/0",
            "PUBLIC_URL": os.environ.get("PUBLIC_URL") or f"http://127.0.0.1:{told.port}",
            "STATE_DIR": str(state / "bridges"),  # one for both: so each sees at once when the other is dead
        }
        command = [sys.executable, *shlex.split(told.bridge)]
        self.bridges = [stack.enter_context(Bridge(n, command, environment, state)) for n in (1, 2)]
        where = {f"BRIDGE_{number}": f"127.0.0.1:{bridge.port}" for number, bridge in enumerate(self.bridges, 1)}
        where |= {**os.environ, "PROXY_BIND": f"127.0.0.1:{told.port}"}
        proxy = stack.enter_context(Part("haproxy", ["haproxy", "-f", str(CONFIG)], where, state))
        parts = [redis, *self.bridges, proxy]
        wait_until("a bridge", lambda: all(bridge.ready() for bridge in self.bridges), parts)
        wait_until("the proxy", lambda: answers(f"http://127.0.0.1:{told.port}/readyz"), parts)

    def start_the_dead(self) -> None:
        for bridge in self.bridges:
            if bridge.dead:
                bridge.start()

    def replace_all(self) -> None:
        """One bridge after the other: the next when the last one's successor takes calls."""
        for bridge in self.bridges:
            print(f"Replacing {bridge.name}:", flush=True)
            bridge.stop(signal.SIGTERM)
            bridge.start()
            wait_until(bridge.name, bridge.ready, [bridge])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8080")), help="of the proxy")
    parser.add_argument(
        "--bridge", default="-m app.cli serve", help="what Python runs as a bridge (default: %(default)s)"
    )
    told = parser.parse_args()
    missing = [name for name in ("redis-server", "haproxy") if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (apt install redis-server haproxy)")
    replacing: list[int] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda number, _: replacing.append(number))
    with tempfile.TemporaryDirectory(prefix="sidetone-cluster-") as folder, ExitStack() as stack:
        try:
            print("Starting:", flush=True)
            cluster = Cluster(told, Path(folder), stack)
            url = f"http://127.0.0.1:{told.port}"
            print(f"\nSidetone listens on {url}   test call: PORT={told.port} make call", flush=True)
            while True:
                if replacing:
                    replacing.clear()
                    cluster.replace_all()
                cluster.start_the_dead()
                time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            print("\nStopping: live calls may come to their end.", flush=True)


if __name__ == "__main__":
    main()
