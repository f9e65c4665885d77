"""
The file of the embedded log: its tables, how it is opened, and what its errors mean.

A record's row id is `partition id << 40 | offset`, so that each partition is one range of the table, in order.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from worker.edges.data_folder import damaged
from worker.ports import LogUnavailable, UnreadableInput, WrongSettings

APPLICATION_ID = 0x444C4F47
"""`DLOG`, in the header of the file."""
VERSION = 1
OFFSET_BITS = 40
BUSY_TIMEOUT_S = 5.0
PAGE_SIZE = 16_384
"""Holds three usual records, so that few of them need overflow pages."""
_WAL_BYTES = 16 * 1024 * 1024
_OPEN_RETRY_S = 0.02

_TABLES = """
CREATE TABLE topic (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, first_part INTEGER NOT NULL,
  retention_ms INTEGER, compacted INTEGER NOT NULL, min_compaction_lag_ms INTEGER NOT NULL,
  max_message_bytes INTEGER NOT NULL
);
CREATE TABLE part (           -- a partition; the numbers of one topic's partitions follow each other
  id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
  cleaned INTEGER NOT NULL    -- compaction has seen all below this offset
);
CREATE TABLE record (
  id INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL,
  same INTEGER,               -- partition id << 32 | CRC-32 of the key, on compacted topics only
  key BLOB, value BLOB, headers BLOB
);
CREATE INDEX record_same ON record (same) WHERE same IS NOT NULL;
CREATE TABLE consumers (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL);
CREATE TABLE member (         -- rows stay for ever: an epoch must never come again
  consumers INTEGER NOT NULL, identity TEXT NOT NULL, epoch INTEGER NOT NULL, topics TEXT NOT NULL,
  alive INTEGER NOT NULL, heartbeat REAL NOT NULL, session_timeout REAL NOT NULL, PRIMARY KEY (consumers, identity)
) WITHOUT ROWID;
CREATE TABLE assignment (     -- since: the generation in which this owner got the partition
  consumers INTEGER NOT NULL, part INTEGER NOT NULL, identity TEXT NOT NULL, since INTEGER NOT NULL,
  PRIMARY KEY (consumers, part)
) WITHOUT ROWID;
CREATE TABLE committed (
  consumers INTEGER NOT NULL, part INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (consumers, part)
) WITHOUT ROWID;
CREATE TABLE cleaning (id INTEGER PRIMARY KEY CHECK (id = 1), part INTEGER NOT NULL, started REAL NOT NULL);
INSERT INTO cleaning VALUES (1, 0, 0);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A row of `topic`."""

    name: str
    partitions: int
    first_part: int
    retention_ms: int | None
    compacted: bool
    min_compaction_lag_ms: int
    max_message_bytes: int


_CLOCK = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)


def boot_clock() -> float:
    """Return seconds since the machine started: the same for all its processes, and nobody can set it."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says about the file at *path* into what the log's port says."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LogUnavailable(f"{path}: another process has kept the log locked for too long") from error
        if code == sqlite3.SQLITE_FULL:
            raise LogUnavailable(f"{path}: no room to write ({error}): free space on its disk") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
            name = getattr(error, "sqlite_errorname", "")
            raise LogUnavailable(f"{path}: the file cannot be read or written ({error}, {name})") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise UnreadableInput(damaged(path, error)) from error
        raise
    except msgspec.DecodeError as error:
        raise UnreadableInput(damaged(path, f"headers of a record: {error}")) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open the file at *path*, which `prepare` has made; for one thread. Raises: LogUnavailable, UnreadableInput."""
    with errors(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
        try:
            _configure(db)
        except BaseException:
            db.close()
            raise
        return db


def prepare(path: Path) -> None:
    """
    Make the file at *path* where it is missing, and check that it is a log that this release can read.

    Raises: WrongSettings: another kind of file, of a newer release, or on a disk without shared memory; LogUnavailable;
    UnreadableInput.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongSettings(f"{path}: its folder cannot be made: {error.strerror}") from error
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            with errors(path), closing(sqlite3.connect(path, isolation_level=None)) as db:
                _prepare(db, path)
                return
        except LogUnavailable as error:
            # SQLite does not wait by itself where two processes switch a new file to WAL at once.
            cause = error.__cause__
            busy = isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_OPEN_RETRY_S)


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    _check_version(db, path)
    _configure(db)
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise WrongSettings(f"{path}: its file system allows no write-ahead log (got {mode!r}): use a local disk")
    if _check_version(db, path):
        _check_sound(db, path)
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _check_version(db, path):
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    finally:
        rollback(db)


def _check_version(db: sqlite3.Connection, path: Path) -> bool:
    """Return whether the tables are there."""
    # In this order: whoever makes the tables sets both numbers in the same transaction.
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application != APPLICATION_ID:
        raise WrongSettings(f"{path}: an SQLite file of something else, not a log")
    if version > VERSION:
        raise WrongSettings(f"{path}: written by a newer release (schema {version}, this one knows {VERSION})")
    return True


def _check_sound(db: sqlite3.Connection, path: Path) -> None:
    """
    Look at what is cheap to look at: the small tables, and both ends of each partition.

    A whole `integrity_check` reads the whole file; damage elsewhere is told when it is met.
    """
    db.execute("BEGIN")  # one snapshot, while others write
    try:
        for table in ("topic", "part", "consumers", "member", "assignment", "committed", "cleaning"):
            said = db.execute(f"PRAGMA quick_check('{table}')").fetchone()[0]
            if said != "ok":
                raise UnreadableInput(damaged(path, said))
        for part, first, end in db.execute("SELECT id, first, next FROM part").fetchall():
            base = part << OFFSET_BITS
            low, high = db.execute(
                "SELECT (SELECT min(id) FROM record WHERE id >= ?1 AND id < ?2),"
                " (SELECT max(id) FROM record WHERE id >= ?1 AND id < ?2)",
                (base, (part + 1) << OFFSET_BITS),
            ).fetchone()
            if low is not None and not base | first <= low <= high < base | end:
                raise UnreadableInput(damaged(path, f"partition {part} has records outside of {first} to {end}"))
    finally:
        rollback(db)


def _configure(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = OFF")
    db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_BYTES // PAGE_SIZE}")
    db.execute(f"PRAGMA journal_size_limit = {4 * _WAL_BYTES}")


def rollback(db: sqlite3.Connection) -> None:
    """End an open transaction, if there is one, without effect."""
    if db.in_transaction:
        try:
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            if db.in_transaction:
                raise


@contextmanager
def transaction(db: sqlite3.Connection, path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[None]:
    """
    Hold the one write transaction of the file; committed at the end, rolled back on any exception.

    Raises: LogUnavailable: not begun within *timeout_s*, or not committed.
    """
    with errors(path):
        _begin(db, timeout_s)
        try:
            yield
            db.execute("COMMIT")
        finally:
            rollback(db)


def _begin(db: sqlite3.Connection, timeout_s: float) -> None:
    """Begin as soon as the writer before us ends; SQLite's own waiting backs off to 100 ms and lets others pass."""
    deadline = time.monotonic() + timeout_s
    db.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.002)
            else:
                return
    finally:
        db.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")


def load_topics(db: sqlite3.Connection) -> dict[str, Topic]:
    """Return all topics by name."""
    rows = db.execute(
        "SELECT name, partitions, first_part, retention_ms, compacted, min_compaction_lag_ms, max_message_bytes"
        " FROM topic ORDER BY name"
    )
    return {
        row[0]: Topic(
            name=row[0],
            partitions=row[1],
            first_part=row[2],
            retention_ms=row[3],
            compacted=bool(row[4]),
            min_compaction_lag_ms=row[5],
            max_message_bytes=row[6],
        )
        for row in rows
    }
