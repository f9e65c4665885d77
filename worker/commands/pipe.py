"""`dateline pipe`: the stages as a Unix filter, JSON lines in and out, without any log."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worker.edges.clock import SystemClock
from worker.edges.language_model import classify
from worker.edges.pipe_log import PipeMember
from worker.edges.process import ExitCode
from worker.edges.sqlite_seen import SqliteSeen
from worker.enriching import SilentEvents, TopicNames
from worker.loops.enricher import Enricher, EnricherSettings
from worker.stages.language import detect
from worker.stages.refusals import Limits
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline pipe < stories.jsonl > enriched.jsonl
  dateline pipe --seen seen.db < today.jsonl | jq -c 'select(.outcome == "enriched") | .record.dateline.pairs'

Input, one JSON object a line: a raw record (`dateline schema raw`) or the short form
  {"id", "title", "text" or "html", "url", "published", "language", "feed"}   all but the title optional.
Output, one line each in the same order:
  {"id", "outcome": "enriched" | "duplicate" | "dead-letter", "reason", "routes", "record"}
  reason: new or update; repeat or copy; or why the line was refused (then "detail" says more, and there is no record).
"""
_NO_LIMITS = Limits(run=sys.maxsize, share=1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seen", type=Path, metavar="FILE", help="remember what was seen in FILE; without it each run starts afresh"
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        topics = TopicNames()
        member = PipeMember(sys.stdin.fileno(), _write, topics)
        seen = SqliteSeen(args.seen or ":memory:", namespace="pipe", ttl_s=int(context.settings.seen.ttl))
        enricher = Enricher(
            member=member,
            seen=seen,
            taxonomy=context.taxonomy(),
            detect=lambda text, hint: detect(text, hint, classify),
            clock=SystemClock(),
            events=SilentEvents(),
            settings=EnricherSettings(topics=topics, dead_letters=_NO_LIMITS),
        )
        try:
            enricher.run(lambda: member.finished)
        finally:
            seen.close()
    return ExitCode.OK


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
