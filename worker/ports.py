"""
What the loops need from the outside, and nothing more. Two logs and two seen stores implement this.

One contract suite for each port stands in tests/contracts/ and runs against every implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.records import Coordinates, Fingerprint, Published, Verdict

Headers = tuple[tuple[str, bytes], ...]
TopicPartition = tuple[str, int]


class LogError(Exception):
    """Something about the log; the subclasses say what to do."""


class LogUnavailable(LogError):
    """The log cannot be reached now: wait and try again."""


class TransactionFailed(LogError):
    """A transaction's end is unknown or it was aborted; the member has rewound to the log's own offset: poll again."""


class Fenced(LogError):
    """Another live process has this identity: stop (exit code 3)."""


class NotAuthorised(LogError):
    """The log refuses our credentials or a right is missing: stop (exit code 4)."""


class UnreadableInput(LogError):
    """The log's data cannot be unpacked (codec, checksum) or its file is damaged: stop (exit code 5)."""


class WrongSettings(LogError):
    """The log cannot work with these settings: missing topic, unsupported version, bad timeout: stop (exit code 2)."""


class RecordTooLarge(WrongSettings):
    """A record is larger than its topic takes; nothing was written. Whoever can write less may try again."""

    def __init__(self, *, topic: str, size: int, limit: int) -> None:
        self.topic = topic
        self.limit = limit
        super().__init__(f"a record of {size} bytes is larger than topic {topic} takes (max.message.bytes={limit})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A record as read. Value None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def coordinates(self) -> Coordinates:
        return Coordinates(topic=self.topic, partition=self.partition, offset=self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """A record to write. The log adds its own clock; partition = zlib.crc32(key) % number of partitions."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one poll gave, and the proof of membership it was read under."""

    records: tuple[LogRecord, ...] = ()
    membership: object = None
    """The log's own; `commit` compares it with the present one."""
    out: frozenset[Coordinates] = frozenset()
    """Records that were committed once already, though they come again: they have their end."""

    def went_out(self, record: LogRecord) -> bool:
        """Tell whether only the offset of *record* is to be committed."""
        return bool(self.out) and record.coordinates in self.out


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How a topic is to be made."""

    name: str
    partitions: int = 12
    retention_ms: int | None = None
    """None = for ever."""
    compacted: bool = False
    min_compaction_lag_ms: int = 0
    max_message_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOutcome:
    """What became of a topic that was asked for."""

    created: bool = False
    differs: tuple[str, ...] = ()
    """Of one that was there: NAME=HAVE instead of WANT."""
    harms: tuple[str, ...] = ()
    """Likewise, where records would be lost, kept for too long, or refused."""

    def __str__(self) -> str:
        """Return `created`, `exists`, or `exists, but …`."""
        if self.created:
            return "created"
        return ", but ".join(filter(None, ("exists", ", ".join(self.harms + self.differs))))


class Appender(Protocol):
    """Writes records outside any transaction; what is retried inside is not doubled."""

    def append(self, records: Sequence[NewRecord], *, timeout_s: float = 30.0) -> None:
        """
        Return when every record is acknowledged.

        Raises: LogUnavailable: not all were acknowledged in time; any part may be there, repeating is right.
        """

    def close(self) -> None:
        """Release the client within 5 s; never raises."""


class Member(Protocol):
    """One member of a consumer group that turns input into output, exactly once."""

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        """Return the next records of the partitions assigned to this member, in order in each; empty when none came."""

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        """
        In one transaction write *outputs* and the offsets behind the last record of *batch*.

        Raises: TransactionFailed: nothing is certain, the member has rewound; RecordTooLarge: nothing was written, and
        *batch* may be committed with shorter records; Fenced and others: stop.
        """

    def rewind(self) -> None:
        """Go back to the committed offsets: what was polled and not committed comes again, what is paused too."""

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Give nothing more of *partitions* until they are assigned anew or all is rewound; the others go on."""

    def paused(self) -> frozenset[TopicPartition]:
        """Return the owned partitions of which nothing comes now."""

    def assigned(self) -> frozenset[TopicPartition]:
        """Return the partitions that this member owns now."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, by owned partition, how many records lie behind the committed offset; from memory, cheap."""

    def close(self) -> None:
        """Leave; an open transaction is aborted; bounded; never raises."""


class Reader(Protocol):
    """Reads committed records of some topics, outside any group."""

    def read(self, *, timeout_s: float, max_records: int = 500) -> Sequence[LogRecord]:
        """Return the next records, in order in each partition; empty when none came in time."""

    def at_end(self) -> bool:
        """Tell whether all that was there when the reader was opened has been read."""

    def close(self) -> None:
        """Release the client; never raises."""


class Log(Protocol):
    """A partitioned log: Kafka, or one SQLite file."""

    def create_topics(self, topics: Sequence[TopicSpec]) -> Mapping[str, TopicOutcome]:
        """Create what is missing, alter and delete nothing; return by topic what became of it."""

    def topics(self) -> Mapping[str, int]:
        """Return the number of partitions by topic."""

    def appender(self) -> Appender: ...

    def member(self, *, group: str, identity: str, topics: Sequence[str]) -> Member:
        """Join *group* as the static member *identity* (also the transactional id); an older holder is fenced."""

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Mapping[TopicPartition, int] | None = None,
        from_ms: int | None = None,
    ) -> Reader:
        """Read from *start* offsets, else from the first record at or after *from_ms*, else from the beginning."""

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        """Return the group's committed offsets; partitions without one are left out."""

    def bounds(self, topics: Sequence[str], *, settled: bool = False) -> Mapping[TopicPartition, tuple[int, int]]:
        """
        Return by partition the first offset there and the one that the next record will get.

        With *settled* the second one is that before which no transaction is open any more.
        """

    def close(self) -> None: ...


class SeenStoreAway(Exception):
    """The seen store cannot be asked now: wait; neither guess nor drop."""


class SeenStoreLost(SeenStoreAway):
    """The seen store is empty, or not the one that was joined: it judges nothing before it is rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedVersion:
    """The routes that a version of a story matched."""

    story: str
    version: int
    routes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStory:
    """What the store remembers of a story; for `dateline trace`."""

    story: str
    version: int
    first_seen: datetime
    copies: int
    sources: int
    original: str | None
    """Set when this story was judged a copy of another."""
    routes: Mapping[int, tuple[str, ...]]
    """By version."""


class SeenStore(Protocol):
    """
    Remembers what was judged; each verdict is atomic, in order, and given once for ever per raw record.

    A store bears a marker, its epoch. `judge`, `record_routes` and `committed` look, in one atomic step with what they
    do, whether it bears the one that was joined (none, when none was joined), else they raise SeenStoreLost.
    """

    def judge(self, fingerprints: Sequence[Fingerprint], *, now: datetime) -> Sequence[Verdict]:
        """
        Return a verdict each, in order; the later ones see the earlier.

        A raw record that was judged before gets the verdict it had. On return all is as durable as the store makes it.
        Raises: SeenStoreAway.
        """

    def record_routes(self, versions: Sequence[RoutedVersion]) -> Sequence[tuple[str, ...]]:
        """
        Store which routes each version matched, in order; return for each the routes of the version before it.

        The same call again returns the same. Raises: SeenStoreAway.
        """

    def committed(self, offsets: Mapping[TopicPartition, int], *, now: datetime) -> None:
        """Note the group's committed offsets: verdicts below may be forgotten an hour later. Raises: SeenStoreAway."""

    def passed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """
        Return up to where `committed` was told, as far as it is known; that may be a minute old.

        A hint, no proof: the log may have been made anew since. Raises: SeenStoreAway.
        """

    def known(self, story: str) -> KnownStory | None: ...

    def epoch(self) -> str | None:
        """Return the store's marker, None when there is none: a new or a lost store. Raises: SeenStoreAway."""

    def start_epoch(self, epoch: str) -> str | None:
        """
        Mark a new store, and join it by the marker that it bears now, which is returned.

        None: it is being rebuilt. Raises: SeenStoreAway.
        """

    def join(self, epoch: str) -> None:
        """Work from now on only with the store that bears this marker; asks nothing."""

    def stand_still(self, partitions: Iterable[TopicPartition]) -> frozenset[TopicPartition]:
        """
        Note that the owner of *partitions* has no verdict of the lost store on its way to the log any more.

        Return all partitions noted since the loss; none where a marker stands. Raises: SeenStoreAway.
        """

    def lease(self, holder: str, *, seconds: float) -> bool:
        """
        Take, or keep, the right to rebuild a store without marker; one holder has it until it runs out.

        False: another one has it, or a marker stands. Raises: SeenStoreAway.
        """

    def clear(self, holder: str, *, seconds: float) -> bool:
        """
        Remove a part of what a lost store still holds; tell whether all is gone; the lease then has *seconds* again.

        Raises: SeenStoreLost: the lease is not *holder*'s (any more).
        """

    def restore(self, published: Sequence[Published], *, holder: str, seconds: float, now: datetime) -> None:
        """
        Remember *published* as if it had just been judged so; the lease then has *seconds* again.

        Versions of a story come in order, and before what only repeats or copies it. Raises: as `clear`.
        """

    def finish(self, holder: str, epoch: str) -> None:
        """Set the marker of a rebuilt store, end the lease, and join. Raises: as `clear`."""

    def warnings(self) -> Sequence[str]:
        """Say in words what is weaker than `every write on disk`; empty when nothing is."""

    def close(self) -> None: ...
