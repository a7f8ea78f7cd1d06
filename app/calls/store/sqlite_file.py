"""A SQLite file as the event loop may use it: one thread does all the work, and nobody waits for ever.

Write-ahead logging lets processes read while one writes. A commit is not synced to the disk (`synchronous=NORMAL`): a
killed process loses nothing that was committed, a power cut perhaps the last moments.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from app.calls.store.errors import StoreFull, StoreMisconfigured, StoreUnavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_LOCK_WITHIN_S = 1.0
"""Waiting for another process's write."""
_ATTEMPTS = 8
_OPERATORS_FAULT = ("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")


class SqliteFile:
    """One file and one connection to it, which is opened when it is first needed, and again after every failure: so it
    finds a disk that was mended. `tables` (SQL) are made in a new file, whose `version` is noted in it."""

    def __init__(self, path: Path, *, tables: str, version: int, deadline_s: float) -> None:
        self._path = path
        self._tables = tables
        self._version = version
        self._deadline_s = deadline_s
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None
        self.openings = 0
        """How often the file was opened: what SQLite says of changes is of one connection."""

    def start(self) -> None:
        """Begin the thread."""
        self._thread = ThreadPoolExecutor(1, "store")

    async def stop(self) -> None:
        """Do what was asked for, close the file and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            await asyncio.to_thread(thread.shutdown)

    async def write(self, work: Work[T]) -> T:
        """Do it in a transaction of its own. Raises `StoreUnavailable`, `StoreFull` or `StoreMisconfigured`."""
        return await self.read(lambda db: transact(db, work))

    async def read(self, work: Work[T]) -> T:
        """The same without a transaction."""
        if self._thread is None:
            raise StoreUnavailable(f"{self._path} is closed")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await loop.run_in_executor(self._thread, self._do, work)
        except TimeoutError:
            raise StoreUnavailable(f"{self._path} did not answer within {self._deadline_s:g} s") from None

    def _do(self, work: Work[T]) -> T:
        try:
            if self._db is None:
                self._db = self._open()
            return work(self._db)
        except sqlite3.Error as error:
            self._close()
            raise self._fault(error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                self._path.touch(0o600)  # what people said on the telephone is for nobody else on this machine
        except OSError as error:
            raise StoreMisconfigured(f"STORE_URL or STATE_DIR: cannot make {self._path}: {error}") from error
        db = sqlite3.connect(self._path, timeout=_LOCK_WITHIN_S, isolation_level=None)
        try:
            _write_ahead(db)
            db.execute("PRAGMA synchronous = NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > self._version:
                raise StoreMisconfigured(f"{self._path} was written by a later version of this program")
            if version < self._version:
                db.executescript(f"BEGIN IMMEDIATE; {self._tables} PRAGMA user_version = {self._version}; COMMIT")
        except BaseException:
            db.close()
            raise
        self.openings += 1
        return db

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _fault(self, error: sqlite3.Error) -> Exception:
        name = str(getattr(error, "sqlite_errorname", ""))
        if name == "SQLITE_FULL":
            return StoreFull(f"{self._path}: no room left")
        if name.startswith(_OPERATORS_FAULT):
            return StoreMisconfigured(f"STORE_URL or STATE_DIR: {self._path}: {error}")
        return StoreUnavailable(f"{self._path}: {error}")


def _write_ahead(db: sqlite3.Connection) -> None:
    """Several processes that open a new file at once get in each other's way here, and SQLite, which sees a deadlock,
    lets one fail without waiting; one of the next attempts, behind the others' work, finds it done."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if attempt == _ATTEMPTS:
                raise
            _let_others_finish(db)
        else:
            return


def _let_others_finish(db: sqlite3.Connection) -> None:
    """For a lock SQLite does wait, if nobody else holds out for longer than that."""
    try:
        db.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return
    db.execute("ROLLBACK")


def transact(db: sqlite3.Connection, work: Work[T]) -> T:
    """Work whole or not at all. It begins by waiting for other writers, so that it never fails in the middle."""
    with _transaction(db):
        return work(db)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk has rolled it back already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
