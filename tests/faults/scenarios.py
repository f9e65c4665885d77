"""
The faults, each as a scenario: cause it under load, see the work go on. What runs them judges the result afterwards.

The letters and numbers name them in the table of docs/operations.md.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.faults import (
    clock,
    cluster,
    credentials,
    disk,
    flood,
    memory,
    messages,
    network,
    poller_faults,
    rebalances,
    soak,
    stops,
)
from tests.faults.child import EMBEDDED_POINTS, POINTS
from tests.faults.stand import START_S, Mark, Stand
from tests.support.tcp_proxy import Toxics
from tests.support.waiting import until
from worker.edges.process import ExitCode

SESSION_S = 6.0
SAME_IDENTITY_S = 5.0
"""A worker that comes back with its identity goes on within so long."""
TAKEOVER_S = SESSION_S + 5.0
BROKER_BACK_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fault, and how it is caused."""

    name: str
    fault: str
    cause: Callable[[Any], None]
    """Takes the stand."""
    kafka: bool = True
    """On Kafka and Redis; else on the embedded log."""
    own: bool = False
    """Needs services of its own: what it does to them would disturb the next one."""
    long: bool = False
    """Takes minutes, or needs what few machines permit: only when asked for."""
    stand: Callable[..., AbstractContextManager[Any]] | None = None
    """Makes the stand that *cause* needs, when that is no ordinary one; takes *short*."""
    tested: bool = False
    """Short enough for every test run."""


def killed_at_points(stand: Stand, points: dict[str, Callable[[int], None]]) -> None:
    """T1: killed at each named point of a batch's way, back with the same identity."""
    with stand.load():
        stand.steady()
        for point in points:
            stand.stop(stand.workers[0])
            worker = stand.worker(module=f"tests.faults.child {point} {stand.random.randint(2, 4)}")
            assert worker.wait(START_S) == -signal.SIGKILL, f"{point}: not reached"
            stand.workers.remove(worker)
            stand.times += 1
            died = stand.progress.mark()
            stand.worker()
            stand.recovered(died, within_s=START_S)


def killed_at_random(stand: Stand, kills: int, per_second: float) -> None:
    """T2: two workers, now one and now the other killed at any moment and back at once; progress after each kill."""
    with stand.load(per_second):
        workers = stand.steady(2)
        for kill in range(1, kills + 1):
            index = stand.random.randrange(2)
            time.sleep(stand.random.uniform(0.0, 4.0))
            died = stand.kill(workers[index])
            workers[index] = stand.worker(index)
            # Whoever is killed while it starts owns nothing yet: now and then both get the time to come back.
            stand.recovered(died, within_s=START_S, every_partition=kill % 5 == 0)


def taken_over(stand: Stand) -> None:
    """T1: killed, twice in the middle of a transaction, and not back: the other worker takes its partitions."""
    with stand.load():
        workers = stand.steady(2)
        _others_go_on(stand, stand.kill(workers[0]))
        for point in ("flushed", "offsets-sent"):
            doomed = stand.worker(module=f"tests.faults.child {point} 5")
            assert doomed.wait(START_S) == -signal.SIGKILL, f"{point}: not reached"
            stand.workers.remove(doomed)
            stand.times += 1
            _others_go_on(stand, stand.progress.mark())
        back = stand.progress.mark()
        stand.worker(0)
        stand.progress.wait(back, every_partition=True, within_s=START_S)


def _others_go_on(stand: Stand, died: Mark) -> None:
    # A busy machine works off the backlog later; the transaction's own timeout, 45 s, would still come too late.
    stand.recovered(died, within_s=TAKEOVER_S + 15, every_partition=True)
    until(lambda: not stand.view.open_transactions(stand.names.identities), within_s=5)


def broker_restarted(stand: Stand, *, clean: bool) -> None:
    """T3: the broker goes, cleanly or not, and comes back after some seconds; no process ends."""
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 5):
            time.sleep(stand.random.uniform(1.0, 3.0))
            if clean:
                stand.kafka.stop()
            else:
                stand.kafka.kill()
            stand.times += 1
            time.sleep(stand.random.uniform(1.0, 8.0))
            stand.kafka.start()
            stand.recovered(stand.progress.mark(), within_s=60, every_partition=True)
            stand.all_alive(workers)


def offsets_forgotten(stand: Stand) -> None:
    """T3: what a broker may do that was killed: it comes back with older offsets; and both workers start anew."""
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 5):
            time.sleep(stand.random.uniform(2.0, 4.0))
            for worker in workers:
                stand.stop(worker)
            asked = stand.progress.mark()
            older = {
                TopicPartition(stand.names.raw, part): OffsetAndMetadata(stand.random.randrange(offset), "", -1)
                for part, offset in asked.offsets.items()
            }
            with closing(KafkaAdminClient(bootstrap_servers=stand.kafka.bootstrap)) as admin:
                admin.alter_group_offsets(stand.names.group, older)
            stand.times += 1
            workers = [stand.worker(index) for index in range(2)]
            stand.recovered(asked, within_s=START_S, every_partition=True)


def broker_frozen(stand: Stand) -> None:
    """T4: the broker says nothing for 20 to 60 s, with its connections open."""
    with stand.load():
        workers = stand.steady(2)
        for seconds in [20] if stand.short else [20, 24, 28, 32, 36, 40, 45, 50, 55, 60]:
            time.sleep(stand.random.uniform(1.0, 3.0))
            stand.kafka.freeze()
            time.sleep(seconds)
            stand.kafka.thaw()
            stand.times += 1
            stand.recovered(stand.progress.mark(), within_s=60, every_partition=True)
            stand.all_alive(workers)


def worker_frozen(stand: Stand) -> None:
    """T5: a worker is frozen for longer than its session, and wakes when another has its partitions."""
    with stand.load():
        workers = stand.steady(2)
        for _ in range(1 if stand.short else 3):
            time.sleep(stand.random.uniform(0.5, 2.0))
            workers[0].send_signal(signal.SIGSTOP)
            frozen = stand.progress.mark()
            stand.times += 1
            stand.recovered(frozen, within_s=TAKEOVER_S + 15, every_partition=True)
            workers[0].send_signal(signal.SIGCONT)
            time.sleep(3)


def rebalance_storm(stand: Stand) -> None:
    """T6: three to six workers come and go every two seconds."""
    stand.allowed.add(-signal.SIGTERM)  # asked to stop before it could listen
    with stand.load(300):
        workers = dict(enumerate(stand.steady(3)))
        end = time.monotonic() + (15 if stand.short else 300)
        while time.monotonic() < end:
            time.sleep(2)
            absent = [index for index in range(6) if index not in workers]
            if len(workers) <= 3 or (absent and stand.random.random() < 0.5):
                index = stand.random.choice(absent)
                workers[index] = stand.worker(index)
            elif stand.random.random() < 0.5:
                stand.kill(workers.pop(stand.random.choice(list(workers))))
            else:
                worker = workers.pop(stand.random.choice(list(workers)))
                stand.stop(worker)
            stand.times += 1
        calm = stand.progress.mark()
        stand.recovered(calm, within_s=30, every_partition=True)


def too_slow(stand: Stand) -> None:
    """T7: a batch takes longer than the group waits for a member."""
    with stand.load():
        started = stand.progress.mark()
        stand.worker(module="tests.faults.child slow 3")
        stand.progress.wait(started, every_partition=False, within_s=START_S)
        stand.worker(1)
        time.sleep(30 if stand.short else 60)
        stand.times += 3
        said = b"".join(path.read_bytes() for path in stand.folder.glob("*.log"))
        assert b"the group has moved on since the batch was read" in said, "the group waited all the same"


def same_identity(stand: Stand) -> None:
    """T8: a second worker with the identity of one that lives: the older one ends with the code for that."""
    with stand.load():
        workers = stand.steady()
        for _ in range(1 if stand.short else 3):
            mark = stand.progress.mark()
            second = stand.worker(0)
            (first,) = workers
            assert first.wait(START_S) == ExitCode.FENCED, f"the older one ended with {first.returncode}"
            stand.workers.remove(first)
            stand.times += 1
            stand.recovered(mark, within_s=START_S, every_partition=True)
            workers = [second]


def _of_three() -> Iterator[Scenario]:
    """T1, T3 and T4 where each of three brokers has all that the others have."""
    faults = {
        "T1-of-three": ("a worker and one of three brokers killed with -9", cluster.killed_with_worker),
        "T3-of-three-kill": ("one of three brokers killed with -9 and restarted", cluster.killed),
        "T3-all-three": ("three of three brokers killed with -9 at once", cluster.all_killed),
        "T3-of-three-clean": ("one of three brokers restarted in good order", cluster.restarted),
        "T4-of-three": ("one of three brokers frozen", cluster.frozen),
    }
    for name, (fault, cause) in faults.items():
        yield Scenario(name=name, fault=fault, cause=cause, stand=cluster.clustered, long=True)


def _by_plan() -> Iterator[Scenario]:
    """Rebalances that somebody wants: with stopped workers that leave their group, and with such that do not."""
    for name, leaves, words in (("", True, ""), ("-stays", False, ", stopped ones stay members")):
        rolling = partial(rebalances.rolling_restart, leaves=leaves)
        yield Scenario(name=f"T6-rolling{name}", fault=f"rolling restart of 4 workers{words}", cause=rolling)
        less = partial(rebalances.scaled_in, leaves=leaves)
        yield Scenario(name=f"T6-less{name}", fault=f"4 workers become 2: SIGTERM, kill -9{words}", cause=less)
    yield Scenario(name="T6-more", fault="1 worker becomes 4", cause=rebalances.scaled_out)
    yield Scenario(name="T6-sticky", fault="rebalance storm, cooperative-sticky", cause=_sticky_storm)


def _sticky_storm(stand: Stand) -> None:
    rebalances.share(stand, leaves=True, assignor="cooperative-sticky")
    rebalance_storm(stand)


def _through_a_proxy() -> Iterator[Scenario]:
    """T19: what a bad network does to connections."""
    bad = {
        "T19-delay": ("2 s of delay a round trip", Toxics(delay_s=1.0)),
        "T19-stalls": ("3 pieces of 10 stall for 1 s", Toxics(stalls=0.3)),
        "T19-slices": ("everything in pieces of 64 bytes", Toxics(slice_bytes=64)),
    }
    for name, (fault, toxics) in bad.items():
        yield Scenario(
            name=name, fault=fault, cause=partial(network.slowed, toxics=toxics), stand=network.proxied, long=True
        )
    ends = {
        "T19-reset": ("connections reset again and again", network.resets),
        "T19-limit": ("connections reset after 2, 50, 500 kB", network.limited),
        "T19-silent": ("nothing passes, connections stay open", network.silent),
        "T19-poller": ("poller: all of these", network.poller_behind_it),
        "T19-refused": ("connections reset and refused", network.refused),
    }
    for name, (fault, cause) in ends.items():
        yield Scenario(name=name, fault=fault, cause=cause, stand=network.proxied, long=True)


def _through_a_filter() -> Iterator[Scenario]:
    """T18: what a packet filter does."""
    cuts = {
        "T18-drop": ("all packets dropped", ("out tcp dport PORTS drop", "in tcp sport PORTS drop")),
        "T18-reject": ("all packets refused", ("out tcp dport PORTS reject with tcp reset", "in tcp sport PORTS drop")),
        "T18-out": ("only what workers send is dropped", ("out tcp dport PORTS drop",)),
        "T18-in": ("only what workers get is dropped", ("in tcp sport PORTS drop",)),
    }
    for name, (fault, rules) in cuts.items():
        yield Scenario(name=name, fault=fault, cause=partial(network.cut, rules=rules), stand=network.apart, long=True)
    yield Scenario(name="T18-loss", fault="3 packets of 10 lost", cause=network.lossy, stand=network.apart, long=True)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="T1", fault="kill -9 at named points", cause=lambda stand: killed_at_points(stand, POINTS)),
    Scenario(name="T1-takeover", fault="kill -9, another takes over", cause=taken_over, tested=True),
    Scenario(
        name="T1-embedded",
        fault="kill -9 at named points, embedded log",
        cause=lambda stand: killed_at_points(stand, EMBEDDED_POINTS),
        kafka=False,
    ),
    Scenario(
        name="T2",
        fault="kill -9 at random",
        cause=lambda stand: killed_at_random(stand, 5 if stand.short else 200, 300),
    ),
    Scenario(
        name="T2-embedded",
        fault="kill -9 at random, embedded log",
        cause=lambda stand: killed_at_random(stand, 5 if stand.short else 200, 200),
        kafka=False,
    ),
    Scenario(
        name="T3-clean",
        fault="broker restarted in good order",
        cause=lambda stand: broker_restarted(stand, clean=True),
        own=True,
    ),
    Scenario(
        name="T3-kill",
        fault="broker killed with -9 and restarted",
        cause=lambda stand: broker_restarted(stand, clean=False),
        own=True,
    ),
    Scenario(name="T3-forgets", fault="group's offsets set back, all workers anew", cause=offsets_forgotten),
    *_of_three(),
    Scenario(name="T4", fault="broker frozen 20 to 60 s", cause=broker_frozen, own=True),
    Scenario(name="T5", fault="worker frozen beyond its session", cause=worker_frozen),
    Scenario(name="T6", fault="rebalance storm", cause=rebalance_storm),
    *_by_plan(),
    Scenario(name="T7", fault="batch slower than the group waits", cause=too_slow),
    Scenario(name="T8", fault="two workers with one identity", cause=same_identity),
    Scenario(name="T9", fault="poison of 12 kinds among good records", cause=messages.poison, tested=True),
    Scenario(name="T11", fault="output topics take less than before", cause=messages.limit_lowered),
    Scenario(name="T12", fault="a batch damaged on disk", cause=messages.batch_damaged, own=True),
    Scenario(name="T20", fault="raw topic deleted and made again", cause=messages.topic_made_anew),
    Scenario(name="T20-more", fault="raw topic gets more partitions", cause=messages.partitions_added),
    Scenario(name="T21", fault="retention passes the group", cause=messages.retention_passed),
    Scenario(name="T22", fault="SIGTERM under load", cause=stops.worker),
    Scenario(name="T22-poller", fault="SIGTERM while feeds are read", cause=stops.poller),
    Scenario(name="T22-run", fault="SIGTERM to `dateline run`", cause=stops.whole_run),
    Scenario(name="T22-start", fault="SIGTERM at any moment of a start", cause=stops.starting),
    Scenario(name="T23", fault="SIGTERM while the broker is down or frozen", cause=stops.broker_gone, own=True),
    Scenario(name="R-restart", fault="Redis killed with -9 and restarted", cause=memory.restarted, own=True),
    Scenario(name="R-frozen", fault="Redis frozen", cause=memory.frozen, own=True),
    Scenario(name="R-full", fault="Redis out of memory", cause=memory.out_of_memory, own=True),
    Scenario(name="R-flushed", fault="Redis emptied under load", cause=memory.flushed, own=True),
    Scenario(name="R-empty", fault="Redis back empty, a worker dead too", cause=memory.empty_after_restart, own=True),
    Scenario(name="T10", fault="nothing but poison", cause=flood.all_poison, long=True),
    Scenario(name="T13", fault="broker's disk full", cause=disk.broker_full, stand=disk.on_small_disk, long=True),
    Scenario(name="T14", fault="no disk to write to, nobody's rights", cause=disk.nowhere_to_write, long=True),
    Scenario(name="T15", fault="workers' clock jumps", cause=clock.jumping, long=True),
    Scenario(name="T16", fault="ten times the usual rate", cause=flood.too_fast, long=True),
    *_through_a_proxy(),
    *_through_a_filter(),
    Scenario(
        name="T24", fault="rights and users taken away", cause=credentials.revoked, stand=credentials.secured, long=True
    ),
    Scenario(name="T25", fault="an hour of everything", cause=soak.soak, stand=soak.soaked, long=True),
    Scenario(name="T17", fault="two pollers on the same feeds", cause=poller_faults.two_at_once),
    Scenario(
        name="T17-embedded",
        fault="two pollers on the same feeds, embedded log",
        cause=poller_faults.two_at_once,
        kafka=False,
    ),
    Scenario(name="P1", fault="poller: kill -9 at named points", cause=poller_faults.killed_at_points),
    Scenario(
        name="P1-embedded",
        fault="poller: kill -9 at named points, embedded log",
        cause=poller_faults.killed_at_points,
        kafka=False,
    ),
    Scenario(name="P2", fault="poller: kill -9 at random", cause=poller_faults.killed_at_random),
    Scenario(
        name="P2-embedded",
        fault="poller: kill -9 at random, embedded log",
        cause=poller_faults.killed_at_random,
        kafka=False,
    ),
    Scenario(
        name="P3", fault="poller: broker stopped, killed, frozen for a while", cause=poller_faults.broker_away, own=True
    ),
    Scenario(
        name="P3-embedded",
        fault="poller: embedded log locked for a while",
        cause=poller_faults.file_locked,
        kafka=False,
    ),
    Scenario(name="P4", fault="poller: its memory of feeds damaged", cause=poller_faults.state_damaged),
    Scenario(name="P5", fault="pollers: shards join and leave", cause=poller_faults.shards_change),
    Scenario(
        name="P5-embedded",
        fault="pollers: shards join and leave, embedded log",
        cause=poller_faults.shards_change,
        kafka=False,
    ),
)
"""In the order of the table."""
