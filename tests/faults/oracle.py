"""
Tells whether anything was lost, sent twice, mixed up or left open. Shares no code with what it judges.

Each raw record says in two headers what must become of it: `x-id` its own name, `x-expect` one of

    story          the first version of a link: one enriched record, `new`
    update         a later version of a link with another text: one enriched record, `update`
    repeat         the same link and text again: one duplicate
    copies:GROUP   of all records of one GROUP (same text, other links) one is enriched and the others are duplicates
    bad            one dead letter with the original bytes
    unreadable     nothing: its batch was damaged on the broker's disk, and people skipped it

So the input topic itself is the ground truth, and the oracle needs nothing but the topics.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    KafkaError,
)
from kafka.net.compat import KafkaNetClient

Place = tuple[int, int]
"""Partition and offset in the raw topic."""
_OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One record as it lies in a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class View(Protocol):
    """What the oracle reads."""

    def records(self, topic: str, *, committed: bool = True) -> list[Seen]:
        """Return all records of *topic* up to its present end: only committed ones, or all that were ever written."""

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return by partition the offset that *group* has committed, 0 when none."""

    def ends(self, topic: str) -> dict[int, int]:
        """Return by partition the offset that the next record gets."""

    def open_transactions(self, prefix: str) -> list[str]:
        """Name the transactions of identities starting with *prefix* that are neither committed nor aborted."""


class KafkaView:
    """Reads a broker."""

    def __init__(self, bootstrap: str, *, keep: Callable[[Seen], Seen] = lambda seen: seen) -> None:
        """*keep*: what to keep of each record, where there are too many."""
        self._bootstrap = bootstrap
        self._keep = keep
        self._kept: Any = None

    def records(self, topic: str, *, committed: bool = True) -> list[Seen]:
        consumer: Any = KafkaConsumer(
            bootstrap_servers=self._bootstrap,
            isolation_level="read_committed" if committed else "read_uncommitted",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            consumer_timeout_ms=1000,
            check_crcs=False,  # a damaged batch is input, too
        )
        with closing(consumer):
            parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
            consumer.assign(parts)
            ends = consumer.end_offsets(parts)
            found: list[Seen] = []
            while any(consumer.position(part) < ends[part] for part in parts):
                polled = consumer.poll(timeout_ms=2000, max_records=5000)
                found += [self._keep(_seen(record)) for records in polled.values() for record in records]
            return found

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """See View; raises KafkaError when the broker is away. Keeps its connection, for it is asked often."""
        for _ in range(50):
            with suppress(
                CoordinatorNotAvailableError, CoordinatorLoadInProgressError
            ):  # of a broker that just started
                return self._committed(group, topic)
            time.sleep(0.1)
        return self._committed(group, topic)

    def _committed(self, group: str, topic: str) -> dict[int, int]:
        try:
            if self._kept is None:
                self._kept = self._admin()
            parts = [TopicPartition(topic, part) for part in self._partitions(self._kept, topic)]
            offsets = self._kept.list_group_offsets({group: parts}).get(group, {})
        except GroupIdNotFoundError:  # nobody has joined it yet
            return {part.partition: 0 for part in parts}
        except KafkaError:
            self.close()
            raise
        return {part.partition: max(0, offsets[part].offset if part in offsets else 0) for part in parts}

    def close(self) -> None:
        """Give up the connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with suppress(KafkaError, OSError):
                kept.close()

    def ends(self, topic: str) -> dict[int, int]:
        consumer: Any = KafkaConsumer(bootstrap_servers=self._bootstrap)
        with closing(consumer):
            parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            return {part.partition: end for part, end in consumer.end_offsets(parts).items()}

    def open_transactions(self, prefix: str) -> list[str]:
        with closing(self._admin()) as admin:
            listed = [each for rows in admin.list_transactions().values() for each in rows]
        return [
            f"{each.transactional_id}: {each.state.value}"
            for each in listed
            if each.transactional_id.startswith(prefix) and each.state.value in _OPEN
        ]

    def _admin(self) -> Any:
        made: list[Any] = []

        def remembered(**settings: Any) -> Any:
            made.append(KafkaNetClient(**settings))
            return made[-1]

        try:
            return KafkaAdminClient(
                bootstrap_servers=self._bootstrap,
                request_timeout_ms=5000,
                bootstrap_timeout_ms=2000,
                kafka_client=remembered,
            )
        except KafkaError:
            for each in made:  # else it goes on trying, for ever
                each.close()
            raise

    @staticmethod
    def _partitions(admin: Any, topic: str) -> list[int]:
        described = admin.describe_topics([topic])
        return [part["partition_index"] for part in described[0]["partitions"]]


def _seen(record: Any) -> Seen:
    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=dict(record.headers),
    )


class SqliteView:
    """Reads the file of the embedded log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def records(self, topic: str, *, committed: bool = True) -> list[Seen]:
        del committed  # the file never shows what is not committed
        with closing(self._open()) as db:
            found = []
            for part, number in self._parts(db, topic).items():
                rows = db.execute(
                    "SELECT id, key, value, headers FROM record WHERE id >= ? AND id < ? ORDER BY id",
                    (part << 40, (part + 1) << 40),
                )
                for row, key, value, headers in rows:
                    pairs = msgspec.msgpack.decode(headers) if headers else ()
                    found.append(
                        Seen(
                            topic=topic,
                            partition=number,
                            offset=row & ((1 << 40) - 1),
                            key=key,
                            value=value,
                            headers=dict(pairs),
                        )
                    )
            return found

    def committed(self, group: str, topic: str) -> dict[int, int]:
        with closing(self._open()) as db:
            parts = self._parts(db, topic)
            rows = db.execute(
                "SELECT part, offset FROM committed JOIN consumers ON consumers = consumers.id WHERE name = ?", (group,)
            )
            found = dict(rows.fetchall())
            return {number: found.get(part, 0) for part, number in parts.items()}

    def ends(self, topic: str) -> dict[int, int]:
        with closing(self._open()) as db:
            next_of = dict(db.execute("SELECT id, next FROM part").fetchall())
            return {number: next_of[part] for part, number in self._parts(db, topic).items()}

    def open_transactions(self, prefix: str) -> list[str]:
        del prefix
        with closing(self._open()) as db:
            db.execute("PRAGMA busy_timeout = 5000")
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
            except sqlite3.OperationalError as error:
                return [f"{self._path}: {error}"]
        return []

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)

    @staticmethod
    def _parts(db: sqlite3.Connection, topic: str) -> dict[int, int]:
        first, count = db.execute("SELECT first_part, partitions FROM topic WHERE name = ?", (topic,)).fetchone()
        return {first + number: number for number in range(count)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Where the installation's records lie."""

    raw: str
    enriched: str
    duplicates: str
    dead_letter: str
    routes: tuple[str, ...] = ()
    group: str
    identities: str = ""
    """What the transactional ids of its workers start with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the oracle saw: all is well when nothing is lost or doubled and there are no further problems."""

    records: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        return not (self.lost or self.doubled or self.problems)

    def __str__(self) -> str:
        counted = f"{self.records} records, {len(self.lost)} lost, {len(self.doubled)} doubled"
        details = [f"lost: {each}" for each in self.lost[:10]]
        details += [f"doubled: {each}" for each in self.doubled[:10]]
        return "\n".join([counted, *details, *self.problems[:30]])


@dataclass(slots=True)
class _Tally:
    """The ends of each raw record, by its place."""

    ends: dict[Place, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)


def judge(view: View, names: Names, *, offsets: bool = True) -> Findings:
    """
    Compare input and outputs as they are now; the workers should be done.

    *offsets*: check also that all input is committed. Sources of the checks: Kafka's transactions_test.py and Jepsen's
    Kafka workload.
    """
    inputs = {(each.partition, each.offset): each for each in view.records(names.raw)}
    outputs = {
        topic: view.records(topic) for topic in (names.enriched, names.duplicates, names.dead_letter, *names.routes)
    }
    tally = _Tally()
    for topic in (names.enriched, names.duplicates, names.dead_letter):
        for each in outputs[topic]:
            _count(tally, names.raw, each)
    wanted = [place for place, record in inputs.items() if record.headers.get("x-expect") != b"unreadable"]
    lost = [f"{_name(inputs[place])} at {place}" for place in wanted if place not in tally.ends]
    doubled = [
        f"{place}: {[f'{end.topic}/{end.partition}/{end.offset}' for end in ends]}"
        for place, ends in tally.ends.items()
        if len(ends) > 1
    ]
    first = {part: min(offset for each, offset in inputs if each == part) for part in {part for part, _ in inputs}}
    tally.problems += [
        f"an end without a raw record: {place}"
        for place in tally.ends
        if place not in inputs and place[1] >= first.get(place[0], 0)  # what was before is gone by retention
    ]
    tally.problems += _wrong_ends(names, inputs, tally.ends)
    tally.problems += _wrong_groups(names, inputs, tally.ends)
    tally.problems += _wrong_order(outputs.values())
    tally.problems += _wrong_routes(outputs[names.enriched], [outputs[route] for route in names.routes])
    for topic, committed_records in outputs.items():
        everything = {(each.partition, each.offset) for each in view.records(topic, committed=False)}
        hidden = {(each.partition, each.offset) for each in committed_records} - everything
        tally.problems += [f"{topic}: committed, but not there: {place}" for place in sorted(hidden)]
    if offsets:
        ends, committed = view.ends(names.raw), view.committed(names.group, names.raw)
        tally.problems += [
            f"partition {part} is committed up to {committed.get(part, 0)} of {end}"
            for part, end in ends.items()
            if committed.get(part, 0) != end
        ]
    tally.problems += [f"open transaction: {each}" for each in view.open_transactions(names.identities)]
    return Findings(records=len(inputs), lost=tuple(lost), doubled=tuple(doubled), problems=tuple(tally.problems))


def _count(tally: _Tally, raw: str, end: Seen) -> None:
    place = _origin(end, raw)
    if place is None:
        tally.problems.append(f"{end.topic}/{end.partition}/{end.offset} does not say which raw record it comes from")
    else:
        tally.ends[place].append(end)


def _origin(record: Seen, raw: str) -> Place | None:
    topic, _, rest = record.headers.get("raw", b"").decode().partition("/")
    partition, _, offset = rest.partition("/")
    if topic != raw or not partition.isdecimal() or not offset.isdecimal():
        return None
    return int(partition), int(offset)


def _wrong_ends(names: Names, inputs: Mapping[Place, Seen], ends: Mapping[Place, Sequence[Seen]]) -> list[str]:
    """Return what ended in the wrong topic, or with another record's content."""
    wanted = {
        "story": (names.enriched, b"new"),
        "update": (names.enriched, b"update"),
        "repeat": (names.duplicates, b"repeat"),
        "bad": (names.dead_letter, None),
        "unreadable": ("nowhere", None),
    }
    problems = []
    for place, record in inputs.items():
        expect = record.headers.get("x-expect", b"").decode()
        for end in ends.get(place, ()):
            topic, kind = wanted.get(expect, (end.topic, end.headers.get("kind")))
            said = end.headers.get("kind") if topic != names.dead_letter else None
            if (end.topic, said) != (topic, kind):
                problems.append(f"{_name(record)} should be {expect}, is {said!r} in {end.topic}")
            elif not _belongs(record, end, names):
                problems.append(f"{_name(record)}: the end at {end.topic}/{end.partition}/{end.offset} is another's")
    return problems


def _belongs(record: Seen, end: Seen, names: Names) -> bool:
    """Tell whether *end* has the content of *record*: its bytes, or the link that it names."""
    if end.topic == names.dead_letter:
        return (record.value or b"") == (end.value or b"") or "dateline-cut-length" in end.headers
    told = json.loads(end.value or b"{}")
    link = told.get("link") or told.get("dateline", {}).get("provenance", {}).get("link")
    return bool(link == json.loads(record.value or b"{}").get("link")) and record.key == end.key


def _wrong_groups(names: Names, inputs: Mapping[Place, Seen], ends: Mapping[Place, Sequence[Seen]]) -> list[str]:
    """Return the groups of copies that have not exactly one story."""
    stories: Counter[str] = Counter()
    for place, record in inputs.items():
        expect = record.headers.get("x-expect", b"").decode()
        if expect.startswith("copies:"):
            stories[expect] += sum(end.topic == names.enriched for end in ends.get(place, ()))
    return [f"{group}: {count} stories" for group, count in stories.items() if count != 1]


def _wrong_order(outputs: Iterable[Sequence[Seen]]) -> list[str]:
    """Return where two records of one raw partition and one output partition have changed places."""
    problems = []
    for records in outputs:
        last: dict[tuple[str, int, str], tuple[int, Seen]] = {}
        for each in records:
            origin, _, offset = each.headers.get("raw", b"?/0").decode().rpartition("/")
            way = each.topic, each.partition, origin
            before = last.get(way)
            if before is not None and int(offset) < before[0]:
                problems.append(f"{each.topic}/{each.partition}/{each.offset}: {offset} comes after {before[0]}")
            last[way] = int(offset), each
    return problems


def _wrong_routes(enriched: Sequence[Seen], routes: Sequence[Sequence[Seen]]) -> list[str]:
    """Return what a route has twice, or without its enriched record."""
    known = {each.headers.get("raw"): each.value for each in enriched}
    problems = []
    for records in routes:
        times: Counter[tuple[str, bytes | None]] = Counter((each.topic, each.headers.get("raw")) for each in records)
        problems += [f"{topic}: {raw!r} {count} times" for (topic, raw), count in times.items() if count > 1]
        problems += [
            f"{each.topic}/{each.partition}/{each.offset} is not what the enriched topic has"
            for each in records
            if each.headers.get("kind") != b"unrouted" and known.get(each.headers.get("raw")) != each.value
        ]
    return problems


def _name(record: Seen) -> str:
    return record.headers.get("x-id", b"?").decode()
