"""The two measurements of a stand: throughput of a backlog, and latency at a steady rate."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.bench.articles import articles
from tests.bench.parts import WARM_UP, Stand, topic_specs
from worker import wire
from worker.ports import Log

ROUTES = ("china-dprk", "sanctions")
CHUNK = 500
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a child process says of its work."""

    records: int
    wall_s: float
    cpu_s: float
    counts: Mapping[str, int]
    stages: Mapping[str, float]

    @property
    def per_second(self) -> float:
        return self.records / self.wall_s

    @property
    def per_cpu_second(self) -> float:
        return self.records / self.cpu_s

    @property
    def cpu_us(self) -> float:
        """CPU time of one article."""
        return self.cpu_s / self.records * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """From the raw record's timestamp to the moment a read_committed reader had its end in hand."""

    count: int
    p50_ms: float
    p99_ms: float
    late_s: float
    """How far the producer fell behind its rate at worst."""


def throughput(stand: Stand, count: int) -> tuple[Throughput, Throughput]:
    """Fill the raw topic; return the figures of the bare copy and of the worker for *count* articles after WARM_UP."""
    fill(stand, WARM_UP + count)
    return _throughput("copy", stand, WARM_UP + count), _throughput("enrich", stand, WARM_UP + count)


def fill(stand: Stand, count: int) -> None:
    """Make the topics of *stand* and append *count* articles to the raw one."""
    with ready_log(stand) as log:
        appender = log.appender()
        now = datetime.now(UTC)
        chunk = []
        for article in articles(count):
            chunk.append(wire.raw_record(article, topic=stand.topics.raw, now=now))
            if len(chunk) == CHUNK:
                appender.append(chunk)
                chunk = []
        appender.append(chunk)
        appender.close()


def latencies(stand: Stand, count: int) -> Latency:
    """Let a worker run against a paced producer and read what comes out."""
    topics = stand.topics
    count += WARM_UP
    with ready_log(stand) as log:
        worker = _start("enrich", stand, count)
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "ready", "the worker did not start"
        reader = log.reader([topics.enriched, topics.duplicates, topics.dead_letter])
        arrived: dict[str, float] = {}
        producer = _start("pace", stand, count)
        deadline = time.monotonic() + PATIENCE_S
        while len(arrived) < count and time.monotonic() < deadline and worker.poll() in (None, 0):
            records = reader.read(timeout_s=0.2)
            now_ms = time.time() * 1000
            for record in records:
                arrived[wire.header(record.headers, "raw") or ""] = now_ms
        reader.close()
        paced = _outcome(producer)
        _outcome(worker)
        written: dict[str, int] = {}
        reader = log.reader([topics.raw])
        while not reader.at_end():
            for record in reader.read(timeout_s=0.5):
                written[str(record.coordinates)] = record.timestamp_ms
        reader.close()
    assert arrived.keys() == written.keys(), f"{len(written)} raw records, {len(arrived)} ends"
    in_order = sorted(written, key=lambda place: written[place])
    delays = sorted(arrived[place] - written[place] for place in in_order[WARM_UP:])
    return Latency(
        count=len(delays),
        p50_ms=delays[len(delays) // 2],
        p99_ms=delays[len(delays) * 99 // 100],
        late_s=float(paced["late_s"]),
    )


@contextmanager
def ready_log(stand: Stand) -> Iterator[Log]:
    """Give the stand's log with all topics made, and an epoch in its seen store."""
    seen = stand.seen()
    seen.start_epoch("bench")
    seen.close()
    log = stand.log()
    try:
        log.create_topics(topic_specs(stand.topics, ROUTES))
        yield log
    finally:
        log.close()


def _throughput(role: str, stand: Stand, count: int) -> Throughput:
    said = _outcome(_start(role, stand, count))
    return Throughput(
        records=said["records"],
        wall_s=said["wall_s"],
        cpu_s=said["cpu_s"],
        counts=said.get("counts", {}),
        stages=said.get("stages", {}),
    )


def _start(role: str, stand: Stand, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(command(role, stand, count), stdout=subprocess.PIPE, text=True)


def command(role: str, stand: Stand, count: int) -> list[str]:
    """Return how a child process is started."""
    return [sys.executable, "-m", "tests.bench.child", role, stand.plain(), str(count)]


def _outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for *process* and return what it says at its end. Raises: subprocess.CalledProcessError."""
    out, _ = process.communicate(timeout=PATIENCE_S)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures
