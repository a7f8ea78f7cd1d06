"""`python -m deploy.pjsua2`: build pjsua2 for the Python that runs this, and install it there. `make sip` calls it.

Run from the project's root. The first build on a machine takes a minute or two, one for another Python half a minute;
what was built stays in the user's cache folder and is built again when something that goes into it has changed.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

from deploy.pjsua2 import build, packages, source
from deploy.pjsua2.wrapper import UnexpectedSource


def main() -> int:
    """Install pjsua2 into this interpreter's environment, from the cache or freshly built."""
    try:
        _ensure(_cache())
    except (source.NoSource, packages.MissingPackages, UnexpectedSource, build.BuildFailed) as why:
        print(f"pjsua2 was not built: {why}", file=sys.stderr)
        return 1
    return 0


def _ensure(cache: Path) -> None:
    sources = source.chosen(cache)
    if (_installed() or "").endswith(f"+{_label(sources)}"):
        return
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wheel = _cached(cache, sources) or _built(cache, sources)
    _install(wheel)


def _built(cache: Path, sources: source.Sources) -> Path:
    started = time.monotonic()
    packages.install((*packages.BUILD, *packages.headers()))
    sources = source.fetch(sources, cache)
    if wheel := _cached(cache, sources):
        return wheel
    print("Building pjsua2; this takes a minute or two, once per machine", flush=True)
    tree = build.libraries(cache / "libraries" / _key(sources, build.OF_LIBRARIES), sources)
    wheel = build.wheel(tree, _shelf(cache, sources), _label(sources))
    print(f"Built {wheel.name} in {time.monotonic() - started:.0f} s", flush=True)
    return wheel


def _install(wheel: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    build.run([*pip, "--no-index", "--no-deps", "--force-reinstall", str(wheel)], cwd=wheel.parent)
    packages.install(packages.RUN)
    build.run([sys.executable, "-c", "import pjsua2; pjsua2.AudioRing"], cwd=wheel.parent)
    print(f"Installed pjsua2 {_installed()} for Python {platform.python_version()}", flush=True)


def _installed() -> str | None:
    try:
        return importlib.metadata.version("pjsua2")
    except importlib.metadata.PackageNotFoundError:
        return None


def _cached(cache: Path, sources: source.Sources) -> Path | None:
    return next(_shelf(cache, sources).glob(f"*-{build.TAG}-*.whl"), None)


def _shelf(cache: Path, sources: source.Sources) -> Path:
    return cache / "wheels" / _key(sources, build.OF_WHEEL)


def _label(sources: source.Sources) -> str:
    """What tells this build from others of the same version."""
    return f"sidetone.{_key(sources, build.OF_WHEEL)}"


def _key(sources: source.Sources, names: tuple[str, ...]) -> str:
    """A digest over everything that goes into a build: the sources, this recipe's files and the machine's kind."""
    parts = [sources.digest, platform.machine(), *(build.HERE.joinpath(name).read_text() for name in names)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "sidetone" / "pjsua2"


if __name__ == "__main__":
    sys.exit(main())
