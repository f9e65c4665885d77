"""
Sends refused records through again: one for each record that was refused, however often that was.

A record sent again names in `retried-from` where its first life lay, and its dead letter does too. So a retry can tell
what an earlier one has sent; and where it cannot, the judge knows a second one by that header and calls it a repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from worker import wire
from worker.commands.output import progress
from worker.commands.topic_records import records_now
from worker.ports import Log, LogRecord, NewRecord, TopicPartition
from worker.records import Coordinates

CLOCKS_APART_MS = 600_000
"""Timestamps are those of the writers' machines, whose clocks differ by less than this."""
_BATCH = 200


@dataclass(slots=True)
class Found:
    """What is to be sent again, and what not."""

    chosen: dict[Coordinates, Coordinates] = field(default_factory=dict)
    """By the first raw record: its dead letter that is sent."""
    repeated: int = 0
    """Further dead letters of the same records."""
    cut: int = 0
    fine: set[Coordinates] = field(default_factory=set)
    """First raw records that were sent again before, and were not refused then."""
    on_its_way: set[Coordinates] = field(default_factory=set)
    """First raw records that were sent again before, and not worked off yet."""


def origin_of(record: LogRecord) -> Coordinates:
    """Return where the record that the dead letter *record* was in the end made of lay first."""
    headers = record.headers
    return wire.origin_coordinates(headers) or wire.raw_coordinates(headers) or record.coordinates


def find(
    log: Log,
    *,
    dead_letters: str,
    raw: str,
    committed: Mapping[TopicPartition, int],
    from_ms: int | None,
    reasons: Collection[str],
    again: bool,
) -> Found:
    """
    Look for what deserves a second chance.

    *committed*: the workers' offsets, as they were before; *again*: send also what was sent before.
    """
    found = Found()
    refused: set[Coordinates] = set()
    oldest_ms: int | None = None
    with progress("dead letters read") as shown:
        for number, record in enumerate(records_now(log, [dead_letters], from_ms=from_ms)):
            if number % _BATCH == 0:
                shown.show(number)
            if (place := wire.raw_coordinates(record.headers)) is not None:
                refused.add(place)
            if reasons and wire.header(record.headers, "dateline-reason") not in reasons:
                continue
            origin = origin_of(record)
            if wire.header(record.headers, "dateline-cut-length") is not None:
                found.cut += 1
            elif origin in found.chosen:
                found.repeated += 1
            else:
                found.chosen[origin] = record.coordinates
                oldest_ms = record.timestamp_ms if oldest_ms is None else min(oldest_ms, record.timestamp_ms)
    if oldest_ms is not None and not again:
        _leave_out(found, log, raw=raw, committed=committed, refused=refused, from_ms=oldest_ms - CLOCKS_APART_MS)
    return found


def _leave_out(
    found: Found,
    log: Log,
    *,
    raw: str,
    committed: Mapping[TopicPartition, int],
    refused: Collection[Coordinates],
    from_ms: int,
) -> None:
    """Take out of *found* what was sent again before and not *refused* since."""
    with progress("raw records read") as shown:
        for number, record in enumerate(records_now(log, [raw], from_ms=max(0, from_ms))):
            if number % _BATCH == 0:
                shown.show(number)
            origin = wire.origin_coordinates(record.headers)
            if origin is None or origin not in found.chosen or record.coordinates in refused:
                continue
            worked_off = record.offset < committed.get((record.topic, record.partition), 0)
            (found.fine if worked_off else found.on_its_way).add(origin)
    found.on_its_way -= found.fine
    for origin in found.fine | found.on_its_way:
        del found.chosen[origin]


def send(log: Log, found: Found, *, dead_letters: str, raw: str, from_ms: int | None) -> None:
    """Put the original bytes of what was *found* on the raw topic; the dead letters stay."""
    chosen = set(found.chosen.values())
    batch: list[NewRecord] = []
    appender = log.appender()
    sent = 0
    try:
        with progress("sent again") as shown:
            for record in records_now(log, [dead_letters], from_ms=from_ms):
                if record.coordinates not in chosen:
                    continue
                batch.append(_again(record, raw))
                if len(batch) >= _BATCH:
                    appender.append(batch)
                    sent += len(batch)
                    shown.show(sent, len(chosen))
                    batch.clear()
            if batch:
                appender.append(batch)
    finally:
        appender.close()


def _again(record: LogRecord, topic: str) -> NewRecord:
    """Return the raw record that *record* was, and where it lay first."""
    ours = ("raw", "retried-from", "reprocessed")
    headers = tuple(
        (name, value) for name, value in record.headers if name not in ours and not name.startswith("dateline-")
    )
    return NewRecord(
        topic=topic,
        key=record.key or b"",
        value=record.value,
        headers=(*headers, ("retried-from", str(origin_of(record)).encode())),
    )
