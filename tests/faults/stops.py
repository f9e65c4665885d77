"""SIGTERM at any time: the process ends well within its grace period, and leaves nothing open behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.poller_faults import newsroom
from tests.faults.stand import START_S, Stand
from worker.commands.enrich import host_name

GRACE_S = 10.0
SOON_S = 5.0
"""So long may a process take that has not begun yet."""


def _impatient(stand: Stand) -> None:
    """Give all processes little time to end."""
    stand.installation.environ["DATELINE_WORKER_GRACE"] = f"{GRACE_S:.0f}s"


def worker(stand: Stand) -> None:
    """T22: one of two workers is stopped under load, leaves no transaction open, and comes back."""
    _impatient(stand)
    with stand.load():
        workers = stand.steady(2)
        for turn in range(4 if stand.short else 20):
            index = turn % 2
            time.sleep(stand.random.uniform(0.2, 1.5))
            took = stand.stop(workers[index])
            assert took < GRACE_S, f"it took {took:.1f} s to stop"
            _nothing_open(stand, index)
            asked = stand.progress.mark()
            workers[index] = stand.worker(index)
            stand.times += 1
            stand.recovered(asked, within_s=START_S, every_partition=True)


def poller(stand: Stand) -> None:
    """T22: a poller is stopped while it reads, and the next one loses nothing."""
    _impatient(stand)
    with newsroom(stand) as room:
        for _ in range(4 if stand.short else 20):
            started = room.poller(port=room.port)
            room.until_ready()
            time.sleep(stand.random.uniform(0.0, 2.0))
            took = room.stop(started)
            assert took < GRACE_S, f"it took {took:.1f} s to stop"
            stand.times += 1


def whole_run(stand: Stand) -> None:
    """T22: `dateline run` is stopped, and its workers with it."""
    _impatient(stand)
    with newsroom(stand, workers=0) as room:
        for _ in range(2 if stand.short else 10):
            before = stand.progress.mark()
            run = room.poller(port=room.port, command=("run", "--workers", "2"))
            stand.progress.wait(before, every_partition=False, within_s=2 * START_S)
            time.sleep(stand.random.uniform(0.0, 2.0))
            children = _children(run.pid)
            assert len(children) == 2, f"{len(children)} workers"
            took = room.stop(run)
            assert took < GRACE_S, f"it took {took:.1f} s to stop"
            left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
            assert not left, f"workers outlive the run: {left}"
            for index in range(2):
                _nothing_open(stand, index)
            stand.times += 1


def starting(stand: Stand) -> None:
    """T22: workers are stopped at every moment of their start."""
    stand.allowed.add(-signal.SIGTERM)  # before it could listen
    with stand.load(100):
        for turn in range(8 if stand.short else 30):
            started = stand.worker()
            time.sleep(0.4 * (turn % 10))
            took = stand.stop(started)
            assert took < SOON_S, f"it took {took:.1f} s to stop"
            _nothing_open(stand, 0)
            stand.times += 1


def broker_gone(stand: Stand) -> None:
    """T23: the broker is stopped, or frozen, and then a worker and a poller shall stop too: 0, or 1 by the watchdog."""
    _impatient(stand)
    stand.allowed.add(1)
    broker = stand.kafka
    ways: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (broker.stop, broker.start),
        (broker.freeze, broker.thaw),
    ]
    with newsroom(stand, workers=0) as room:
        for away, back in ways * (1 if stand.short else 3):
            before = stand.progress.mark()
            enricher = stand.worker()
            polling = room.poller(port=room.port)
            stand.progress.wait(before, every_partition=False, within_s=2 * START_S)
            away()
            time.sleep(stand.random.uniform(0.0, 6.0))
            asked = time.monotonic()
            polling.send_signal(signal.SIGTERM)
            took = stand.stop(enricher)
            room.ended(polling, codes=(0, 1))
            took = max(took, time.monotonic() - asked)
            back()
            stand.notes.append(f"stopped in {took:.1f} s")
            assert took < GRACE_S, f"it took {took:.1f} s to stop"
            stand.times += 1


def _nothing_open(stand: Stand, index: int) -> None:
    """Raise AssertionError when worker *index*, which has ended, has left a transaction open."""
    left = stand.view.open_transactions(f"{stand.names.identities}enrich-{host_name()}-{index}")
    assert not left, f"left open: {left}"


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]
