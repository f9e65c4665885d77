"""
Workers, crashes, rewinds, rebalances and a store that is lost, in any order, over each real seen store.

The log is modelled: what is committed is committed, and a commit under an old ownership is refused. The store, and the
loop that brings it back, are real. What must hold: what went out for a raw record is what was said of it first since
the store was last lost, and what is said of it ever after; a story is new once, and its versions rise.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.contracts.test_seen_store import key, seen
from tests.support.services import RedisServer
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.enriching import SilentEvents, TopicNames
from worker.loops.rebuilding import Rebuilding, RebuildSettings
from worker.ports import Log, LogRecord, RoutedVersion, SeenStore, SeenStoreLost, TopicPartition
from worker.published import judged_header
from worker.records import Coordinates, Fingerprint, Verdict, VerdictKind

NAMES = TopicNames()
PARTITIONS = 2
WORKERS = 2
PLACES = [(NAMES.raw, number) for number in range(PARTITIONS)]
SENT = (VerdictKind.NEW, VerdictKind.UPDATE)


class Hurried:
    """A clock on which every look is ten seconds later: each portion of a rebuild is a step of its own."""

    def __init__(self) -> None:
        self._ticks = count(0, 10)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return float(next(self._ticks))

    def sleep(self, seconds: float) -> None:
        """Time goes by."""


class ModelReader:
    """Reads what was there when it was opened, two records at a time."""

    def __init__(self, records: Sequence[LogRecord]) -> None:
        self._records = list(records)

    def read(self, *, timeout_s: float, max_records: int = 500) -> Sequence[LogRecord]:  # noqa: ARG002 (the port's)
        found, self._records = self._records[:2], self._records[2:]
        return found

    def at_end(self) -> bool:
        return not self._records

    def close(self) -> None: ...


@dataclass
class ModelLog:
    """As much of a log as a rebuild asks for."""

    raw: dict[TopicPartition, list[Fingerprint]] = field(default_factory=lambda: {place: [] for place in PLACES})
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    out: list[LogRecord] = field(default_factory=list)

    def topics(self) -> Mapping[str, int]:
        return {NAMES.raw: PARTITIONS}

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:  # noqa: ARG002 (the port's)
        return dict(self.offsets)

    def bounds(self, topics: Sequence[str], *, settled: bool = False) -> Mapping[TopicPartition, tuple[int, int]]:  # noqa: ARG002 (the port's)
        return {}

    def reader(self, topics: Sequence[str], *, from_ms: int) -> ModelReader:  # noqa: ARG002 (the port's)
        # By partition, as a reader may: only within one does the order hold.
        found = [record for record in self.out if record.topic in topics]
        return ModelReader(sorted(found, key=lambda record: record.partition))

    def write(self, fingerprint: Fingerprint, verdict: Verdict, routes: tuple[str, ...]) -> None:
        sent = verdict.kind in SENT
        topic = NAMES.enriched if sent else NAMES.duplicates
        headers = (
            ("raw", str(fingerprint.raw).encode()),
            ("feed", fingerprint.feed.encode()),
            ("kind", verdict.kind.encode()),
            *([("routes", ",".join(routes).encode())] if sent else []),  # a duplicate is on none, and says nothing
            judged_header(fingerprint, verdict),
        )
        self.out.append(
            LogRecord(
                topic=topic,
                partition=fingerprint.raw.partition,
                offset=len(self.out),
                timestamp_ms=int(datetime.now(UTC).timestamp() * 1000),
                key=fingerprint.story.encode(),
                value=b"{}",
                headers=headers,
            )
        )


@dataclass
class Worker:
    """One process, as far as the store is concerned."""

    name: str
    store: SeenStore
    rebuilding: Rebuilding
    joined: bool = False
    at: dict[TopicPartition, int] = field(default_factory=dict)
    """Where it reads on; elsewhere at the committed offset."""
    pending: list[tuple[Fingerprint, Verdict]] = field(default_factory=list)
    routed: bool = False
    generation: int = 0


@dataclass(frozen=True)
class Backend:
    """A kind of store: how to open it, and what can befall it."""

    open: Callable[[str], SeenStore]
    wipe: Callable[[str], None]
    lose_marker: Callable[[str], None]
    """Only the marker goes, as by eviction: the rest is still there."""
    end_lease: Callable[[str], None]


class Model(RuleBasedStateMachine):
    """Any interleaving of what can happen."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.namespace = uuid.uuid4().hex
        self.log = ModelLog()
        self.owner: dict[TopicPartition, int] = {}
        self.generation = 0
        self.workers: list[Worker] = []
        self.said: dict[Coordinates, Verdict] = {}
        """Since the store was last lost; what is published stays."""
        self.published: dict[Coordinates, Verdict] = {}
        self.new: Counter[str] = Counter()
        self.versions: dict[str, int] = {}
        self.routes_of: dict[tuple[str, int], tuple[str, ...]] = {}

    @initialize()
    def start(self) -> None:
        self.owner = {place: place[1] % WORKERS for place in PLACES}
        self.workers = [self.worker(number) for number in range(WORKERS)]

    def worker(self, number: int) -> Worker:
        name = f"w{number}"
        store = self.backend.open(self.namespace)
        log: Log = self.log  # type: ignore[assignment]  # as much of one as is asked for
        rebuilding = Rebuilding(
            log=log,
            seen=store,
            clock=Hurried(),
            events=SilentEvents(),
            settings=RebuildSettings(group="g", identity=name, topics=NAMES, remembered=timedelta(days=30)),
        )
        return Worker(name=name, store=store, rebuilding=rebuilding, generation=self.generation)

    def owned(self, number: int) -> list[TopicPartition]:
        return [place for place in PLACES if self.owner[place] == number]

    def teardown(self) -> None:
        for worker in self.workers:
            worker.store.close()

    @rule(
        story=st.sampled_from("abcd"),
        text=st.sampled_from(["one", "two", "three"]),
        feed=st.sampled_from(["north", "south"]),
        link=st.sampled_from([None, None, None, "a"]),
        times=st.integers(1, 2),
    )
    def append(self, story: str, text: str, feed: str, link: str | None, times: int) -> None:
        made = seen(0, story, text, feed=feed, link=link)
        place = PLACES[int(made.story, 16) % PARTITIONS]
        for _ in range(times):
            raw = Coordinates(topic=place[0], partition=place[1], offset=len(self.log.raw[place]))
            self.log.raw[place].append(
                Fingerprint(
                    raw=raw,
                    story=made.story,
                    feed=feed,
                    publisher=made.publisher,
                    basis=made.basis,
                    text_state=made.text_state,
                    link_key=made.link_key,
                    guid_key=None,
                    copy_key=made.copy_key,
                )
            )

    @rule(number=st.integers(0, WORKERS - 1), size=st.integers(1, 5))
    def judge(self, number: int, size: int) -> None:
        worker = self.workers[number]
        if not self.join(number) or worker.pending:
            return
        batch: list[Fingerprint] = []
        for place in self.owned(number):
            at = self.log.offsets.get(place, 0)
            batch += self.log.raw[place][at : at + size]
        if not batch:
            worker.joined = not worker.rebuilding.lost()
            return
        try:
            verdicts = worker.store.judge(batch, now=datetime.now(UTC))
        except SeenStoreLost:
            worker.joined = False
            return
        worker.pending, worker.routed, worker.generation = (
            list(zip(batch, verdicts, strict=True)),
            False,
            self.generation,
        )
        for fingerprint, verdict in worker.pending:
            assert self.said.setdefault(fingerprint.raw, verdict) == verdict
            assert self.published.get(fingerprint.raw, verdict) == verdict

    def join(self, number: int) -> bool:
        """Do what the loop does before it judges: nothing is under way on what it owns."""
        worker = self.workers[number]
        if not worker.joined and not worker.pending:
            try:
                worker.joined = worker.rebuilding.step(frozenset(self.owned(number))) is None
            except SeenStoreLost:
                worker.joined = False
        return worker.joined

    @rule(number=st.integers(0, WORKERS - 1))
    def route(self, number: int) -> None:
        worker = self.workers[number]
        versions = [
            RoutedVersion(story=verdict.story, version=verdict.version, routes=routes_of(fingerprint))
            for fingerprint, verdict in worker.pending
            if verdict.kind in SENT
        ]
        try:
            before = worker.store.record_routes(versions)
        except SeenStoreLost:
            worker.joined, worker.pending = False, []
            return
        worker.routed = True
        for version, earlier in zip(versions, before, strict=True):
            known = [number for story, number in self.routes_of if story == version.story and number < version.version]
            if known and (version.story, version.version - 1) in self.routes_of:
                assert tuple(earlier) == self.routes_of[version.story, max(known)]

    @rule(number=st.integers(0, WORKERS - 1))
    def commit(self, number: int) -> None:
        worker = self.workers[number]
        pending, worker.pending = worker.pending, []
        if not pending or not worker.routed or worker.generation != self.generation:
            return
        for fingerprint, verdict in pending:
            place = (fingerprint.raw.topic, fingerprint.raw.partition)
            self.log.offsets[place] = fingerprint.raw.offset + 1
            if fingerprint.raw in self.published:  # the group was set back: said again, as it was said before
                continue
            self.published[fingerprint.raw] = verdict
            self.log.write(fingerprint, verdict, routes_of(fingerprint))
            if verdict.kind in SENT:
                self.new[verdict.story] += verdict.kind is VerdictKind.NEW
                assert self.new[verdict.story] == 1
                assert verdict.version > self.versions.get(verdict.story, 0)
                self.versions[verdict.story] = verdict.version
                self.routes_of[verdict.story, verdict.version] = routes_of(fingerprint)
        try:
            worker.store.committed(self.log.offsets, now=datetime.now(UTC))
        except SeenStoreLost:
            worker.joined = False

    @rule(number=st.integers(0, WORKERS - 1))
    def crash(self, number: int) -> None:
        self.workers[number].store.close()
        self.workers[number] = self.worker(number)
        self.backend.end_lease(self.namespace)

    @rule(number=st.integers(0, WORKERS - 1))
    def give_up(self, number: int) -> None:
        """The transaction fails: what was judged comes again, in other batches."""
        self.workers[number].pending = []

    @rule(turn=st.integers(0, WORKERS - 1))
    def rebalance(self, turn: int) -> None:
        self.owner = {place: (place[1] + turn) % WORKERS for place in PLACES}
        self.generation += 1

    @rule(turn=st.integers(0, PARTITIONS - 1), by=st.integers(1, 4))
    def set_back(self, turn: int, by: int) -> None:
        place = PLACES[turn]
        self.log.offsets[place] = max(0, self.log.offsets.get(place, 0) - by)
        self.generation += 1

    @precondition(lambda self: any(self.log.offsets.values()))
    @rule(whole=st.booleans())
    def lose(self, whole: bool) -> None:
        (self.backend.wipe if whole else self.backend.lose_marker)(self.namespace)
        self.said = dict(self.published)

    @rule()
    def settle(self) -> None:
        """With nothing in the way all is worked off."""
        for _ in range(400):
            for number in range(WORKERS):
                self.judge(number, 3)
                self.route(number)
                self.commit(number)
            if all(self.log.offsets.get(place, 0) >= len(self.log.raw[place]) for place in PLACES):
                break
        assert {place: self.log.offsets.get(place, 0) for place in PLACES} == {
            place: len(self.log.raw[place]) for place in PLACES
        }
        assert len(self.published) == sum(map(len, self.log.raw.values()))


def routes_of(fingerprint: Fingerprint) -> tuple[str, ...]:
    """Return routes that hang on the text alone."""
    return ("sanctions",) if fingerprint.text_state == key("stateone") else ()


def run(backend: Backend, examples: int) -> None:
    run_state_machine_as_test(
        lambda: Model(backend),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_any_interleaving_over_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"

    def execute(statement: str, namespace: str) -> None:
        with sqlite3.connect(path) as db:
            (space,) = db.execute("SELECT id FROM spaces WHERE name = ?", (namespace,)).fetchone()
            for part in statement.split(";"):
                db.execute(
                    part, {"space": space, "low": space.to_bytes(2, "big"), "high": (space + 1).to_bytes(2, "big")}
                )
        db.close()

    wipe = (
        "DELETE FROM seen WHERE key >= :low AND key < :high; DELETE FROM marks WHERE space = :space;"
        "DELETE FROM leases WHERE space = :space; DELETE FROM still WHERE space = :space;"
        "UPDATE spaces SET epoch = NULL WHERE id = :space"
    )
    run(
        Backend(
            open=lambda namespace: opened(SqliteSeen(path, namespace=namespace)),
            wipe=lambda namespace: execute(wipe, namespace),
            lose_marker=lambda namespace: execute("UPDATE spaces SET epoch = NULL WHERE id = :space", namespace),
            end_lease=lambda namespace: execute("DELETE FROM leases WHERE space = :space", namespace),
        ),
        examples=60,
    )


@pytest.mark.redis
def test_any_interleaving_over_valkey(own_redis: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as client:
        run(
            Backend(
                open=lambda namespace: ValkeySeen(own_redis.url, namespace=namespace),
                wipe=lambda _: client.flushall(),
                lose_marker=lambda namespace: client.delete(f"{{dateline:{namespace}}}epoch"),
                end_lease=lambda namespace: client.delete(f"{{dateline:{namespace}}}lease"),
            ),
            examples=30,
        )


def opened(store: SeenStore) -> SeenStore:
    """Return *store* with its file made: what befalls it is done to the file itself."""
    store.epoch()
    return store
