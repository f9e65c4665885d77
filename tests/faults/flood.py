"""Too much of something: records that cannot be read, or more records than can be worked off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.stand import PARTITIONS, Stand
from tests.faults.usage import usage
from tests.support.waiting import until
from worker.edges.process import ExitCode
from worker.ports import NewRecord

DEAD_LETTERS_IN_A_ROW = 100
SPARE_KIB = 64 * 1024
"""So much more memory than after its first seconds a worker may hold while it lags behind."""


def all_poison(stand: Stand) -> None:
    """T10: nothing in the topic can be read: the worker stops, however often it starts; then it is permitted."""
    stand.allowed.add(ExitCode.DEAD_LETTERS)
    limit = {"DATELINE_WORKER_DEAD_LETTER_RUN": str(DEAD_LETTERS_IN_A_ROW)}
    most = DEAD_LETTERS_IN_A_ROW * PARTITIONS
    end = time.monotonic() + (45 if stand.short else 600)
    with _poison(stand, per_second=200):
        while time.monotonic() < end:
            worker = stand.worker(environ=limit)
            code = worker.wait(120)
            stand.workers.remove(worker)
            assert code == ExitCode.DEAD_LETTERS, f"a worker that gets nothing but poison ended with {code}"
            stand.times += 1
            found = len(stand.view.records(stand.names.dead_letter))
            assert found <= most, f"{found} dead letters, {most} are permitted"
            time.sleep(2)
    waiting = sum(stand.view.ends(stand.names.raw).values()) - found
    stand.notes.append(f"{stand.times} starts, {found} dead letters, {waiting:,} records left alone")
    assert waiting > most, "the flood was too small to show anything"
    stand.surroundings = {"DATELINE_WORKER_DEAD_LETTER_RUN": "1000000", "DATELINE_WORKER_DEAD_LETTER_SHARE": "1"}


@contextmanager
def _poison(stand: Stand, *, per_second: int) -> Iterator[None]:
    done = threading.Event()

    def work() -> None:
        with stand.installation.log() as log:
            appender = log.appender()
            number = 0
            while not done.wait(0.25):
                numbers = range(number, number + per_second // 4)
                number = numbers.stop
                appender.append([_bad(stand.names.raw, each) for each in numbers])
            appender.close()

    thread = threading.Thread(target=work, name="poison")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _bad(topic: str, number: int) -> NewRecord:
    names = (("x-id", b"p%d" % number), ("x-expect", b"bad"))
    return NewRecord(topic=topic, key=b"k%d" % number, value=b"\xff no JSON %d" % number, headers=names)


def too_fast(stand: Stand) -> None:
    """T16: ten times the usual rate: one worker falls behind, holds no more memory than before, and catches up."""
    most = 0
    with stand.load(200) as load:
        worker = stand.steady()[0]
        time.sleep(15)
        start = usage(worker.pid).rss_kib
        highest = start
        stand.times += 1
        load.per_second = 2_000
        end = time.monotonic() + (30 if stand.short else 300)
        while time.monotonic() < end:
            time.sleep(1)
            highest = max(highest, usage(worker.pid).rss_kib)
            most = max(most, sum(stand.view.ends(stand.names.raw).values()) - stand.progress.total())
    began = time.monotonic()

    def drained() -> bool:
        nonlocal highest
        time.sleep(1)
        highest = max(highest, usage(worker.pid).rss_kib)
        return stand.progress.total() >= sum(stand.view.ends(stand.names.raw).values())

    until(drained, within_s=1200, what="all records to be worked off")
    stand.notes.append(
        f"lag up to {most:,} records, drained in {time.monotonic() - began:.0f} s;"
        f" memory {start / 1024:.0f} MiB before, {highest / 1024:.0f} MiB at most"
    )
    stand.all_alive([worker])
    assert highest <= start + SPARE_KIB, f"memory grew from {start} to {highest} KiB"
