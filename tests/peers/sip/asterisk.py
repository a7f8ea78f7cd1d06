"""Asterisk 22 as the PBX: from Debian sid, in a root directory of its own (cached) and a namespace of the test's."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.pjsua2.source import NoSource, mirror
from tests.peers.sip.daemons import answers_options, daemon, need_programs
from tests.peers.sip.network import Network

USER, PASSWORD = "bridge", "s3cret-Trunk"
COLLEAGUE = {"user": "colleague", "password": "s3cret-Desk"}
BUILD_WITHIN_S = 600
CONFIGURATION = Path(__file__).with_name("asterisk")
MODULES = """res_sorcery_config res_sorcery_astdb res_timing_timerfd res_http_websocket res_statsd res_geolocation
res_pjproject res_pjsip res_pjsip_session res_pjsip_sdp_rtp res_pjsip_registrar res_pjsip_authenticator_digest
res_pjsip_endpoint_identifier_user res_pjsip_caller_id res_pjsip_rfc3326 res_pjsip_dtmf_info res_pjsip_refer
res_pjsip_nat res_pjsip_pubsub res_rtp_asterisk res_srtp res_crypto res_clioriginate chan_pjsip bridge_simple
bridge_native_rtp bridge_softmix codec_ulaw codec_alaw codec_g722 codec_resample pbx_config app_dial app_echo
app_senddtmf app_read app_playtones app_verbose app_milliwatt app_stack func_callerid func_logic
app_playback app_mixmonitor format_wav""".split()


def root() -> Path:
    """The root directory, built the first time: about a minute, and 300 MB in the user's cache folder."""
    need_programs("debootstrap", "chroot")
    if os.geteuid() != 0:
        pytest.skip("a root directory with Asterisk needs root")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sidetone" / "peers"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / "asterisk-sid"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            try:
                command = [str(Path(__file__).with_name("asterisk_root.sh")), str(made), mirror()]
            except NoSource as nowhere:
                pytest.skip(f"no Asterisk: {nowhere}")
            built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_WITHIN_S, check=False)
            if built.returncode:
                pytest.skip(f"no Asterisk could be installed: {built.stderr.strip()[-300:]}")
    return made


class Asterisk:
    """The PBX, at `address`. Its dialplan (`asterisk/extensions.conf`) says who can be called."""

    def __init__(self, network: Network, root: Path, home: str) -> None:
        self.address = f"{network.theirs}:5060"
        self.folder = root / home.lstrip("/")
        self._command = network.inside("chroot", root, "asterisk", "-C", f"{home}/asterisk.conf")

    def ask(self, command: str) -> str:
        """What its command line says to that."""
        asked = [str(word) for word in [*self._command, "-rx", command]]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout

    def call_the_bridge(self, extension: str) -> None:
        """Call the registered bridge; who answers there talks to that extension here."""
        self.ask(f"channel originate PJSIP/{USER} extension {extension}@house")

    def send_caller(self, extension: str) -> None:
        """Have the one caller who is there go on at that extension."""
        channels = self.ask("core show channels concise").splitlines()
        (channel,) = (line.split("!")[0] for line in channels if line.startswith(f"PJSIP/{USER}-"))
        self.ask(f"channel redirect {channel} house,{extension},1")

    def trunk(self, **settings: object) -> dict[str, object]:
        """How the bridge reaches this PBX."""
        return {"name": "pbx", "server": self.address, "user": USER, "password": PASSWORD, **settings}


@contextmanager
def pbx(network: Network, folder: Path) -> Iterator[Asterisk]:
    """The PBX, ready."""
    where = root()
    home = f"/opt/{network.name}"
    inside = where / home.lstrip("/")
    shutil.rmtree(inside, ignore_errors=True)
    try:
        for name in ("run", "log", "spool", "db", "sounds"):
            (inside / name).mkdir(parents=True)
        libraries = next(where.glob("usr/lib/*/asterisk/modules"))
        names = {"HOME": home, "MODULES": f"/{libraries.relative_to(where)}", "ADDRESS": network.theirs}
        for template in CONFIGURATION.glob("*.conf"):
            text = template.read_text()
            for name, value in names.items():
                text = text.replace(f"@{name}@", value)
            (inside / template.name).write_text(text)
        loads = "".join(f"load => {module}.so\n" for module in MODULES)
        (inside / "modules.conf").write_text(f"[modules]\nautoload = no\npreload => res_sorcery_memory.so\n{loads}")
        asterisk = Asterisk(network, where, home)
        command = network.inside("chroot", where, "asterisk", "-C", f"{home}/asterisk.conf", "-f", "-n")
        with daemon("asterisk", command, folder) as running:
            running.until_true(lambda: answers_options(network.theirs, 5060), "asterisk answers OPTIONS")
            running.until_true(lambda: "fully booted" in asterisk.ask("core waitfullybooted"), "asterisk is up")
            yield asterisk
    finally:
        shutil.rmtree(inside, ignore_errors=True)
