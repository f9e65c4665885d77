"""`dateline dead-letters`: what was refused and why, and a second chance for it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import orjson

from worker import wire
from worker.commands import second_chance
from worker.commands.output import write
from worker.commands.topic_records import records_now
from worker.edges.logging_setup import one_line
from worker.edges.process import ExitCode
from worker.options import moment
from worker.ports import Log, LogRecord
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline dead-letters list
  dateline dead-letters list --reason too-large --from 1d --json
  dateline dead-letters retry --reason extraction-failed --dry-run
  dateline dead-letters retry --reason extraction-failed --from 2026-03-01T12:00Z
A retry puts the original bytes on the raw topic again, once for each record however many dead letters it has, with the
header `retried-from`; the dead letters stay. What an earlier retry sent and was not refused again is left out; with
--again it is sent too, and ends as a `repeat`.
"""
_SHOWN_BYTES = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="show refused records")
    listing.add_argument("--json", action="store_true", help="one JSON object a record")
    retry = actions.add_parser("retry", help="send refused records through again")
    retry.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    retry.add_argument("--again", action="store_true", help="also what was sent again before and is fine since")
    for action in (listing, retry):
        action.add_argument("--reason", action="append", metavar="REASON", help=", ".join(wire.REASONS))
        action.add_argument("--from", dest="start", type=moment, metavar="WHEN", help="a time, or a span like 2h")
        add_common(action)


def run(args: argparse.Namespace) -> int:
    reasons = frozenset(args.reason or ())
    from_ms = None if args.start is None else int(args.start.timestamp() * 1000)
    with setup(args) as context:
        log = context.log()
        if args.action == "list":
            for record in records_now(log, [context.topics.dead_letter], from_ms=from_ms):
                if not reasons or wire.header(record.headers, "dateline-reason") in reasons:
                    write(_as_json(record) if args.json else _as_line(record))
        else:
            _retry(context, log, reasons, from_ms=from_ms, again=args.again, dry_run=args.dry_run)
    if unknown := reasons - set(wire.REASONS):
        write(f"note: this release gives no such reason: {', '.join(sorted(unknown))}")
    return ExitCode.OK


def _retry(
    context: Setup, log: Log, reasons: frozenset[str], *, from_ms: int | None, again: bool, dry_run: bool
) -> None:
    """Send again what deserves it, and say what was left out and why."""
    raw, dead_letters = context.topics.raw, context.topics.dead_letter
    # Read first: whatever these offsets have passed stands among the dead letters by now, if it was refused.
    committed = log.committed(context.settings.group(), [raw])
    found = second_chance.find(
        log, dead_letters=dead_letters, raw=raw, committed=committed, from_ms=from_ms, reasons=reasons, again=again
    )
    if not dry_run:
        second_chance.send(log, found, dead_letters=dead_letters, raw=raw, from_ms=from_ms)
    told = [
        (len(found.fine), "sent before and fine since"),
        (len(found.on_its_way), "sent before and not worked off yet"),
        (found.repeated, "further dead letters of the same records"),
        (found.cut, "too large, only kept cut"),
    ]
    write(
        f"{'would be sent' if dry_run else 'sent'} again: {len(found.chosen)}"
        + "".join(f"; left out, {why}: {count}" for count, why in told if count)
    )


def _told(record: LogRecord) -> dict[str, object]:
    names = ("reason", "stage", "detail", "failed-at")
    return {
        "time": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="seconds"),
        **{name: wire.header(record.headers, f"dateline-{name}") for name in names},
        "raw": wire.header(record.headers, "raw"),
        "retriedFrom": wire.header(record.headers, "retried-from"),
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
