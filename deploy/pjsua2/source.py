"""Where the sources of pjsua2 come from: pjproject out of Debian's source package `asterisk`, or the user's tarball.

Debian ships pjproject as one component of that package: the upstream release less the trees that it vendors. The
component's digest is pinned here. An archive keeps no old versions, so one day it offers a newer one under another
digest; then the archive's signed index vouches for it, and the build says so and goes on with it.
"""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SUITE = "sid"
PINNED = "6860c2f7604b4eee75f38151a9ef69774eb3f0c5286fc1d14bc1db2dc5a9e8aa"
"""SHA-256 of pjproject 2.17 as in asterisk 1:22.10.1."""
OVERRIDE = "PJSUA2_TARBALL"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_HELPER = "/usr/lib/apt/apt-helper"
DEADLINE_S = 600.0


class NoSource(Exception):
    """The sources cannot be had. The message says what the user can do."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources by their digest; the file exists once `fetch` was called."""

    digest: str
    path: Path


def chosen(cache: Path) -> Sources:
    """The sources that a build uses: the user's, else those that an earlier build accepted, else the pinned ones."""
    if override := os.environ.get(OVERRIDE):
        path = Path(override).expanduser()
        if not path.is_file():
            raise NoSource(f"{OVERRIDE} names {path}, which is no file")
        return Sources(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    accepted = _accepted(cache)
    return _stored(cache, accepted.read_text().strip() if accepted.is_file() else PINNED)


def fetch(sources: Sources, cache: Path) -> Sources:
    """Download the sources unless they are here. Returns others when the archive has moved on to them."""
    if sources.path.is_file():
        return sources
    if not (shutil.which("apt-get") and KEYRING.is_file()):
        raise NoSource(f"no apt with Debian's keys here: set {OVERRIDE} to a tarball of pjproject 2.17 or later")
    apt = _private_apt(cache / "apt")
    _run(["apt-get", "--quiet=2", "update"], apt)
    uri, digest = _component(apt)
    offered = _stored(cache, digest)
    if digest != PINNED:
        print(
            f"The archive has moved on from the sources that this recipe was written for.\n"
            f"  pinned   {PINNED}\n  offered  {digest}\n"
            f"Going on with what is offered: the archive's signed index vouches for it.",
            flush=True,
        )
    offered.path.parent.mkdir(parents=True, exist_ok=True)
    arriving = offered.path.with_suffix(".part")
    _run([APT_HELPER, "--quiet=2", "download-file", uri, str(arriving), f"SHA256:{digest}"], apt)
    arriving.rename(offered.path)
    if digest != PINNED:
        _accepted(cache).write_text(digest)
    return offered


def unpack(sources: Sources, into: Path) -> None:
    """The tree of the sources, without the archive's own top folder."""
    _run(
        ["tar", "--extract", "--strip-components=1", f"--file={sources.path}", f"--directory={into}"], dict(os.environ)
    )


def _stored(cache: Path, digest: str) -> Sources:
    return Sources(digest, cache / "sources" / digest)


def _accepted(cache: Path) -> Path:
    return cache / "sources" / f"instead-of-{PINNED}"


def _private_apt(home: Path) -> dict[str, str]:
    """The environment of an apt that knows nothing but the sources of `SUITE`; needs no root and changes no system."""
    for folder in ("lists/partial", "archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(f"deb-src [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    (home / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{home}/sources.list"; Dir::Etc::sourceparts "-";\n'
        f'Dir::State::Lists "{home}/lists"; Dir::Cache "{home}";\n'
        'Acquire::Check-Valid-Until "false"; # a mirror that stands still is as good: what it holds is signed\n'
        f'APT::Sandbox::User "{"root" if os.geteuid() == 0 else ""}";\n'
    )
    return {**os.environ, "APT_CONFIG": str(home / "apt.conf")}


def mirror() -> str:
    """The Debian mirror that this machine's packages come from."""
    shown = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], dict(os.environ))
    for uri in shown.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise NoSource(f"apt knows no Debian mirror here: set {OVERRIDE} to a tarball of pjproject 2.17 or later")


def _component(apt: dict[str, str]) -> tuple[str, str]:
    """Address and SHA-256 of the component, as the signed index has them."""
    listed = _run(["apt-get", "--print-uris", "--only-source", "source", "asterisk"], apt)
    for line in listed.splitlines():
        if "Xpjproject.tar" in line:
            uri, _, _, digest = line.split()
            return uri.strip("'"), digest.removeprefix("SHA256:")
    raise NoSource(f"Debian {SUITE} carries pjproject no more: set {OVERRIDE} to a tarball of pjproject 2.17 or later")


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if done.returncode:
        raise NoSource(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout
