"""`dateline run`: poller and workers together, stories on the screen."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from worker.commands.children import Children, command_of
from worker.commands.feed_watch import first_list
from worker.commands.outcome import drained, ends, outcomes
from worker.commands.poll import poll, told
from worker.commands.watching import StoryPrinter, WatchedWorkers
from worker.edges.feed_source import FeedSource
from worker.edges.process import ExitCode
from worker.feed_config import FeedConfig
from worker.polling import Summary
from worker.ports import Log, LogUnavailable
from worker.service import Service, serving
from worker.stores import check_stores, ensure_topics, open_log, topic_specs
from worker.wiring import Setup, add_common, setup

logger = logging.getLogger(__name__)
EXAMPLES = """\
  dateline run --feeds feeds.opml                 until Ctrl-C, on this machine alone
  dateline run --feeds feeds.opml --workers 4
  dateline run --feeds feeds.opml --once          each feed once, a summary, exit
  DATELINE_KAFKA_BOOTSTRAP=broker:9092 dateline run --feeds feeds.opml
"""
_PAGE_PORT = 9464
"""Of the status page, when no port is configured."""
_PRINT_S = 5.0
_MAX_FAILURES_ONCE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--feeds", type=Path, metavar="FILE", help="feed list, OPML or YAML")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (1); one for each core is right")
    parser.add_argument("--once", action="store_true", help="poll each feed once, work all off, print a summary, exit")
    parser.add_argument(
        "--http-port", type=int, metavar="PORT", help="of the status page, /metrics, /livez, /readyz; 0: none"
    )
    add_common(parser)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the parts of a run share."""

    context: Setup
    service: Service
    log: Log
    feeds: tuple[FeedConfig, ...]
    source: FeedSource
    children: Children
    printer: StoryPrinter


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    with setup(args) as context:
        settings = context.settings
        check_stores(settings, one_machine=True)
        unset = context.origins["http", "port"].kind == "default"
        port = _PAGE_PORT if unset and not args.once else None
        source = context.feed_source()
        with serving(settings, port=port, or_free=unset) as service:
            feeds = first_list(source, service, patient=bool(settings.poller.feeds_url))
            log = service.patiently("log", context.log)
            if log is None or feeds is None:
                return ExitCode.OK
            # The routes' topics are made by the workers, which load the rules anyway: the first story comes sooner.
            service.patiently("log", lambda: ensure_topics(log, topic_specs(settings, ()), create=True))
            names = context.topics
            start = service.patiently("log", lambda: ends(log, [names.enriched, names.duplicates, names.dead_letter]))
            if start is None:
                return ExitCode.OK
            watched = None
            if service.page_url:
                logger.info("status page: %s", service.page_url)
                watched = WatchedWorkers(service.board, names, settings.group(), start)
            parts = _Parts(
                context=context,
                service=service,
                log=log,
                feeds=feeds,
                source=source,
                children=Children([command_of(args, settings, index) for index in range(settings.worker.workers)]),
                printer=StoryPrinter(partial(open_log, settings, os.environ), names.enriched, start, watched),
            )
            code, summary = _work(parts, once=args.once)
            service.watchdog.close()  # all has stopped; what follows only counts
            if summary is not None and code == ExitCode.OK:
                counts = outcomes(log, names, start)
                _print_summary(summary, counts, time.monotonic() - started)
            return code


def _work(parts: _Parts, *, once: bool) -> tuple[int, Summary | None]:
    parts.children.start()
    parts.printer.start()
    try:
        return asyncio.run(_poll_and_watch(parts, once=once))
    finally:
        parts.children.stop(within_s=max(1.0, parts.context.settings.worker.grace - 10))
        parts.printer.finish(within_s=_PRINT_S)


async def _poll_and_watch(parts: _Parts, *, once: bool) -> tuple[int, Summary | None]:
    """Poll while the workers work; return the exit code, and after a whole `--once` what was polled."""
    watching = asyncio.create_task(_watch(parts, once=once))
    try:
        source = None if once else parts.source
        summary = await poll(parts.context, parts.service, parts.log, parts.feeds, source=source)
        if once:
            while not (parts.service.stopping() or await asyncio.to_thread(_all_done, parts)):
                parts.service.watchdog.beat()
                await asyncio.sleep(0.1)
    finally:
        stopped_early = parts.service.stopping()
        parts.service.stop()
        code = await watching
    if code is None and stopped_early:
        return ExitCode.OK, None
    return code or ExitCode.OK, summary


async def _watch(parts: _Parts, *, once: bool) -> int | None:
    """Keep the workers alive until the process stops; an exit code when it has to because of one of them."""
    while not parts.service.stopping():
        code = parts.children.watch()
        if code is None and once and parts.children.worst_failures >= _MAX_FAILURES_ONCE:
            code = ExitCode.RESTART
        if down := parts.children.down:
            parts.service.readiness.blocked("workers", f"{down} ended and will be started again")
        else:
            parts.service.readiness.clear("workers")
        if code is not None or parts.printer.broken:
            parts.service.stop()
            return code
        await asyncio.sleep(0.1)
    return None


def _all_done(parts: _Parts) -> bool:
    """Tell whether the workers have committed everything that was polled."""
    try:
        return drained(parts.log, parts.context.settings.group(), parts.context.topics.raw)
    except LogUnavailable:
        return False


def _print_summary(summary: Summary, counts: dict[str, int], seconds: float) -> None:
    duplicates = counts.get("repeat", 0) + counts.get("copy", 0)
    sys.stdout.flush()
    sys.stdout.write(
        f"{told(summary)}\n"
        f"feeds: {summary.feeds}  entries: {summary.entries}  new: {counts.get('new', 0)}"
        f"  updates: {counts.get('update', 0)}  duplicates: {duplicates}"
        f"  dead letters: {counts.get('dead-letter', 0)}  seconds: {seconds:.1f}\n"
    )
