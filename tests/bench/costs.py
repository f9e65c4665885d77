"""
Measure what docs/scaling.md reckons with: `make costs`. All on a broker and a Redis of its own, in some ten minutes.

CPU figures are those of the processes measured and hold on a busy machine too; seconds by the clock want a quiet one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.parts import Stand
from tests.bench.pollers import INTERVAL_S, Polls, list_cpu_s, lookup_cpu_us, polls, started
from tests.bench.slope import worked
from tests.bench.storage import on_disk, stored
from tests.support.installation import Installation
from tests.support.services import KafkaBroker, RedisServer, ServiceUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it is measured, and on how much."""

    kafka: KafkaBroker
    redis: RedisServer
    folder: Path
    articles: int
    feeds: int
    states: tuple[int, ...]

    def installation(self, name: str) -> Installation:
        """Return a fresh one with its topics made."""
        folder = self.folder / name
        folder.mkdir()
        made = Installation(folder, kafka=self.kafka, redis=self.redis)
        made.environ["DATELINE_TOPICS_PARTITIONS"] = "12"
        made.run("topics", "apply")
        return made

    def stand(self, name: str) -> Stand:
        return Stand(
            name=name,
            folder=str(self.folder),
            prefix=f"{name}.",
            bootstrap=self.kafka.bootstrap,
            redis=self.redis.url,
        )


def storage(place: Place) -> None:
    """Print what articles leave in the broker and in the seen store: worked off as a backlog, and one by one."""
    for name, count, batch in (("backlog", place.articles, 500), ("single", place.articles // 10, 1)):
        its = stored(place.stand(f"costs-{name}"), (place.kafka, place.redis), count, batch=batch)
        print(f"storage: {count:,} articles of {its.value_bytes:,.0f} bytes, {batch} in a transaction")
        for topic, size in its.on_disk.items():
            print(f"  on disk, {topic:<20} {size / count:8,.0f} bytes an article")
        print(f"  seen store, memory            {its.memory / count:8,.0f} bytes an article")
        print(f"  seen store, append-only file  {its.file / count:8,.0f} bytes an article")
        for kind, (number, bytes_each) in its.keys.items():
            print(f"    {kind:<10} {number:6.2f} keys an article of {bytes_each:5,.0f} bytes")
        for service, used in {"worker": its.cpu_s, **its.services_cpu_s}.items():
            print(f"  {service:<29} {used / count * 1e6:8,.0f} µs CPU an article", flush=True)


def feeds(place: Place) -> None:
    """Print what a poll costs: nothing new, the same over HTTPS, one new entry; and what a second poller adds."""
    for kind, shards in (("idle", 1), ("tls", 1), ("news", 1), ("idle", 2)):
        print(f"feeds: {kind}, {shards} poller(s), {place.feeds} feeds each, every {INTERVAL_S} s")
        for its in polls(place.installation(f"feeds-{kind}-{shards}"), feeds=place.feeds, shards=shards, kind=kind):
            print(f"  {_polls(its)}", flush=True)
    print(f"feeds: a look-up of a name, which the polls above did not need: {lookup_cpu_us():,.0f} µs CPU", flush=True)


def _polls(its: Polls) -> str:
    return (
        f"{its.feeds} feeds: {its.polls} polls, {its.articles} articles, {its.polls / its.wall_s:.0f} polls/s,"
        f" {its.cpu_us:,.0f} µs CPU a poll, {its.cpu_s / its.wall_s:.2f} cores, {its.rss_mib:.0f} MiB"
    )


def start(place: Place) -> None:
    """Print how long a poller takes to its first fetch when the log holds the states of many feeds."""
    for number in place.states:
        opml, plain = list_cpu_s(place.folder, number)
        print(f"start: a list of {number:,} feeds is read in {opml:.1f} CPU s (OPML), {plain:.1f} (YAML)", flush=True)
    for number, shard in [(1, "0/1"), *((number, "0/1") for number in place.states), (place.states[-1], "3/10")]:
        installation = place.installation(f"start-{number}-{shard[0]}")
        its = started(installation, feeds=number, shard=shard)
        size = on_disk(place.kafka.bootstrap, installation.topics.prefix)["feed-state"]
        print(
            f"start: {number:,} states, shard {shard}, {its.feeds:,} feeds: to the first fetch {its.cpu_s:.1f} CPU s,"
            f" {its.wall_s:.1f} s by the clock, then {its.rss_mib:.0f} MiB; on disk {size / number:,.0f} bytes a feed",
            flush=True,
        )


def slope(place: Place) -> None:
    """Print what one worker and two make of the same backlog."""
    for workers in (1, 2):
        services = (place.kafka, place.redis)
        its = worked(place.installation(f"slope-{workers}"), services, workers=workers, count=place.articles)
        beside = ", ".join(f"{name} {used / its.articles * 1e6:.0f}" for name, used in its.services_cpu_s.items())
        shares = " + ".join(f"{share:.0%}" for share in its.shares)
        each = " + ".join(f"{used:.1f}" for used in its.cpu_s)
        print(
            f"slope: {workers} worker(s): {its.articles:,} articles ({shares}), {each} CPU s,"
            f" {its.per_cpu_second:,.0f} articles/CPU s, {its.per_second:,.0f} articles/s;"
            f" µs CPU an article: {beside}",
            flush=True,
        )


PARTS: Mapping[str, Callable[[Place], None]] = {"storage": storage, "feeds": feeds, "start": start, "slope": slope}


def main() -> int:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.costs", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--articles", type=int, default=20_000)
    parser.add_argument("--feeds", type=int, default=400, help="of each poller")
    parser.add_argument("--states", type=int, nargs="+", default=(10_000, 100_000), help="numbers of feeds at start")
    args = parser.parse_args()
    if unknown := set(args.part) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}" + (": busy, times by the clock are too long" if load > 1 else ""))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dateline-costs-"))
        kafka, redis = KafkaBroker(own=True), RedisServer("--appendonly", "yes", "--appendfsync", "everysec")
        try:
            for service in (kafka, redis):
                stack.callback(service.remove)
                service.start()
        except ServiceUnavailable as error:
            print(f"not measured: {error}")
            return 1
        place = Place(
            kafka=kafka,
            redis=redis,
            folder=Path(folder),
            articles=args.articles,
            feeds=args.feeds,
            states=tuple(args.states),
        )
        for name in args.part or PARTS:
            PARTS[name](place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
