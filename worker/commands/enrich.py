"""`dateline enrich`: one worker process."""

from __future__ import annotations

import argparse
import logging
import re
import socket
from functools import partial

from worker.commands.taxonomy_watch import TaxonomyWatch
from worker.edges import language_model
from worker.edges.process import ExitCode
from worker.edges.status_board import WORKER_COUNTERS, counts_of
from worker.edges.worker_events import WorkerEvents
from worker.edges.yaml_file import FileFaults
from worker.loops.accounting import AccountedMember
from worker.polling import RemoteAway
from worker.ports import Member, SeenStore
from worker.service import Service, parent_option, serving
from worker.stores import check_stores, ensure_topics, topic_specs
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline enrich                              one worker, on the embedded log or on the configured Kafka
  dateline enrich --index 1                    a second one on this machine
  DATELINE_HTTP_PORT=9465 dateline enrich      with the status page, /metrics, /livez and /readyz
"""
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--index", type=int, default=0, metavar="N", help="number of this process among those of this machine (0)"
    )
    parser.add_argument("--create-topics", action="store_true", help="create missing topics first")
    parser.add_argument("--one-machine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--http-port", type=int, metavar="PORT", help="of the status page, /metrics, /livez, /readyz; 0: none"
    )
    parent_option(parser)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        settings = context.settings
        check_stores(settings, one_machine=args.one_machine)
        language_model.prefetch()
        with serving(settings, parent=args.parent) as service:
            # Rules of an address may come later; those of a folder are right or a fault of the settings.
            besides = (RemoteAway, FileFaults) if settings.taxonomy.url else ()
            taxonomy = service.patiently("taxonomy", context.taxonomy, besides=besides)
            if taxonomy is None:
                return ExitCode.OK
            service.metrics.set_rules(taxonomy)
            return _work(args, context, service)


def _work(args: argparse.Namespace, context: Setup, service: Service) -> int:
    settings = context.settings
    opening = partial(context.log, beat=service.watchdog.beat, reset=service.metrics.offset_resets.inc)
    log = service.patiently("log", opening)
    if log is None:
        return ExitCode.OK
    create = settings.embedded or args.create_topics
    specs = topic_specs(settings, context.routes())
    service.patiently("log", lambda: ensure_topics(log, specs, create=create))
    seen = context.seen()
    service.patiently("seen store", lambda: _check_settings(seen, service))
    identity = settings.identity(host_name(), args.index)
    join = partial(log.member, group=settings.group(), identity=identity, topics=[context.topics.raw])
    member = service.patiently("log", join)
    if member is None:
        return ExitCode.OK
    try:
        version = context.taxonomy().version
        events = WorkerEvents(
            metrics=service.metrics,
            readiness=service.readiness,
            watchdog=service.watchdog,
            clock=service.clock,
            board=service.board if service.page_url else None,
        )
        _show(service, member, identity)
        books = AccountedMember(
            member,
            ends=(context.topics.enriched, context.topics.duplicates, context.topics.dead_letter),
            committed=lambda: log.committed(settings.group(), [context.topics.raw]),
            books=events,
        )
        enricher = context.enricher(
            log=log, member=books, seen=seen, clock=service.clock, events=events, identity=identity
        )
        watching = TaxonomyWatch(
            context.taxonomy_source(),
            every_s=settings.taxonomy.refresh,
            check=lambda routes: ensure_topics(log, topic_specs(settings, routes), create=create),
            use=enricher.change,
            metrics=service.metrics,
            failed=service.stop,
        )
        service.readiness.clear("process")
        logger.info("worker started", extra={"group": settings.group(), "identity": identity, "taxonomy": version})
        watching.start()
        enricher.run(service.stopping)
        watching.close()
        logger.info("worker stopped", extra={"identity": identity})
    finally:
        member.close()
    return ExitCode.OK


def _show(service: Service, member: Member, identity: str) -> None:
    """Hang up on the status page what a worker has to show."""

    def partitions() -> dict[int, int | None]:
        lag = member.lag()
        return {place[1]: lag.get(place) for place in member.assigned()}

    board = service.board
    board.process, board.shows_stories, board.partitions = f"worker {identity}", True, partitions
    board.counts.append(counts_of(service.metrics.registry, WORKER_COUNTERS))


def _check_settings(seen: SeenStore, service: Service) -> None:
    """Say what the seen store may forget."""
    weak = seen.warnings()
    service.metrics.seen_weak.set(len(weak))
    for warning in weak:
        logger.warning("seen store: %s", warning)


def host_name() -> str:
    """Return this machine's name as identities may contain it."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
