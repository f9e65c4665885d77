"""What `dateline run` looks up in the log: whether all is worked off, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from worker import wire
from worker.enriching import TopicNames
from worker.ports import Log, TopicPartition

Offsets = Mapping[TopicPartition, int]


def ends(log: Log, topics: list[str]) -> dict[TopicPartition, int]:
    """Return by partition the offset that the next record will get."""
    return {place: end for place, (_, end) in log.bounds(topics).items()}


def drained(log: Log, group: str, topic: str) -> bool:
    """Tell whether *group* has committed all that *topic* holds."""
    committed = log.committed(group, [topic])
    return all(committed.get(place, first) >= end for place, (first, end) in log.bounds([topic]).items())


def outcomes(log: Log, names: TopicNames, start: Offsets) -> Counter[str]:
    """Count by kind what was committed to the output topics since *start*: new, update, repeat, copy, dead-letter."""
    topics = [names.enriched, names.duplicates, names.dead_letter]
    reader = log.reader(topics, start={place: offset for place, offset in start.items() if place[0] in topics})
    counts: Counter[str] = Counter()
    try:
        while True:
            records = reader.read(timeout_s=1.0, max_records=2000)
            for record in records:
                dead = record.topic == names.dead_letter
                counts["dead-letter" if dead else wire.header(record.headers, "kind") or "?"] += 1
            if not records and reader.at_end():
                return counts
    finally:
        reader.close()
