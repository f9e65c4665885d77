"""One worker and two on the same backlog, as real processes: whether the second carries as much as the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.bench.pollers import cpu_s
from tests.bench.storage import worded
from tests.support.installation import Installation
from tests.support.metrics import metric
from tests.support.services import Service, lasting_port
from worker import wire
from worker.ports import NewRecord

START_S = 120.0
PATIENCE_S = 600.0
_WARM_UP = 10_000
"""At most so many articles until all workers have joined."""
_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What some workers did with a backlog."""

    articles: int
    shares: tuple[float, ...]
    """Of the articles, by worker."""
    cpu_s: tuple[float, ...]
    services_cpu_s: Mapping[str, float]
    """Of broker and seen store meanwhile, by name."""
    wall_s: float
    """Until the last is committed, from before the first is appended."""

    @property
    def per_cpu_second(self) -> float:
        return self.articles / sum(self.cpu_s)

    @property
    def per_second(self) -> float:
        return self.articles / self.wall_s


def worked(installation: Installation, services: Sequence[Service], *, workers: int, count: int) -> Worked:
    """Start *workers* workers, let them warm up on some articles, then give them *count*."""
    now = datetime.now(UTC)
    records = [wire.raw_record(each, topic=installation.topics.raw, now=now) for each in worded(_WARM_UP + count)]
    with ExitStack() as stack:
        ports = [lasting_port() for _ in range(workers)]
        running = []
        for index, port in enumerate(ports):
            command = ("enrich", "--index", str(index), "--create-topics", "--http-port", str(port))
            process = installation.start(*command, environ={"DATELINE_LOG_LEVEL": "warning"})
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running.append(process)
        deadline, warm = time.monotonic() + START_S, 0
        # A worker says what it owns once it has committed some of it.
        while not all(_value(port, "dateline_assigned_partitions") for port in ports):
            assert time.monotonic() < deadline, "not all workers have joined"
            _append(installation, records[warm : min(warm + _CHUNK, _WARM_UP)])
            warm = min(warm + _CHUNK, _WARM_UP)
            time.sleep(2)
        _append(installation, records[warm:_WARM_UP])
        _until(lambda: _done(ports) >= _WARM_UP, PATIENCE_S)
        shares = [_value(port, "dateline_records_total") for port in ports]
        cpu = [cpu_s(process.pid) for process in running]
        services_cpu = {service.name: cpu_s(service.pid) for service in services}
        began = time.monotonic()
        _append(installation, records[_WARM_UP:])
        _until(lambda: _done(ports) >= len(records), PATIENCE_S)
        took = time.monotonic() - began
        return Worked(
            articles=count,
            shares=tuple(
                (_value(port, "dateline_records_total") - before) / count
                for port, before in zip(ports, shares, strict=True)
            ),
            cpu_s=tuple(cpu_s(process.pid) - before for process, before in zip(running, cpu, strict=True)),
            services_cpu_s={each.name: cpu_s(each.pid) - services_cpu[each.name] for each in services},
            wall_s=took,
        )


def _append(installation: Installation, records: Sequence[NewRecord]) -> None:
    with installation.log() as log:
        appender = log.appender()
        for first in range(0, len(records), _CHUNK):
            appender.append(records[first : first + _CHUNK])
        appender.close()


def _done(ports: Sequence[int]) -> float:
    return sum(_value(port, "dateline_records_total") for port in ports)


def _value(port: int, name: str) -> float:
    try:
        return metric(port, name)
    except OSError:
        return 0.0  # it starts


def _until(true: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s"
        time.sleep(0.1)
