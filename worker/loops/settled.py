"""
Records that come a second time though they were committed: they went out, and do not go out again.

A broker that was killed has been seen to come back with offsets of its groups of long ago. A member that lived through
it knows better (its log's business); one that starts, or gets a partition, after it can only ask the seen store.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from worker.ports import LogRecord, SeenStore, TopicPartition
from worker.records import Fingerprint

_LOG = logging.getLogger(__name__)


class Settled:
    """Of the partitions of one worker."""

    def __init__(self, seen: SeenStore) -> None:
        self._seen = seen
        self._sure: set[TopicPartition] = set()
        """Partitions on which we have committed since they are ours."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Forget those that are not among *partitions*: another may work on them."""
        self._sure.intersection_update(partitions)

    def committed(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that *partitions* go on behind a commit of ours."""
        self._sure.update(partitions)

    def unsure(self, record: LogRecord) -> bool:
        """Tell whether the store has to be asked about *record*."""
        return (record.topic, record.partition) not in self._sure

    def passed(self, fingerprints: Sequence[Fingerprint]) -> Mapping[TopicPartition, int]:
        """
        Return by partition the offset up to which all went out already; nothing where the log knows it.

        What was refused has no verdict, and went out with the verdicts behind it. Raises: SeenStoreAway.
        """
        passed: dict[TopicPartition, int] = {}
        for each, settled in zip(fingerprints, self._seen.settled(fingerprints), strict=True):
            if settled:
                passed[each.raw.topic, each.raw.partition] = each.raw.offset + 1
        for (topic, partition), offset in passed.items():
            at = {"topic": topic, "partition": partition, "offset": offset}
            _LOG.error("the log has forgotten what the group had committed; going on behind it", extra=at)
        return passed
