"""Kamailio as the carrier: registrar with digest, and proxy, over UDP, TCP and TLS."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.sip.daemons import Daemon, answers_options, certificate, daemon, need_programs
from tests.telephony.sip.phones import free_ports

ADDRESS = "127.0.0.1"
USER, PASSWORD = "bridge", "s3cret-Trunk"
DISPATCHER = Path(__file__).parents[3] / "deploy" / "kamailio"
TEMPLATE = Path(__file__).with_name("kamailio.cfg")
TLS = """[server:default]
method = TLSv1.2+
certificate = {certificate}
private_key = {key}
[client:default]
method = TLSv1.2+
"""


@dataclass
class Kamailio:
    """A carrier that can be stopped and started again at the same address."""

    port: int
    tls_port: int
    authority: Path
    folder: Path
    running: Daemon | None = None

    def start(self) -> None:
        command = ["kamailio", "-DD", "-E", "-f", self.folder / "kamailio.cfg", "-w", self.folder]
        self.running = Daemon("kamailio", [*command, "-Y", self.folder, "-m", "64", "-M", "8"], self.folder)
        self.running.until_true(lambda: answers_options(ADDRESS, self.port), "kamailio answers OPTIONS")

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None

    def trunk(self, **settings: object) -> dict[str, object]:
        """How the bridge reaches this carrier."""
        return {"name": "carrier", "server": f"{ADDRESS}:{self.port}", "user": USER, "password": PASSWORD, **settings}

    def registrations(self) -> int:
        """REGISTERs accepted so far."""
        assert self.running is not None
        return self.running.log.read_text(errors="replace").count("registered bridge for")


def modules() -> Path:
    """Where Debian keeps Kamailio's modules for this machine's kind."""
    need_programs("kamailio")
    for folder in Path("/usr/lib").glob("*/kamailio/modules"):
        if (folder / "tls.so").is_file() and (folder / "htable.so").is_file():
            return folder
    pytest.skip("kamailio is here without its modules tls and htable (kamailio-tls-modules, kamailio-extra-modules)")


def check(configuration: Path) -> str:
    """Have Kamailio read a configuration; what it says about it, empty when it is fine."""
    done = subprocess.run(
        ["kamailio", "-c", "-f", str(configuration)], capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stderr


@contextmanager
def proxy(folder: Path, port: int, trunk_port: int, bridges: Sequence[str], **settings: str) -> Iterator[Daemon]:
    """The proxy of deploy/kamailio on `port`, before bridges at these hosts and ports; `settings` as in its file."""
    shutil.copytree(DISPATCHER, folder)
    settings = {
        "PUBLIC": f"udp:{ADDRESS}:{port}",
        "TRUNK_PORT": str(trunk_port),
        "OWN_CONTACT": f"{ADDRESS}:{port}",
        "REGISTRATIONS": str(folder / "registrations"),
        **settings,
    }
    configuration = folder / "kamailio.cfg"
    text = configuration.read_text()
    for name, value in settings.items():
        text = re.sub(rf'^#!substdef "!{name}!.*!g"$', f'#!substdef "!{name}!{value}!g"', text, flags=re.MULTILINE)
    configuration.write_text(text)
    table = folder / "registrations" / "uacreg"
    table.write_text(table.read_text().replace("5070", str(trunk_port)).replace("5060", str(port)))
    lines = (f"0 sip:{bridge} 0 0 duid=bridge{number}\n" for number, bridge in enumerate(bridges, 1))
    (folder / "dispatcher.list").write_text("".join(lines))
    command = ["kamailio", "-DD", "-E", "-f", configuration, "-w", folder, "-Y", folder, "-m", "64", "-M", "8"]
    with daemon("dispatcher", command, folder) as running:
        running.until_true(lambda: answers_options(ADDRESS, port), "the dispatcher answers OPTIONS")
        yield running


@contextmanager
def dispatcher(folder: Path, trunk: Kamailio, port: int, bridges: Sequence[int]) -> Iterator[Daemon]:
    """The proxy of deploy/kamailio on `port`, registered at `trunk`, before bridges on these ports of this machine."""
    with proxy(folder, port, trunk.port, [f"{ADDRESS}:{bridge}" for bridge in bridges]) as running:
        running.until_true(lambda: trunk.registrations() > 0, "the dispatcher has registered at the trunk")
        yield running


@contextmanager
def carrier(folder: Path) -> Iterator[Kamailio]:
    """A carrier on loopback, ready."""
    where = modules()
    port = free_ports(2)
    authority, key = certificate(folder, "localhost")
    names = {"PORT": port, "TLS_PORT": port + 1, "MODULES": where, "FOLDER": folder}
    text = TEMPLATE.read_text()
    for name, value in names.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / "kamailio.cfg").write_text(text)
    (folder / "tls.cfg").write_text(TLS.format(certificate=authority, key=key))
    made = Kamailio(port, port + 1, authority, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
