"""What tests of the Kafka log do with its members, in short words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_settings import KafkaSettings
from worker.ports import Batch, LogUnavailable, NewRecord, TransactionFailed


def settings_for(broker: KafkaBroker) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=broker.bootstrap,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        request_timeout_ms=3000,
        delivery_timeout_ms=4000,
        transaction_timeout_ms=10_000,
        connect_timeout_ms=3000,
    )


def impatient(broker: KafkaBroker) -> KafkaSettings:
    return dataclasses.replace(
        settings_for(broker), request_timeout_ms=1000, delivery_timeout_ms=1500, connect_timeout_ms=1000
    )


def records(topic: str, *values: bytes, key: bytes = b"k") -> list[NewRecord]:
    return [NewRecord(topic=topic, key=key, value=value) for value in values]


def fill(log: KafkaLog, topic: str, *values: bytes) -> None:
    appender = log.appender()
    appender.append(records(topic, *values))
    appender.close()


def next_batch(member: KafkaMember, *, max_records: int = 500) -> Batch:
    found: list[Batch] = []

    def came() -> bool:
        found.append(member.poll(timeout_s=0.2, max_records=max_records))
        return bool(found[-1].records)

    until(came, what="a batch")
    return found[-1]


def carry_on(member: KafkaMember, outputs: list[NewRecord]) -> list[bytes | None]:
    """Poll and commit as a worker does, over all hindrances, until one batch is through; return its values."""
    found = Batch()

    def through() -> bool:
        nonlocal found
        try:
            found = member.poll(timeout_s=0.2)
            member.commit(found, outputs if found.records else [])
        except (LogUnavailable, TransactionFailed):
            return False
        return bool(found.records)

    until(through, within_s=40, what="a batch")
    return values(found)


def values(batch: Batch) -> list[bytes | None]:
    return [record.value for record in batch.records]


def all_values(log: KafkaLog, topic: str) -> list[bytes | None]:
    """Return what a reader of committed records finds, up to the present end."""
    reader = log.reader([topic])
    found: list[bytes | None] = []
    while not reader.at_end():
        found += [record.value for record in reader.read(timeout_s=5)]
    reader.close()
    return found


class Beats:
    """A watchdog's ear that does one thing at the next beat."""

    next: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self.next is not None:
            then, self.next = self.next, None
            then()


def configure(settings: KafkaSettings, topic: str, values: dict[str, str]) -> None:
    admin: Any = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, values)])
    admin.close()


def lower_limit(settings: KafkaSettings, topic: str, limit: int) -> None:
    configure(settings, topic, {"max.message.bytes": str(limit)})
