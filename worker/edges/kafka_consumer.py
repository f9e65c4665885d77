"""The reading half of a member of a consumer group: the client's consumer, and what that keeps to itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata

from worker.edges import kafka_batches, kafka_clients, kafka_errors, kafka_standing
from worker.edges.kafka_positions import Positions
from worker.edges.kafka_settings import KafkaSettings, joining
from worker.ports import Fenced, LogUnavailable

CLOSE_MS = 3000


class GroupConsumer:
    """A static member of its group from its first poll on. Not for more than one thread."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        identity: str,
        subscribe: Sequence[str],
        reset: Callable[[], None],
    ) -> None:
        """*reset*: as in Positions. Raises: LogUnavailable and worse."""
        self._settings = settings
        self._name = f"{group} as {identity}"
        config = joining(settings, group=group, identity=identity)
        self.client: Any = kafka_clients.connect(KafkaConsumer, config, topics=tuple(subscribe))
        kafka_standing.pace(self.client)
        kafka_standing.take_late_joins(self.client)
        self._fresh = kafka_standing.FreshOffsets(self.client)
        self.unsettled = kafka_standing.UnsettledOffsets(self.client)
        try:
            # A leader that joins before it knows a topic's partitions assigns none of them, to anybody, until its
            # metadata are renewed: ask first.
            for topic in subscribe:
                self.client.partitions_for_topic(topic)
        except KafkaError as error:
            self.close()
            raise kafka_errors.translate(error, "joining") from error
        self._positions = Positions(self.client, subscribe, reset=reset)
        self._began = time.monotonic()

    def poll(self, *, timeout_s: float, max_records: int) -> Mapping[TopicPartition, Sequence[Any]]:
        """
        Return what there is by partition.

        Raises: Fenced: another consumer has joined in our place; LogUnavailable: try again; what else comes, comes from
        a client whose next poll may spin for ever: never ask it again.
        """
        try:
            found: dict[TopicPartition, list[Any]] = self.client.poll(
                timeout_ms=timeout_s * 1000, max_records=max_records
            )
        except Exception as error:
            raise kafka_errors.of_polling(error, kafka_batches.place(self.client)) from error
        if kafka_standing.displaced(self.client):
            raise Fenced(f"another process has joined {self._name}")
        if not found:
            self._check_contact()
        return found

    def membership(self) -> ConsumerGroupMetadata:
        return self.client.group_metadata()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.client.assignment())

    def made_anew(self) -> frozenset[str]:
        """Return the topics that were deleted and created again since the last call."""
        return self._positions.made_anew()

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's offset, as the broker has it. Raises: LogUnavailable and worse."""
        self._fresh.forget()
        try:
            offset: int | None = self.client.committed(partition, timeout_ms=self._settings.request_timeout_ms)
        except KafkaError as error:
            raise kafka_errors.translate(error, "reading the committed offsets") from error
        return offset

    def seek(self, partition: TopicPartition, offset: int | None) -> None:
        """Go on at *offset*, or at the first; a partition that has been taken away meanwhile is left alone."""
        with contextlib.suppress(ValueError, AssertionError):
            if offset is None:
                self.client.seek_to_beginning(partition)
            else:
                self.client.seek(partition, offset)
            self.client.resume(partition)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        """Leave *partitions* alone until a seek or a join."""
        self.client.pause(*(self.assignment() & set(partitions)))

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset(self.client.paused())

    def end(self, partition: TopicPartition) -> int | None:
        """Return the next offset of *partition* as last heard of; None when it is not ours."""
        try:
            end: int | None = self.client.highwater(partition)
        except (KafkaError, KeyError):
            return None
        return end

    def close(self) -> None:
        """Release the client; a static member stays one until its session ends. Never raises."""
        with contextlib.suppress(KafkaError, ValueError, RuntimeError, OSError):
            self.client.close(autocommit=False, timeout_ms=CLOSE_MS)

    def _check_contact(self) -> None:
        """Tell being cut off from being idle. Raises: LogUnavailable; what the broker refuses us for."""
        silent_s = kafka_standing.unanswered_s(self.client, since=self._began)
        if silent_s > self._settings.session_timeout_ms / 1000:
            if (refused := kafka_clients.refusal(self.client)) is not None:
                raise refused
            raise LogUnavailable(f"polling: the group's coordinator has not answered for {silent_s:.0f} s")
