"""What can happen to a file: the disk is full, it is no database, somebody else writes, its process is killed."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.calls.store.base import Batch
from app.calls.store.errors import Forgotten, StoreFull, StoreMisconfigured, StoreUnavailable
from app.calls.store.sqlite import SqliteStore
from telephony.clock import MonotonicClock

CLOCK = MonotonicClock()


def batch(first: int, *entries: bytes, fence: int = 1, call_id: str = "CA1") -> Batch:
    return Batch(call_id, fence, first, entries, b"card" if first == 0 else None)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_nothing_is_torn_and_room_lets_it_go_on(tiny_disk: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tiny_disk / "calls.sqlite", CLOCK) as store:
            await store.acquire("CA1", "us", 60.0)
            await store.append([batch(0, b"begun")])
            (tiny_disk / "ballast").write_bytes(bytes(200 * 1024))
            stored = [1]

            async def fill() -> None:
                for number in range(1, 200, 2):
                    await store.append([batch(number, bytes(8192), bytes(8192))])
                    stored.append(2)

            with pytest.raises(StoreFull, match="no room left"):
                await fill()
            number = sum(stored)
            assert 1 < number < 80
            assert len(await store.read("CA1")) == number
            with pytest.raises(StoreFull):
                await store.append([batch(number, bytes(65536))])
            (tiny_disk / "ballast").unlink()
            await store.append([batch(number, bytes(8192), bytes(8192))])
            assert len(await store.read("CA1")) == number + 2

    asyncio.run(scene())


def test_a_disk_that_was_full_from_the_start_is_used_once_it_has_room(tiny_disk: Path) -> None:
    async def scene() -> None:
        (tiny_disk / "ballast").write_bytes(bytes(508 * 1024))
        async with SqliteStore(tiny_disk / "calls.sqlite", CLOCK) as store:
            with pytest.raises(StoreUnavailable):
                await store.check()
            (tiny_disk / "ballast").unlink()
            await store.check()

    asyncio.run(scene())


def test_another_process_that_writes_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tmp_path / "calls.sqlite", CLOCK) as store:
            await store.acquire("CA1", "us", 60.0)
            other = sqlite3.connect(tmp_path / "calls.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.append([batch(0, b"begun")])
            assert await store.read("CA1") == ()
            other.execute("COMMIT")
            other.close()
            assert await store.append([batch(0, b"begun")]) == ()

    asyncio.run(scene())


def test_a_file_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tmp_path / "calls.sqlite", CLOCK, deadline_s=0.1) as store:
            await store.acquire("CA1", "us", 60.0)
            other = sqlite3.connect(tmp_path / "calls.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"within 0\.1 s"):
                await store.append([batch(0, b"begun")])
            other.execute("COMMIT")
            other.close()

    asyncio.run(scene())


def test_a_file_that_was_restored_while_a_call_was_live_is_told_what_it_missed(tmp_path: Path) -> None:
    path, backup = tmp_path / "calls.sqlite", tmp_path / "backup.sqlite"

    async def scene() -> None:
        async with SqliteStore(path, CLOCK) as store:
            lease = await store.acquire("CA1", "them", 60.0)
            await store.append([batch(0, b"one", b"passing")])
            async with SqliteStore(path, CLOCK) as other:
                await other._file.read(lambda db: db.execute("VACUUM INTO ?", (str(backup),)))
            lease = await store.acquire("CA1", "us", 60.0, over=lease.fence)
            await store.append([batch(2, b"two", b"three", fence=lease.fence)])
        backup.rename(path)  # closed, it has left no other files
        async with SqliteStore(path, CLOCK) as store:
            (refused,) = await store.append([batch(4, b"four", fence=lease.fence)])
            assert isinstance(refused, Forgotten)
            again = await store.acquire("CA1", "us", 60.0, above=lease.fence)
            entries = (b"one", b"two", b"three", b"four")
            for _ in range(2):
                assert await store.append([Batch("CA1", again.fence, 0, entries, b"card", anew=True)]) == ()
            assert await store.append([batch(4, b"five", fence=again.fence)]) == ()
            assert await store.read("CA1") == (*entries, b"five")

    asyncio.run(scene())


def test_a_sweep_of_many_calls_takes_several_rounds_and_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tmp_path / "calls.sqlite", CLOCK, keep_s=0.0) as store:
            for number in range(450):
                await store.acquire(f"CA{number}", "us", -1.0)
            assert [await store.sweep() for _ in range(3)] == [True, True, False]
            assert await store.abandoned() == ()

    asyncio.run(scene())


@pytest.mark.parametrize("kind", ["no database", "later version", "folder", "not allowed"])
def test_a_file_that_cannot_be_used_is_refused_with_the_settings_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "calls.sqlite"
    match kind:
        case "no database":
            path.write_bytes(b"this is no database at all" * 100)
        case "later version":
            later = sqlite3.connect(path)
            later.execute("PRAGMA user_version = 99")
            later.close()
        case "folder":
            path.mkdir()
        case _:
            path = Path("/proc/calls.sqlite")

    async def scene() -> None:
        async with SqliteStore(path, CLOCK) as store:
            with pytest.raises(StoreMisconfigured, match=r"calls\.sqlite"):
                await store.check()

    asyncio.run(scene())


def test_what_callers_said_is_for_nobody_else_on_the_machine(tmp_path: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tmp_path / "deep" / "calls.sqlite", CLOCK) as store:
            await store.check()
            for path in (tmp_path / "deep").iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    asyncio.run(scene())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        async with SqliteStore(tmp_path / "calls.sqlite", CLOCK) as store:
            pass
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.check()

    asyncio.run(scene())


WRITER = """
import asyncio, sys
from pathlib import Path
from app.calls.store.base import Batch
from app.calls.store.sqlite import SqliteStore
from telephony.clock import MonotonicClock

async def main():
    async with SqliteStore(Path(sys.argv[1]), MonotonicClock()) as store:
        lease = await store.acquire(sys.argv[2], sys.argv[2], 60.0)
        number = 0
        while True:
            await store.append([Batch(lease.call_id, lease.fence, number, (b"x" * 100,) * 3, b"card")])
            number += 3
            print(number, flush=True)

asyncio.run(main())
"""


def test_processes_that_are_killed_while_they_write_leave_all_that_was_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in ("CA1", "CA2")
    ]
    confirmed = {}
    for writer, name in zip(writers, ("CA1", "CA2"), strict=True):
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) > 60:
                break
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        complete = [line, *rest.splitlines()]
        confirmed[name] = int(complete[-1])
        assert writer.returncode == -signal.SIGKILL

    async def scene() -> None:
        async with SqliteStore(path, CLOCK) as store:
            for name, number in confirmed.items():
                stored = len(await store.read(name))
                assert stored in (number, number + 3)

    asyncio.run(scene())
    assert os.path.exists(path)
