"""Records between our form and the client library's; the way out is checked before anything is sent."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.errors import KafkaTimeoutError

from worker.edges.kafka_topics import KafkaTopics
from worker.ports import LogRecord, NewRecord, RecordTooLarge

_BATCH_OVERHEAD = 61
_RECORD_OVERHEAD = 36
"""Lengths and deltas as variable-length integers: at most so many bytes."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record that its topic will take, with its partition."""

    record: NewRecord
    partition: int
    limit: int
    """max.message.bytes of the topic."""
    now_ms: int


def outgoing(records: Sequence[NewRecord], topics: KafkaTopics) -> list[Outgoing]:
    """
    Return *records* with partition and our clock's time.

    Raises: WrongSettings: a topic is missing; RecordTooLarge. Nothing was sent.
    """
    now_ms = int(time.time() * 1000)
    ready = []
    for record in records:
        facts = topics.facts(record.topic)
        size = size_outside(record)
        if size > facts.max_message_bytes:
            raise RecordTooLarge(topic=record.topic, size=size, limit=facts.max_message_bytes)
        ready.append(Outgoing(record, zlib.crc32(record.key) % facts.partitions, facts.max_message_bytes, now_ms))
    return ready


def size_outside(record: NewRecord) -> int:
    """Return how many bytes *record* takes alone in a batch, uncompressed; never too few."""
    size = _BATCH_OVERHEAD + _RECORD_OVERHEAD + len(record.key) + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) * 4 + len(value) + 10
    return size


def send(sending: Sequence[Outgoing], producer: Any) -> Iterator[Any]:
    """Hand all to *producer*, and yield the future of each."""
    # All topics first: else it asks for each when its first record comes, and pauses 0.1 s after each answer.
    for topic in {each.record.topic for each in sending}:
        producer._sender.add_topic(topic)  # noqa: SLF001
    for each in sending:
        record = each.record
        yield producer.send(
            record.topic,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            partition=each.partition,
            timestamp_ms=each.now_ms,
        )


def check_acknowledged(futures: Iterable[Any]) -> None:
    """Raise what kept a record from being acknowledged; `flush` and even `commit_transaction` may be silent of it."""
    for future in futures:
        if not future.is_done:
            raise KafkaTimeoutError("a record was not acknowledged in time")
        if future.failed():
            raise future.exception


def to_log_record(record: Any) -> LogRecord:
    """Return a record as the client gives it in our form; a header without a value has an empty one."""
    return LogRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple([(name, value or b"") for name, value in record.headers]) if record.headers else (),
    )
