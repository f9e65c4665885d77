"""T25: an hour at a normal rate with everything that happens to workers, broker and Redis; nothing may grow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from statistics import median

from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from redis import Redis

from tests.faults.oracle import KafkaView, Seen
from tests.faults.stand import Stand, stand_of
from tests.faults.usage import Usage, usage
from tests.support.services import KafkaBroker, RedisServer
from worker.edges.process import ExitCode

PER_SECOND = 200
BACK_S = 90.0
STEP_MIB = 4.0
"""A step of a worker's memory during a fault that is told by itself, and not taken for a slope."""
MOST_STEPS_MIB = 32.0
"""So far may steps lift it in the judged half: a backlog sets a new high-water mark; what each fault leaks goes on."""
MOST_KIB_PER_HOUR = 1024.0
MOST_BLOCKS_PER_HOUR = 20_000.0
"""Pieces of memory that Python objects take, some 2 MiB; they come and go, so that a half hour shows no less."""
JUDGED_FROM_S = 1800.0
"""A shorter run shows no slope that means anything."""
_HEADERS = ("raw", "kind", "x-id", "x-expect", "dateline-cut-length")


class Soaked(Stand):
    """Its oracle keeps of each record what it compares, else an hour of them would not fit into memory."""

    def _view(self) -> KafkaView:
        return KafkaView(self.kafka.bootstrap, keep=slim)


def slim(record: Seen) -> Seen:
    """Return *record* with the headers and the part of the value that the oracle looks at; equal values stay equal."""
    headers = {name: record.headers[name] for name in _HEADERS if name in record.headers}
    return replace(record, headers=headers, value=_slim_value(record.value or b""))


def _slim_value(value: bytes) -> bytes:
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return value if len(value) < 100 else blake2b(value, digest_size=16).digest()
    link = told.get("link") or told.get("dateline", {}).get("provenance", {}).get("link")
    return json.dumps({"link": link} if link else {"else": blake2b(value, digest_size=16).hexdigest()}).encode()


@contextmanager
def soaked(*, short: bool) -> Iterator[Soaked]:
    """Give a stand with services of its own."""
    kafka, redis = KafkaBroker(own=True), RedisServer()
    try:
        kafka.start()
        redis.start()
        with stand_of(Soaked, kafka=kafka, redis=redis, short=short) as on:
            yield on
    finally:
        kafka.remove()
        redis.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The worker that lives through all, at one moment."""

    at: float
    used: Usage
    steps_kib: int
    """What the steps up to now have lifted its memory by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What may happen; *weight*: how often of a hundred times."""

    name: str
    cause: Callable[[], None]
    weight: int


def soak(stand: Soaked) -> None:
    """Cause a random fault every some seconds. Worker 0 is left alone; what it holds is measured."""
    samples: list[Sample] = []
    blocks: list[tuple[float, float]] = []
    recoveries: dict[str, list[float]] = {}
    told = began = time.monotonic()
    caused = steps_kib = 0
    with stand.load(PER_SECOND):
        workers = stand.steady(3)
        faults = _faults(stand, workers)
        while (now := time.monotonic()) < began + stand.minutes * 60:
            pause = now + stand.random.uniform(4.0, 16.0)
            while time.monotonic() < pause:
                time.sleep(1)
                used = usage(workers[0].pid)
                samples.append(Sample(at=time.monotonic() - began, used=used, steps_kib=steps_kib))
            (fault,) = stand.random.choices(faults, [each.weight for each in faults])
            before = samples[-1].used.rss_kib
            fault.cause()
            caused += 1
            stand.times = caused
            _recovered(stand, fault)
            recoveries.setdefault(fault.name, []).append(stand.recoveries[-1])
            stand.all_alive(workers[:1])
            _start_again(stand, workers)
            blocks.append((time.monotonic() - began, stand.metric(workers[0], "dateline_python_blocks")))
            stepped = usage(workers[0].pid).rss_kib - before
            if abs(stepped) > STEP_MIB * 1024:
                steps_kib += stepped
                stand.notes.append(
                    f"{(time.monotonic() - began) / 60:.1f} min, {fault.name}: {stepped / 1024:+.0f} MiB"
                )
            if time.monotonic() > told + 60:
                told = time.monotonic()
                print(f"  {_line(stand, samples[-1])}", file=sys.stderr, flush=True)
    stand.notes += [
        f"{name}: {len(took)} times, recovery {median(took):.1f} s, at most {max(took):.1f} s"
        for name, took in sorted(recoveries.items())
    ]
    stand.drain(600)
    _judge(stand, samples, blocks)


def _recovered(stand: Soaked, fault: Fault) -> None:
    """Wait for every partition. Raises: AssertionError: with what the broker says of the group."""
    try:
        stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
    except AssertionError as error:
        try:
            with closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
                group = admin.describe_groups([stand.names.group])
        except (KafkaError, OSError) as away:
            group = f"the broker does not say: {away}"
        told = [*stand.kafka.said("metadata from __consumer_offsets", lines=16), *stand.kafka.said(stand.names.group)]
        raise AssertionError("\n".join([f"after {fault.name}: {error}; {group}", *told])) from error


def _start_again(stand: Soaked, workers: list[subprocess.Popen[bytes]]) -> None:
    """Start again, as a cluster does, each worker that asked for it by its exit code."""
    for index, worker in enumerate(workers):
        if (code := worker.poll()) is not None:
            assert code == ExitCode.RESTART or code in stand.allowed, f"worker {index} ended with {code}"
            stand.notes.append(f"worker {index} ended with {code} and was started again")
            stand.workers.remove(worker)
            workers[index] = stand.worker(index)


def _faults(stand: Soaked, workers: list[subprocess.Popen[bytes]]) -> list[Fault]:
    """Return what may happen."""
    stand.allowed.add(-signal.SIGTERM)  # asked to stop before it could listen

    def index() -> int:
        return stand.random.choice([1, 2])

    def killed() -> None:
        turn = index()
        stand.kill(workers[turn])
        workers[turn] = stand.worker(turn)

    def stopped() -> None:
        turn = index()
        stand.stop(workers[turn])
        workers[turn] = stand.worker(turn)

    def worker_frozen() -> None:
        worker = workers[index()]
        worker.send_signal(signal.SIGSTOP)
        time.sleep(stand.random.uniform(2.0, 12.0))
        worker.send_signal(signal.SIGCONT)

    def away(service: KafkaBroker | RedisServer, end: Callable[[], None]) -> Callable[[], None]:
        def work() -> None:
            end()
            time.sleep(stand.random.uniform(0.5, 6.0))
            service.start()

        return work

    def frozen(service: KafkaBroker | RedisServer) -> Callable[[], None]:
        def work() -> None:
            service.freeze()
            time.sleep(stand.random.uniform(1.0, 20.0))
            service.thaw()

        return work

    kafka, redis = stand.kafka, stand.redis
    return [
        Fault(name="worker killed", cause=killed, weight=50),
        Fault(name="worker stopped", cause=stopped, weight=15),
        Fault(name="worker frozen", cause=worker_frozen, weight=10),
        Fault(name="broker killed", cause=away(kafka, kafka.kill), weight=4),
        Fault(name="broker stopped", cause=away(kafka, kafka.stop), weight=4),
        Fault(name="broker frozen", cause=frozen(kafka), weight=4),
        Fault(name="Redis killed", cause=away(redis, redis.kill), weight=5),
        Fault(name="Redis stopped", cause=away(redis, redis.stop), weight=3),
        Fault(name="Redis frozen", cause=frozen(redis), weight=5),
    ]


def _line(stand: Soaked, sample: Sample) -> str:
    used, keys = _seen_store(stand)
    return (
        f"{sample.at / 60:5.1f} min: {stand.times} faults, {stand.progress.total():,} records committed,"
        f" longest recovery {max(stand.recoveries):.1f} s; worker 0: {sample.used};"
        f" Redis: {used / 2**20:.1f} MiB, {keys:,} keys"
    )


def _seen_store(stand: Soaked) -> tuple[int, int]:
    """Return the store's memory in bytes and its keys."""
    client: Redis = Redis.from_url(stand.redis.url, socket_timeout=5)
    try:
        return client.info("memory")["used_memory"], client.dbsize()
    finally:
        client.close()


def _judge(stand: Soaked, samples: Sequence[Sample], blocks: Sequence[tuple[float, float]]) -> None:
    warm_up = samples[-1].at / 2  # the allocator's high-water mark rises for a while
    warm = [each for each in samples if each.at >= warm_up]
    slope = per_hour([(each.at, each.used.rss_kib - each.steps_kib) for each in warm])
    more = per_hour([(at, count) for at, count in blocks if at >= warm_up])
    steps_mib = (warm[-1].steps_kib - warm[0].steps_kib) / 1024
    stories = len(stand.view.records(stand.names.enriched))
    used, _ = _seen_store(stand)
    stand.notes += [
        _line(stand, samples[-1]),
        f"worker 0: {slope / 1024:+.2f} MiB/h and {steps_mib:+.1f} MiB in steps, from {warm[0].used}"
        f" to {warm[-1].used}; {more:+,.0f} blocks of Python objects an hour of {blocks[-1][1]:,.0f}",
        f"seen store: {stories:,} stories, {used / max(1, stories):.0f} bytes for each",
    ]
    tenth = max(1, len(warm) // 10)
    for what, counts in {
        "threads": [each.used.threads for each in warm],
        "files": [each.used.fds for each in warm],
    }.items():
        before, after = (
            median(counts[:tenth]),
            median(counts[-tenth:]),
        )  # a client that is made anew has some for a moment
        if after > before:
            stand.problems.append(f"{what} grew from {before} to {after}")
    if samples[-1].at >= JUDGED_FROM_S and slope > MOST_KIB_PER_HOUR:
        stand.problems.append(f"memory grows by {slope / 1024:.2f} MiB an hour")
    if samples[-1].at >= JUDGED_FROM_S and more > MOST_BLOCKS_PER_HOUR:
        stand.problems.append(f"Python objects grow by {more:,.0f} blocks an hour")
    if steps_mib > MOST_STEPS_MIB:
        stand.problems.append(f"faults have lifted the memory by {steps_mib:.0f} MiB")


def per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much *points* (seconds, amount) rise in an hour, along a straight line by least squares."""
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return 3600 * sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
