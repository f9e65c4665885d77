"""
Faults of the network between workers and their broker and Redis.

Through a proxy: delay, stalls, tiny pieces, resets, silence. Through a network namespace of the workers' own, where
this machine permits one: packets dropped and refused by the kernel, as a firewall or a pulled cable does it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from tests.faults.poller_faults import newsroom
from tests.faults.stand import Stand, stand_of
from tests.faults.usage import Usage, usage
from tests.support.namespace import Namespace
from tests.support.services import KafkaBroker, RedisServer, free_ports, lasting_port
from tests.support.tcp_proxy import HARMLESS, TcpProxy, Toxics
from tests.support.waiting import until

SAFE = ("--appendonly", "yes", "--appendfsync", "always")
UNREADY_S = 19.0
"""A worker that is cut off for so long must have noticed: longer than one request may last."""
HEALED_S = 60.0
"""As generous as a restarted broker's; the table says what it took."""
SPARE_FDS = 2
"""So many more files than before the faults may be left: connections come and go. No thread may."""


class Proxied(Stand):
    """Its workers reach broker and Redis through proxies; load and oracle do not."""

    to_kafka: TcpProxy
    to_redis: TcpProxy


class Apart(Stand):
    """Its workers live in a network namespace of their own."""

    namespace: Namespace
    ports: str
    """Those of broker and Redis, as a set of nftables."""

    def filter(self, *rules: str) -> None:
        """Apply these rules of nftables, in which PORTS stands for the services' ports."""
        self.namespace.filter([rule.replace("PORTS", self.ports) for rule in rules])


@contextmanager
def proxied(*, short: bool) -> Iterator[Proxied]:
    """Give a stand with services of its own behind proxies."""
    with ExitStack() as stack:
        kafka, redis = KafkaBroker(own=True), RedisServer()
        stack.callback(kafka.remove)
        stack.callback(redis.remove)
        (behind,) = free_ports(1)
        to_kafka = TcpProxy(behind, port=lasting_port())
        stack.callback(to_kafka.close)
        to_redis = TcpProxy(redis.port)
        stack.callback(to_redis.close)
        kafka.listen_also(f"127.0.0.1:{behind}", told=to_kafka.address)
        kafka.start()
        redis.start()
        on = stack.enter_context(stand_of(Proxied, kafka=kafka, redis=redis, short=short))
        on.to_kafka, on.to_redis = to_kafka, to_redis
        on.surroundings = {
            "DATELINE_KAFKA_BOOTSTRAP": to_kafka.address,
            "DATELINE_SEEN_URL": f"redis://{to_redis.address}/0",
        }
        yield on


@contextmanager
def apart(*, short: bool) -> Iterator[Apart]:
    """Give a stand whose workers' packets can be dropped and refused. Raises: ServiceUnavailable."""
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace.made())
        kafka = KafkaBroker(own=True)
        stack.callback(kafka.remove)
        redis = RedisServer(*SAFE, "--protected-mode", "no", "--bind", "127.0.0.1", namespace.outside)
        stack.callback(redis.remove)
        (port,) = free_ports(1)
        kafka.listen_also(f"{namespace.outside}:{port}", told=f"{namespace.outside}:{port}")
        kafka.start()
        redis.start()
        on = stack.enter_context(stand_of(Apart, kafka=kafka, redis=redis, short=short))
        on.namespace = namespace
        on.ports = f"{{ {port}, {redis.port} }}"
        on.within = namespace.within
        on.http_host = namespace.inside
        on.surroundings = {
            "DATELINE_KAFKA_BOOTSTRAP": f"{namespace.outside}:{port}",
            "DATELINE_SEEN_URL": f"redis://{namespace.outside}:{redis.port}/0",
            "DATELINE_HTTP_HOST": "0.0.0.0",
        }
        yield on


def slowed(stand: Proxied, toxics: Toxics) -> None:
    """Make the connections bad, but not useless: the work goes on."""
    seconds = 15.0 if stand.short else 60.0
    with stand.load(100), _nothing_left_behind(stand) as workers:
        for proxies in _turns(stand):
            _set(proxies, toxics)
            began = stand.progress.mark()
            stand.times += 1
            time.sleep(seconds)
            stand.progress.wait(began, every_partition=False, within_s=HEALED_S)
            _set(proxies, HARMLESS)
            stand.recovered(stand.progress.mark(), within_s=HEALED_S, every_partition=True)
            stand.all_alive(workers)


def limited(stand: Proxied) -> None:
    """Reset each connection after some kilobytes."""
    with stand.load(100), _nothing_left_behind(stand) as workers:
        for proxies in _turns(stand):
            for limit in (2_000, 50_000, 500_000):
                _set(proxies, Toxics(limit_bytes=limit))
                time.sleep(6 if stand.short else 20)
                _set(proxies, HARMLESS)
                stand.times += 1
                stand.recovered(stand.progress.mark(), within_s=HEALED_S, every_partition=True)
            stand.all_alive(workers)


def resets(stand: Proxied) -> None:
    """Reset all connections again and again, with pauses of every length."""
    with stand.load(), _nothing_left_behind(stand) as workers:
        for proxies in _turns(stand):
            for _ in range(20 if stand.short else 200):
                time.sleep(stand.random.expovariate(2.0))
                for each in proxies:
                    each.reset()
                stand.times += 1
            stand.recovered(stand.progress.mark(), within_s=HEALED_S, every_partition=True)
            stand.all_alive(workers)


def silent(stand: Proxied) -> None:
    """Let nothing through, with all connections open, then refuse them: not ready, and on when the network is back."""
    with stand.load(), _nothing_left_behind(stand) as workers:
        for proxies in _turns(stand):
            for seconds in [20.0] if stand.short else [5.0, 20.0, 60.0]:
                _cut(
                    stand,
                    workers,
                    partial(_set, proxies, Toxics(silent=True)),
                    partial(_set, proxies, HARMLESS),
                    seconds,
                )


def refused(stand: Proxied) -> None:
    """Reset all connections and every new one."""
    with stand.load(), _nothing_left_behind(stand) as workers:
        for proxies in _turns(stand):
            _cut(stand, workers, partial(_refuse, proxies), partial(_admit, proxies), 10.0)


def cut(stand: Apart, rules: Sequence[str]) -> None:
    """Drop or refuse packets by *rules* of nftables."""
    with stand.load(), _nothing_left_behind(stand) as workers:
        for seconds in [20.0] if stand.short else [5.0, 20.0, 60.0]:
            _cut(stand, workers, lambda: stand.filter(*rules), stand.filter, seconds)


def lossy(stand: Apart) -> None:
    """Lose three packets of ten, in both directions: slow, but the work goes on, or goes on afterwards."""
    with stand.load(100), _nothing_left_behind(stand) as workers:
        stand.filter(
            "out tcp dport PORTS numgen random mod 10 < 3 drop", "in tcp sport PORTS numgen random mod 10 < 3 drop"
        )
        stand.times += 1
        time.sleep(30 if stand.short else 120)
        stand.all_alive(workers)
        stand.filter()
        stand.recovered(stand.progress.mark(), within_s=HEALED_S, every_partition=True)


def poller_behind_it(stand: Proxied) -> None:
    """Do each of these to a poller, and to the worker behind it."""
    stand.installation.environ |= stand.surroundings
    bad = (
        Toxics(delay_s=1.0),
        Toxics(stalls=0.3),
        Toxics(slice_bytes=64),
        Toxics(limit_bytes=20_000),
        Toxics(silent=True),
    )
    with newsroom(stand) as room:
        poller = room.poller(port=room.port)
        room.until_ready()
        for toxics in bad * (1 if stand.short else 4):
            _set((stand.to_kafka,), toxics)
            time.sleep(12)
            for _ in range(5):
                time.sleep(stand.random.uniform(0.1, 1.0))
                stand.to_kafka.reset()
            _set((stand.to_kafka,), HARMLESS)
            stand.times += 1
            room.recovered(time.monotonic(), room.appended(), within_s=HEALED_S)
            assert poller.poll() is None, f"the poller ended with {poller.returncode}"


@contextmanager
def _nothing_left_behind(stand: Stand) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give two workers at work; after the block each must hold about as many threads and files as before it."""
    workers = stand.steady(2)
    time.sleep(5)
    before = [usage(worker.pid) for worker in workers]
    yield workers

    def level() -> bool:
        return all(
            now.threads <= then.threads and now.fds <= then.fds + SPARE_FDS
            for now, then in zip(_usages(workers), before, strict=True)
        )

    with suppress(AssertionError):
        until(level, within_s=30)
    after = _usages(workers)
    stand.notes.append(f"before {'; '.join(map(str, before))}; after {'; '.join(map(str, after))}")
    assert level(), f"something is left behind: {before} -> {after}"


def _usages(workers: Sequence[subprocess.Popen[bytes]]) -> list[Usage]:
    return [usage(worker.pid) for worker in workers]


def _turns(stand: Proxied) -> list[tuple[TcpProxy, ...]]:
    """Return which streams suffer, one time after the other: each alone, and both."""
    return [(stand.to_kafka,), (stand.to_redis,), (stand.to_kafka, stand.to_redis)]


def _set(proxies: Sequence[TcpProxy], toxics: Toxics) -> None:
    for each in proxies:
        each.toxics = toxics


def _refuse(proxies: Sequence[TcpProxy]) -> None:
    for each in proxies:
        each.refusing = True
        each.reset()


def _admit(proxies: Sequence[TcpProxy]) -> None:
    for each in proxies:
        each.refusing = False


def _cut(
    stand: Stand,
    workers: Sequence[subprocess.Popen[bytes]],
    cut: Callable[[], None],
    heal: Callable[[], None],
    seconds: float,
) -> None:
    time.sleep(stand.random.uniform(0.5, 2.0))
    cut()
    stand.times += 1
    end = time.monotonic() + seconds
    said = ["" for _ in workers]
    while time.monotonic() < end:
        time.sleep(0.5)
        said = [now or before for now, before in zip(map(stand.unready, workers), said, strict=True)]
    heal()
    stand.recovered(stand.progress.mark(), within_s=HEALED_S, every_partition=True)
    stand.all_alive(workers)
    assert seconds < UNREADY_S or all(said), f"a worker that was cut off called itself ready: {said}"
    until(lambda: not any(map(stand.unready, workers)), within_s=HEALED_S, what="all workers ready again")
