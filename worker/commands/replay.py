"""`dateline replay`: judges and tags old raw records again, beside the live stream."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime

from worker.commands.enrich import host_name
from worker.commands.output import progress
from worker.edges.process import ExitCode
from worker.edges.worker_events import WorkerEvents
from worker.loops.replaying import ReplayMember
from worker.options import moment
from worker.ports import Log, SeenStore, WrongSettings
from worker.service import Service, serving
from worker.stores import check_stores, ensure_topics, topic_specs
from worker.wiring import Setup, add_common, setup

EXAMPLES = """\
  dateline replay --from 3d --to trial.                     all of three days, onto trial.enriched and so on
  dateline replay --from 2026-03-01 --until 2026-03-02 --to trial.
  dateline replay --from 3d --live                          onto the live topics, marked `reprocessed`
It ends at what is the raw topic's end when it starts. Stopped, it goes on with the --name that it printed.
Its memory of stories is its own: it judges as if nothing had come before --from.
"""
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,100}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="start", type=moment, required=True, metavar="TIME", help="a time, or a span like 3d"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="raw records before this time (else all)")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="PREFIX", help="prefix of the output topics, which are created")
    where.add_argument("--live", action="store_true", help="write onto the live topics, marked `reprocessed`")
    parser.add_argument("--name", type=_name, help="go on with the replay of that name")
    add_common(parser)


def _name(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise argparse.ArgumentTypeError("letters, digits, dot, hyphen, underscore")
    return text


def run(args: argparse.Namespace) -> int:
    with setup(args) as context:
        live = context.topics.prefix
        target = live if args.live else args.to
        if not _PREFIX.fullmatch(target):
            raise WrongSettings(f"--to {target!r}: letters, digits, dot, hyphen, underscore")
        if target == live and not args.live:
            raise WrongSettings(f"--to {target} is the live prefix; say --live if you mean it")
        check_stores(context.settings, one_machine=True)
        routes = [route.name for route in context.taxonomy().routes]
        name = args.name or f"replay-{target}{datetime.now(UTC):%Y%m%dT%H%M%S}"
        with serving(context.settings, routes=routes, port=0) as service:
            log = context.log(beat=service.watchdog.beat)
            ensure_topics(log, topic_specs(context.settings, context.routes(), prefix=target), create=not args.live)
            print(f"{name} starts; --name {name} goes on where it stops", file=sys.stderr)
            done = _replay(context, service, log, args, target=target, name=name)
            stopped = service.stopping()
    print(f"{'stopped after' if stopped else 'replayed'} {done} raw records onto {target}*", file=sys.stderr)
    return ExitCode.OK


def _replay(context: Setup, service: Service, log: Log, args: argparse.Namespace, *, target: str, name: str) -> int:
    """Work through the span with a group of its own; return how many raw records were judged again."""
    settings, raw = context.settings, context.topics.raw
    group = f"{settings.kafka.group_prefix}{name}"
    identity = f"{settings.kafka.transactional_id_prefix}{name}-{host_name()}"
    bounds = log.bounds([raw])
    member = ReplayMember(
        log.member(group=group, identity=identity, topics=[raw]),
        from_ms=_ms(args.start),
        until_ms=None if args.until is None else _ms(args.until),
        ends={place: end for place, (first, end) in bounds.items() if end > first},
    )
    committed = log.committed(group, [raw])
    member.start_at(committed)
    done, total = 0, sum(end for first, end in bounds.values() if end > first)
    try:
        seen = context.seen(namespace=f"{settings.seen.namespace}-{name}")
        service.patiently("seen store", lambda: _join(seen, name, begun=any(committed.values())))
        events = WorkerEvents(
            metrics=service.metrics, readiness=service.readiness, watchdog=service.watchdog, clock=service.clock
        )
        enricher = context.enricher(
            log=log,
            member=member,
            seen=seen,
            clock=service.clock,
            events=events,
            output_prefix=target,
            reprocessed=True,
        )
        with progress("replayed") as shown:
            while not (service.stopping() or member.finished):
                done += enricher.step(timeout_s=0.5)
                shown.show(member.passed, total)
    finally:
        member.close()
    return done


def _join(seen: SeenStore, name: str, *, begun: bool) -> None:
    """Join the replay's own memory. Raises: WrongSettings: it is gone, and with it what the first part was told."""
    if begun and seen.epoch() is None:
        raise WrongSettings(f"the seen store has lost the memory of {name}: start a new replay, without --name")
    seen.start_epoch(name)


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
