"""
The embedded log: `worker.ports.Log` in one SQLite file, for several processes of one machine.

Partitioned and consumed like Kafka; a transaction of SQLite (WAL, full sync) is a transaction of the log, so readers
see all of it or nothing, and an acknowledged record is on the disk. Each appender, member and reader has a connection
of its own and is for one thread; the log itself may be used by any.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from worker.edges import sqlite_group as groups
from worker.edges.sqlite_clean import Cleaner
from worker.edges.sqlite_member import SqliteMember
from worker.edges.sqlite_records import IDLE_S, Catalogue, Positions, first_at, write
from worker.edges.sqlite_schema import Topic, connect, errors, load_topics, prepare, transaction
from worker.ports import LogRecord, LogUnavailable, NewRecord, TopicOutcome, TopicPartition, TopicSpec, WrongSettings

_TOPIC_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z")


class SqliteLog:
    """A `worker.ports.Log`. Nothing is held open between calls, so it may pass into other threads and processes."""

    def __init__(self, path: Path, *, session_timeout_s: float) -> None:
        self._path = path
        self._session_timeout_s = session_timeout_s
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, session_timeout_s: float = 10.0) -> SqliteLog:
        """
        Open the log in the file at *path*, made when it is missing.

        Raises: WrongSettings: not a file of ours, or of a newer release; UnreadableInput: damaged; LogUnavailable.
        """
        if session_timeout_s <= 0:
            raise WrongSettings(f"the session timeout must be above 0 s, not {session_timeout_s:g} s")
        prepare(path)
        return cls(path, session_timeout_s=session_timeout_s)

    def create_topics(self, topics: Sequence[TopicSpec]) -> Mapping[str, TopicOutcome]:
        """Create what is missing; say where one that exists differs. Raises: WrongSettings: an impossible topic."""
        for spec in topics:
            if not _TOPIC_NAME.match(spec.name):
                raise WrongSettings(f"{spec.name!r} is no topic name: letters, digits, '.', '_', '-', 249 at most")
            if spec.partitions < 1:
                raise WrongSettings(f"topic {spec.name}: {spec.partitions} partitions")
        result = {}
        with self._connection() as db, transaction(db, self._path):
            existing = load_topics(db)
            for spec in topics:
                topic = existing.get(spec.name)
                if topic is None:
                    _create(db, spec)
                    existing = load_topics(db)
                result[spec.name] = TopicOutcome(created=True) if topic is None else _differences(topic, spec)
        return result

    def topics(self) -> Mapping[str, int]:
        with self._connection() as db:
            return {name: topic.partitions for name, topic in load_topics(db).items()}

    def appender(self) -> SqliteAppender:
        self._check_open()
        return SqliteAppender(self._path)

    def member(self, *, group: str, identity: str, topics: Sequence[str]) -> SqliteMember:
        """Join at once. Raises: WrongSettings: an unknown topic; LogUnavailable; UnreadableInput."""
        self._check_open()
        return SqliteMember(
            self._path, group=group, identity=identity, topics=topics, session_timeout_s=self._session_timeout_s
        )

    def reader(
        self, topics: Sequence[str], *, start: Mapping[TopicPartition, int] | None = None, from_ms: int | None = None
    ) -> SqliteReader:
        """Read each partition from its *start*, else from *from_ms*, else from the beginning. Raises: WrongSettings."""
        self._check_open()
        return SqliteReader(self._path, topics, start=start, from_ms=from_ms)

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        with self._connection() as db:
            names = Catalogue(db, self._path).parts(topics)
            row = db.execute("SELECT id FROM consumers WHERE name = ?", (group,)).fetchone()
            offsets = groups.committed(db, row[0]) if row else {}
            return {name: offsets[part] for part, name in names.items() if part in offsets}

    def bounds(self, topics: Sequence[str], *, settled: bool = False) -> Mapping[TopicPartition, tuple[int, int]]:  # noqa: ARG002 (a transaction here is never seen half done)
        with self._connection() as db:
            names = Catalogue(db, self._path).parts(topics)
            rows = db.execute("SELECT id, first, next FROM part").fetchall()
            return {names[part]: (first, end) for part, first, end in rows if part in names}

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable(f"{self._path}: this log was closed")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._check_open()
        with closing(connect(self._path)) as db, errors(self._path):
            yield db


def _create(db: sqlite3.Connection, spec: TopicSpec) -> None:
    (first_part,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM part").fetchone()
    (topic,) = db.execute(
        "INSERT INTO topic (name, partitions, first_part, retention_ms, compacted, min_compaction_lag_ms,"
        " max_message_bytes) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            spec.name,
            spec.partitions,
            first_part,
            spec.retention_ms,
            spec.compacted,
            spec.min_compaction_lag_ms,
            spec.max_message_bytes,
        ),
    ).fetchone()
    db.executemany(
        "INSERT INTO part (id, topic, first, next, cleaned) VALUES (?, ?, 0, 0, 0)",
        [(first_part + number, topic) for number in range(spec.partitions)],
    )


def _differences(topic: Topic, spec: TopicSpec) -> TopicOutcome:
    def differing(*names: str) -> tuple[str, ...]:
        pairs = ((name, getattr(topic, name), getattr(spec, name)) for name in names)
        return tuple(f"{name}={have} instead of {want}" for name, have, want in pairs if have != want)

    return TopicOutcome(
        differs=differing("partitions", "retention_ms", "min_compaction_lag_ms", "max_message_bytes"),
        harms=differing("compacted"),
    )


class SqliteAppender:
    """A `worker.ports.Appender`; each call is one transaction, so all of its records are there or none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = connect(path)
        self._catalogue = Catalogue(self._db, path)
        self._cleaner = Cleaner(self._db, path)

    def append(self, records: Sequence[NewRecord], *, timeout_s: float = 30.0) -> None:
        """Return when all is on the disk. Raises: LogUnavailable; WrongSettings: an unknown topic, or a size."""
        db = self._db
        if db is None:
            raise LogUnavailable(f"{self._path}: this appender was closed")
        with transaction(db, self._path, timeout_s=timeout_s):
            self._catalogue.check_file()
            write(db, self._catalogue, records)
        self._cleaner.step()

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()


class SqliteReader:
    """A `worker.ports.Reader`."""

    def __init__(
        self, path: Path, topics: Sequence[str], *, start: Mapping[TopicPartition, int] | None, from_ms: int | None
    ) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = connect(path)
        try:
            with errors(path):
                self._positions = Positions(self._db)
                self._targets = self._place(self._db, topics, start or {}, from_ms)
        except BaseException:
            self._db.close()
            raise

    def _place(
        self,
        db: sqlite3.Connection,
        topics: Sequence[str],
        start: Mapping[TopicPartition, int],
        from_ms: int | None,
    ) -> dict[int, int]:
        """Set the positions; return the ends of the partitions at this moment."""
        names = Catalogue(db, self._path).parts(topics)
        positions, targets = {}, {}
        for part, first, end in db.execute("SELECT id, first, next FROM part").fetchall():
            if part in names:
                targets[part] = end
                given = start.get(names[part])
                if given is not None:
                    positions[part] = given
                else:
                    positions[part] = first if from_ms is None else first_at(db, part, from_ms)
        self._positions.take(names, positions)
        return targets

    def read(self, *, timeout_s: float, max_records: int = 500) -> Sequence[LogRecord]:
        """Return the next records. Raises: LogUnavailable, UnreadableInput."""
        if self._db is None:
            raise LogUnavailable(f"{self._path}: this reader was closed")
        deadline = time.monotonic() + timeout_s
        while True:
            with errors(self._path):
                if self._positions.changed() and (records := self._positions.fetch(max_records)):
                    return records
            left = deadline - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(IDLE_S, left))

    def at_end(self) -> bool:
        """Tell whether all that was there when the reader was opened has been read."""
        return all(self._positions.next[part] >= end for part, end in self._targets.items())

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()
