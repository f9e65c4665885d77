"""Reads again what a partition held before an offset, outside any group."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from worker.ports import Log, LogRecord, TopicPartition, UnreadableInput

_LOG = logging.getLogger(__name__)


def records_between(log: Log, place: TopicPartition, start: int, stop: int) -> Iterator[LogRecord]:
    """
    Yield what is left of the partition *place* from the offset *start* to before *stop*.

    Ends early at what cannot be unpacked: somebody has set the group behind it. Raises: LogError.
    """
    topic, _ = place
    bounds = log.bounds([topic])
    if place not in bounds or stop <= max(start, bounds[place][0]):  # a partition may be newer than what is known
        return
    reader = log.reader([topic], start={each: start if each == place else end for each, (_, end) in bounds.items()})
    try:
        while True:
            try:
                records = reader.read(timeout_s=1.0)
            except UnreadableInput as error:
                _LOG.warning("what came before cannot all be read again: %s", error)
                return
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
