"""Read committed records of some topics outside any group, from offsets or a time on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from worker import ports
from worker.edges import kafka_batches, kafka_clients, kafka_errors
from worker.edges.kafka_records import to_log_record
from worker.edges.kafka_settings import KafkaSettings, reading
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import LogError, LogRecord, LogUnavailable

_SLICE_S = 0.1
_SILENCE_S = 2.0
"""So long nothing must come, twice with the broker's word that it is there, before a gap counts as the end."""


class KafkaReader:
    """See ports.Reader. Not for more than one thread."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: KafkaTopics,
        names: Sequence[str],
        *,
        start: Mapping[ports.TopicPartition, int] | None,
        from_ms: int | None,
    ) -> None:
        self._partitions = [TopicPartition(name, n) for name in names for n in range(topics.facts(name).partitions)]
        self._stopped: LogError | None = None
        self._silent_since: float | None = None
        self._silences = 0
        self._consumer: Any = kafka_clients.connect(KafkaConsumer, reading(settings))
        try:
            self._ends = self._seek(start or {}, from_ms)
        except LogError:
            self.close()
            raise

    def read(self, *, timeout_s: float, max_records: int = 500) -> Sequence[LogRecord]:
        """See ports.Reader. Raises: LogUnavailable, UnreadableInput and others of ports."""
        if self._stopped is not None:
            raise self._stopped
        ended = self.at_end()
        deadline = time.monotonic() + timeout_s
        while True:
            # In slices: behind the last record there may be markers only, which the client passes without a word.
            wait_s = min(_SLICE_S, max(0.0, deadline - time.monotonic()))
            found = self._poll(wait_s if not ended else max(0.0, deadline - time.monotonic()), max_records)
            if found:
                self._silent_since, self._silences = None, 0
                return found
            if time.monotonic() >= deadline or (not ended and self.at_end()):
                return ()

    def at_end(self) -> bool:
        if all(self._position(partition) >= end for partition, end in self._ends.items()):
            self._ends = {}
        elif self._silent_for(_SILENCE_S):
            # A cleaned partition may end in a gap that no fetch ever passes. Ask whether the broker is there at all.
            with contextlib.suppress(KafkaError):
                self._consumer.end_offsets(list(self._ends))
                self._silences += 1
            self._silent_since = time.monotonic()
            if self._silences >= 2:
                self._ends = {}
        return not self._ends

    def close(self) -> None:
        with contextlib.suppress(KafkaError, OSError, RuntimeError):
            self._consumer.close(autocommit=False, timeout_ms=3000)

    def _poll(self, wait_s: float, max_records: int) -> Sequence[LogRecord]:
        try:
            found = self._consumer.poll(timeout_ms=wait_s * 1000, max_records=max_records)
        except Exception as error:
            failure = kafka_errors.of_polling(error, kafka_batches.place(self._consumer))
            if not isinstance(failure, LogUnavailable):
                self._stopped = failure  # the client's next poll may spin for ever
            raise failure from error
        if not found and self._silent_since is None:
            self._silent_since = time.monotonic()
        return [to_log_record(record) for records in found.values() for record in records]

    def _silent_for(self, seconds: float) -> bool:
        return self._silent_since is not None and time.monotonic() - self._silent_since >= seconds

    def _position(self, partition: TopicPartition) -> int:
        return self._consumer.position(partition, timeout_ms=1000) or 0

    def _seek(self, start: Mapping[ports.TopicPartition, int], from_ms: int | None) -> dict[TopicPartition, int]:
        """Go to where reading starts; return by partition the end as it is now, where there is anything to read."""
        consumer, partitions = self._consumer, self._partitions
        if not partitions:
            return {}
        try:
            consumer.assign(partitions)
            first = consumer.beginning_offsets(partitions)
            ends = consumer.end_offsets(partitions)
            timed = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms)) if from_ms is not None else {}
        except KafkaError as error:
            raise kafka_errors.translate(error, "finding where to read") from error
        for tp in partitions:
            at = start.get((tp.topic, tp.partition))
            if at is None and from_ms is not None:
                at = timed[tp].offset if timed.get(tp) is not None else ends[tp]
            consumer.seek(tp, max(first[tp], at) if at is not None else first[tp])
        return {tp: end for tp, end in ends.items() if end > first[tp]}
