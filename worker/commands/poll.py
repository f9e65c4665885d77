"""`dateline poll`: the poller."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from worker.commands.feed_watch import first_list, watch
from worker.edges.feed_source import FeedSource, PartSource
from worker.edges.fetch import HttpFetcher
from worker.edges.poller_events import PollEvents
from worker.edges.process import ExitCode
from worker.edges.status_board import POLLER_COUNTERS, counts_of, feeds_of
from worker.feed_config import FeedConfig
from worker.polling import Summary
from worker.ports import Log, WrongSettings
from worker.service import Service, serving
from worker.stages.sharding import Shard, read_shard
from worker.stores import ensure_topics, topic_specs
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline poll --feeds feeds.opml             until SIGTERM or Ctrl-C
  dateline poll --feeds feeds.yaml --once      each feed once, then a summary
  dateline poll --feeds feeds.opml --shard 0/2 one half of the feeds; another poller takes 1/2
  dateline poll --shard auto/3                 in a StatefulSet of 3: the index is the number of the pod
Shards divide the feeds by id, so they need not know of each other. While some still count otherwise, as after one more
was started, a feed may be polled twice: the workers drop what comes again.
"""
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--feeds", type=Path, metavar="FILE", help="feed list, OPML or YAML")
    parser.add_argument("--once", action="store_true", help="poll each feed once and print a summary")
    parser.add_argument(
        "--shard", metavar="I/N", help="poll only part I, from 0, of N of the feeds; auto/N: I from the host name"
    )
    parser.add_argument(
        "--http-port", type=int, metavar="PORT", help="of the status page, /metrics, /livez, /readyz; 0: none"
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        shard = _shard(context.settings.poller.shard)
        source = context.feed_source()
        if shard is not None:
            source = PartSource(source, shard.has)
        with serving(context.settings) as service:
            service.board.process = "poller" if shard is None else f"poller, shard {shard}"
            feeds = first_list(source, service, patient=bool(context.settings.poller.feeds_url))
            if shard is not None and feeds is not None:
                logger.info("sharded", extra={"shard": str(shard), "feeds": sum(feed.enabled for feed in feeds)})
            log = service.patiently("log", context.log)
            if log is None or feeds is None:
                return ExitCode.OK
            specs = topic_specs(context.settings, ())
            needed = [spec for spec in specs if spec.name in (context.topics.raw, context.topics.feed_state)]
            create = context.settings.embedded
            service.patiently("log", lambda: ensure_topics(log, specs if create else needed, create=create))
            summary = asyncio.run(poll(context, service, log, feeds, source=None if args.once else source))
    if summary is not None:
        sys.stdout.write(f"{told(summary)}\n")
    return ExitCode.OK


def _shard(text: str) -> Shard | None:
    """Return the shard that the setting *text* names; None: all feeds. Raises: WrongSettings."""
    try:
        return read_shard(text, host=socket.gethostname()) if text else None
    except ValueError as error:
        raise WrongSettings(f"poller.shard {text}: {error}") from error


async def poll(
    context: Setup, service: Service, log: Log, feeds: tuple[FeedConfig, ...], *, source: FeedSource | None
) -> Summary | None:
    """
    Poll *feeds* until the service stops, and what *source* gives later; once where it is None.

    Raises: LogError: the log refuses for good.
    """
    service.metrics.set_feeds(feed.id for feed in feeds if feed.enabled)
    events = PollEvents(metrics=service.metrics, readiness=service.readiness, clock=service.clock)
    async with HttpFetcher(context.fetch_settings()) as fetcher, stop_event(service) as stop:
        poller = context.poller(feeds, log=log, fetcher=fetcher, clock=service.clock, events=events)
        service.board.counts.append(counts_of(service.metrics.registry, POLLER_COUNTERS))
        service.board.feeds = feeds_of(lambda: poller.feeds, poller.states)
        service.readiness.clear("process")
        logger.info("polling", extra={"feeds": sum(feed.enabled for feed in feeds)})
        if source is None:
            return await poller.once(stop)
        every_s = context.settings.poller.feeds_refresh
        watching = asyncio.create_task(watch(source, poller, service.metrics, stop, every_s=every_s))
        watching.add_done_callback(lambda _: stop.set())  # it only ends by a fault of ours, which is raised below
        try:
            await poller.run(stop)
        finally:
            watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    return None


@contextlib.asynccontextmanager
async def stop_event(service: Service) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set when the process is asked to stop; meanwhile the event loop shows signs of life."""
    stop = asyncio.Event()

    async def watch() -> None:
        while not service.stopping():
            service.watchdog.beat()
            await asyncio.sleep(0.1)
        stop.set()

    watching = asyncio.create_task(watch())
    try:
        yield stop
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def told(summary: Summary) -> str:
    """Return *summary* as one line."""
    failed = ", ".join(f"{reason} {count}" for reason, count in summary.failed.items())
    return (
        f"feeds {summary.feeds} (ok {summary.ok}, unchanged {summary.unchanged}, failed {sum(summary.failed.values())}"
        f"{': ' + failed if failed else ''}), entries {summary.entries}, new {summary.new}, changed {summary.changed},"
        f" pages {summary.pages}, {summary.seconds:.1f} s"
    )
