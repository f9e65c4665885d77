"""
The embedded seen store: one SQLite file, for the processes of one machine.

Every call is one transaction that holds the file's write lock from its first read, in WAL mode with full sync: what
returned is on the disk. In it the store's marker is looked at, and before it whether the file is still the one that was
opened: a file that was deleted stays writable for who has it open. Nothing is opened before the first call.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from worker.edges import sqlite_rebuild
from worker.edges.data_folder import damaged
from worker.edges.seen_values import (
    DEFAULT_TTL_S,
    VERDICT_GRACE_S,
    Transaction,
    judging,
    knowing,
    restoring,
    routing,
    verdict_key,
)
from worker.ports import (
    KnownStory,
    RoutedVersion,
    SeenStoreAway,
    SeenStoreLost,
    TopicPartition,
    UnreadableInput,
    WrongSettings,
)
from worker.records import Fingerprint, Published, Verdict

T = TypeVar("T")
BUSY_S = 5.0
"""How long a call waits for another process's transaction."""
MARK_EVERY_S = 60
"""Committed offsets are noted at most so often: a verdict may live this much longer than VERDICT_GRACE_S."""
SWEEP = 64
"""Rows looked at, beyond four for each row written, on each call in search of expired ones."""
FORGET = 5_000
"""Verdicts deleted at most at once."""
_APPLICATION_ID = 0x44534545
"""`DSEE`, in the header of the file."""
_LAYOUT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch TEXT);
CREATE TABLE IF NOT EXISTS seen (key BLOB PRIMARY KEY, value BLOB NOT NULL, touched INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    space INTEGER NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL, at INTEGER NOT NULL, upto INTEGER NOT NULL,
    PRIMARY KEY (space, topic, part, at)
) WITHOUT ROWID;
"""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteSeen:
    """A SeenStore in the file *path*, or in memory when that is `:memory:`."""

    def __init__(
        self, path: Path | str, *, namespace: str = "live", ttl_s: int = DEFAULT_TTL_S, busy_s: float = BUSY_S
    ) -> None:
        self._path = str(path)
        self._namespace = namespace
        self._ttl_s = ttl_s
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._space = 0
        self._hand = b""
        self._joined: str | None = None

    def judge(self, fingerprints: Sequence[Fingerprint], *, now: datetime) -> Sequence[Verdict]:
        """As the port says. Raises also UnreadableInput when the file is damaged, as every method here."""
        if not fingerprints:
            return []
        with self._marked() as connection:
            return self._run(connection, judging(fingerprints, now), now=int(now.timestamp()))

    def record_routes(self, versions: Sequence[RoutedVersion]) -> Sequence[tuple[str, ...]]:
        if not versions:
            return []
        with self._marked() as connection:
            return self._run(connection, routing(versions), now=int(time.time()))

    def passed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        with self._transaction() as connection:
            marks = connection.execute(
                "SELECT topic, part, max(upto) FROM marks WHERE space = ? GROUP BY topic, part", (self._space,)
            ).fetchall()
        return {(topic, part): upto for topic, part, upto in marks if (topic, part) in partitions}

    def known(self, story: str) -> KnownStory | None:
        with self._transaction() as connection:
            return self._run(connection, knowing(story), now=int(time.time()))

    def committed(self, offsets: Mapping[TopicPartition, int], *, now: datetime) -> None:
        """Note *offsets*; verdicts below the marks that are old enough are deleted, a bounded number at once."""
        at = int(now.timestamp())
        with self._marked() as connection:
            for (topic, partition), offset in offsets.items():
                here = (self._space, topic, partition)
                (newest,) = connection.execute(
                    "SELECT max(at) FROM marks WHERE space = ? AND topic = ? AND part = ?", here
                ).fetchone()
                if newest is None or newest + MARK_EVERY_S <= at:
                    connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)", (*here, at, offset))
                self._forget(connection, here, at - VERDICT_GRACE_S)

    def _forget(self, connection: sqlite3.Connection, here: tuple[int, str, int], before: int) -> None:
        """Delete the verdicts that a mark made until *before* has passed, and that mark when none is left below it."""
        mark = connection.execute(
            "SELECT at, upto FROM marks WHERE space = ? AND topic = ? AND part = ? AND at <= ?"
            " ORDER BY at DESC LIMIT 1",
            (*here, before),
        ).fetchone()
        if mark is None:
            return
        at, upto = mark
        # `touched <= at`: a verdict given after the mark, because the group was set back, is not passed by it.
        low, high = self._name(verdict_key(*here[1:], 0)), self._name(verdict_key(*here[1:], upto))
        gone = connection.execute(
            "DELETE FROM seen WHERE key IN"
            " (SELECT key FROM seen WHERE key >= ? AND key < ? AND touched <= ? ORDER BY key LIMIT ?)",
            (low, high, at, FORGET),
        ).rowcount
        if gone < FORGET:
            connection.execute("DELETE FROM marks WHERE space = ? AND topic = ? AND part = ? AND at <= ?", (*here, at))

    def epoch(self) -> str | None:
        with self._transaction() as connection:
            return sqlite_rebuild.epoch(connection, self._space)

    def start_epoch(self, epoch: str) -> str | None:
        with self._transaction() as connection:
            marker = sqlite_rebuild.start(connection, self._space, epoch)
        if marker is not None:
            self.join(marker)
        return marker

    def join(self, epoch: str) -> None:
        self._joined = epoch

    def stand_still(self, partitions: Iterable[TopicPartition]) -> frozenset[TopicPartition]:
        with self._transaction() as connection:
            return sqlite_rebuild.stand_still(connection, self._space, partitions)

    def lease(self, holder: str, *, seconds: float) -> bool:
        with self._transaction() as connection:
            return sqlite_rebuild.take(connection, self._space, holder, seconds)

    def clear(self, holder: str, *, seconds: float) -> bool:
        with self._leased(holder, seconds) as connection:
            return sqlite_rebuild.clear(connection, self._space)

    def restore(self, published: Sequence[Published], *, holder: str, seconds: float, now: datetime) -> None:
        with self._leased(holder, seconds) as connection:
            if published:
                self._run(connection, restoring(published), now=int(now.timestamp()))

    def finish(self, holder: str, epoch: str) -> None:
        with self._leased(holder, 0) as connection:
            sqlite_rebuild.finish(connection, self._space, epoch)
        self.join(epoch)

    def warnings(self) -> Sequence[str]:
        return ["the seen store is in memory: it is gone when the process ends"] if self._path == ":memory:" else []

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _name(self, key: bytes) -> bytes:
        return self._space.to_bytes(2, "big") + key

    @contextmanager
    def _marked(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock of the store that was joined."""
        with self._transaction() as connection:
            if sqlite_rebuild.epoch(connection, self._space) != self._joined:
                raise SeenStoreLost("it is empty, or not the one that was joined")
            yield connection

    @contextmanager
    def _leased(self, holder: str, seconds: float) -> Iterator[sqlite3.Connection]:
        """Hold the write lock of a store that *holder* rebuilds."""
        with self._transaction() as connection:
            sqlite_rebuild.keep(connection, self._space, holder, seconds)
            yield connection

    def _run(self, connection: sqlite3.Connection, transaction: Transaction[T], *, now: int) -> T:
        """Run *transaction* under the write lock; what it writes is touched *now* (seconds since 1970)."""
        with closing(connection.cursor()) as cursor:

            def fetch(keys: Sequence[bytes]) -> list[bytes | None]:
                values: list[bytes | None] = []
                for key in keys:
                    row = cursor.execute("SELECT value, touched FROM seen WHERE key = ?", (self._name(key),)).fetchone()
                    alive = row is not None and (key[:1] == b"r" or row[1] > now - self._ttl_s)
                    values.append(row[0] if alive else None)
                return values

            result, writes = transaction(fetch)
            rows = [
                (self._name(key), value, now)
                for part in (writes.lasting, writes.expiring)
                for key, value in sorted(part.items())
            ]
            if rows:
                cursor.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", rows)
                self._sweep(cursor, now - self._ttl_s, SWEEP + 4 * len(rows))
        return result

    def _sweep(self, cursor: sqlite3.Cursor, before: int, rows: int) -> None:
        """
        Look at the next *rows* rows in key order, round and round, and delete what was last touched *before*.

        An index on the time would cost every write more than this.
        """
        seen = cursor.execute(
            "SELECT key, touched FROM seen WHERE key > ? AND key < ? ORDER BY key LIMIT ?",
            (self._hand, (self._space + 1).to_bytes(2, "big"), rows),
        ).fetchall()
        self._hand = seen[-1][0] if len(seen) == rows else self._name(b"")
        if self._hand[2:3] == b"r":  # verdicts have their own way to be forgotten
            self._hand = self._name(b"s")
        expired = [(key,) for key, touched in seen if touched <= before and key[2:3] != b"r"]
        if expired:
            cursor.executemany("DELETE FROM seen WHERE key = ?", expired)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock; commit at the end, roll back when anything is raised."""
        with self._lock:
            try:
                if self._connection is not None and self._identity() != self._file:
                    self._drop()
                connection = self._connection or self._open()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
            except sqlite3.DatabaseError as error:
                self._drop()
                # The lowest byte is the primary code; without a code it is our own mistake and must be loud.
                code = getattr(error, "sqlite_errorcode", None)
                if code is None:
                    raise
                if code & 0xFF in _DAMAGED:
                    raise UnreadableInput(f"seen store {damaged(self._path, error)}") from error
                raise SeenStoreAway(f"seen store {self._path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        self._connection = connection
        self._check_ours(connection)
        _write_ahead(connection, within_s=self._busy_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        self._check_ours(connection)
        for statement in (_SCHEMA + sqlite_rebuild.SCHEMA).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_LAYOUT}")
        connection.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (self._namespace,))
        (self._space,) = connection.execute("SELECT id FROM spaces WHERE name = ?", (self._namespace,)).fetchone()
        self._hand = self._name(b"")
        connection.commit()
        self._file = self._identity()
        return connection

    def _identity(self) -> tuple[int, int]:
        """Return what tells the file at our path from another one there; zeros when there is none."""
        if self._path == ":memory:":
            return (0, 0)
        try:
            found = os.stat(self._path)  # noqa: PTH116 (a path object costs more, on every call)
        except OSError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def _check_ours(self, connection: sqlite3.Connection) -> None:
        """Look at what is cheap to look at; damage elsewhere is told when it is met."""
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION_ID:
            self._drop()
            raise WrongSettings(f"seen store {self._path}: an SQLite file of something else")
        if layout > _LAYOUT:
            self._drop()
            raise SeenStoreAway(f"{self._path} was laid out by a newer release ({layout}, this one knows {_LAYOUT})")
        for table in ("spaces", "marks"):
            said = connection.execute(f"PRAGMA quick_check('{table}')").fetchone()[0]
            if said != "ok":
                self._drop()
                raise UnreadableInput(f"seen store {damaged(self._path, said)}")

    def _drop(self) -> None:
        """Close a connection of unknown state; a store in memory lives in its connection and keeps it."""
        if self._connection is not None and self._path != ":memory:":
            self._connection.close()
            self._connection = None


def _write_ahead(db: sqlite3.Connection, *, within_s: float) -> None:
    """
    Switch *db* to a write-ahead log.

    SQLite does not wait here for another connection that is switching too, whatever its busy time: so we do.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
