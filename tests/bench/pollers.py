"""What a poller costs: CPU of a poll, memory of a feed, time to start; as real processes."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.usage import usage
from tests.support.installation import Installation
from tests.support.metrics import metric
from tests.support.secured_kafka import Certificates
from tests.support.services import lasting_port
from worker import wire
from worker.edges import feed_list, guard
from worker.records import FeedState
from worker.stages.sharding import shard_of

INTERVAL_S = 10
START_S = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")
_KNOWN = 60 * 16
"""Bytes that a feed of 30 entries has: it remembers 60."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """What one poller did in a span of time."""

    feeds: int
    polls: int
    articles: int
    cpu_s: float
    wall_s: float
    rss_mib: float

    @property
    def cpu_us(self) -> float:
        """CPU time of one poll."""
        return self.cpu_s / max(1, self.polls) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """From the start of a process to its first fetch, with the states of its feeds read."""

    feeds: int
    cpu_s: float
    wall_s: float
    rss_mib: float


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that process *pid* has used. Raises: OSError: it is gone."""
    after_name = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def polls(
    installation: Installation, *, feeds: int, shards: int = 1, kind: str = "idle", seconds: float = 30.0
) -> list[Polls]:
    """Let *shards* pollers of *feeds* feeds each run for a while; *kind*: idle, news, or tls (idle, over HTTPS)."""
    with ExitStack() as stack:
        environ = {"DATELINE_LOG_LEVEL": "warning"}
        certificate: tuple[Path, ...] = ()
        if kind == "tls":
            authority = Certificates(installation.folder)
            certificate = authority.issue("papers")
            environ["SSL_CERT_FILE"] = str(authority.ca)
        port = stack.enter_context(_papers("news" if kind == "news" else "idle", certificate))
        total = feeds * shards
        # A host for each feed, as in life; a certificate here is for one address.
        hosts = [f"127.{1 + n // 62_500}.{n // 250 % 250}.{1 + n % 250}" for n in range(total)]
        if certificate:
            urls = [f"https://127.0.0.1:{port}/{n}" for n in range(total)]
        else:
            urls = [f"http://{host}:{port}/{n}" for n, host in enumerate(hosts)]
        listed = write_list(installation.folder / "feeds.opml", urls, interval_s=INTERVAL_S)
        ports = [lasting_port() for _ in range(shards)]
        running = []
        for index, own in enumerate(ports):
            command = ("poll", "--feeds", str(listed), "--http-port", str(own), "--shard", f"{index}/{shards}")
            process = installation.start(*command, environ=environ)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running.append(process)
        sizes = [sum(shard_of(f"f{n}", shards) == index for n in range(total)) for index in range(shards)]
        for size, own in zip(sizes, ports, strict=True):
            _until_polled(own, size)
        before = [_counted(process, own) for process, own in zip(running, ports, strict=True)]
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        after = [_counted(process, own) for process, own in zip(running, ports, strict=True)]
        return [
            Polls(
                feeds=size,
                polls=round(last[1] - first[1]),
                articles=round(last[2] - first[2]),
                cpu_s=last[0] - first[0],
                wall_s=took,
                rss_mib=usage(process.pid).rss_kib / 1024,
            )
            for size, process, first, last in zip(sizes, running, before, after, strict=True)
        ]


def started(installation: Installation, *, feeds: int, shard: str = "0/1") -> Started:
    """Store the state of *feeds* feeds, none of them due, and start a poller of them; one feed more ends the wait."""
    with ExitStack() as stack:
        port = stack.enter_context(_papers("idle", ()))
        urls = [f"https://paper-{n}.example.org/feed.xml" for n in range(feeds)]
        index, _, count = shard.partition("/")
        due = next(n for n in range(feeds, feeds + 1000) if shard_of(f"f{n}", int(count)) == int(index))
        listed = write_list(installation.folder / "many.opml", urls, interval_s=86_400, due=(due, port))
        store_states(installation, urls)
        own = lasting_port()
        began = time.monotonic()
        command = ("poll", "--feeds", str(listed), "--http-port", str(own), "--shard", shard)
        process = installation.start(*command, environ={"DATELINE_LOG_LEVEL": "warning"})
        stack.callback(process.wait)
        stack.callback(process.terminate)
        _until_polled(own, 1)
        return Started(
            feeds=round(metric(own, "dateline_feeds")),
            cpu_s=cpu_s(process.pid),
            wall_s=time.monotonic() - began,
            rss_mib=usage(process.pid).rss_kib / 1024,
        )


def lookup_cpu_us(count: int = 500) -> float:
    """Return the CPU time in µs of one look-up of a name; this one is in the machine's own file."""

    async def look() -> float:
        began = time.process_time()
        for _ in range(count):
            await guard.lookup("localhost", 80)
        return time.process_time() - began

    return asyncio.run(look()) / count * 1e6


def list_cpu_s(folder: Path, feeds: int) -> tuple[float, float]:
    """Return the CPU seconds that reading a list of so many feeds takes, as OPML and as YAML."""
    urls = [f"https://paper-{n}.example.org/feed.xml" for n in range(feeds)]
    opml = write_list(folder / "read.opml", urls, interval_s=300)
    plain = folder / "read.yaml"
    plain.write_text("feeds:\n" + "".join(f"  - {{id: f{n}, url: '{url}'}}\n" for n, url in enumerate(urls)), "utf-8")
    took = []
    for path in (opml, plain):
        began = time.process_time()
        assert len(feed_list.read(path)) == feeds
        took.append(time.process_time() - began)
    return took[0], took[1]


def write_list(path: Path, urls: Sequence[str], *, interval_s: float, due: tuple[int, int] | None = None) -> Path:
    """Write a list of feeds f0, f1, …; *due*: number and port of one more, on this machine."""
    lines = [f'<outline text="Paper {n}" id="f{n}" xmlUrl="{url}"/>' for n, url in enumerate(urls)]
    if due is not None:
        lines.append(f'<outline text="Due" id="f{due[0]}" xmlUrl="http://127.0.0.1:{due[1]}/due" private="true"/>')
    private = ' private="true"' if urls and "//127." in urls[0] else ""
    group = f'<outline text="all" interval="{interval_s}s"{private}>'
    path.write_text("\n".join(['<opml version="2.0"><body>', group, *lines, "</outline></body></opml>"]), "utf-8")
    return path


def store_states(installation: Installation, urls: Sequence[str]) -> None:
    """Store what a poller would know of each feed; none is due within half a day."""
    now = datetime.now(UTC)
    with installation.log() as log:
        appender = log.appender()
        for first in range(0, len(urls), 2000):
            appender.append(
                [
                    wire.feed_state_record(
                        FeedState(
                            feed=f"f{n}",
                            url=urls[n],
                            known=base64.b64encode(random.Random(n).randbytes(_KNOWN)).decode(),
                            body_hash="0" * 32,
                            etag=f'"5f3-{n:x}"',
                            next_poll_at=now + timedelta(hours=12),
                            last_success_at=now,
                            last_new_at=now,
                        ),
                        topic=installation.topics.feed_state,
                        now=now,
                    )
                    for n in range(first, min(first + 2000, len(urls)))
                ],
                timeout_s=60,
            )
        appender.close()


@contextmanager
def _papers(mode: str, certificate: Sequence[object]) -> Iterator[int]:
    port = lasting_port()
    command = [sys.executable, "-m", "tests.bench.papers", str(port), mode, *map(str, certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().strip() == "ready", "the papers do not start"
            yield port
        finally:
            server.kill()


def _until_polled(port: int, feeds: int) -> None:
    """Wait until a poller has asked for so many feeds. Raises: AssertionError."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            if metric(port, "dateline_fetches_total") >= feeds:
                return
        except OSError:
            pass  # it starts
        assert time.monotonic() < deadline, f"{feeds} feeds were not polled within {START_S:.0f} s"
        time.sleep(0.2)


def _counted(process: subprocess.Popen[bytes], port: int) -> tuple[float, float, float]:
    done = sum(metric(port, "dateline_fetches_total", result=result) for result in ("ok", "not-modified", "unchanged"))
    return cpu_s(process.pid), done, metric(port, "dateline_entries_total", state="new")
