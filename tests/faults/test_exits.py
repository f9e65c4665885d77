"""Whole worker processes that have to end: with which exit code, how soon, and that the next one goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.proxy import END_TXN, Fate, Once, ProxiedBroker
from tests.support.services import KafkaBroker, RedisServer
from tests.support.waiting import until
from worker.edges.process import ExitCode

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(180)]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a worker of an installation; those that still live are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def new(installation: Installation, **environ: str) -> subprocess.Popen[bytes]:
        started.append(installation.start("enrich", environ=environ))
        return started[-1]

    yield new
    for each in started:
        each.kill()
        each.wait()


def prepared(folder: Path, kafka: KafkaBroker, redis: RedisServer) -> Installation:
    installation = Installation(folder, kafka=kafka, redis=redis)
    assert installation.run("topics", "apply").returncode == 0
    return installation


def feed(installation: Installation, *names: str) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append([raw_record(raw_article(name), topic=installation.topics.raw) for name in names])
        appender.close()


def published(installation: Installation) -> int:
    return len(installation.read([installation.topics.enriched]))


def said(installation: Installation) -> str:
    """Return all that the installation's processes said."""
    return "".join(path.read_text("utf-8", "replace") for path in sorted(installation.folder.glob("enrich-*.log")))


@pytest.mark.faults
@pytest.mark.parametrize("stop", [False, True])
def test_a_worker_stuck_in_a_commit_is_ended(
    tmp_path: Path, proxied_kafka: ProxiedBroker, redis: RedisServer, start: Start, stop: bool
) -> None:
    """P8: the client's commit waits for the answer, whatever happens. By the watchdog, or by the grace period's end."""
    installation = prepared(tmp_path, proxied_kafka, redis)
    feed(installation, "a")
    proxied_kafka.proxy.rule = rule = Once(END_TXN, Fate.UNANSWERED)
    rule.armed = True
    limits = {"DATELINE_WORKER_GRACE": "8s"} if stop else {"DATELINE_WORKER_WATCHDOG": "8s"}
    worker = start(installation, DATELINE_KAFKA_BOOTSTRAP=proxied_kafka.proxy.bootstrap, **limits)
    assert rule.done.wait(60)
    if stop:
        worker.terminate()
    began = time.monotonic()
    assert worker.wait(timeout=30) == (ExitCode.RESTART if stop else ExitCode.WATCHDOG)
    assert time.monotonic() - began < 14
    assert "in _settled" in said(installation)
    if not stop:
        feed(installation, "b")
        start(installation)
        until(lambda: published(installation) == 2, within_s=60)


@pytest.mark.faults
def test_of_two_workers_with_one_identity_the_older_ends_though_idle_and_the_newer_works(
    tmp_path: Path, kafka: KafkaBroker, redis: RedisServer, start: Start
) -> None:
    installation = prepared(tmp_path, kafka, redis)
    feed(installation, "a")
    older = start(installation)
    until(lambda: published(installation) == 1, within_s=60)
    newer = start(installation)
    assert older.wait(timeout=40) == ExitCode.FENCED
    assert "another process has joined" in said(installation)
    feed(installation, "b")
    until(lambda: published(installation) == 2, within_s=60)
    assert newer.poll() is None


@pytest.mark.faults
def test_a_damaged_batch_ends_the_worker_which_says_how_to_go_on_behind_it(
    tmp_path: Path, proxied_kafka: ProxiedBroker, redis: RedisServer, start: Start
) -> None:
    """The commands are those of docs/operations.md, exit code 5."""
    installation = Installation(tmp_path, kafka=proxied_kafka, redis=redis)
    installation.environ["DATELINE_TOPICS_PARTITIONS"] = "1"
    assert installation.run("topics", "apply").returncode == 0
    raw = installation.topics.raw
    feed(installation, "a", "b")
    proxied_kafka.stop()
    segment = proxied_kafka.folder / "node" / "data" / f"{raw}-0" / "00000000000000000000.log"
    damaged = bytearray(segment.read_bytes())
    damaged[-5] ^= 0xFF
    segment.write_bytes(damaged)
    proxied_kafka.start()
    feed(installation, "c")

    assert start(installation).wait(timeout=60) == ExitCode.UNREADABLE
    words = "the batch of offsets 0 to 1 cannot be unpacked (its checksum is wrong); behind it: 2"
    lines = [line for line in said(installation).splitlines() if words in line]
    assert [f"reading {raw}, partition 0: " in line for line in lines] == [True]
    assert published(installation) == 0

    group = installation.environ["DATELINE_KAFKA_GROUP_PREFIX"] + "enrich"
    moved = [*"-m kafka.admin -b".split(), proxied_kafka.bootstrap, "groups", "alter-offsets", "-g", group]
    subprocess.run([sys.executable, *moved, "-o", f"{raw}:0:2"], check=True, capture_output=True)
    start(installation)
    until(lambda: published(installation) == 1, within_s=60)
