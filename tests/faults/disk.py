"""Faults of disks: the broker's is full; the workers may write nowhere at all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from tests.faults.stand import Stand, stand_of
from tests.support.services import KafkaBroker, RedisServer, ServiceUnavailable
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import until

BACK_S = 60.0
_READ_ONLY = """
while read -r _ at kind _; do
  case $kind in proc | sysfs | devpts | devtmpfs | cgroup | cgroup2) continue ;; esac
  mount -o remount,bind,ro "$at" || exit 99
done </proc/mounts
exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search "$@"
"""
"""All mounts read-only, and nobody's rights: it may read everything (the Python of a test may lie in root's home)."""
NOWHERE = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _READ_ONLY, "sh")
_CAN_WRITE = """
for at in / /tmp /var/tmp /dev /dev/shm "$@"; do touch "$at/x" 2>/dev/null && echo "$at"; done
true
"""


class OnSmallDisk(Stand):
    """Its broker's data lie on a disk that can be filled."""

    disk: SmallDisk


@contextmanager
def on_small_disk(*, short: bool) -> Iterator[OnSmallDisk]:
    """Give such a stand. Raises: ServiceUnavailable: nothing may be mounted here."""
    with ExitStack() as stack:
        kafka, redis = KafkaBroker(own=True), RedisServer()
        stack.callback(kafka.remove)
        stack.callback(redis.remove)
        with redirect_stdout(sys.stderr):
            disk = stack.enter_context(small_disk(kafka.folder / "node", "size=600m"))
        if not disk.mounted:
            raise ServiceUnavailable("small disk", "no right to mount a tmpfs")
        kafka.start()
        redis.start()
        on = stack.enter_context(stand_of(OnSmallDisk, kafka=kafka, redis=redis, short=short))
        on.disk = disk
        yield on


def broker_full(stand: OnSmallDisk) -> None:
    """T13: the broker's only disk is full: it ends itself. There is room again, and it is started again."""
    with stand.load():
        workers = stand.steady(2)
        for room in [200_000] if stand.short else [0, 200_000, 1_000_000]:
            time.sleep(stand.random.uniform(1.0, 3.0))
            stand.disk.fill(leave_bytes=room)
            stand.times += 1
            until(lambda: not stand.kafka.runs(), within_s=120, what="the broker to end itself")
            time.sleep(20)
            said = [stand.unready(worker) for worker in workers]
            assert all(said), f"a worker without a broker called itself ready: {said}"
            stand.all_alive(workers)
            stand.disk.free()
            stand.kafka.start()
            stand.recovered(stand.progress.mark(), within_s=BACK_S, every_partition=True)
            stand.all_alive(workers)


def nowhere_to_write(stand: Stand) -> None:
    """T14: the workers run with nobody's rights, all file systems read-only and the temporary folder full."""
    full = stand.folder / "full"
    with redirect_stdout(sys.stderr), small_disk(full, "size=64k") as disk:
        if not disk.mounted:
            raise ServiceUnavailable("read-only file systems", "no right to mount")
        disk.fill()
        found = subprocess.run(
            [*NOWHERE, "sh", "-c", _CAN_WRITE, "sh", full, stand.folder], capture_output=True, text=True, check=False
        )
        if found.returncode != 0:
            raise ServiceUnavailable("read-only file systems", " ".join(found.stderr.split()))
        assert found.stdout.split() == [], f"this can be written to: {found.stdout.split()}"
        stand.within = NOWHERE
        stand.surroundings = {"TMPDIR": str(full), "HOME": "/nonexistent"}
        with stand.load():
            workers = stand.steady(2)
            for turn in range(2 if stand.short else 10):
                time.sleep(stand.random.uniform(2.0, 5.0))
                died = stand.kill(workers[turn % 2])
                workers[turn % 2] = stand.worker(turn % 2)
                stand.recovered(died, within_s=BACK_S, every_partition=True)
            until(lambda: not any(map(stand.unready, workers)), within_s=BACK_S, what="all workers ready")
            stand.all_alive(workers)
        stand.drain()
