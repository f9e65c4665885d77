"""`dateline audit`: proves from the topics alone that each raw record has exactly one end."""

from __future__ import annotations

import argparse
import time

import orjson

from worker.commands.accounting import Audit
from worker.commands.output import progress, write
from worker.edges.process import ExitCode
from worker.options import moment
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline audit --from 24h                       the raw records of the last day
  dateline audit --from 2026-03-01 --to 2026-03-02T00:00Z --json
  dateline audit                                  all that the raw topic still holds
  dateline audit --from 1h || page-somebody

Each raw record must have one end: an enriched record, a duplicate or a dead letter whose header `raw` names it; and
each copy on a route its enriched record, which names its routes. Output, tab-separated: name and count; then one line
for each record that the books do not close on: what is wrong, the raw record, its time, the ends found.
  in-flight    behind the group's committed offset: will have its end, no fault
  unprovable   without an end, but so old that retention or compaction may have removed it
  replayed     further ends that a replay made; counted apart
exit codes: 0 all accounted for   1 a record is lost, doubled or copied wrongly   others as for every command
"""
FAULTY = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="start",
        type=moment,
        metavar="WHEN",
        help="raw records since then (all); a time, or a span like 2h",
    )
    parser.add_argument("--to", dest="stop", type=moment, metavar="WHEN", help="raw records before then (all)")
    parser.add_argument("--group", help="whose committed offsets tell what is in flight (the workers' group)")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="name so many records, count all (1000)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        settings = context.settings
        routes = {route.name: context.topics.route(route.topic) for route in context.taxonomy().routes}
        with progress("records read") as shown:
            report = Audit(
                context.log(),
                context.topics,
                routes,
                group=args.group or settings.group(),
                from_ms=None if args.start is None else int(args.start.timestamp() * 1000),
                until_ms=None if args.stop is None else int(args.stop.timestamp() * 1000),
                compacted_before_ms=int(time.time() * 1000) - settings.topics.raw_retention.ms,
                limit=args.limit,
                shown=shown,
            ).report()
    if args.json:
        write(orjson.dumps(report.plain()).decode())
    else:
        for line in report.lines():
            write(line)
    return ExitCode.OK if report.good else FAULTY
