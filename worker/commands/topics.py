"""`dateline topics apply`: creates the topics and says which are not as they should be; never alters or deletes one."""

from __future__ import annotations

import argparse
import sys

from worker.edges.process import ExitCode
from worker.ports import TopicSpec
from worker.settings import Duration
from worker.stores import topic_specs
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline topics apply --dry-run      what would be created
  dateline topics apply
Exit code 2 when a topic that is there would lose records, keep too many, or refuse them: another cleanup.policy, fewer
replicas or in-sync replicas than topics.replicas and topics.minInsyncReplicas ask for, or more in sync than there are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    apply = actions.add_parser("apply", help="create the topics that are missing; alter and delete nothing")
    apply.add_argument("--dry-run", action="store_true", help="only say what would be done")
    apply.add_argument("--prefix", help="instead of the configured one, for the output of a replay")
    add_common(apply)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        specs = topic_specs(context.settings, context.routes(), prefix=args.prefix)
        log = context.log()
        if args.dry_run:
            there = log.topics()
            results = {spec.name: "exists" if spec.name in there else "would be created" for spec in specs}
            harms: list[str] = []
        else:
            outcomes = log.create_topics(specs)
            results = {name: str(outcome) for name, outcome in outcomes.items()}
            harms = [f"{spec.name}: {', '.join(found)}" for spec in specs if (found := outcomes[spec.name].harms)]
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        print(f"{spec.name:<{width}}  {spec.partitions:>3} partitions  {_kept(spec):<28}  {results[spec.name]}")
    if harms:
        title = "these topics would lose records, keep too many, or refuse them; alter them:"
        print(title, *harms, sep="\n  ", file=sys.stderr)
        return ExitCode.SETTINGS
    return ExitCode.OK


def _kept(spec: TopicSpec) -> str:
    if spec.compacted:
        lag = spec.min_compaction_lag_ms
        return "compacted" + (f", after {Duration(lag / 1000)} at least" if lag else "")
    return "kept for ever" if spec.retention_ms is None else f"kept {Duration(spec.retention_ms / 1000)}"
