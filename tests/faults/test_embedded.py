"""The embedded log's promises with real processes: a full disk, damaged files, many processes, stopped ones."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.test_kill import ends
from tests.faults.test_poller_kill import write_feeds
from tests.make import raw_article, raw_record
from tests.support.installation import ROOT, Installation
from tests.support.services import free_ports
from tests.support.small_disk import small_disk
from tests.support.waiting import until
from worker.edges.data_folder import LOG_FILE, SEEN_FILE
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_schema import PAGE_SIZE
from worker.edges.sqlite_seen import SqliteSeen
from worker.ports import LogUnavailable, NewRecord, TopicSpec, UnreadableInput

pytestmark = pytest.mark.timeout(300)
Process = subprocess.Popen[bytes]
FEEDS, ENTRIES = 5, 40
FROM_FEEDS = FEEDS * ENTRIES


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    """Return a list of processes that are killed after the test, stopped ones too."""
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def embedded(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def records(names: Sequence[str], topic: str, *, padding: int = 0) -> list[NewRecord]:
    return [
        raw_record(
            raw_article(name, title=f"Talks on {name}", summary=f"<p>The envoys spoke of {name}. {'x ' * padding}</p>"),
            topic=topic,
        )
        for name in names
    ]


def append(installation: Installation, *names: str, padding: int = 0) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append(records(names, installation.topics.raw, padding=padding))
        appender.close()


def worked_off(installation: Installation) -> int:
    """Return how many raw records there are if all of them are committed, else 0."""
    topic = installation.topics.raw
    with installation.log() as log:
        if topic not in log.topics():
            return 0
        bounds, committed = log.bounds([topic]), log.committed("enrich", [topic])
    done = all(committed.get(place, first) >= end for place, (first, end) in bounds.items())
    return sum(end - first for first, end in bounds.values()) if done else 0


def asked(port: int, path: str = "/readyz") -> tuple[int, str]:
    """Return status and text of a health answer; 0 when nobody answers yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def blocked(port: int, words: str) -> Callable[[], bool]:
    """Return what tells whether the process at *port* is unready for a reason with *words* (a pattern) in it."""

    def told() -> bool:
        status, text = asked(port)
        return status == 503 and re.search(words, text) is not None

    return told


@pytest.mark.faults
def test_a_full_disk_is_waited_for_and_nothing_is_lost_or_doubled(tmp_path: Path, processes: list[Process]) -> None:
    with small_disk(tmp_path / "disk", "size=96m") as disk:
        installation = Installation(disk.folder)
        feeds = write_feeds(tmp_path, feeds=FEEDS, entries=ENTRIES)
        assert installation.run("topics", "apply").returncode == 0
        append(installation, *(f"early{n}" for n in range(700)), padding=1500)
        ports = free_ports(2)
        worker = installation.start("enrich", "--http-port", str(ports[0]))
        poller = installation.start("poll", "--feeds", str(feeds), "--http-port", str(ports[1]))
        processes += [worker, poller]
        disk.fill(worker.pid, poller.pid, leave_bytes=200_000)
        for port in ports:
            until(
                blocked(port, "no room|cannot be read or written|full|disk I/O"), within_s=60, what="the disk is full"
            )
        if disk.mounted:
            with pytest.raises(LogUnavailable):
                append(installation, *(f"refused{n}" for n in range(1000)), padding=1500)
        time.sleep(4)  # longer than it takes to fail five times in a row
        assert (worker.poll(), poller.poll()) == (None, None)
        assert asked(ports[0], "/livez")[0] == 200

        disk.free()

        until(lambda: worked_off(installation) >= 700 + FROM_FEEDS, within_s=60, what="an end of every record")
        until(lambda: [asked(port)[0] for port in ports] == [200, 200], what="both ready again")
        raw = Counter(str(record.coordinates) for record in installation.read([installation.topics.raw]))
        assert Counter(ends(installation)) == raw
        stories = Counter(record.key for record in installation.read([installation.topics.enriched]))
        assert set(stories.values()) == {1}
        assert len(stories) >= 700 + FROM_FEEDS


@pytest.mark.faults
def test_a_full_table_of_inodes_is_waited_for_too(tmp_path: Path, processes: list[Process]) -> None:
    with small_disk(tmp_path / "disk", "size=32m,nr_inodes=12") as disk:
        if not disk.mounted:
            pytest.skip("need mount: not permitted here")
        taken = disk.use_up_inodes()
        installation = Installation(tmp_path)
        installation.environ["DATELINE_DATA_DIR"] = str(disk.folder / "data")
        (port,) = free_ports(1)
        processes.append(installation.start("enrich", "--http-port", str(port)))
        until(blocked(port, "inodes|cannot be read or written"), within_s=60)
        for path in taken:
            path.unlink()
        until(lambda: asked(port)[0] == 200, within_s=30, what="ready")


def test_a_folder_that_is_not_ours_to_write_is_refused_with_its_owner(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        if not disk.mounted:
            pytest.skip("need mount: not permitted here")
        installation = Installation(disk.folder)
        assert installation.run("topics", "apply").returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
        refused = installation.run("enrich")
        assert refused.returncode == 2
        assert b"read-only file system" in refused.stderr
    program = (
        "import os, sys; from pathlib import Path; from worker.edges.data_folder import ready; os.setuid(65534)\n"
        "try: ready(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    with tempfile.TemporaryDirectory() as theirs:
        Path(theirs).chmod(0o755)
        command = [sys.executable, "-c", program, theirs]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.match(rf"WrongSettings data.dir: user 65534 may not write {theirs}, of user 0, mode 755", said)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def spoil_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(100))


def zero_page(path: Path) -> None:
    """Zero the page in which something lies that is in the middle: only who reads it meets the damage."""
    size = PAGE_SIZE if path.name == LOG_FILE else 4096
    raw = path.read_bytes()
    page = raw.index(b"Talks on marked") // size if path.name == LOG_FILE else 2
    with path.open("r+b") as file:
        file.seek(page * size)
        file.write(bytes(size))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation that has worked off 300 records, and not another 300."""
    installation = Installation(tmp_path_factory.mktemp("whole"))
    append_and_work_off(installation, [f"early{n}" for n in range(300)])
    append(installation, *(f"{'marked' if n % 100 == 50 else 'late'}{n}" for n in range(300)), padding=700)
    return installation


def copied(whole: Installation, folder: Path) -> Installation:
    installation = Installation(folder)
    folder.mkdir(exist_ok=True)
    installation.topics = whole.topics
    installation.environ["DATELINE_TOPICS_PREFIX"] = whole.topics.prefix
    shutil.copytree(whole.folder / "data", folder / "data")
    return installation


@pytest.mark.parametrize("harm", [spoil_header, cut, zero_page])
def test_a_damaged_log_is_refused_with_one_message(
    whole: Installation, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    installation = copied(whole, tmp_path)
    harm(installation.folder / "data" / LOG_FILE)

    refused = installation.run("tail", "raw", "--from", "beginning", "--no-follow")

    said = refused.stderr.decode()
    assert refused.returncode == 5, said
    assert "Traceback" not in said
    assert said.count(f"{LOG_FILE} is damaged, or not a file of ours") == 1


@pytest.mark.parametrize("harm", [spoil_header, cut, zero_page])
def test_a_damaged_seen_store_is_refused_with_its_name(
    whole: Installation, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    installation = copied(whole, tmp_path)
    path = installation.folder / "data" / SEEN_FILE
    harm(path)
    with pytest.raises(UnreadableInput, match=f"{re.escape(str(path))} is damaged"):
        SqliteSeen(path).epoch()


@pytest.mark.parametrize("name", [LOG_FILE, SEEN_FILE])
def test_the_way_out_of_a_damaged_file_works_as_it_is_told(
    whole: Installation, tmp_path: Path, processes: list[Process], name: str
) -> None:
    installation = copied(whole, tmp_path)
    zero_page(installation.folder / "data" / name)
    refused = installation.start("enrich")
    processes.append(refused)
    assert refused.wait(timeout=60) == 5
    (path,) = installation.folder.glob("enrich-*.log")
    (way_out,) = re.findall(r"`(mkdir .*? && mv .*?)`", path.read_text())
    subprocess.run(way_out, shell=True, check=True)  # noqa: S602  (as the message says)
    assert not (installation.folder / "data" / name).exists()

    if name == LOG_FILE:
        assert installation.run("topics", "apply").returncode == 0
        append(installation, *(f"anew{n}" for n in range(300)))
    worker = installation.start("enrich")
    processes.append(worker)

    until(lambda: worked_off(installation) >= 300, within_s=60, what="all worked off")
    assert worker.poll() is None
    raw = installation.read([installation.topics.raw])
    assert Counter(ends(installation)) == Counter(str(record.coordinates) for record in raw)
    enriched = Counter(record.key for record in installation.read([installation.topics.enriched]))
    assert enriched == Counter({record.key for record in raw})


def append_and_work_off(installation: Installation, names: Sequence[str]) -> None:
    assert installation.run("topics", "apply").returncode == 0
    append(installation, *names)
    worker = installation.start("enrich")
    try:
        until(lambda: worked_off(installation) >= len(names), within_s=60)
    finally:
        worker.terminate()
    assert worker.wait(timeout=30) == 0


def test_a_log_whose_write_ahead_log_was_deleted_is_an_older_one_and_goes_on(
    whole: Installation, tmp_path: Path, processes: list[Process]
) -> None:
    """SQLite cannot tell it from a backup: what only stood there is gone, its offsets are given out again."""
    installation = copied(whole, tmp_path)
    worker = installation.start("enrich")
    processes.append(worker)
    until(lambda: worked_off(installation) == 600, within_s=60)
    worker.kill()
    worker.wait()
    for end in ("-wal", "-shm"):
        (installation.folder / "data" / (LOG_FILE + end)).unlink()

    append(installation, *(f"other{n}" for n in range(100)))
    processes.append(installation.start("enrich"))

    until(lambda: worked_off(installation) >= 100, within_s=60)
    raw = installation.read([installation.topics.raw])
    assert Counter(ends(installation)) == Counter(str(record.coordinates) for record in raw)
    keys = {record.key for record in records([f"other{n}" for n in range(100)], "raw")}
    assert keys <= {record.key for record in installation.read([installation.topics.enriched])}


@pytest.mark.faults
def test_workers_pollers_and_readers_share_the_files(embedded: Installation, processes: list[Process]) -> None:
    feeds = write_feeds(embedded.folder, feeds=FEEDS, entries=ENTRIES)
    assert embedded.run("topics", "apply").returncode == 0
    tails = [embedded.start("tail", "enriched", "--from", "beginning", "--tsv") for _ in range(2)]
    workers = [embedded.start("enrich", "--index", str(index)) for index in range(3)]
    pollers = [embedded.start("poll", "--feeds", str(feeds)) for _ in range(2)]
    processes += [*tails, *workers, *pollers]

    until(lambda: worked_off(embedded) >= FROM_FEEDS, within_s=60, what="all entries")
    time.sleep(1)  # the slower poller may still bring repeats
    until(lambda: worked_off(embedded) >= FROM_FEEDS, within_s=60, what="all ends")
    for process in (*workers, *pollers):
        process.terminate()
    assert [process.wait(timeout=30) for process in (*workers, *pollers)] == [0] * 5
    raw = embedded.read([embedded.topics.raw])
    assert Counter(ends(embedded)) == Counter(str(record.coordinates) for record in raw)
    enriched = embedded.read([embedded.topics.enriched])
    assert Counter(record.key for record in enriched) == Counter({record.key for record in raw})
    listed = list(embedded.folder.glob("tail-*.log"))
    until(lambda: all(len(path.read_text().splitlines()) == FROM_FEEDS for path in listed), what="both tails")


HOLDER = """
import os, signal, sys
from pathlib import Path
from worker.edges.sqlite_schema import connect, transaction
path = Path(sys.argv[1])
db = connect(path)
with transaction(db, path):
    print("in it", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
print("out", flush=True)
"""
MEMBER = """
import os, signal, sys
from pathlib import Path
from worker.edges.sqlite_log import SqliteLog
from worker.ports import NewRecord, TransactionFailed
member = SqliteLog.open(Path(sys.argv[1]), session_timeout_s=1).member(group="g", identity="frozen", topics=["in"])
batch = member.poll(timeout_s=10)
outputs = [NewRecord(topic="out", key=r.key, value=r.value) for r in batch.records]
print(len(batch.records), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
try:
    member.commit(batch, outputs)
    print("committed", flush=True)
except TransactionFailed as error:
    print("refused:", error, flush=True)
"""


def python(program: str, *arguments: object) -> Process:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )


def stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="need /proc: not Linux")
def test_a_process_stopped_in_its_transaction_is_waited_for(embedded: Installation, processes: list[Process]) -> None:
    feeds = write_feeds(embedded.folder, feeds=FEEDS, entries=ENTRIES)
    assert embedded.run("topics", "apply").returncode == 0
    ports = free_ports(2)
    worker = embedded.start("enrich", "--http-port", str(ports[0]))
    processes.append(worker)
    until(lambda: asked(ports[0])[0] == 200, within_s=60, what="worker ready")
    holder = python(HOLDER, embedded.folder / "data" / LOG_FILE)
    processes.append(holder)
    until(lambda: stopped(holder), what="the holder has stopped")
    poller = embedded.start("poll", "--feeds", str(feeds), "--http-port", str(ports[1]))
    processes.append(poller)
    for port in ports:
        until(blocked(port, "locked"), within_s=60, what="waiting for the lock")

    holder.send_signal(signal.SIGCONT)

    assert holder.wait(timeout=30) == 0
    until(lambda: worked_off(embedded) >= FROM_FEEDS, within_s=60)
    assert (worker.poll(), poller.poll()) == (None, None)
    assert Counter(Counter(ends(embedded)).values()) == {1: FROM_FEEDS}


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="need /proc: not Linux")
def test_a_member_stopped_for_longer_than_its_session_cannot_commit(tmp_path: Path, processes: list[Process]) -> None:
    log = SqliteLog.open(tmp_path / LOG_FILE, session_timeout_s=1)
    log.create_topics([TopicSpec(name=name, partitions=4) for name in ("in", "out")])
    appender = log.appender()
    appender.append([NewRecord(topic="in", key=b"%d" % n, value=b"%d" % n) for n in range(40)])
    frozen = python(MEMBER, tmp_path / LOG_FILE)
    processes.append(frozen)
    until(lambda: stopped(frozen), what="the member has stopped")
    other = log.member(group="g", identity="other", topics=["in"])
    until(lambda: [other.poll(timeout_s=0.05)] and len(other.assigned()) == 4, what="taken over")
    other.rewind()
    batch = other.poll(timeout_s=5)
    other.commit(batch, [NewRecord(topic="out", key=r.key or b"", value=r.value) for r in batch.records])

    frozen.send_signal(signal.SIGCONT)

    said, _ = frozen.communicate(timeout=30)
    assert said.decode().splitlines()[0] == "40"
    assert b"refused: in/" in said
    reader = log.reader(["out"])
    found: list[bytes | None] = []
    while not reader.at_end():
        found += [record.value for record in reader.read(timeout_s=1)]
    assert Counter(found) == Counter(b"%d" % n for n in range(40))
    for part in (reader, other, appender):
        part.close()
