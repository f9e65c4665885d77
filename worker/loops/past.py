"""Reads again what a partition held before an offset, outside any group."""

from __future__ import annotations

from collections.abc import Iterator

from worker.ports import Log, LogRecord, TopicPartition


def records_between(log: Log, place: TopicPartition, start: int, stop: int) -> Iterator[LogRecord]:
    """Yield what is left of the partition *place* from the offset *start* to before *stop*. Raises: LogError."""
    topic, _ = place
    bounds = log.bounds([topic])
    if stop <= max(start, bounds[place][0]):
        return
    reader = log.reader([topic], start={each: start if each == place else end for each, (_, end) in bounds.items()})
    try:
        while True:
            records = reader.read(timeout_s=1.0)
            for record in records:
                if (record.topic, record.partition) != place:
                    continue
                if record.offset >= stop:
                    return
                yield record
                if record.offset == stop - 1:
                    return
            if reader.at_end():  # the other partitions may go on for ever
                return
    finally:
        reader.close()
