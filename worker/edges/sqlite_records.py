"""Write and read the records of the embedded log inside a transaction or snapshot that the caller holds."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path

import msgspec

from worker.edges.sqlite_schema import OFFSET_BITS, Topic, load_topics
from worker.ports import Headers, LogRecord, LogUnavailable, NewRecord, RecordTooLarge, TopicPartition, WrongSettings

MAX_FETCH_BYTES = 16 * 1024 * 1024
IDLE_S = 0.02
"""How often a waiting consumer looks whether another connection has written."""
_OFFSET_MASK = (1 << OFFSET_BITS) - 1

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class Catalogue:
    """The topics that one connection knows; they are never altered, so only an unknown name is looked up again."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._topics: dict[str, Topic] = {}
        self._file = _identity(path)

    def topic(self, name: str) -> Topic:
        """Return the topic. Raises: WrongSettings: there is none of that name."""
        topic = self._topics.get(name)
        if topic is None:
            self._topics = load_topics(self._db)
            topic = self._topics.get(name)
            if topic is None:
                raise WrongSettings(f"{self._path}: no topic {name!r}; `dateline topics apply` creates the topics")
        return topic

    def parts(self, topics: Iterable[str]) -> dict[int, TopicPartition]:
        """Return all partitions of *topics* by partition id. Raises: WrongSettings."""
        found = [self.topic(name) for name in dict.fromkeys(topics)]
        return {
            topic.first_part + number: (topic.name, number) for topic in found for number in range(topic.partitions)
        }

    def check_file(self) -> None:
        """Raise LogUnavailable when the file is no longer where it was: what we write would vanish with it."""
        if self._file is None or _identity(self._path) != self._file:
            raise LogUnavailable(f"{self._path}: the file was removed or replaced while it was open: restart")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def write(db: sqlite3.Connection, catalogue: Catalogue, records: Sequence[NewRecord]) -> None:
    """Append *records* with the present time; inside a write transaction. Raises: WrongSettings, RecordTooLarge."""
    now_ms = int(time.time() * 1000)
    next_of: dict[int, int] = {}
    rows = []
    for record in records:
        topic = catalogue.topic(record.topic)
        crc = zlib.crc32(record.key)
        part = topic.first_part + crc % topic.partitions
        offset = next_of.get(part)
        if offset is None:
            offset = db.execute("SELECT next FROM part WHERE id = ?", (part,)).fetchone()[0]
        headers = _pack(record.headers) if record.headers else None
        size = len(record.key) + len(record.value or b"") + len(headers or b"")
        if size > topic.max_message_bytes:
            raise RecordTooLarge(topic=topic.name, size=size, limit=topic.max_message_bytes)
        same = part << 32 | crc if topic.compacted else None
        rows.append((part << OFFSET_BITS | offset, now_ms, same, record.key, record.value, headers))
        next_of[part] = offset + 1
    db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.executemany("UPDATE part SET next = ? WHERE id = ?", [(offset, part) for part, offset in next_of.items()])


class Positions:
    """What one consumer reads next in each of its partitions, and whether anything may be there."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._next: dict[int, int] = {}
        self._names: dict[int, TopicPartition] = {}
        self._ends: dict[int, int] = {}
        self._paused: frozenset[int] = frozenset()
        self._turn = 0
        self._seen: int | None = None

    def take(self, names: Mapping[int, TopicPartition], positions: Mapping[int, int]) -> None:
        """Read the partitions *names*, from *positions*, from now on."""
        self._names = dict(names)
        self._next = {part: positions[part] for part in names}
        self._ends = {}
        self._paused = frozenset()
        self._seen = None

    def pause(self, parts: Iterable[int]) -> None:
        """Leave the partitions *parts* out, until the next `take`."""
        self._paused |= self._next.keys() & parts

    @property
    def paused(self) -> frozenset[int]:
        return self._paused

    @property
    def next(self) -> Mapping[int, int]:
        return self._next

    @property
    def ends(self) -> MutableMapping[int, int]:
        """By partition id the offset of the next record to be written, as last seen; all there after a fetch."""
        return self._ends

    def doubt(self) -> None:
        """Make the next `changed` say yes: `data_version` does not tell of what this connection wrote itself."""
        self._seen = None

    def changed(self) -> bool:
        """Tell cheaply whether a fetch may find something that the last one did not."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen:
            return False
        self._seen = version
        return True

    def fetch(self, max_records: int) -> tuple[LogRecord, ...]:
        """Return the next records, at most *max_records* and about MAX_FETCH_BYTES, and move behind them."""
        before = dict(self._next)
        try:
            return self._fetch(max_records)
        except BaseException:
            self._next = before  # what was read of some partitions never reaches the caller
            raise

    def _fetch(self, max_records: int) -> tuple[LogRecord, ...]:
        self._look()
        ready = [part for part, at in self._next.items() if self._ends[part] > at and part not in self._paused]
        if not ready:
            return ()
        self._turn += 1
        turn = self._turn % len(ready)
        out: list[LogRecord] = []
        size = 0
        for left, part in zip(range(len(ready), 0, -1), ready[turn:] + ready[:turn], strict=True):
            share = -(-(max_records - len(out)) // left)
            if share <= 0 or size >= MAX_FETCH_BYTES:
                break
            size += self._fetch_part(part, share, MAX_FETCH_BYTES - size, out)
        self._seen = None
        return tuple(out)

    def _look(self) -> None:
        if len(self._ends) != len(self._next):
            self._ends = dict.fromkeys(self._next, 0)
        if self._next:
            low, high = min(self._next), max(self._next)
            rows = self._db.execute("SELECT id, next FROM part WHERE id BETWEEN ? AND ?", (low, high))
            for part, end in rows.fetchall():
                if part in self._next:
                    self._ends[part] = end

    def _fetch_part(self, part: int, limit: int, max_bytes: int, out: list[LogRecord]) -> int:
        topic, number = self._names[part]
        base = part << OFFSET_BITS
        rows = self._db.execute(
            "SELECT id, timestamp_ms, key, value, headers FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (base | self._next[part], base | self._ends[part], limit),
        )
        size = found = 0
        for row, timestamp_ms, key, value, packed in rows:
            offset = row & _OFFSET_MASK
            headers: Headers = _unpack(packed) if packed else ()
            out.append(
                LogRecord(
                    topic=topic,
                    partition=number,
                    offset=offset,
                    timestamp_ms=timestamp_ms,
                    key=key,
                    value=value,
                    headers=headers,
                )
            )
            self._next[part] = offset + 1
            found += 1
            size += len(value or b"") + len(packed or b"")
            if size >= max_bytes:
                rows.close()
                return size
        if found < limit:
            # What retention or compaction took away behind the last record is passed too.
            self._next[part] = self._ends[part]
        return size


def first_at(db: sqlite3.Connection, part: int, from_ms: int) -> int:
    """Return the offset of the first record of *part* at or after *from_ms*, the end if there is none."""
    first, end = db.execute("SELECT first, next FROM part WHERE id = ?", (part,)).fetchone()
    base = part << OFFSET_BITS
    row = db.execute(
        "SELECT id FROM record WHERE id >= ? AND id < ? AND timestamp_ms >= ? ORDER BY id LIMIT 1",
        (base | first, base | end, from_ms),
    ).fetchone()
    return int(row[0]) & _OFFSET_MASK if row else int(end)
