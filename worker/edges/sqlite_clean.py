"""
Retention and compaction of the embedded log: small steps, done by whoever has just written.

Retention drops the oldest records of a partition by age, on topics that are not compacted. Compaction walks each
partition once, behind the minimum lag, and drops, for each record that it passes, the older ones of the same key; a
tombstone goes a day after it was written.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from worker.edges.sqlite_schema import OFFSET_BITS, Topic, boot_clock, load_topics, transaction
from worker.ports import LogUnavailable

EVERY_S = 5.0
"""How long a process waits after a step that left nothing to do …"""
BUSY_EVERY_S = 0.25
"""… and after one that did; all processes together step no more often than this."""
STEP_RECORDS = 1000
TOMBSTONE_MS = 24 * 3600 * 1000
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_log = logging.getLogger(__name__)


class Cleaner:
    """Cleans through a connection whose thread calls `step` between its own transactions."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._due = boot_clock()

    def step(self) -> None:
        """Clean a little if it is time; a failure is logged and tried again later, since nothing depends on it."""
        now = boot_clock()
        if now < self._due:
            return
        self._due = now + EVERY_S
        try:
            with transaction(self._db, self._path, timeout_s=0):
                more = self._step(now)
        except LogUnavailable as error:
            _log.info("cleaning put off: %s", error)
            return
        if more:
            self._due = now + BUSY_EVERY_S

    def _step(self, now: float) -> bool:
        after, started = self._db.execute("SELECT part, started FROM cleaning").fetchone()
        if 0 <= now - started < BUSY_EVERY_S:
            return False
        part, more = clean(self._db, after_part=after, now_ms=int(time.time() * 1000))
        self._db.execute("UPDATE cleaning SET part = ?, started = ?", (part, now))
        return more


def clean(db: sqlite3.Connection, *, after_part: int, now_ms: int, max_records: int = STEP_RECORDS) -> tuple[int, bool]:
    """
    Go through the partitions behind *after_part*, round about, until *max_records* were dropped or looked at.

    Inside a write transaction. Returns the last partition that is done, and whether there is more to do.
    """
    work = [
        (topic.first_part + number, topic)
        for topic in load_topics(db).values()
        for number in range(topic.partitions)
        if topic.compacted or topic.retention_ms is not None
    ]
    work.sort(key=lambda item: (item[0] <= after_part, item[0]))
    left = max_records
    for part, topic in work:
        left -= _retain(db, part, topic, now_ms, left)
        if left > 0 and topic.compacted:
            left -= _compact(db, part, topic, now_ms, left)
        if left <= 0:
            # Next time go on behind this one, so that a busy partition does not starve the others.
            return part, True
        after_part = part
    return after_part, False


def _retain(db: sqlite3.Connection, part: int, topic: Topic, now_ms: int, limit: int) -> int:
    if topic.retention_ms is None or topic.compacted:
        return 0
    base, above = part << OFFSET_BITS, (part + 1) << OFFSET_BITS
    oldest = now_ms - topic.retention_ms
    keep: int | None = None
    found = 0
    rows = db.execute(
        "SELECT id, timestamp_ms FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (base, above, limit + 1)
    ).fetchall()
    for row, timestamp_ms in rows:
        if timestamp_ms >= oldest or found == limit:
            keep = row
            break
        found += 1
    if found:
        db.execute("DELETE FROM record WHERE id >= ? AND id < ?", (base, above if keep is None else keep))
        if keep is None:
            db.execute("UPDATE part SET first = next WHERE id = ?", (part,))
        else:
            db.execute("UPDATE part SET first = ? WHERE id = ?", (keep & _OFFSET_MASK, part))
    return found


def _compact(db: sqlite3.Connection, part: int, topic: Topic, now_ms: int, limit: int) -> int:
    base, above = part << OFFSET_BITS, (part + 1) << OFFSET_BITS
    (cleaned,) = db.execute("SELECT cleaned FROM part WHERE id = ?", (part,)).fetchone()
    rows = db.execute(
        "SELECT id, timestamp_ms, same, key, value IS NULL FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (base | cleaned, above, limit),
    ).fetchall()
    done = 0
    for row, timestamp_ms, same, key, tombstone in rows:
        age = now_ms - timestamp_ms
        if age < topic.min_compaction_lag_ms:
            break
        if tombstone and age < TOMBSTONE_MS:
            # Drop what it deletes now, but come back for it: the walk waits here.
            db.execute("DELETE FROM record WHERE same = ? AND id < ? AND key = ?", (same, row, key))
            break
        db.execute("DELETE FROM record WHERE same = ? AND id < ? AND key = ?", (same, row + tombstone, key))
        cleaned = (row & _OFFSET_MASK) + 1
        done += 1
    if done:
        db.execute("UPDATE part SET cleaned = ? WHERE id = ?", (cleaned, part))
    return done
