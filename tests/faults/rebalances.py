"""Workers that come and go by plan: restarted one by one, taken away, added; how long partitions stand still."""

from __future__ import annotations

import subprocess
import time

from tests.faults.stand import Stand

SESSION_S = 6.0
TAKEOVER_S = SESSION_S + 5.0
PAUSE_S = 10.0
"""No partition may stand still for longer in a rolling restart."""
_START_S = 60.0
_WORKERS = 4
_RATE, _SHORT_RATE = 1000, 200


def share(stand: Stand, *, leaves: bool, assignor: str = "range") -> None:
    """Say how the group shares its partitions, and whether a stopped worker leaves it at once."""
    stand.installation.environ |= {
        "DATELINE_KAFKA_ASSIGNOR": assignor,
        "DATELINE_KAFKA_LEAVE_ON_CLOSE": str(leaves).lower(),
    }


def _steady(stand: Stand, count: int) -> list[subprocess.Popen[bytes]]:
    """Start *count* workers and wait until every partition moves and the first backlog is done."""
    workers = stand.steady(count)
    _caught_up(stand)
    return workers


def _caught_up(stand: Stand) -> None:
    """Wait until at most a second's worth of records is not committed. Raises: AssertionError: the load is too high."""
    deadline = time.monotonic() + _START_S
    room = _rate(stand)
    while (behind := sum(stand.view.ends(stand.names.raw).values()) - stand.progress.total()) > room:
        assert time.monotonic() < deadline, f"the workers do not keep up with {room} records/s: {behind} behind"
        time.sleep(0.5)


def _rate(stand: Stand) -> int:
    return _SHORT_RATE if stand.short else _RATE


def rolling_restart(stand: Stand, *, leaves: bool, assignor: str = "range") -> None:
    """Each of four workers is stopped, starts again, and is ready before it is the next one's turn."""
    share(stand, leaves=leaves, assignor=assignor)
    with stand.load(_rate(stand)):
        workers = _steady(stand, _WORKERS)
        for _ in range(1 if stand.short else 3):
            stand.progress.forget_pauses()
            for index in range(_WORKERS):
                stand.stop(workers[index])
                workers[index] = _start_ready(stand, index)
                stand.times += 1
            time.sleep(SESSION_S + 2)  # what a restart has stirred up comes to light
            pause = stand.progress.longest_pause()
            stand.recoveries.append(pause)
            assert pause <= PAUSE_S, f"a partition stood still for {pause:.1f} s"
            _caught_up(stand)


def _start_ready(stand: Stand, index: int) -> subprocess.Popen[bytes]:
    """Start worker *index* and return when it says that it is ready: then the next one may be stopped."""
    started = stand.worker(index)
    deadline = time.monotonic() + _START_S
    while why := stand.unready(started):
        assert time.monotonic() < deadline, f"not ready within {_START_S:.0f} s: {why}"
        time.sleep(0.1)
    return started


def scaled_in(stand: Stand, *, leaves: bool, assignor: str = "range") -> None:
    """Of four workers one is stopped for good, then one is killed for good: the others take their partitions."""
    share(stand, leaves=leaves, assignor=assignor)
    with stand.load(_rate(stand)):
        workers = _steady(stand, _WORKERS)
        took = stand.stop(workers.pop())
        stand.times += 1
        before = stand.progress.mark()
        stand.recovered(before, every_partition=True, within_s=5.0 if leaves else TAKEOVER_S)
        stand.notes.append(f"stopped in {took:.1f} s; taken over after {stand.recoveries[-1]:.1f} s")
        _caught_up(stand)
        died = stand.kill(workers.pop())
        stand.recovered(died, every_partition=True, within_s=TAKEOVER_S)
        stand.notes.append(f"killed; taken over after {stand.recoveries[-1]:.1f} s")


def scaled_out(stand: Stand, *, assignor: str = "range") -> None:
    """One worker becomes four, under load; then all of them work."""
    share(stand, leaves=True, assignor=assignor)
    with stand.load(_rate(stand)):
        _steady(stand, 1)
        stand.progress.forget_pauses()
        for index in range(1, _WORKERS):
            stand.worker(index)
        stand.times += 1
        time.sleep(SESSION_S + 6)  # they start, join, and what that stirs up comes to light
        stand.recoveries.append(stand.progress.longest_pause())
        assert stand.recoveries[-1] <= PAUSE_S, f"a partition stood still for {stand.recoveries[-1]:.1f} s"
