"""What the benchmark's processes share: the two stands (embedded, Kafka + Redis) opened from plain arguments."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.enriching import TopicNames
from worker.ports import Log, Member, SeenStore, TopicSpec

PARTITIONS = 12
MAX_RECORDS = 500
"""In one transaction."""
WARM_UP = 1_500
"""So many articles go first and are not counted: a process that has just started compiles the terms of its languages,
and a broker takes seconds for its first transactions."""
COPIED = "copied"
"""The route-like topic that the bare copy writes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a benchmark's log and seen store are; becomes JSON for the child processes."""

    name: str
    folder: str
    prefix: str = "bench."
    bootstrap: str = ""
    redis: str = ""
    core: int = 0
    """On which the worker runs alone."""

    @property
    def topics(self) -> TopicNames:
        return TopicNames(prefix=self.prefix)

    def log(self) -> Log:
        if self.bootstrap:
            return KafkaLog.open(KafkaSettings(bootstrap=self.bootstrap))
        return SqliteLog.open(Path(self.folder) / "log.db")

    def seen(self) -> SeenStore:
        if self.redis:
            return ValkeySeen(self.redis, namespace=self.prefix)
        return SqliteSeen(Path(self.folder) / "seen.db", namespace=self.prefix)

    def plain(self) -> str:
        """Return the stand as the children read it."""
        return json.dumps(asdict(self))


def topic_specs(topics: TopicNames, routes: tuple[str, ...]) -> list[TopicSpec]:
    """Return all topics that a run on *topics* writes."""
    names = [topics.raw, topics.enriched, topics.duplicates, topics.dead_letter, topics.route(COPIED)]
    return [TopicSpec(name=name, partitions=PARTITIONS) for name in [*names, *map(topics.route, routes)]]


def pin(cores: set[int]) -> None:
    """Let this process and what it starts run on *cores* only, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def split_cores() -> tuple[int, set[int]]:
    """Return the worker's core and those of all others (the same one where there is but one)."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return cores[0], set(cores[1:]) or {cores[0]}


def cpu_s() -> float:
    """Return the CPU seconds that this process, with its threads, has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def machine() -> str:
    """Tell by what figures of two machines, or of one on two days, compare: its Python, and how long that adds."""

    def add() -> float:
        total, start = 0, time.process_time()
        for number in range(10_000_000):
            total += number
        return time.process_time() - start

    quickest = min(add() for _ in range(3))
    return f"Python {platform.python_version()} ({sys.executable}); ten million additions: {quickest:.2f} s of CPU"


def join(member: Member) -> None:
    """Wait until the group has given partitions; what was polled meanwhile comes again."""
    deadline = time.monotonic() + 60
    while not member.assigned():
        if time.monotonic() > deadline:
            sys.exit("the group gave no partitions within 60 s")
        member.poll(timeout_s=0.2, max_records=1)
    member.rewind()


def figures(records: int, wall: float, cpu: float) -> dict[str, object]:
    return {"records": records, "wall_s": time.perf_counter() - wall, "cpu_s": cpu_s() - cpu}
