"""The Debian packages that pjsua2 is built from and runs with."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

RUN = ("libssl3", "libsrtp2-1", "libopus0", "libsamplerate0")
BUILD = ("build-essential", "swig", "xz-utils", "libssl-dev", "libsrtp2-dev", "libopus-dev", "libsamplerate0-dev")
DEADLINE_S = 900.0


class MissingPackages(Exception):
    """Packages that only the user can install. The message names them."""


def install(wanted: tuple[str, ...]) -> None:
    """Install what is missing of `wanted`, given root; else say what to install."""
    missing = [package for package in wanted if not _installed(package)]
    if not missing:
        return
    named = " ".join(missing)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingPackages(
            f"SIP needs these packages first:\n  sudo apt-get install --no-install-recommends {named}"
        )
    print(f"Installing {named}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        command = ["apt-get", "--quiet=2", *step]
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        if done.returncode:
            raise MissingPackages(f"{' '.join(command)}\n{done.stderr.strip()}")


def headers() -> tuple[str, ...]:
    """The package with the headers of the running Python, where they are missing."""
    if Path(sysconfig.get_path("include"), "Python.h").is_file():
        return ()
    return (f"libpython{sys.version_info.major}.{sys.version_info.minor}-dev",)


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    if not shutil.which(query[0]):
        return False
    return subprocess.run(query, capture_output=True, text=True, timeout=60, check=False).stdout == "installed"
