"""Faults of what lies in the topics, and of the topics themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions

from tests.faults.load import text
from tests.faults.stand import Stand
from tests.make import raw_article, raw_record
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
