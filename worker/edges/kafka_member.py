"""
One member of a consumer group with its transactions: what it reads, what it writes and its offsets commit together.

Consumer and producer are used from the calling thread alone, one transaction at a time. Each guard below answers a
measured defect of the client library; docs/decisions.md names them.

`beat` is called before each step that may block, so that a watchdog can tell work from standstill.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from worker import ports
from worker.edges import kafka_clients, kafka_errors
from worker.edges.kafka_acknowledged import Acknowledged
from worker.edges.kafka_consumer import GroupConsumer
from worker.edges.kafka_identity import Identity
from worker.edges.kafka_left_open import LeftOpen
from worker.edges.kafka_records import Outgoing, check_acknowledged, outgoing, send, to_log_record
from worker.edges.kafka_settings import BATCH_BYTES, KafkaSettings
from worker.edges.kafka_standing import Membership
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import (
    Batch,
    Fenced,
    LogError,
    LogUnavailable,
    NewRecord,
    TransactionFailed,
)

_LOG = logging.getLogger(__name__)
_CLIENT_ERRORS = (KafkaError, ValueError, RuntimeError, OSError)
UNSETTLED_S = 10.0
"""A transaction of the living ends sooner; one that dies in it is ended by LeftOpen or by its own return."""
DROP_S = 5.0


class KafkaMember:
    """See ports.Member. Not for more than one thread."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: KafkaTopics,
        *,
        group: str,
        identity: str,
        subscribe: Sequence[str],
        beat: Callable[[], None],
        reset: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._group = group
        self._identity = Identity(identity, topics, beat=beat)
        self._subscribe = tuple(subscribe)
        self._beat = beat
        self._reset = reset
        self._batch_bytes = BATCH_BYTES
        self._base: dict[TopicPartition, int] = {}
        """By owned partition the offset that is known to be committed, else the first that we read."""
        self._acknowledged = Acknowledged()
        self._left_open = LeftOpen(settings, topics, group=group, identity=identity, beat=beat)
        self._rewinds = 0
        self._must_rewind = False
        self._closed = False
        self._stopped: LogError | None = None
        for topic in subscribe:
            topics.facts(topic)  # a topic that is missing is told at once, not waited for
        self._producer: Any = self._new_producer()
        try:
            self._consumer = self._join()
        except LogError:
            kafka_clients.discard(self._producer)
            raise
        self._left_open.look(-1)

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        self._check_alive()
        self._beat()
        self._recover()
        try:
            found = self._consumer.poll(timeout_s=timeout_s, max_records=max_records)
        except Fenced as failure:
            self._identity.suspect(failure)
            self._settle_fence()
            return Batch()
        except LogUnavailable:
            raise
        except LogError as failure:
            self._stop(failure)
            raise
        finally:
            self._beat()
        membership = Membership(group=self._consumer.membership(), rewinds=self._rewinds)
        self._left_open.look(membership.group.generation_id)
        if anew := self._consumer.made_anew():
            self._begin_anew(anew)
            return Batch()
        if self._acknowledged.behind(found):
            self.rewind()
            return Batch()
        self._follow_assignment(found)
        if not found:
            return Batch()
        if not membership.valid:
            self.rewind()
            return Batch()
        return Batch(
            records=tuple(to_log_record(record) for records in found.values() for record in records),
            membership=membership,
        )

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        self._check_alive()
        if not batch.records and not outputs:
            return
        if self._producer is None or self._must_rewind:
            raise TransactionFailed("an earlier transaction is not settled yet; poll again")
        offsets = _offsets(batch)
        if batch.records:
            self._check_membership(batch, offsets)
        try:
            sending = outgoing(outputs, self._topics)
            self._fit_batches(sending)
        except LogUnavailable:
            self._must_rewind = True  # else the next poll would pass over this batch
            raise
        producer = self._producer
        patience_s = self._settings.delivery_timeout_ms / 1000
        futures: list[Any] = []
        try:
            producer.begin_transaction()
            futures.extend(send(sending, producer))
            self._beat()
            producer.flush(timeout=patience_s)
            check_acknowledged(futures)
            self._beat()
            if offsets:
                group = batch.membership.group  # type: ignore[attr-defined]
                kafka_clients.send_offsets(producer, offsets, group, timeout_s=patience_s)
                self._beat()
            kafka_clients.commit(producer, timeout_s=patience_s)
        except _CLIENT_ERRORS as error:
            raise self._failed(error, futures) from error
        except BaseException:
            self._abandon()
            raise
        self._beat()
        self._identity.confirmed()
        self._acknowledged.note(offsets)
        for partition, at in offsets.items():
            self._base[partition] = at.offset

    def rewind(self) -> None:
        """See ports.Member; when the offsets cannot be had now, the next poll asks for them again."""
        self._check_alive()
        self._must_rewind = True
        with contextlib.suppress(LogUnavailable):
            self._recover()

    def pause(self, partitions: Collection[ports.TopicPartition]) -> None:
        self._consumer.pause([TopicPartition(*partition) for partition in partitions])

    def paused(self) -> frozenset[ports.TopicPartition]:
        return frozenset((tp.topic, tp.partition) for tp in self._consumer.paused())

    def assigned(self) -> frozenset[ports.TopicPartition]:
        return frozenset((tp.topic, tp.partition) for tp in self._consumer.assignment())

    def lag(self) -> Mapping[ports.TopicPartition, int]:
        ends = ((tp, base, self._consumer.end(tp)) for tp, base in self._base.items())
        return {(tp.topic, tp.partition): max(0, end - base) for tp, base, end in ends if end is not None}

    def close(self) -> None:
        if self._producer is not None:
            kafka_clients.discard(self._producer)
            self._producer = None
        if self._closed:
            return
        self._closed = True
        member_id = self._consumer.membership().member_id
        self._consumer.close()
        if self._settings.leave_on_close and member_id:
            self._topics.remove_member(self._group, identity=self._identity.name, member_id=member_id)

    def _check_alive(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    def _join(self) -> GroupConsumer:
        return GroupConsumer(
            self._settings,
            group=self._group,
            identity=self._identity.name,
            subscribe=self._subscribe,
            reset=self._reset,
        )

    def _settle_fence(self) -> None:
        """Stop when another process has displaced us, else join again. Raises: Fenced, LogUnavailable."""
        try:
            if not self._identity.must_rejoin():
                return
        except Fenced as failure:
            self._stop(failure)
            raise
        displaced, self._consumer = self._consumer, self._join()
        displaced.close()
        self._identity.rejoined()
        self._must_rewind = True

    def _check_membership(self, batch: Batch, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """
        Refuse a batch that another member may own by now, or that will be, or was, delivered again.

        The broker would refuse the first too, but only after all was sent.
        """
        then = batch.membership
        if not isinstance(then, Membership) or not then.valid:
            self.rewind()
            raise TransactionFailed("the batch was read outside the group")
        now = self._consumer.membership()
        if (now.generation_id, now.member_id) != (then.group.generation_id, then.group.member_id):
            self.rewind()
            raise TransactionFailed("the group has moved on since the batch was read")
        if then.rewinds != self._rewinds:
            raise TransactionFailed("the batch was read before a rewind; it comes again")
        if any(at.offset <= self._base.get(partition, -1) for partition, at in offsets.items()):
            raise TransactionFailed("the batch has been committed before")

    def _fit_batches(self, sending: Iterable[Outgoing]) -> None:
        """
        Make a producer whose batches fit all topics written to.

        The client splits a batch that the broker finds too large, but then cannot finish its own flush.
        """
        smallest = min((each.limit for each in sending), default=BATCH_BYTES)
        if smallest < self._batch_bytes:
            self._batch_bytes = smallest
            self._abandon()
            self._must_rewind = False  # nothing was begun: the batch at hand stays good
            self._producer = self._new_producer()

    def _failed(self, error: Exception, futures: Sequence[Any]) -> LogError:
        """
        Settle a transaction of unknown end; return what to raise.

        The producer goes in any case: after an abort it would send offsets of lost partitions again. It is not asked
        to abort, which may block for ever: the new one's start aborts what is open, or waits for what was committed.
        """
        reasons = [error, *(future.exception for future in futures if future.is_done and future.failed())]
        failure = kafka_errors.meaning(*reasons)(f"in a transaction: {kafka_errors.words(reasons[-1])}")
        self._abandon()
        self._topics.forget_facts()
        if isinstance(failure, Fenced):
            self._identity.suspect(failure)
        elif not isinstance(failure, LogUnavailable):
            self._stop(failure)
            return failure
        try:
            self._recover()
        except LogUnavailable as unavailable:
            _LOG.warning("cannot settle a failed transaction yet: %s", unavailable)
        except LogError as worse:
            return worse
        return TransactionFailed(str(failure))

    def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        self._must_rewind = True
        if producer is not None:
            self._identity.ends(producer)
            kafka_clients.discard(producer)

    def _drop_offsets(self) -> None:
        """Rid the group of offsets that wait for a transaction of ours, which has ended; the producer goes, as ever."""
        _LOG.warning("offsets wait for the end of a transaction; dropping what is ours", extra={"group": self._group})
        self._consumer.unsettled.again()
        try:
            kafka_clients.drop_offsets(self._producer, self._consumer.membership(), timeout_s=DROP_S)
        except _CLIENT_ERRORS as error:
            _LOG.warning("cannot drop offsets that wait: %s", kafka_errors.words(error))
        finally:
            self._abandon()

    def _recover(self) -> None:
        """
        Bring a producer and the positions back into order, in that order. Raises: LogUnavailable and worse.

        Positions come from the broker, which alone knows how an unclear commit ended.
        """
        try:
            self._settle_fence()
            if self._producer is None:
                self._producer = self._new_producer()
            if self._consumer.unsettled.for_s() > UNSETTLED_S:
                self._drop_offsets()
                self._producer = self._new_producer()
            if self._must_rewind:
                self._rewinds += 1
                self._seek_to_committed()
                self._must_rewind = False
        except LogUnavailable:
            raise
        except LogError as error:
            self._stop(error)
            raise

    def _seek_to_committed(self) -> None:
        for partition in self._consumer.assignment():
            self._beat()
            offset = self._acknowledged.not_before(partition, self._consumer.committed(partition))
            if offset is None:
                offset = self._base.get(partition)
            else:
                self._base[partition] = offset
            self._consumer.seek(partition, offset)

    def _begin_anew(self, topics: Collection[str]) -> None:
        """Read topics that were made anew from where the group stands in them now; what was polled is void."""
        _LOG.warning("deleted and created again: %s; reading from the group's offsets there", ", ".join(sorted(topics)))
        self._base = {partition: at for partition, at in self._base.items() if partition.topic not in topics}
        self._acknowledged.forget(topics)
        self._topics.forget_facts()
        self._must_rewind = True

    def _follow_assignment(self, found: Mapping[TopicPartition, Sequence[Any]]) -> None:
        owned = self._consumer.assignment()
        for partition in [tp for tp in self._base if tp not in owned]:
            del self._base[partition]
        for partition, records in found.items():
            if partition in owned:
                self._base.setdefault(partition, records[0].offset)

    def _new_producer(self) -> Any:
        made = kafka_clients.transactional_producer(
            self._settings, identity=self._identity.name, batch_bytes=self._batch_bytes, beat=self._beat
        )
        self._identity.begins(made)
        return made

    def _stop(self, failure: LogError) -> None:
        """Remember that only a new process can go on."""
        self._stopped = failure
        if self._producer is not None:
            self._abandon()


def _offsets(batch: Batch) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return by partition the offset behind its last record in *batch*."""
    last = {(record.topic, record.partition): record.offset for record in batch.records}
    return {TopicPartition(*partition): OffsetAndMetadata(offset + 1) for partition, offset in last.items()}
