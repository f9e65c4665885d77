"""
Faults of one broker among three: what it leads goes to another, and comes back. And of all three together.

Each node leads some partitions, coordinates some transactions and perhaps the group, and votes. While it is away the
others go on, when the controller has noticed (broker.session.timeout.ms, 4 s here) and the clients have heard of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.faults.stand import Stand, stand_of
from tests.support.kafka_cluster import NODES, KafkaCluster
from tests.support.services import KafkaBroker, RedisServer

AWAY_S = 30.0
"""Within so long the others must have taken over. The table says what it took."""
SILENT_S = 120.0
"""Likewise when nothing tells the clients of it but the timeouts of their requests, of 15 s, one after another."""
BACK_S = 60.0


class Clustered(Stand):
    """Its log has three nodes."""

    cluster: KafkaCluster


@contextmanager
def clustered(*, short: bool) -> Iterator[Clustered]:
    """Give a stand on three nodes of its own. Raises: ServiceUnavailable."""
    with ExitStack() as stack:
        cluster, redis = KafkaCluster(), RedisServer()
        stack.callback(cluster.remove)
        stack.callback(redis.remove)
        cluster.start()
        redis.start()
        on = stack.enter_context(stand_of(Clustered, kafka=cluster.nodes[0], redis=redis, short=short))
        on.cluster = cluster
        cluster.settle(within_s=BACK_S)
        yield on


def killed(stand: Clustered) -> None:
    """One after the other is killed with -9, and started again when the others have taken over."""
    _in_turn(stand, away=KafkaBroker.kill, back=KafkaBroker.start)


def killed_with_worker(stand: Clustered) -> None:
    """Likewise, and with each a worker, which is started again at once, while the broker is still away."""

    def kill(node: KafkaBroker) -> None:
        node.kill()
        stand.kill(stand.workers[0])
        stand.worker(0)

    _in_turn(stand, workers=1, away=kill, back=KafkaBroker.start)


def restarted(stand: Clustered) -> None:
    """One after the other is stopped in good order and started again, as it is when they are updated."""
    _in_turn(stand, away=KafkaBroker.stop, back=KafkaBroker.start)


def frozen(stand: Clustered) -> None:
    """One after the other says nothing, until the others have taken over; then it finds that it leads no longer."""
    _in_turn(stand, away=KafkaBroker.freeze, back=KafkaBroker.thaw, within_s=SILENT_S)


def all_killed(stand: Clustered) -> None:
    """All are killed with -9 at once, as a power cut does it, and started again together."""
    with stand.load(200):
        stand.steady(2)
        for _ in range(2 if stand.short else 10):
            time.sleep(stand.random.uniform(1.0, 3.0))
            for node in stand.cluster.nodes:
                node.kill()
            stand.times += 1
            time.sleep(stand.random.uniform(0.5, 10.0))
            stand.cluster.start()
            stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.cluster.settle(within_s=BACK_S)
            stand.all_alive(stand.workers)


def _in_turn(
    stand: Clustered,
    *,
    away: Callable[[KafkaBroker], None],
    back: Callable[[KafkaBroker], None],
    workers: int = 2,
    within_s: float = AWAY_S,
) -> None:
    with stand.load(200):
        stand.steady(workers)
        for turn in range(NODES if stand.short else 4 * NODES):
            time.sleep(stand.random.uniform(1.0, 3.0))
            node = stand.cluster.nodes[turn % NODES]
            away(node)
            stand.times += 1
            stand.recovered(stand.progress.mark(), within_s=within_s, every_partition=True)
            back(node)
            stand.cluster.settle(within_s=BACK_S)
            stand.progress.wait(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.all_alive(stand.workers)
