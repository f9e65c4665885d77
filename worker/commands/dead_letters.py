"""`dateline dead-letters`: what was refused and why, and a second chance for it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from worker import wire
from worker.commands.output import progress, write
from worker.edges.logging_setup import one_line
from worker.edges.process import ExitCode
from worker.options import moment
from worker.ports import Appender, Log, LogRecord, NewRecord, TopicPartition
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline dead-letters list
  dateline dead-letters list --reason too-large --from 1d --json
  dateline dead-letters retry --reason extraction-failed --dry-run
  dateline dead-letters retry --reason extraction-failed --from 2026-03-01T12:00Z
A retry puts the original bytes on the raw topic again, with the header `retried-from`; the dead letter stays.
"""
_SHOWN_BYTES = 80
_BATCH = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="show refused records")
    listing.add_argument("--json", action="store_true", help="one JSON object a record")
    retry = actions.add_parser("retry", help="send refused records through again")
    retry.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    for action in (listing, retry):
        action.add_argument("--reason", action="append", metavar="REASON", help=", ".join(wire.REASONS))
        action.add_argument("--from", dest="start", type=moment, metavar="WHEN", help="a time, or a span like 2h")
        add_common(action)


def run(args: argparse.Namespace) -> int:
    unknown = set(args.reason or ()) - set(wire.REASONS)
    with setup(args) as context:
        log = context.log()
        records = _dead_letters(log, context.topics.dead_letter, args.start, frozenset(args.reason or ()))
        if args.action == "list":
            for record in records:
                write(_as_json(record) if args.json else _as_line(record))
        else:
            retry(context, log, records, dry_run=args.dry_run)
    if unknown:
        write(f"note: this release gives no such reason: {', '.join(sorted(unknown))}")
    return ExitCode.OK


def _dead_letters(log: Log, topic: str, start: datetime | None, reasons: frozenset[str]) -> Iterator[LogRecord]:
    """Yield what is there now, of *reasons* only if there are any."""
    from_ms = None if start is None else int(start.timestamp() * 1000)
    ends: dict[TopicPartition, int] = {place: end for place, (_, end) in log.bounds([topic]).items()}
    reader = log.reader([topic], from_ms=from_ms)
    try:
        while True:
            records = reader.read(timeout_s=1.0)
            for record in records:
                inside = record.offset < ends.get((record.topic, record.partition), 0)
                if inside and (not reasons or wire.header(record.headers, "dateline-reason") in reasons):
                    yield record
            if not records and reader.at_end():
                return
    finally:
        reader.close()


def retry(context: Setup, log: Log, records: Iterator[LogRecord], *, dry_run: bool) -> None:
    """Put the original bytes of *records* on the raw topic; what was cut cannot be sent again."""
    sent = cut = 0
    batch: list[NewRecord] = []
    appender = log.appender()
    try:
        with progress("sent again") as shown:
            for record in records:
                if wire.header(record.headers, "dateline-cut-length") is not None:
                    cut += 1
                    continue
                sent += 1
                batch.append(_again(record, context.topics.raw))
                if len(batch) >= _BATCH:
                    _send(appender, batch, dry_run=dry_run)
                    shown.show(sent)
            _send(appender, batch, dry_run=dry_run)
    finally:
        appender.close()
    write(
        f"{'would be sent' if dry_run else 'sent'} again: {sent}"
        + (f"; too large, only kept cut: {cut}" if cut else "")
    )


def _send(appender: Appender, batch: list[NewRecord], *, dry_run: bool) -> None:
    """Append *batch* and empty it."""
    if batch and not dry_run:
        appender.append(batch)
    batch.clear()


def _again(record: LogRecord, topic: str) -> NewRecord:
    """Return the raw record that *record* was, and where it comes from."""
    headers = tuple(
        (name, value) for name, value in record.headers if name not in ("raw", "retried-from") and not _ours(name)
    )
    origin = wire.header(record.headers, "raw") or str(record.coordinates)
    return NewRecord(
        topic=topic, key=record.key or b"", value=record.value, headers=(*headers, ("retried-from", origin.encode()))
    )


def _ours(name: str) -> bool:
    return name.startswith("dateline-")


def _told(record: LogRecord) -> dict[str, object]:
    names = ("reason", "stage", "detail", "failed-at")
    return {
        "time": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="seconds"),
        **{name: wire.header(record.headers, f"dateline-{name}") for name in names},
        "raw": wire.header(record.headers, "raw"),
        "deadLetter": str(record.coordinates),
        "key": (record.key or b"").decode("utf-8", "replace")[:64],
        "bytes": len(record.value or b""),
        "head": (record.value or b"")[:_SHOWN_BYTES].decode("utf-8", "replace"),
    }


def _as_json(record: LogRecord) -> str:
    return orjson.dumps(_told(record)).decode()


def _as_line(record: LogRecord) -> str:
    told = _told(record)
    return one_line(
        f"{told['time']}  {told['reason']}  {told['raw']}  {told['key']}  {told['detail'] or ''}  |  {told['head']}"
    )
