"""The store that an address names."""

from pathlib import Path

from app.calls.store.base import CallStore
from app.calls.store.errors import StoreMisconfigured
from app.calls.store.memory import MemoryStore
from app.calls.store.sqlite import SqliteStore
from telephony.clock import Clock

_FILE = "calls.sqlite"


def open_store(url: str, state_dir: Path, clock: Clock, *, keep_s: float) -> CallStore:
    """`memory:`, `sqlite:` (a file in `state_dir`; also the empty address), `sqlite:` and a path, or an address of
    Redis (see `RedisConnection`). Ended calls are kept for `keep_s`. Raises `StoreMisconfigured`."""
    scheme, _, rest = url.partition(":")
    if scheme in ("", "sqlite"):
        return SqliteStore(Path(rest.removeprefix("//")) if rest else state_dir / _FILE, clock, keep_s=keep_s)
    if scheme == "memory":
        return MemoryStore(clock, keep_s=keep_s)
    if scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel"):
        try:
            from app.calls.store.redis import RedisStore
        except ImportError:
            raise StoreMisconfigured("STORE_URL: Redis needs the package redis") from None
        return RedisStore(url, clock, keep_s=keep_s)
    raise StoreMisconfigured("STORE_URL: give memory:, sqlite:, redis://, rediss:// or redis+sentinel://")
