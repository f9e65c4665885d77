"""What the embedded log does beyond the contract of all logs: killed processes, damaged files, full disks, cleaning."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import until
from worker.edges import sqlite_clean
from worker.edges.sqlite_group import share_out
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_schema import connect
from worker.ports import (
    Batch,
    Fenced,
    LogRecord,
    LogUnavailable,
    NewRecord,
    TopicSpec,
    TransactionFailed,
    UnreadableInput,
    WrongSettings,
)

DAY_MS = 24 * 3600 * 1000

WRITER = """
import sys
from pathlib import Path
from worker.edges.sqlite_log import SqliteLog
from worker.ports import NewRecord
appender = SqliteLog.open(Path(sys.argv[1])).appender()
for number in range(int(sys.argv[3])):
    value = b"%s/%d" % (sys.argv[2].encode(), number)
    appender.append([NewRecord(topic=topic, key=value, value=value) for topic in ("in", "twin")])
    print(number, flush=True)
"""
COPIER = """
import sys
from pathlib import Path
from worker.edges.sqlite_log import SqliteLog
from worker.ports import NewRecord, TransactionFailed
member = SqliteLog.open(Path(sys.argv[1])).member(group="g", identity=sys.argv[2], topics=["in"])
while True:
    batch = member.poll(timeout_s=0.2, max_records=7)
    try:
        member.commit(batch, [NewRecord(topic="out", key=r.key, value=r.value) for r in batch.records])
    except TransactionFailed:
        continue
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a log with the topics `in`, `twin` and `out`."""
    path = tmp_path / "log.db"
    make(SqliteLog.open(path))
    return path


@pytest.fixture
def log(path: Path) -> SqliteLog:
    return SqliteLog.open(path)


def make(log: SqliteLog) -> None:
    log.create_topics([TopicSpec(name=name, partitions=4) for name in ("in", "twin", "out")])


def run(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


def kill(process: subprocess.Popen[bytes]) -> bytes:
    """Kill without warning; return what the process had printed."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    return said


def fill(log: SqliteLog, topic: str, *keys: bytes) -> None:
    appender = log.appender()
    appender.append([NewRecord(topic=topic, key=key, value=b"v" * 100) for key in keys])
    appender.close()


def read_all(log: SqliteLog, topic: str) -> list[LogRecord]:
    reader = log.reader([topic])
    found: list[LogRecord] = []
    while not reader.at_end():
        found += reader.read(timeout_s=0)
    reader.close()
    return found


def age(path: Path, by_ms: int) -> None:
    """Make all that is in the log older."""
    db = connect(path)
    db.execute("UPDATE record SET timestamp_ms = timestamp_ms - ?", (by_ms,))
    db.close()


def clean(path: Path, *, max_records: int = sqlite_clean.STEP_RECORDS) -> bool:
    """Do one step of cleaning from the first partition on; tell whether more is to do."""
    db = connect(path)
    db.execute("BEGIN IMMEDIATE")
    _, more = sqlite_clean.clean(db, after_part=0, now_ms=int(time.time() * 1000), max_records=max_records)
    db.execute("COMMIT")
    db.close()
    return more


def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_half_transaction(path: Path, log: SqliteLog) -> None:
    for attempt in range(3):
        writer = run(WRITER, path, attempt, 10_000_000)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.2)
        acknowledged = 1 + len(kill(writer).split(b"\n")[:-1])
        written, twins = ({r.value for r in read_all(log, name)} for name in ("in", "twin"))
        assert {b"%d/%d" % (attempt, n) for n in range(acknowledged)} <= written
        assert written == twins


def test_many_processes_append_and_consume_at_once_and_killed_ones_lose_and_double_nothing(
    path: Path, log: SqliteLog
) -> None:
    writers = [run(WRITER, path, name, 300) for name in ("x", "y")]
    copiers = {name: run(COPIER, path, name) for name in ("a", "b")}
    try:
        for name in ("a", "b", "a"):
            time.sleep(0.3)
            kill(copiers[name])
            copiers[name] = run(COPIER, path, name)
        for writer in writers:
            writer.communicate(timeout=60)
            assert writer.returncode == 0
        until(lambda: len(read_all(log, "out")) >= 600, within_s=30, what="all copies")
        time.sleep(0.3)
    finally:
        for process in (*writers, *copiers.values()):
            kill(process)
    copies = Counter(record.value for record in read_all(log, "out"))
    assert copies == Counter(b"%s/%d" % (name, n) for name in (b"x", b"y") for n in range(300))


def test_a_member_that_is_silent_for_its_session_loses_its_partitions_and_may_come_back(path: Path) -> None:
    log = SqliteLog.open(path, session_timeout_s=0.5)
    fill(log, "in", *(b"%d" % n for n in range(20)))
    silent = log.member(group="g", identity="silent", topics=["in"])
    batch = silent.poll(timeout_s=1)
    busy = log.member(group="g", identity="busy", topics=["in"])
    until(lambda: [busy.poll(timeout_s=0.05)] and len(busy.assigned()) == 4, what="all partitions taken over")
    with pytest.raises(TransactionFailed):
        silent.commit(batch, [NewRecord(topic="out", key=b"k", value=b"late")])
    until(lambda: [m.poll(timeout_s=0.05) for m in (silent, busy)] and len(silent.assigned()) == 2, what="two again")
    assert read_all(log, "out") == []
    silent.close()
    busy.close()


def test_the_older_holder_of_an_identity_is_fenced_at_its_next_poll_too(log: SqliteLog) -> None:
    older = log.member(group="g", identity="one", topics=["in"])
    newer = log.member(group="g", identity="one", topics=["in"])
    newer.close()
    with pytest.raises(Fenced, match="one"):
        older.poll(timeout_s=0)
    older.close()


def test_a_heartbeat_from_before_the_machine_started_counts_for_nothing(path: Path, log: SqliteLog) -> None:
    log.member(group="g", identity="before the start", topics=["in"])
    db = connect(path)
    db.execute("UPDATE member SET heartbeat = 1e12")
    db.close()
    member = log.member(group="g", identity="after", topics=["in"])
    assert len(member.assigned()) == 4
    member.close()


def test_a_waiting_member_wakes_soon_and_costs_next_to_nothing(log: SqliteLog) -> None:
    member = log.member(group="g", identity="one", topics=["in"])
    cpu = time.thread_time()
    assert member.poll(timeout_s=2).records == ()
    assert time.thread_time() - cpu < 0.1  # idle: measured 0.6 % of a core, with room for a busy machine
    threading.Timer(0.3, lambda: fill(log, "in", b"k")).start()
    batch = member.poll(timeout_s=10)
    assert time.time() * 1000 - batch.records[0].timestamp_ms < 1000
    member.close()


def test_a_member_reads_what_it_wrote_itself(log: SqliteLog) -> None:
    member = log.member(group="g", identity="one", topics=["in"])
    assert member.poll(timeout_s=0).records == ()
    member.commit(Batch(), [NewRecord(topic="in", key=b"k", value=b"v")])
    assert [record.value for record in member.poll(timeout_s=1).records] == [b"v"]
    member.close()


@given(
    members=st.lists(st.sampled_from("abcdef"), min_size=1, unique=True),
    before=st.dictionaries(st.integers(0, 11), st.sampled_from("abcdefxyz")),
)
def test_partitions_are_shared_evenly_among_the_living(members: list[str], before: dict[int, str]) -> None:
    after = share_out({name: frozenset(range(12)) for name in members}, before)
    loads = [list(after.values()).count(name) for name in members]
    assert sorted(after) == list(range(12))
    assert sum(loads) == 12
    assert max(loads) - min(loads) <= 1


def test_a_group_in_balance_is_left_alone() -> None:
    wanted = {name: frozenset(range(7)) for name in "abc"}
    settled = share_out(wanted, {})
    assert share_out(wanted, settled) == settled


def test_a_damaged_file_is_told_with_its_name_and_a_way_out(path: Path, log: SqliteLog) -> None:
    fill(log, "in", *(b"%d" % n for n in range(2000)))
    raw = bytearray(path.read_bytes())
    raw[16_384:] = os.urandom(len(raw) - 16_384)
    path.write_bytes(raw)
    with pytest.raises(UnreadableInput, match=re.escape(str(path)) + r".*damaged.*mv"):
        read_all(log, "in")


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.txt", tmp_path / "foreign.db"
    text.write_text("not a database, but long enough to be read as the header of one " * 20)
    with pytest.raises(UnreadableInput, match=r"notes\.txt"):
        SqliteLog.open(text)
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE t (x)")
    db.close()
    before = foreign.read_bytes()
    with pytest.raises(WrongSettings, match=r"foreign\.db"):
        SqliteLog.open(foreign)
    assert foreign.read_bytes() == before


def test_a_file_of_a_newer_release_is_refused(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(WrongSettings, match="newer release"):
        SqliteLog.open(path)


def test_a_full_disk_is_unavailable_and_what_was_acknowledged_stays(path: Path, log: SqliteLog) -> None:
    """A limit on file sizes, in a process of its own, stands in for the disk."""
    program = """
import resource, sys
from pathlib import Path
from worker.edges.sqlite_log import SqliteLog
from worker.ports import LogUnavailable, NewRecord
appender = SqliteLog.open(Path(sys.argv[1])).appender()
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
for number in range(1000):
    try:
        appender.append([NewRecord(topic="in", key=b"%d" % number, value=bytes(20_000))] * 2)
    except LogUnavailable:
        print(number)
        break
"""
    said, _ = run(program, path).communicate(timeout=60)
    acknowledged = int(said)
    assert acknowledged > 10
    assert len(read_all(log, "in")) == 2 * acknowledged
    fill(log, "in", b"room again")


def test_a_log_that_another_process_keeps_locked_is_unavailable_within_the_time_given(
    path: Path, log: SqliteLog
) -> None:
    appender = log.appender()
    holder = connect(path)
    holder.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(LogUnavailable, match="locked"):
        appender.append([NewRecord(topic="in", key=b"k", value=b"v")], timeout_s=0.3)
    assert 0.3 <= time.monotonic() - began < 3
    holder.execute("ROLLBACK")
    holder.close()
    appender.append([NewRecord(topic="in", key=b"k", value=b"v")])
    appender.close()
    with pytest.raises(LogUnavailable, match="closed"):
        appender.append([])


def test_processes_that_open_a_new_file_at_once_all_succeed(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from worker.edges.sqlite_log import SqliteLog as S"
    program += "; S.open(Path(sys.argv[1])).topics()"
    processes = [run(program, tmp_path / "deep" / "new.db") for _ in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_retention_drops_old_records_in_steps_and_consumers_pass_the_gap(path: Path, log: SqliteLog) -> None:
    log.create_topics([TopicSpec(name="short", partitions=1, retention_ms=DAY_MS)])
    fill(log, "short", *(b"%d" % n for n in range(30)))
    member = log.member(group="g", identity="one", topics=["short"])
    age(path, 2 * DAY_MS)
    fill(log, "short", b"young")
    assert clean(path, max_records=20)
    assert log.bounds(["short"]) == {("short", 0): (20, 31)}
    assert not clean(path, max_records=20)
    assert log.bounds(["short"]) == {("short", 0): (30, 31)}
    assert [record.key for record in read_all(log, "short")] == [b"young"]
    assert [record.key for record in member.poll(timeout_s=1).records] == [b"young"]
    age(path, 2 * DAY_MS)
    clean(path)
    assert log.bounds(["short"]) == {("short", 0): (31, 31)}
    member.close()


def test_compaction_keeps_the_latest_of_each_key_behind_the_lag(path: Path, log: SqliteLog) -> None:
    log.create_topics([TopicSpec(name="state", partitions=1, compacted=True, min_compaction_lag_ms=3_600_000)])
    fill(log, "state", b"a", b"b", b"a", b"c", b"a")
    assert not clean(path)
    assert len(read_all(log, "state")) == 5
    age(path, 2 * 3_600_000)
    fill(log, "state", b"b")
    for _ in range(10):
        clean(path, max_records=2)
    assert [(r.key, r.offset) for r in read_all(log, "state")] == [(b"b", 1), (b"c", 3), (b"a", 4), (b"b", 5)]


def test_a_tombstone_drops_what_it_deletes_at_once_and_goes_itself_a_day_later(path: Path, log: SqliteLog) -> None:
    log.create_topics([TopicSpec(name="state", partitions=1, compacted=True)])
    fill(log, "state", b"a", b"b")
    appender = log.appender()
    appender.append([NewRecord(topic="state", key=b"a", value=None)])
    clean(path)
    assert [(r.key, r.value is None) for r in read_all(log, "state")] == [(b"b", False), (b"a", True)]
    age(path, DAY_MS + 1)
    clean(path)
    assert [r.key for r in read_all(log, "state")] == [b"b"]
    appender.close()


def test_whoever_writes_cleans_now_and_then(log: SqliteLog) -> None:
    log.create_topics([TopicSpec(name="state", partitions=1, compacted=True)])
    fill(log, "state", b"a", b"a", b"a")
    fill(log, "state", b"a")

    def cleaned() -> bool:
        fill(log, "twin", b"k")
        return len(read_all(log, "state")) == 1

    until(cleaned, within_s=10)
