"""
The log on Apache Kafka, by kafka-python: ports.Log and ports.Appender.

Its parts: kafka_settings (what the client gets), kafka_errors (what its failures mean), kafka_clients (made and
discarded), kafka_topics (asked of the cluster), kafka_records (in and out), kafka_member, kafka_reader.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from kafka.errors import KafkaError

from worker.edges import kafka_batches, kafka_clients, kafka_errors, kafka_sockets
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_reader import KafkaReader
from worker.edges.kafka_records import Outgoing, check_acknowledged, outgoing, send, size_outside
from worker.edges.kafka_settings import BATCH_BYTES, KafkaSettings
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import NewRecord, TopicOutcome, TopicPartition, TopicSpec

MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024
"""The client has no bound of its own on what it holds for sending."""


def _nothing() -> None:
    """Stand in where nobody listens."""


class KafkaAppender:
    """See ports.Appender. Safe to use from many threads, one append at a time."""

    def __init__(self, settings: KafkaSettings, topics: KafkaTopics) -> None:
        self._settings = settings
        self._topics = topics
        self._lock = threading.Lock()
        self._producer: Any = None
        self._batch_bytes = BATCH_BYTES

    def append(self, records: Sequence[NewRecord], *, timeout_s: float = 30.0) -> None:
        """See ports.Appender. Raises also: WrongSettings: a missing topic, a record larger than its topic takes."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            sending = outgoing(records, self._topics)
            start = held = 0
            for end, each in enumerate(sending, start=1):
                held += size_outside(each.record)
                if held >= MAX_IN_FLIGHT_BYTES or end == len(sending):
                    self._send(sending[start:end], deadline)
                    start, held = end, 0

    def close(self) -> None:
        with self._lock:
            self._discard()

    def _send(self, sending: Sequence[Outgoing], deadline: float) -> None:
        producer = self._ready(min(each.limit for each in sending))
        futures: list[Any] = []
        try:
            futures.extend(send(sending, producer))
            producer.flush(timeout=max(0.0, deadline - time.monotonic()))
            check_acknowledged(futures)
        except (KafkaError, ValueError, RuntimeError, OSError) as error:
            # A producer that lost a batch may hold others back: the next append gets a new one.
            self._discard()
            self._topics.forget_facts()
            reasons = [error, *(future.exception for future in futures if future.is_done and future.failed())]
            raise kafka_errors.meaning(*reasons)(f"appending: {kafka_errors.words(reasons[-1])}") from error

    def _ready(self, limit: int) -> Any:
        if limit < self._batch_bytes:
            self._batch_bytes = limit
            self._discard()
        if self._producer is None:
            self._producer = kafka_clients.producer(self._settings, batch_bytes=self._batch_bytes)
        return self._producer

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            kafka_clients.discard(producer)


class KafkaLog:
    """See ports.Log."""

    def __init__(
        self, settings: KafkaSettings, *, beat: Callable[[], None] = _nothing, reset: Callable[[], None] = _nothing
    ) -> None:
        kafka_batches.install()
        kafka_sockets.install()
        self._settings = settings
        self._beat = beat
        self._reset = reset
        self._topics = KafkaTopics(settings)

    @classmethod
    def open(
        cls, settings: KafkaSettings, *, beat: Callable[[], None] = _nothing, reset: Callable[[], None] = _nothing
    ) -> Self:
        """
        Return a log whose cluster answered.

        *beat* is called by members around steps that may block, for a watchdog; *reset* when a member has to go on at
        the first offset of a partition because the one it wanted is not there.
        Raises: LogUnavailable, NotAuthorised, WrongSettings.
        """
        log = cls(settings, beat=beat, reset=reset)
        try:
            log.topics()
        except BaseException:
            log.close()
            raise
        return log

    def create_topics(self, topics: Sequence[TopicSpec]) -> Mapping[str, TopicOutcome]:
        return self._topics.create(topics)

    def topics(self) -> Mapping[str, int]:
        return self._topics.partitions()

    def appender(self) -> KafkaAppender:
        return KafkaAppender(self._settings, self._topics)

    def member(self, *, group: str, identity: str, topics: Sequence[str]) -> KafkaMember:
        """See ports.Log. Raises: LogUnavailable, NotAuthorised, WrongSettings, Fenced."""
        return KafkaMember(
            self._settings,
            self._topics,
            group=group,
            identity=identity,
            subscribe=topics,
            beat=self._beat,
            reset=self._reset,
        )

    def reader(
        self,
        topics: Sequence[str],
        *,
        start: Mapping[TopicPartition, int] | None = None,
        from_ms: int | None = None,
    ) -> KafkaReader:
        """See ports.Log. Raises: LogUnavailable, NotAuthorised, WrongSettings."""
        return KafkaReader(self._settings, self._topics, topics, start=start, from_ms=from_ms)

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[TopicPartition, int]:
        return self._topics.committed(group, topics)

    def bounds(self, topics: Sequence[str], *, settled: bool = False) -> Mapping[TopicPartition, tuple[int, int]]:
        return self._topics.bounds(topics, settled=settled)

    def close(self) -> None:
        self._topics.close()
