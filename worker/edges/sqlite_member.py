"""One member of a consumer group on the embedded log: polls, and commits outputs and offsets in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from worker.edges import sqlite_group as groups
from worker.edges.sqlite_clean import Cleaner
from worker.edges.sqlite_group import Membership
from worker.edges.sqlite_records import IDLE_S, Catalogue, Positions, write
from worker.edges.sqlite_schema import boot_clock, connect, errors, transaction
from worker.ports import (
    Batch,
    Fenced,
    LogError,
    LogUnavailable,
    NewRecord,
    RecordTooLarge,
    TopicPartition,
    TransactionFailed,
)

_HEARTBEATS_PER_SESSION = 5


class SqliteMember:
    """
    A `worker.ports.Member`; for one thread.

    It says that it lives from inside `poll` and `commit`: one that calls neither for the session timeout may lose its
    partitions, then its next commit fails and its next poll joins again.
    """

    def __init__(
        self, path: Path, *, group: str, identity: str, topics: Sequence[str], session_timeout_s: float
    ) -> None:
        self._path = path
        self._identity = identity
        self._beat_every_s = session_timeout_s / _HEARTBEATS_PER_SESSION
        self._membership = Membership(rewinds=0, since={})
        self._rewinding = True
        self._committed: dict[int, int] = {}
        self._db: sqlite3.Connection | None = connect(path)
        try:
            self._catalogue = Catalogue(self._db, path)
            self._cleaner = Cleaner(self._db, path)
            self._positions = Positions(self._db)
            with transaction(self._db, path):
                self._names = self._catalogue.parts(topics)
                self._ids = {name: part for part, name in self._names.items()}
                self._group = groups.group_id(self._db, group)
                self._epoch = groups.join(
                    self._db, self._group, identity, topics=topics, session_timeout_s=session_timeout_s
                )
                groups.rebalance(self._db, self._group, self._catalogue)
            self._beat_at = boot_clock() + self._beat_every_s
            with errors(path):
                self._look_at_assignment(self._db)
        except BaseException:
            self._db.close()
            raise

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        """Return the next records. Raises: Fenced, LogUnavailable, UnreadableInput."""
        db = self._open()
        deadline = time.monotonic() + timeout_s
        while True:
            if boot_clock() >= self._beat_at:
                self._keep_membership(db)
            try:
                with errors(self._path):
                    if self._positions.changed():
                        self._look_at_assignment(db)
                        records = self._positions.fetch(max_records)
                        if records:
                            return Batch(records=records, membership=self._membership)
            except LogError:
                self._positions.doubt()  # what was not looked at this time has to be the next time
                raise
            left = deadline - time.monotonic()
            if left <= 0:
                return Batch(membership=self._membership)
            time.sleep(min(IDLE_S, left))

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        """
        Write *outputs* and the offsets behind *batch* in one transaction; on any error nothing, and rewind.

        Raises: TransactionFailed: partitions of the batch were taken over, or it was committed before; Fenced;
        LogUnavailable; WrongSettings: an unknown topic; RecordTooLarge: without a rewind.
        """
        db = self._open()
        offsets: dict[int, int] = {}
        for record in batch.records:
            offsets[self._ids[record.topic, record.partition]] = record.offset + 1
        try:
            with transaction(db, self._path):
                self._catalogue.check_file()
                self._check(db, batch, offsets)
                write(db, self._catalogue, outputs)
                groups.commit_offsets(db, self._group, offsets)
                groups.heartbeat(db, self._group, self._identity)
        except RecordTooLarge:
            raise  # the batch stays good: it may be committed with shorter records
        except BaseException:
            self.rewind()
            raise
        self._committed.update(offsets)
        self._positions.doubt()
        self._beat_at = boot_clock() + self._beat_every_s
        self._cleaner.step()

    def rewind(self) -> None:
        """Go back to the committed offsets: at the next poll, since the file may not be readable now."""
        self._rewinding = True
        self._membership = replace(self._membership, rewinds=self._membership.rewinds + 1)
        self._positions.doubt()

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._positions.pause(self._ids[name] for name in partitions)

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset(self._names[part] for part in self._positions.paused)

    def assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions owned, as the last poll saw it."""
        return frozenset(self._names[part] for part in self._membership.since)

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return how many records wait in each partition, as the last poll saw it."""
        ends = self._positions.ends
        return {self._names[part]: max(0, ends.get(part, 0) - self._committed[part]) for part in self._membership.since}

    def close(self) -> None:
        """Leave the group at once; never raises."""
        db, self._db = self._db, None
        if db is None:
            return
        with contextlib.suppress(LogError, sqlite3.Error), transaction(db, self._path, timeout_s=2.0):
            groups.leave(db, self._group, self._identity, self._epoch)
            groups.rebalance(db, self._group, self._catalogue)
        with contextlib.suppress(sqlite3.Error):
            db.close()

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise LogUnavailable(f"{self._path}: this member was closed")
        return self._db

    def _keep_membership(self, db: sqlite3.Connection) -> None:
        with transaction(db, self._path):
            self._catalogue.check_file()
            if not groups.is_holder(db, self._group, self._identity, self._epoch):
                raise self._fenced()
            groups.heartbeat(db, self._group, self._identity)
            groups.rebalance(db, self._group, self._catalogue)
        self._beat_at = boot_clock() + self._beat_every_s
        with errors(self._path):
            self._look_at_assignment(db)

    def _look_at_assignment(self, db: sqlite3.Connection) -> None:
        """Take up what is ours now: kept partitions go on where they were, unless rewinding, others where committed."""
        if not groups.is_holder(db, self._group, self._identity, self._epoch):
            raise self._fenced()
        since = groups.owned(db, self._group, self._identity)
        old = self._membership.since
        if not self._rewinding and since == old:
            return
        # Read after the assignment: once a partition is ours, nobody else can move its offset.
        committed = groups.committed(db, self._group)
        firsts = dict(db.execute("SELECT id, first FROM part").fetchall())
        self._committed = {part: committed[part] if part in committed else firsts[part] for part in since}
        positions = dict(self._committed)
        kept: set[int] = set()
        if not self._rewinding:
            kept = {part for part, generation in since.items() if old.get(part) == generation}
            positions |= {part: offset for part, offset in self._positions.next.items() if part in kept}
        paused = self._positions.paused & kept
        self._membership = replace(self._membership, since=since)
        self._rewinding = False
        self._positions.take({part: self._names[part] for part in since}, positions)
        self._positions.pause(paused)

    def _check(self, db: sqlite3.Connection, batch: Batch, offsets: Mapping[int, int]) -> None:
        if not groups.is_holder(db, self._group, self._identity, self._epoch):
            raise self._fenced()
        polled: Mapping[int, int] = {}
        if isinstance(batch.membership, Membership) and batch.membership.rewinds == self._membership.rewinds:
            polled = batch.membership.since
        since = groups.owned(db, self._group, self._identity)
        committed = groups.committed(db, self._group)
        for part, offset in offsets.items():
            name = "/".join(map(str, self._names[part]))
            if part not in polled or since.get(part) != polled[part]:
                raise TransactionFailed(f"{name} is no longer ours, or we have rewound since it was polled: poll again")
            if offset <= committed.get(part, 0):
                raise TransactionFailed(f"{name} was committed up to {committed[part]} already: poll again")

    def _fenced(self) -> Fenced:
        return Fenced(f"{self._path}: another process has taken the identity {self._identity!r}")
