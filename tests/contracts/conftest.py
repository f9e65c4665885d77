"""The logs that the contract suites run against, and short words for what most tests do with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.services import KafkaBroker, free_ports
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaAppender, KafkaLog
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.kafka_topics import KafkaTopics
from worker.edges.sqlite_log import SqliteLog
from worker.ports import Appender, Batch, Log, LogRecord, Member, NewRecord, TopicSpec


@dataclass(slots=True)
class Bench:
    """One log under test; all names that a test uses begin with its own prefix."""

    log: Log
    prefix: str
    away: Callable[[], Appender]
    """Make an appender whose log cannot be reached."""
    members: list[Member] = field(default_factory=list)

    def topic(self, name: str, *, partitions: int = 2, compacted: bool = False) -> str:
        spec = TopicSpec(name=self.prefix + name, partitions=partitions, compacted=compacted)
        self.log.create_topics([spec])
        return spec.name

    def append(self, *records: NewRecord) -> None:
        appender = self.log.appender()
        appender.append(records)
        appender.close()

    def fill(self, topic: str, count: int) -> list[bytes]:
        """Append *count* records of different keys; return their values."""
        values = [b"value %d" % n for n in range(count)]
        self.append(*(NewRecord(topic=topic, key=b"key %d" % n, value=value) for n, value in enumerate(values)))
        return values

    def join(self, topic: str, *, identity: str = "one", group: str = "group") -> Member:
        member = self.log.member(group=self.prefix + group, identity=self.prefix + identity, topics=[topic])
        self.members.append(member)
        return member

    def read_all(self, *topics: str) -> list[LogRecord]:
        """Return all committed records that are there now."""
        reader = self.log.reader(topics)
        found: list[LogRecord] = []

        def ended() -> bool:
            found.extend(reader.read(timeout_s=0.2))
            return reader.at_end()

        until(ended, what="the end")
        reader.close()
        return found


def poll(member: Member, count: int) -> list[Batch]:
    """Poll until *count* records came; return the batches."""
    found: list[Batch] = []

    def enough() -> bool:
        batch = member.poll(timeout_s=0.2)
        if batch.records:
            found.append(batch)
        return sum(len(each.records) for each in found) >= count

    until(enough, what=f"{count} records")
    return found


def values(*batches: Batch) -> list[bytes]:
    """Return the values of *batches*, sorted."""
    return sorted(record.value or b"" for batch in batches for record in batch.records)


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, topic_prefix: str) -> Iterator[Bench]:
    """Return each log in turn."""
    made = _kafka(request, topic_prefix) if request.param == "kafka" else _sqlite(tmp_path, topic_prefix)
    yield made
    for member in made.members:
        member.close()
    made.log.close()


def _sqlite(folder: Path, prefix: str) -> Bench:
    def away() -> Appender:
        path = folder / "moved.db"
        appender = SqliteLog.open(path).appender()
        path.rename(folder / "elsewhere.db")
        return appender

    return Bench(log=SqliteLog.open(folder / "log.db", session_timeout_s=6), prefix=prefix, away=away)


def _kafka(request: pytest.FixtureRequest, prefix: str) -> Bench:
    broker: KafkaBroker = request.getfixturevalue("kafka")
    settings = KafkaSettings(bootstrap=broker.bootstrap, session_timeout_ms=6000, heartbeat_interval_ms=500)

    def away() -> Appender:
        nowhere = KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)[0]}", connect_timeout_ms=500)
        return KafkaAppender(nowhere, KafkaTopics(nowhere))

    return Bench(log=KafkaLog.open(settings), prefix=prefix, away=away)
