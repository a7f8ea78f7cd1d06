"""A store in one SQLite file: the default, for all processes of one machine."""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from app.calls.store.base import Batch, HeldLease, Lease, StoredCall
from app.calls.store.errors import CallOver, FencedOff, Forgotten, LeaseHeld
from app.calls.store.memory import BOX_SIZE
from app.calls.store.sqlite_file import SqliteFile, transact
from telephony.clock import Clock

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    fence INTEGER NOT NULL,
    lease_until REAL NOT NULL,
    began_at REAL,
    ended_at REAL,
    caller_key TEXT NOT NULL DEFAULT '',
    card BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (began_at);
CREATE INDEX IF NOT EXISTS calls_by_caller ON calls (caller_key, began_at) WHERE caller_key != '';
CREATE INDEX IF NOT EXISTS calls_by_lease ON calls (lease_until) WHERE ended_at IS NULL;
CREATE TABLE IF NOT EXISTS entries (
    call_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    entry BLOB NOT NULL,
    PRIMARY KEY (call_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (token TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    message BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_owner ON messages (owner);
CREATE TABLE IF NOT EXISTS present (owner TEXT PRIMARY KEY, until REAL NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;
"""

_SWEPT_AT_ONCE = 200
"""Calls; more would hold up the writers."""
_LOOK_EVERY_S = 0.05
"""Into one's mailbox: SQLite tells other processes nothing by itself."""


class SqliteStore:
    """A `CallStore` in the file `path`, which is made if it is not there. Ended calls are kept for `keep_s`."""

    def __init__(self, path: Path, clock: Clock, *, keep_s: float = 86_400.0, deadline_s: float = 3.0) -> None:
        self._file = SqliteFile(path, tables=_TABLES, version=_VERSION, deadline_s=deadline_s)
        self._clock = clock
        self._keep_s = keep_s
        self._looked_at: tuple[str, int, int] | None = None
        """Whose mailbox was looked into last, and the file's version then; None: look."""

    async def __aenter__(self) -> Self:
        self._file.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._file.stop()

    async def check(self) -> None:
        await self._file.write(lambda db: db.execute("SELECT count(*) FROM secrets").fetchone())

    def _now(self) -> float:
        return self._clock.today().timestamp()

    # journals

    async def append(self, batches: Iterable[Batch]) -> tuple[FencedOff | Forgotten, ...]:
        given, now = tuple(batches), self._now()

        def work(db: sqlite3.Connection) -> tuple[FencedOff | Forgotten, ...]:
            usual = [batch for batch in given if batch.first and batch.card is None and not batch.ended]
            if len(usual) == len(given) and _append_all(db, usual):
                return ()
            refused = (_append(db, batch, now) for batch in given)
            return tuple(refusal for refusal in refused if refusal is not None)

        return await self._file.write(work)

    async def read(self, call_id: str, after: int = -1) -> tuple[bytes, ...]:
        query = "SELECT entry FROM entries WHERE call_id = ? AND number > ? ORDER BY number"
        rows = await self._file.read(lambda db: db.execute(query, (call_id, after)).fetchall())
        return tuple(entry for (entry,) in rows)

    async def calls(self, limit: int = 100, *, caller_key: str = "", live: bool = False) -> tuple[StoredCall, ...]:
        query = "SELECT call_id, card, began_at, ended_at FROM calls WHERE card IS NOT NULL"
        query += " AND caller_key = :caller_key" if caller_key else ""
        query += " AND ended_at IS NULL" if live else ""
        query += " ORDER BY began_at DESC LIMIT :limit"
        known = {"caller_key": caller_key, "limit": limit}
        rows = await self._file.read(lambda db: db.execute(query, known).fetchall())
        return tuple(StoredCall(call_id, card, began, ended is not None) for call_id, card, began, ended in rows)

    async def find(self, call_id: str) -> StoredCall | None:
        query = "SELECT card, began_at, ended_at FROM calls WHERE call_id = ? AND card IS NOT NULL"
        row = await self._file.read(lambda db: db.execute(query, (call_id,)).fetchone())
        return StoredCall(call_id, row[0], row[1], row[2] is not None) if row else None

    async def sweep(self) -> bool:
        now = self._now()

        def work(db: sqlite3.Connection) -> bool:
            query = "SELECT call_id FROM calls WHERE coalesce(ended_at, lease_until) <= ? LIMIT ?"
            old = db.execute(query, (now - self._keep_s, _SWEPT_AT_ONCE)).fetchall()
            db.executemany("DELETE FROM entries WHERE call_id = ?", old)
            db.executemany("DELETE FROM calls WHERE call_id = ?", old)
            for table in ("used", "messages", "present"):
                db.execute(f"DELETE FROM {table} WHERE until <= ?", (now,))
            return len(old) == _SWEPT_AT_ONCE

        return await self._file.write(work)

    # leases

    async def acquire(
        self, call_id: str, owner: str, ttl_s: float, *, over: int | None = None, above: int = 0
    ) -> Lease:
        now = self._now()

        def work(db: sqlite3.Connection) -> Lease:
            query = "SELECT owner, fence, lease_until, ended_at FROM calls WHERE call_id = ?"
            row = db.execute(query, (call_id,)).fetchone()
            if row is None:
                lease = Lease(call_id, owner, above + 1)
            else:
                held_by, fence, until, ended_at = row
                if ended_at is not None:
                    raise CallOver(call_id)
                if until > now and held_by != owner and fence != over and fence >= above:
                    raise LeaseHeld(call_id, held_by, fence, until - now)
                ours = until > now and held_by == owner and fence > above
                lease = Lease(call_id, owner, fence if ours else max(fence, above) + 1)
            db.execute(
                "INSERT INTO calls (call_id, owner, fence, lease_until) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "owner = excluded.owner, fence = excluded.fence, lease_until = excluded.lease_until",
                (call_id, owner, lease.fence, now + ttl_s),
            )
            return lease

        return await self._file.write(work)

    async def renew(self, leases: Iterable[Lease], ttl_s: float) -> tuple[FencedOff | Forgotten, ...]:
        given, until = tuple(leases), self._now() + ttl_s

        def work(db: sqlite3.Connection) -> tuple[FencedOff | Forgotten, ...]:
            lost: list[FencedOff | Forgotten] = []
            for lease in given:
                refusal = _refusal(db, lease)
                if refusal is not None:
                    lost.append(refusal)
                else:
                    db.execute("UPDATE calls SET lease_until = ? WHERE call_id = ?", (until, lease.call_id))
            return tuple(lost)

        return await self._file.write(work)

    async def release(self, lease: Lease) -> None:
        query = "UPDATE calls SET lease_until = ? WHERE call_id = ? AND fence = ?"
        now = self._now()
        await self._file.write(lambda db: db.execute(query, (now, lease.call_id, lease.fence)).rowcount)

    async def holder(self, call_id: str) -> HeldLease | None:
        query = "SELECT owner, fence, lease_until FROM calls WHERE call_id = ? AND ended_at IS NULL"
        row = await self._file.read(lambda db: db.execute(query, (call_id,)).fetchone())
        return HeldLease(Lease(call_id, row[0], row[1]), row[2] - self._now()) if row else None

    async def abandoned(self, limit: int = 100) -> tuple[HeldLease, ...]:
        now = self._now()
        query = (
            "SELECT call_id, owner, fence, lease_until FROM calls WHERE ended_at IS NULL AND lease_until <= ? "
            "ORDER BY lease_until LIMIT ?"
        )
        rows = await self._file.read(lambda db: db.execute(query, (now, limit)).fetchall())
        return tuple(HeldLease(Lease(call_id, owner, fence), until - now) for call_id, owner, fence, until in rows)

    # handshakes

    async def secret(self, name: str, offered: bytes) -> bytes:
        known = "SELECT secret FROM secrets WHERE name = ?"

        def work(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, offered))
            secret: bytes = db.execute(known, (name,)).fetchone()[0]
            return secret

        row = await self._file.read(lambda db: db.execute(known, (name,)).fetchone())
        return row[0] if row else await self._file.write(work)

    async def use_once(self, token: str, ttl_s: float) -> bool:
        now = self._now()
        query = "INSERT INTO used VALUES (?, ?) ON CONFLICT DO UPDATE SET until = excluded.until WHERE until <= ?"
        return await self._file.write(lambda db: db.execute(query, (token, now + ttl_s, now)).rowcount == 1)

    # mailboxes

    async def post(self, owner: str, message: bytes, ttl_s: float) -> None:
        until = self._now() + ttl_s

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO messages (owner, until, message) VALUES (?, ?, ?)", (owner, until, message))
            db.execute(
                "DELETE FROM messages WHERE owner = ?1 AND number <= (SELECT number FROM messages WHERE owner = ?1 "
                "ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (owner, BOX_SIZE),
            )

        await self._file.write(work)
        self._looked_at = None  # SQLite tells of other connections' changes only, not of our own

    async def collect(self, owner: str, within_s: float) -> tuple[bytes, ...]:
        deadline = self._clock.now() + within_s
        while True:
            messages = await self._file.read(lambda db: self._look(db, owner))
            now = self._clock.now()
            if messages or now >= deadline:
                return messages
            await self._clock.sleep_until(min(deadline, now + _LOOK_EVERY_S))

    def _look(self, db: sqlite3.Connection, owner: str) -> tuple[bytes, ...]:
        """Take the messages. Whether anything has changed at all costs a few microseconds to ask."""
        version = (owner, self._file.openings, *db.execute("PRAGMA data_version").fetchone())
        if version == self._looked_at:
            return ()
        query = "DELETE FROM messages WHERE owner = ? RETURNING number, until, message"
        rows = transact(db, lambda db: db.execute(query, (owner,)).fetchall())
        self._looked_at = version
        now = self._now()
        return tuple(message for _, until, message in sorted(rows) if until > now)

    # presence

    async def announce(self, owner: str, state: bytes, ttl_s: float) -> None:
        until = self._now() + ttl_s
        query = "INSERT OR REPLACE INTO present VALUES (?, ?, ?)"
        await self._file.write(lambda db: db.execute(query, (owner, until, state)).rowcount)

    async def retire(self, owner: str) -> None:
        query = "DELETE FROM present WHERE owner = ?"
        await self._file.write(lambda db: db.execute(query, (owner,)).rowcount)

    async def present(self) -> Mapping[str, bytes]:
        query, now = "SELECT owner, state FROM present WHERE until > ?", self._now()
        return dict(await self._file.read(lambda db: db.execute(query, (now,)).fetchall()))


_NEXT = """
INSERT OR IGNORE INTO entries SELECT ?1, ?3, ?4 WHERE
    EXISTS (SELECT 1 FROM calls WHERE call_id = ?1 AND fence = ?2)
    AND EXISTS (SELECT 1 FROM entries WHERE call_id = ?1 AND number = ?3 - 1)
"""


def _append_all(db: sqlite3.Connection, batches: Iterable[Batch]) -> bool:
    """The usual case, in one statement: entries that follow on those before, by owners who still are. False: there was
    an unusual one among them, and all are to be looked at; what was appended may be appended again."""
    rows = [
        (batch.call_id, batch.fence, number, entry)
        for batch in batches
        for number, entry in enumerate(batch.entries, batch.first)
    ]
    return db.executemany(_NEXT, rows).rowcount == len(rows)


def _refusal(db: sqlite3.Connection, owned: Batch | Lease) -> FencedOff | Forgotten | None:
    row = db.execute("SELECT fence FROM calls WHERE call_id = ?", (owned.call_id,)).fetchone()
    if row is None or row[0] < owned.fence:
        return Forgotten(owned.call_id)
    return FencedOff(owned.call_id, owned.fence, row[0]) if row[0] > owned.fence else None


def _append(db: sqlite3.Connection, batch: Batch, now: float) -> FencedOff | Forgotten | None:
    refusal = _refusal(db, batch)
    if refusal is not None:
        return refusal
    if batch.anew:
        db.execute("DELETE FROM entries WHERE call_id = ?", (batch.call_id,))
    if batch.first:
        previous = (batch.call_id, batch.first - 1)
        if not db.execute("SELECT 1 FROM entries WHERE call_id = ? AND number = ?", previous).fetchone():
            return Forgotten(batch.call_id)
    numbered = ((batch.call_id, batch.first + index, entry) for index, entry in enumerate(batch.entries))
    db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", numbered)
    if batch.first == 0 or batch.card is not None or batch.ended:
        db.execute(
            "UPDATE calls SET began_at = coalesce(began_at, ?), card = coalesce(?, card), "
            "caller_key = iif(? != '', ?, caller_key), ended_at = coalesce(ended_at, ?) WHERE call_id = ?",
            (now, batch.card, batch.caller_key, batch.caller_key, now if batch.ended else None, batch.call_id),
        )
    return None
