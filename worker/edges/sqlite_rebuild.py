"""
How the processes of one machine agree on who rebuilds a lost seen store; every function runs inside a transaction.

Time is that since the machine's start, which they share and nobody sets; a lease that reaches further than any is
given is from before that start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from worker.edges.sqlite_schema import boot_clock
from worker.ports import SeenStoreLost, TopicPartition

SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (space INTEGER PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS still (
    space INTEGER NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (space, topic, part)
) WITHOUT ROWID;
"""
CLEAR = 5_000
"""Rows removed at most at once."""
_LONGEST_S = 600.0


def epoch(db: sqlite3.Connection, space: int) -> str | None:
    """Return the marker of the store."""
    row = db.execute("SELECT epoch FROM spaces WHERE id = ?", (space,)).fetchone()
    return None if row is None else row[0]


def start(db: sqlite3.Connection, space: int, marker: str) -> str | None:
    """Set the marker of a store that has none and is not being rebuilt; return the one in force."""
    if epoch(db, space) is None and _holder(db, space) is None:
        db.execute("UPDATE spaces SET epoch = ? WHERE id = ?", (marker, space))
    return epoch(db, space)


def stand_still(db: sqlite3.Connection, space: int, places: Iterable[TopicPartition]) -> frozenset[TopicPartition]:
    """Note *places* of a store without marker, and return all that are noted."""
    if epoch(db, space) is not None:
        return frozenset()
    db.executemany("INSERT OR IGNORE INTO still VALUES (?, ?, ?)", [(space, *place) for place in places])
    return frozenset(db.execute("SELECT topic, part FROM still WHERE space = ?", (space,)).fetchall())


def take(db: sqlite3.Connection, space: int, holder: str, seconds: float) -> bool:
    """Give *holder* the lease, unless another one has it or a marker stands."""
    if epoch(db, space) is not None or _holder(db, space) not in (None, holder):
        return False
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (space, holder, boot_clock() + seconds))
    return True


def keep(db: sqlite3.Connection, space: int, holder: str, seconds: float) -> None:
    """Renew the lease. Raises: SeenStoreLost: it is not *holder*'s."""
    if _holder(db, space) != holder:
        raise SeenStoreLost("the right to rebuild the seen store has run out")
    db.execute("UPDATE leases SET until = ? WHERE space = ?", (boot_clock() + seconds, space))


def clear(db: sqlite3.Connection, space: int) -> bool:
    """Remove a part of what is stored; tell whether that was all."""
    low, high = space.to_bytes(2, "big"), (space + 1).to_bytes(2, "big")
    db.execute("DELETE FROM marks WHERE space = ?", (space,))
    gone = db.execute(
        "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE key >= ? AND key < ? ORDER BY key LIMIT ?)",
        (low, high, CLEAR),
    ).rowcount
    return gone < CLEAR


def finish(db: sqlite3.Connection, space: int, marker: str) -> None:
    """Set the marker, and end what belonged to the rebuild."""
    db.execute("UPDATE spaces SET epoch = ? WHERE id = ?", (marker, space))
    db.execute("DELETE FROM leases WHERE space = ?", (space,))
    db.execute("DELETE FROM still WHERE space = ?", (space,))


def _holder(db: sqlite3.Connection, space: int) -> str | None:
    now = boot_clock()
    row = db.execute(
        "SELECT holder FROM leases WHERE space = ? AND until > ? AND until <= ?", (space, now, now + _LONGEST_S)
    ).fetchone()
    return None if row is None else row[0]
