"""Reads what topics hold now, to its end and no further."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.ports import Log, LogRecord


def records_now(log: Log, topics: Sequence[str], *, from_ms: int | None = None) -> Iterator[LogRecord]:
    """Yield the records of *topics* that are there now, those since *from_ms* if it is given. Raises: LogError."""
    ends = {place: end for place, (_, end) in log.bounds(topics).items()}
    reader = log.reader(topics, from_ms=from_ms)
    try:
        while True:
            records = reader.read(timeout_s=1.0, max_records=2000)
            for record in records:
                if record.offset < ends.get((record.topic, record.partition), 0):
                    yield record
            if reader.at_end():  # more may have come meanwhile: on a busy topic there would be no end
                return
    finally:
        reader.close()
