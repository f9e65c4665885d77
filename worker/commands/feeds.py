"""`dateline feeds check`: what each feed of a list gives now; `dateline feeds add`: one more feed in a list."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

from worker.commands.output import progress
from worker.edges import feed_list_edit
from worker.edges import feeds as feed_documents
from worker.edges.clock import SystemClock
from worker.edges.fetch import HttpFetcher
from worker.edges.logging_setup import one_line
from worker.edges.process import ExitCode
from worker.feed_config import FeedConfig
from worker.loops.feed_check import FeedReport, check_feed
from worker.polling import RemoteAway
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline feeds check --feeds feeds.opml
  dateline feeds check --feeds feeds.yaml --json | jq -c 'select(.status != "ok")'
  dateline feeds check --feeds feeds.opml --only kcna,yonhap
  dateline feeds check --feeds feeds.opml --no-fetch     only the list itself
  dateline feeds add https://example.org/feed.xml --feeds feeds.yaml --title "Bay Courier" --language en
Exit code 0 when the list is right, also where feeds fail; 1 with --strict when one fails.
"""
_SAID = {
    "id": "names the feed in records and metrics; made from the address otherwise",
    "title": "name of the publisher",
    "language": "BCP 47 tag",
    "interval": "between two polls, like 10m",
    "labels": "like country=KR;tier=1",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="read the list, fetch each feed once, tell what is odd")
    check.add_argument("--feeds", type=Path, metavar="FILE", help="feed list, OPML or YAML")
    check.add_argument("--only", metavar="IDS", help="ids of feeds, separated by commas")
    check.add_argument("--no-fetch", action="store_true", help="check the list, fetch nothing")
    check.add_argument("--json", action="store_true", help="one JSON object a feed")
    check.add_argument("--strict", action="store_true", help="exit 1 when a feed fails")
    add_common(check)
    check.set_defaults(act=_run_check)
    add = actions.add_parser("add", help="add a feed to the list's file; in a cluster say where the list comes from")
    add.add_argument("url", metavar="URL", help="address of the feed")
    add.add_argument("--feeds", type=Path, metavar="FILE", help="feed list, OPML or YAML; made where it is missing")
    for name, meaning in _SAID.items():
        add.add_argument(f"--{name}", help=meaning)
    add_common(add)
    add.set_defaults(act=_run_add)


def run(args: argparse.Namespace) -> int:
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)


def _run_add(args: argparse.Namespace) -> int:
    path: Path | None = args.feeds
    if path is not None and not path.exists():
        args.feeds = None  # a new list; the settings want one that is there
    with setup(args) as context:
        given = context.settings.poller
        if source := given.feeds_source or given.feeds_url:
            print(f"the feed list comes from {source}; add the feed there", file=sys.stderr)
            return ExitCode.SETTINGS
        path = path or context.feed_file()
        said = {name: value for name in _SAID if (value := getattr(args, name)) is not None}
        feed = feed_list_edit.add(path, {"url": args.url, **said}, defaults=context.feed_defaults())
    print(f"{path}: added {feed.id}; `dateline feeds check --feeds {path} --only {feed.id}` tries it")
    return ExitCode.OK


def _run_check(args: argparse.Namespace) -> int:
    with setup(args) as context:
        try:
            listed = asyncio.run(context.feed_source().first())
        except RemoteAway as error:
            print(f"the feed list cannot be had: {error}", file=sys.stderr)
            return ExitCode.RESTART
        feeds = [feed for feed in listed if feed.enabled]
        if args.only:
            wanted = set(args.only.split(","))
            unknown = wanted - {feed.id for feed in feeds}
            if unknown:
                print(f"no such feeds: {', '.join(sorted(unknown))}", file=sys.stderr)
                return ExitCode.SETTINGS
            feeds = [feed for feed in feeds if feed.id in wanted]
        if args.no_fetch:
            print(f"{len(feeds)} feeds, nothing wrong in the list")
            return ExitCode.OK
        reports = asyncio.run(_check(context, feeds, as_json=args.json))
    failed = sum(report.status != "ok" for report in reports)
    print(f"{len(reports)} feeds, {len(reports) - failed} ok, {failed} failed", file=sys.stderr)
    return ExitCode.RESTART if failed and args.strict else ExitCode.OK


async def _check(context: Setup, feeds: list[FeedConfig], *, as_json: bool) -> list[FeedReport]:
    """Check all *feeds*, some at once, and print each as it comes."""
    reports = []
    now = SystemClock().now()
    with progress("checked") as shown:
        async for report in _reports(context, feeds):
            reports.append(report)
            shown.close()
            print(_json(report) if as_json else _line(report, now))
            shown.show(len(reports), len(feeds))
    return reports


async def _reports(context: Setup, feeds: list[FeedConfig]) -> AsyncIterator[FeedReport]:
    clock, slots = SystemClock(), asyncio.Semaphore(context.settings.poller.concurrency)
    async with HttpFetcher(context.fetch_settings()) as fetcher:

        async def one(feed: FeedConfig) -> FeedReport:
            async with slots:
                return await check_feed(feed, fetcher=fetcher, parse=feed_documents.parse, clock=clock)

        for done in asyncio.as_completed([one(feed) for feed in feeds]):
            yield await done


def _json(report: FeedReport) -> str:
    given = {name: getattr(report, name) for name in FeedReport.__slots__}
    given["newest"] = report.newest.isoformat() if report.newest else None
    return json.dumps({name: value for name, value in given.items() if value is not None}, ensure_ascii=False)


def _line(report: FeedReport, now: datetime) -> str:
    if report.status != "ok":
        return one_line(f"FAIL  {report.feed:<24} {report.status} {report.detail}".rstrip())
    age = f"newest {(now - report.newest).total_seconds() / 3600:.0f} h old" if report.newest else "no dates"
    parts = [
        f"{report.kind}, {report.entries} entries, {age}, text {report.text_median} (longest {report.text_longest})",
        report.language or "",
        f"moved to {report.moved_to}" if report.moved_to else "",
        " ".join(report.problems),
    ]
    return one_line(f"ok    {report.feed:<24} " + "; ".join(filter(None, parts)))
