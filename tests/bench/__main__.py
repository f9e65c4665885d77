"""
Measure one worker process on one core against the limits of the design: `make bench`.

For each stand (embedded; Kafka + Redis): the bare copy and the whole worker over the same raw records, then latency
from the raw record's timestamp to a read_committed reader at 200 articles a second. Exit status 1: a limit was missed.

With --instructions: what neither the machine nor its neighbours alter, the instructions that an article costs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from tests.bench.instructions import instructions
from tests.bench.measure import latencies, throughput
from tests.bench.parts import WARM_UP, Stand, machine, pin, split_cores
from tests.support.services import KafkaBroker, RedisServer, ServiceUnavailable
from worker.enriching import STAGES

ARTICLES = 20_000
PACED = 6_000
COUNTED = 1_500
MIN_PER_CPU_SECOND = 2_000
MAX_P99_MS = 250.0
MAX_INSTRUCTIONS = 6_060_000
"""Of an article. At so many a machine at its usual speed did 2,326 articles a CPU second (docs/decisions.md)."""


@contextmanager
def embedded(core: int) -> Iterator[Stand]:
    """Give a stand in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="dateline-bench-") as folder:
        yield Stand(name="embedded log + SQLite", folder=folder, core=core)


@contextmanager
def kafka(core: int) -> Iterator[Stand]:
    """Give a stand on services of its own. Raises: ServiceUnavailable."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dateline-bench-"))
        broker, redis = KafkaBroker(), RedisServer()
        for service in (broker, redis):
            stack.callback(service.remove)
            service.start()
        yield Stand(name="Kafka + Redis", folder=folder, core=core, bootstrap=broker.bootstrap, redis=redis.url)


def report(stand: Stand, articles: int, paced: int) -> bool:
    """Measure *stand*, print its figures and tell whether the limits hold; they are limits for Kafka only."""
    limited = bool(stand.bootstrap)
    print(f"\n{stand.name}: {articles:,} articles after a warm-up of {WARM_UP:,}", flush=True)
    copied, enriched = throughput(replace(stand, prefix="bench-all."), articles)
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(enriched.counts.items()))
    print(f"  outcomes             {counts}")
    print(f"  bare copy            {copied.per_second:8,.0f} articles/s {copied.per_cpu_second:8,.0f} articles/CPU s")
    fast = enriched.per_cpu_second >= MIN_PER_CPU_SECOND
    limit = f"(limit {MIN_PER_CPU_SECOND:,}: {verdict(fast)})" if limited else ""
    print(
        f"  worker               {enriched.per_second:8,.0f} articles/s {enriched.per_cpu_second:8,.0f} articles/CPU s"
        f" {limit}"
    )
    ratio = enriched.cpu_us / copied.cpu_us
    print(f"  worker ÷ bare copy   {ratio:8.1f} ({copied.cpu_us:.0f} to {enriched.cpu_us:.0f} µs CPU an article)")
    for name in STAGES:
        print(f"    {name:<18} {enriched.stages.get(name, 0.0) / enriched.records * 1e6:8.1f} µs an article")
    delays = latencies(replace(stand, prefix="bench-paced."), paced)
    prompt = delays.p99_ms <= MAX_P99_MS
    limit = f"(limit {MAX_P99_MS:.0f}: {verdict(prompt)})" if limited else ""
    print(
        f"  raw to committed output at 200 articles/s, {delays.count:,} articles:"
        f" p50 {delays.p50_ms:.0f} ms,"
        f" p99 {delays.p99_ms:.0f} ms {limit}; producer at most {delays.late_s * 1000:.0f} ms late",
        flush=True,
    )
    return not limited or (fast and prompt)


def report_instructions(stand: Stand, articles: int) -> bool:
    """Count what an article costs on *stand*, print it and tell whether the limit holds; it is one for Kafka only."""
    limited = bool(stand.bootstrap)
    print(f"\n{stand.name}: instructions of {articles:,} articles after a warm-up of {WARM_UP:,}", flush=True)
    copied, enriched = (instructions(role, stand, articles) for role in ("copy", "enrich"))
    kept = enriched <= MAX_INSTRUCTIONS
    limit = f" (limit {MAX_INSTRUCTIONS:,}: {verdict(kept)})" if limited else ""
    print(f"  bare copy            {copied:11,.0f} an article")
    print(f"  worker               {enriched:11,.0f} an article{limit}", flush=True)
    return not limited or kept


def verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def main() -> int:
    """Run the stands that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--articles", type=int, default=ARTICLES)
    parser.add_argument("--paced", type=int, default=PACED, help="articles in the latency run")
    parser.add_argument("--stand", choices=("embedded", "kafka"), action="append", help="default: both")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions instead of time (needs valgrind; 12 minutes)"
    )
    args = parser.parse_args()
    core, others = split_cores()
    print(machine(), flush=True)
    pin(others)  # services, producer and reader: everything but the worker
    kept = True
    for name, make in (("embedded", embedded), ("kafka", kafka)):
        if args.stand and name not in args.stand:
            continue
        try:
            with make(core) as stand:
                if args.instructions:
                    kept &= report_instructions(stand, COUNTED)
                else:
                    kept &= report(stand, args.articles, args.paced)
        except ServiceUnavailable as error:
            print(f"\nnot measured: {error}")
            kept = False
        except subprocess.CalledProcessError as error:
            print(f"\nnot measured: a process of the {name} stand ended with status {error.returncode}")
            kept = False
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
