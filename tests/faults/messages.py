"""Faults of what lies in the topics, and of the topics themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions
from kafka.structs import OffsetAndMetadata

from tests.faults import oracle
from tests.faults.load import text
from tests.faults.stand import START_S, Stand
from tests.make import raw_article, raw_record
from worker.edges.process import ExitCode
from worker.ports import NewRecord

_DEEP = b'{"story":' + b"[" * 10_000 + b"]" * 10_000 + b"}"


def poison(stand: Stand) -> None:
    """T9: records that no poller would write, among good ones: each is one dead letter, and the worker stays."""
    good = raw_record(raw_article("header-storm"), topic=stand.names.raw)
    values: Sequence[bytes | None] = (
        None,
        b"",
        b"\xff\xfe\xfd",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        _DEEP,
        b'{"fetchedAt": ' + b"9" * 100_000 + b"}",
        b'{"a": NaN}',
        b"\x00" * 1000,
    )
    with stand.load(200), closing(KafkaProducer(bootstrap_servers=stand.kafka.bootstrap)) as producer:
        workers = stand.steady(2)
        for turn in range(20):
            for number, value in enumerate(values):
                headers = [("x-id", b"p%d-%d" % (turn, number)), ("x-expect", b"bad")]
                producer.send(stand.names.raw, value, key=b"p%d" % number, headers=headers)
            headers = [("x-id", b"h%d" % turn), ("x-expect", b"bad"), *((f"h{i}", b"x" * 100) for i in range(300))]
            producer.send(stand.names.raw, good.value, key=good.key, headers=headers)
            stand.times += 1 + len(values)
        producer.flush(10)
        time.sleep(3)
        stand.all_alive(workers)


def limit_lowered(stand: Stand) -> None:
    """T11: the output topics take less than before, while long articles come: they are cut, flagged and published."""
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "100000"})
        for topic in (stand.names.enriched, stand.names.dead_letter, *stand.names.routes)
    ]
    with (
        stand.load(100),
        stand.installation.log() as log,
        closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin,
    ):
        workers = stand.steady(2)
        appender = log.appender()
        appender.append(_long(stand.names.raw, range(20)))
        admin.alter_configs(resources)
        mark = stand.progress.mark()
        appender.append(_long(stand.names.raw, range(20, 60)))
        stand.times += 1
        stand.recovered(mark, within_s=60, every_partition=True)
        stand.all_alive(workers)
        appender.close()


def _long(topic: str, numbers: range) -> list[NewRecord]:
    made = []
    for number in numbers:
        body = " ".join(text(1_000_000 + number * 1000 + part) for part in range(500))
        article = raw_article(f"long{number}", title=f"Long report {number}", summary=f"<p>{body}</p>")
        record = raw_record(article, topic=topic)
        made.append(replace(record, headers=(*record.headers, ("x-id", b"long%d" % number), ("x-expect", b"story"))))
    return made


def partitions_added(stand: Stand) -> None:
    """T20: the raw topic gets more partitions under load: they are picked up, nothing is lost."""
    with closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
        with stand.load():
            workers = stand.steady(2)
            admin.create_partitions({stand.names.raw: NewPartitions(total_count=9)})
            stand.times += 1
        with stand.load(start=1_000_000):
            stand.recovered(stand.progress.mark(), within_s=90, every_partition=True)
        stand.all_alive(workers)


def batch_damaged(stand: Stand) -> None:
    """T12: a batch rots on the broker's disk: the worker says which and ends, and is set behind it by hand."""
    with stand.load():
        workers = stand.steady(2)
    stand.drain()
    for worker in workers:
        stand.stop(worker)
    with closing(KafkaProducer(bootstrap_servers=stand.kafka.bootstrap)) as producer:
        headers = [("x-id", b"rotten"), ("x-expect", b"unreadable"), ("x-pad", b"x" * 100)]
        at = producer.send(stand.names.raw, b"{}", key=b"k", headers=headers, partition=0).get(10).offset
    stand.kafka.stop()
    segment = stand.kafka.folder / "node" / "data" / f"{stand.names.raw}-0" / "00000000000000000000.log"
    content = bytearray(segment.read_bytes())
    content[-5] ^= 0xFF
    segment.write_bytes(content)
    stand.kafka.start()
    stand.times += 1
    with stand.load(start=1_000_000):
        worker = stand.worker()
        assert worker.wait(START_S) == ExitCode.UNREADABLE, f"it ended with {worker.returncode}"
        stand.workers.remove(worker)
        with closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
            behind = {TopicPartition(stand.names.raw, 0): OffsetAndMetadata(at + 1, "", -1)}
            deadline = time.monotonic() + START_S  # it is refused until the group has no member left
            while stand.view.committed(stand.names.group, stand.names.raw)[0] != at + 1:
                assert time.monotonic() < deadline, "the group cannot be set behind the batch"
                admin.alter_group_offsets(stand.names.group, behind)
                time.sleep(0.5)
        mark = stand.progress.mark()
        stand.worker()
        stand.worker(1)
        stand.recovered(mark, within_s=START_S, every_partition=True)


def retention_passed(stand: Stand) -> None:
    """T21: what the group wanted to go on from is gone: it goes on at what is left."""
    with stand.load(), closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
        for worker in stand.steady(2):
            stand.stop(worker)
        time.sleep(4)
        committed = stand.view.committed(stand.names.group, stand.names.raw)
        ends = stand.view.ends(stand.names.raw)
        gone = {TopicPartition(stand.names.raw, part): (committed[part] + end) // 2 for part, end in ends.items()}
        admin.delete_records(gone)
        stand.times += 1
        mark = stand.progress.mark()
        stand.worker()
        stand.worker(1)
        stand.recovered(mark, within_s=START_S, every_partition=True)
    stand.judge = _without_kinds


def _without_kinds(view: oracle.View, names: oracle.Names) -> oracle.Findings:
    """Judge without asking what kind each end is: of a story whose first record is gone the second is the new one."""
    findings = oracle.judge(view, names)
    return replace(findings, problems=tuple(each for each in findings.problems if " should be " not in each))


SECOND_LIFE = 1_000_000


def topic_made_anew(stand: Stand) -> None:
    """T20: the raw topic is deleted under running workers, and made again: its offsets mean other records now."""
    with stand.load():
        workers = stand.steady(2)
    stand.drain()
    first = oracle.judge(stand.view, stand.names)
    assert first.well, str(first)
    with closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
        admin.delete_topics([stand.names.raw])
    stand.times += 1
    time.sleep(3)
    assert stand.installation.run("topics", "apply").returncode == 0
    with stand.load(start=SECOND_LIFE):
        deadline = time.monotonic() + 60
        while not sum(stand.view.committed(stand.names.group, stand.names.raw).values()):
            assert time.monotonic() < deadline, "the new topic is not read"
            time.sleep(0.2)
        time.sleep(5)
        stand.all_alive(workers)
    stand.judge = _second_life


def _second_life(view: oracle.View, names: oracle.Names) -> oracle.Findings:
    return oracle.judge(SecondLife(view), names)


class SecondLife:
    """A view that leaves out what was written of the topic's first life."""

    def __init__(self, view: oracle.View) -> None:
        self._view = view
        self.committed = view.committed
        self.ends = view.ends
        self.open_transactions = view.open_transactions

    def records(self, topic: str, *, committed: bool = True) -> list[oracle.Seen]:
        return [each for each in self._view.records(topic, committed=committed) if _number(each) >= SECOND_LIFE]


def _number(record: oracle.Seen) -> int:
    """Return the number that the load gave a record, or that the link of what became of it has; -1 without a link."""
    if record.headers.get("kind") == b"unrouted":
        return -1
    named = record.headers.get("x-id")
    if named is None:
        told = json.loads(record.value or b"{}")
        named = (told.get("link") or told["dateline"]["provenance"]["link"]).rpartition("/")[2].encode()
    return int(named.removeprefix(b"n"))
