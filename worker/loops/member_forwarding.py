"""A member of a group that stands before another one and does as that does: for those that change one thing of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from worker.ports import Batch, Member, NewRecord, TopicPartition


class ForwardingMember:
    """Implements ports.Member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        return self._member.poll(timeout_s=timeout_s, max_records=max_records)

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        self._member.commit(batch, outputs)

    def rewind(self) -> None:
        self._member.rewind()

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self._member.pause(partitions)

    def paused(self) -> frozenset[TopicPartition]:
        return self._member.paused()

    def assigned(self) -> frozenset[TopicPartition]:
        return self._member.assigned()

    def lag(self) -> Mapping[TopicPartition, int]:
        return self._member.lag()

    def close(self) -> None:
        self._member.close()
