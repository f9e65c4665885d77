"""
What a broker has acknowledged of a member's commits, and must not have forgotten.

A broker that was killed has been seen to come back with offsets of its groups, and members, of long before. Whoever
believes it works all of that off a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

_LOG = logging.getLogger(__name__)


class Acknowledged:
    """By partition the offset that a member committed last; kept when the partition goes to another."""

    def __init__(self) -> None:
        self._offsets: dict[TopicPartition, int] = {}
        self._sought: set[TopicPartition] = set()

    def note(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for partition, at in offsets.items():
            self._offsets[partition] = at.offset
            self._sought.discard(partition)

    def forget(self, topics: Collection[str]) -> None:
        """Their offsets began anew."""
        self._offsets = {partition: at for partition, at in self._offsets.items() if partition.topic not in topics}

    def not_before(self, partition: TopicPartition, offset: int | None) -> int | None:
        """Return *offset*, the group's by the broker's word, or what it had acknowledged to us when that is more."""
        known = self._offsets.get(partition)
        if known is None or (offset is not None and offset >= known):
            return offset
        at = {"topic": partition.topic, "partition": partition.partition, "offset": offset, "acknowledged": known}
        _LOG.error("the broker has forgotten the group's offset; going on where it had acknowledged it", extra=at)
        return known

    def behind(self, found: Mapping[TopicPartition, Sequence[Any]]) -> bool:
        """
        Tell whether records in *found* were worked off before; then the member has to go to `not_before`.

        Records that come all the same after that are believed: the later ones are no longer there.
        """
        behind = {tp for tp, records in found.items() if records[0].offset < self._offsets.get(tp, 0)}
        for partition in behind & self._sought:
            del self._offsets[partition]
        self._sought = behind - self._sought
        return bool(self._sought)
