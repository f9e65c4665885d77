"""One installation under load, its workers, and the watch that tells how long they stood still."""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kafka.errors import KafkaError
from prometheus_client.metrics_core import Metric

from tests.faults import oracle
from tests.faults.load import Load
from tests.faults.usage import unready
from tests.support.installation import Installation
from tests.support.metrics import families, metric
from tests.support.services import KafkaBroker, RedisServer, lasting_port
from worker.edges.data_folder import LOG_FILE

PARTITIONS = 6
DRAIN_S = 120.0
START_S = 60.0
"""What a worker's start may take when nothing is wrong."""
_STOP_S = 60.0
S = TypeVar("S", bound="Stand")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment, and the committed offsets by partition then."""

    at: float
    offsets: Mapping[int, int]


class Progress:
    """Samples what the group has committed; knows since when each partition has not moved."""

    def __init__(self, view: oracle.View, *, group: str, topic: str, every_s: float = 0.15) -> None:
        self._view, self._group, self._topic, self._every_s = view, group, topic, every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._lock = threading.Lock()
        self._moved: dict[int, float] = {}
        self._offsets: dict[int, int] = {}
        self._pauses: dict[int, float] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def total(self) -> int:
        """Return how many records are committed."""
        return sum(self._offsets.values())

    def mark(self) -> Mark:
        """Return where the group stands now; when the broker is away, where it stood at last."""
        with suppress(KafkaError, OSError, RuntimeError):
            self._sample()
        return Mark(at=time.monotonic(), offsets=dict(self._offsets))

    def wait(self, since: Mark, *, every_partition: bool, within_s: float) -> float:
        """
        Return the seconds from *since* until the group moved on: in one partition, or in each.

        Raises: AssertionError: not within *within_s*.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            moved = [part for part, offset in dict(self._offsets).items() if offset > since.offsets.get(part, 0)]
            if moved and (not every_partition or len(moved) == len(self._offsets)):
                times = [self._moved[part] - since.at for part in moved]
                return max(0.0, max(times) if every_partition else min(times))
            time.sleep(0.05)
        raise AssertionError(f"no progress within {within_s:.0f} s: {since.offsets} -> {self._offsets}")

    def forget_pauses(self) -> None:
        """Start to measure pauses anew."""
        now = time.monotonic()
        self._moved = dict.fromkeys(self._offsets, now)
        self._pauses = {}

    def longest_pause(self) -> float:
        """Return the longest time in seconds that a partition has stood still, under constant load."""
        now = time.monotonic()
        return max([*self._pauses.values(), *(now - at for at in self._moved.values())], default=0.0)

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            with suppress(KafkaError, OSError, RuntimeError):  # the broker is away: that is a standstill
                self._sample()

    def _sample(self) -> None:
        with self._lock:
            found = self._view.committed(self._group, self._topic)
            now = time.monotonic()
            for part, offset in found.items():
                if offset > self._offsets.get(part, -1):
                    if part in self._moved:
                        self._pauses[part] = max(self._pauses.get(part, 0.0), now - self._moved[part])
                    self._moved[part] = now
                self._offsets[part] = max(offset, self._offsets.get(part, 0))


class Stand:
    """See the module. Without a broker it is embedded."""

    def __init__(self, folder: Path, *, kafka: KafkaBroker | None, redis: RedisServer | None, short: bool) -> None:
        self.folder = folder
        self._kafka, self._redis = kafka, redis
        self.short = short
        """A scenario that takes minutes shows its principle in less."""
        self.random = random.Random(11)
        self.installation = Installation(folder, kafka=kafka, redis=redis)
        self.installation.environ |= {"DATELINE_TOPICS_PARTITIONS": str(PARTITIONS), "DATELINE_LOG_FORMAT": "json"}
        self.times = 0
        """How often the fault was caused."""
        self.recoveries: list[float] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.allowed: set[int] = set()
        """Exit codes other than 0 that workers may end with in this scenario."""
        self.surroundings: dict[str, str] = {}
        """Settings of workers only."""
        self.within: tuple[str, ...] = ()
        """What the command line of workers begins with."""
        self.http_host = "127.0.0.1"
        """Where workers answer."""
        self.minutes = 0.0
        """How long a soak lasts."""
        self.notes: list[str] = []
        """What else is worth telling."""
        self.problems: list[str] = []
        """What is wrong besides what the oracle finds, without keeping it from looking."""
        self._http_ports: dict[int, int] = {}
        self._ended: list[int] = []
        self.judge: Callable[[oracle.View, oracle.Names], oracle.Findings] = oracle.judge
        """What judges in the end; a scenario with other input than `load` has its own."""
        ran = self.installation.run("topics", "apply")
        assert ran.returncode == 0, ran.stderr.decode()
        self._views = [self._view(), self._view()]
        self.view = self._views[0]
        topics = self.installation.topics
        group = "enrich" if kafka is None else f"{topics.prefix}enrich"
        self.names = oracle.Names(
            raw=topics.raw,
            enriched=topics.enriched,
            duplicates=topics.duplicates,
            dead_letter=topics.dead_letter,
            routes=(topics.route("sanctions"),),
            group=group,
            identities=topics.prefix,
        )
        self.progress = Progress(self._views[1], group=group, topic=topics.raw)

    def _view(self) -> oracle.View:
        if self._kafka is None:
            return oracle.SqliteView(self.folder / "data" / LOG_FILE)
        return oracle.KafkaView(self._kafka.bootstrap)

    @property
    def kafka(self) -> KafkaBroker:
        assert self._kafka is not None
        return self._kafka

    @property
    def redis(self) -> RedisServer:
        assert self._redis is not None
        return self._redis

    @contextmanager
    def load(self, per_second: float = 400, *, start: int = 0) -> Iterator[Load]:
        """Append records while the block runs."""
        with self.installation.log() as log:
            load = Load(log, self.names.raw, per_second=per_second, start=start)
            load.start()
            try:
                yield load
            finally:
                load.stop()

    def worker(
        self, index: int = 0, *, environ: Mapping[str, str] | None = None, module: str = "worker"
    ) -> subprocess.Popen[bytes]:
        """Start worker process number *index*; *module*: what Python runs, the program itself or a changed one."""
        port = lasting_port()
        started = self.installation.start(
            "enrich",
            "--index",
            str(index),
            environ={**self.surroundings, "DATELINE_HTTP_PORT": str(port), **(environ or {})},
            module=module,
            within=self.within,
        )
        self._http_ports[started.pid] = port
        self.workers.append(started)
        return started

    def steady(self, count: int = 1, *, module: str = "worker") -> list[subprocess.Popen[bytes]]:
        """Start *count* workers and wait until every partition moves."""
        before = self.progress.mark()
        started = [self.worker(index, module=module) for index in range(count)]
        self.progress.wait(before, every_partition=True, within_s=3 * START_S)
        return started

    def all_alive(self, workers: Iterable[subprocess.Popen[bytes]]) -> None:
        """Raise AssertionError when one of *workers* has ended."""
        ended = [worker.returncode for worker in workers if worker.poll() is not None]
        assert not ended, f"workers ended with {ended}"

    def families(self, worker: subprocess.Popen[bytes]) -> list[Metric]:
        """Return all that *worker* counts. Raises: OSError."""
        return families(self._http_ports[worker.pid], host=self.http_host)

    def metric(self, worker: subprocess.Popen[bytes], name: str) -> float:
        """Return what *worker* says of *name*, on this machine. Raises: OSError."""
        return metric(self._http_ports[worker.pid], name)

    def unready(self, worker: subprocess.Popen[bytes]) -> str:
        """Return why *worker* says that it is not ready; empty when it is."""
        return unready(self.http_host, self._http_ports[worker.pid])

    def kill(self, worker: subprocess.Popen[bytes]) -> Mark:
        """Kill it with -9; returns where the group stood."""
        self.workers.remove(worker)
        worker.kill()
        worker.wait()
        self.times += 1
        return self.progress.mark()

    def stop(self, worker: subprocess.Popen[bytes]) -> float:
        """SIGTERM; returns the seconds it took. The exit code is checked at the end."""
        asked = time.monotonic()
        self.workers.remove(worker)
        worker.send_signal(signal.SIGTERM)
        self._ended.append(worker.wait(_STOP_S))
        return time.monotonic() - asked

    def recovered(self, since: Mark, *, within_s: float, every_partition: bool = False) -> None:
        """Wait until the group moves on, and note how long that took."""
        self.recoveries.append(self.progress.wait(since, every_partition=every_partition, within_s=within_s))

    def drain(self, within_s: float = DRAIN_S) -> None:
        """Wait until everything is committed. Raises: AssertionError."""
        deadline = time.monotonic() + within_s
        while (done := self.view.committed(self.names.group, self.names.raw)) != self.view.ends(self.names.raw):
            assert time.monotonic() < deadline, f"not drained within {within_s:.0f} s: {done}"
            time.sleep(0.25)

    def finish(self) -> oracle.Findings:
        """Let the workers end their work and themselves; judge."""
        if not self.workers:
            self.worker()
        self.drain()
        for worker in list(self.workers):
            self.stop(worker)
        deadline = time.monotonic() + _STOP_S  # at the latest with the transaction's timeout
        while self.view.open_transactions(self.names.identities) and time.monotonic() < deadline:
            time.sleep(0.5)
        findings = self.judge(self.view, self.names)
        wrong = [code for code in self._ended if code != 0 and code not in self.allowed]
        assert not wrong, f"workers ended with {wrong}"
        return findings

    def said(self) -> str:
        """Return the last lines of each process of ours."""
        lines = []
        for path in sorted(self.folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[-4:]:
            told = [line for line in path.read_text(errors="replace").splitlines() if '"dead letter"' not in line]
            lines += [f"--- {path.name}", *told[-6:]]
        return "\n".join(lines)

    def close(self) -> None:
        """End what still runs."""
        self.progress.close()
        for view in self._views:
            if isinstance(view, oracle.KafkaView):
                view.close()
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()


def stand(
    *, kafka: KafkaBroker | None = None, redis: RedisServer | None = None, short: bool
) -> AbstractContextManager[Stand]:
    """Give an installation of its own, whose processes end with the block."""
    return stand_of(Stand, kafka=kafka, redis=redis, short=short)


@contextmanager
def stand_of(
    kind: type[S], *, kafka: KafkaBroker | None = None, redis: RedisServer | None = None, short: bool
) -> Iterator[S]:
    """Give a stand of this *kind*."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dateline-fault-", ignore_cleanup_errors=True))
        made = kind(Path(folder), kafka=kafka, redis=redis, short=short)
        made.progress.start()
        stack.callback(made.close)
        yield made
