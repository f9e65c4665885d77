"""A member of a replay's group: it shows the loop only the records of a span of time, up to the end of its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from worker.loops.member_forwarding import ForwardingMember
from worker.ports import Batch, LogRecord, Member, NewRecord, TopicPartition

_EMPTY_POLLS = 20
"""So many polls in a row without a record, while owning every partition, are an end too: offsets may have gaps."""


class ReplayMember(ForwardingMember):
    """Stands before another member; what lies outside the span is passed over, its offset committed."""

    def __init__(
        self, member: Member, *, from_ms: int, until_ms: int | None, ends: Mapping[TopicPartition, int]
    ) -> None:
        """*ends*: by partition the first offset that is too late for this replay."""
        super().__init__(member)
        self._from_ms = from_ms
        self._until_ms = until_ms
        self._ends = ends
        self._reached: dict[TopicPartition, int] = {}
        self._polled = Batch()
        self._shown = Batch()
        self._empty = 0

    def start_at(self, committed: Mapping[TopicPartition, int]) -> None:
        """Note what an earlier run of the same replay has *committed*."""
        self._reached.update(committed)

    @property
    def passed(self) -> int:
        """How many records of the topic are dealt with, passed over or worked off."""
        return sum(min(offset, self._ends.get(place, 0)) for place, offset in self._reached.items())

    @property
    def finished(self) -> bool:
        """Whether every partition is read to its end."""
        done = all(self._reached.get(place, 0) >= end for place, end in self._ends.items())
        idle = self._empty >= _EMPTY_POLLS and not self._member.paused()
        return done or (idle and self._member.assigned() >= set(self._ends))

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        self._polled = batch = self._member.poll(timeout_s=timeout_s, max_records=max_records)
        kept = tuple(record for record in batch.records if self._wanted(record))
        self._empty = 0 if batch.records else self._empty + 1
        self._shown = replace(batch, records=kept)
        if batch.records and not kept:
            self.commit(self._shown, ())
        return self._shown

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        """Commit *batch*, and with it what was passed over, unless the loop worked off only a part of it."""
        whole = self._polled if batch.records == self._shown.records else batch
        self._member.commit(whole, outputs)
        for record in whole.records:
            self._reached[record.topic, record.partition] = record.offset + 1

    def _wanted(self, record: LogRecord) -> bool:
        if record.offset >= self._ends.get((record.topic, record.partition), 0):
            return False
        return record.timestamp_ms >= self._from_ms and (self._until_ms is None or record.timestamp_ms < self._until_ms)
