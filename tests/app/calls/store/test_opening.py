"""An address names its store."""

import asyncio
from pathlib import Path

import pytest

from app.calls.store.errors import StoreMisconfigured
from app.calls.store.memory import MemoryStore
from app.calls.store.opening import open_store
from app.calls.store.redis import RedisStore
from telephony.clock import MonotonicClock

CLOCK = MonotonicClock()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "state/calls.sqlite"),
        ("sqlite:", "state/calls.sqlite"),
        ("sqlite:{}/a.db", "a.db"),
        ("sqlite://{}/a.db", "a.db"),
    ],
)
def test_sqlite_is_the_default_and_its_file_can_be_named(tmp_path: Path, url: str, path: str) -> None:
    async def scene() -> None:
        async with open_store(url.format(tmp_path), tmp_path / "state", CLOCK, keep_s=60.0) as store:
            await store.check()
        assert (tmp_path / path).exists()

    asyncio.run(scene())


def test_memory_touches_no_disk(tmp_path: Path) -> None:
    assert isinstance(open_store("memory:", tmp_path, CLOCK, keep_s=60.0), MemoryStore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "rediss://h:1/0", "redis+sentinel://h:1/s", "rediss+sentinel://h:1/s"]
)
def test_redis_has_four_schemes(tmp_path: Path, url: str) -> None:
    assert isinstance(open_store(url, tmp_path, CLOCK, keep_s=60.0), RedisStore)


@pytest.mark.parametrize("url", ["mysql://h/db", "/var/calls", "calls"])
def test_other_addresses_are_refused_with_those_that_work(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="STORE_URL: give memory:, sqlite:"):
        open_store(url, tmp_path, CLOCK, keep_s=60.0)
