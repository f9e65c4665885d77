"""
What every seen store promises: the pure judge's verdicts, made atomic, durable and forgotten in time.

The rules themselves are tested in tests/stages/test_judge.py; here a store must say what the judge says over plain
dictionaries, whatever the batches, the processes and the crashes.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.services import RedisServer
from tests.support.waiting import until
from worker.edges import seen_values, valkey_seen, valkey_server
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.ports import RoutedVersion, SeenStore, SeenStoreAway, UnreadableInput
from worker.records import Basis, Coordinates, Fingerprint, VerdictKind
from worker.stages.judge import Memory

Open = Callable[..., SeenStore]
NOW = datetime.now(UTC).replace(microsecond=123_456)
NEW, UPDATE, REPEAT, COPY = VerdictKind.NEW, VerdictKind.UPDATE, VerdictKind.REPEAT, VerdictKind.COPY


def key(name: str, digits: int = 32) -> str:
    return sha256(name.encode()).hexdigest()[:digits]


def seen(offset: int, story: str, text: str, *, feed: str = "north", link: str | None = None) -> Fingerprint:
    return Fingerprint(
        raw=Coordinates(topic="news.raw", partition=offset % 3, offset=offset),
        story=key(story, 64),
        feed=feed,
        publisher=f"{feed}.example",
        basis=Basis.FEED,
        text_state=key("state" + text),
        link_key=key("link" + (link or story)),
        guid_key=None,
        copy_key=key("copy" + text),
    )


@pytest.fixture(params=["sqlite", pytest.param("valkey", marks=pytest.mark.redis)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Name a kind of store and where it lies."""
    if request.param == "sqlite":
        return "sqlite", str(tmp_path / "seen.db")
    server: RedisServer = request.getfixturevalue("redis")
    return "valkey", server.url


@pytest.fixture
def open_store(address: tuple[str, str]) -> Iterator[Open]:
    """Return what opens the store once more, as another process would; each test has a namespace of its own."""
    kind, where = address
    namespace, opened = uuid.uuid4().hex, list[SeenStore]()

    def open_(*, namespace: str = namespace, ttl_s: int = 3600) -> SeenStore:
        store: SeenStore = (SqliteSeen if kind == "sqlite" else ValkeySeen)(where, namespace=namespace, ttl_s=ttl_s)
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Open) -> SeenStore:
    return open_store()


def test_later_articles_of_a_batch_see_the_earlier(store: SeenStore) -> None:
    verdicts = store.judge(
        [seen(0, "a", "one"), seen(1, "b", "one", feed="south"), seen(2, "a", "two"), seen(3, "a", "two")], now=NOW
    )
    assert [v.kind for v in verdicts] == [NEW, COPY, UPDATE, REPEAT]
    assert (verdicts[1].story, verdicts[1].independent_sources) == (key("a", 64), 2)
    assert verdicts[0].first_seen == verdicts[3].first_seen == NOW


def test_it_tells_how_far_commits_went(store: SeenStore) -> None:
    here, there = ("news.raw", 0), ("news.raw", 1)
    assert dict(store.passed([here, there])) == {}
    store.judge([seen(0, "a", "one"), seen(3, "b", "two")], now=NOW)
    assert store.passed([here]).get(here, 0) == 0
    store.committed({here: 4}, now=NOW + timedelta(seconds=90))
    assert dict(store.passed([here, there])) == {here: 4}
    assert dict(store.passed([])) == {}


def test_an_empty_batch_has_no_verdicts(store: SeenStore) -> None:
    assert list(store.judge([], now=NOW)) == []
    assert list(store.record_routes([])) == []


def test_another_process_finds_what_the_first_one_judged(open_store: Open) -> None:
    open_store().judge([seen(0, "a", "one")], now=NOW)
    assert open_store().judge([seen(1, "b", "one")], now=NOW)[0].kind is COPY


def test_a_raw_record_keeps_its_verdict_in_any_batch_after_any_version(open_store: Open) -> None:
    prints = [seen(0, "a", "one"), seen(1, "b", "one"), seen(2, "a", "two"), seen(3, "b", "own"), seen(4, "a", "two")]
    first = list(open_store().judge(prints, now=NOW))
    later = NOW + timedelta(days=1)
    again = open_store()
    again.judge([seen(9, "a", "three")], now=later)
    assert [v for part in (prints[:1], prints[1:4], prints[4:]) for v in again.judge(part, now=later)] == first
    assert list(again.judge(prints[::-1], now=later)) == first[::-1]
    assert list(again.judge([prints[2], prints[2]], now=later)) == [first[2], first[2]]


def test_the_same_record_twice_in_one_batch_is_judged_once(store: SeenStore) -> None:
    one, other = store.judge([seen(0, "a", "one"), seen(0, "a", "one")], now=NOW)
    assert one == other
    assert one.kind is NEW


fingerprints = st.builds(
    seen,
    st.integers(0, 40),
    st.sampled_from("abcd"),
    st.sampled_from(["one", "two", "three"]),
    feed=st.sampled_from(["north", "south"]),
    link=st.sampled_from([None, "a", "b"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(fingerprints, max_size=8), max_size=6))
def test_a_store_says_what_the_judge_says_over_plain_dictionaries(
    open_store: Open, batches: list[list[Fingerprint]]
) -> None:
    store, memory = open_store(namespace=uuid.uuid4().hex), Memory()
    try:
        for number, batch in enumerate(batches):
            now = NOW + timedelta(minutes=number)
            assert list(store.judge(batch, now=now)) == [memory.judge(each, now=now) for each in batch]
    finally:
        store.close()


def test_many_threads_that_see_one_text_at_once_make_one_story(open_store: Open) -> None:
    """Eight workers, each with its own connection, judge the same twenty texts under their own links."""
    start = threading.Barrier(8)

    def work(worker: int) -> list[VerdictKind]:
        store = open_store()
        start.wait()
        kinds = []
        for round_ in range(5):
            batch = [
                seen(worker * 100 + n, f"{worker}-{n}", f"text {n}", feed=f"feed{worker}")
                for n in range(round_ * 4, round_ * 4 + 4)
            ]
            kinds += [verdict.kind for verdict in store.judge(batch, now=NOW)]
        return kinds

    with ThreadPoolExecutor(8) as pool:
        kinds = Counter(kind for each in pool.map(work, range(8)) for kind in each)
    assert kinds == {NEW: 20, COPY: 140}
    final = open_store().judge([seen(9_999, "last", "text 7", feed="last")], now=NOW)[0]
    assert (final.copies, final.independent_sources) == (8, 9)


def test_one_store_object_may_be_used_by_several_threads(store: SeenStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        kinds = Counter(
            pool.map(lambda n: store.judge([seen(n, f"story {n}", "one")], now=NOW)[0].kind, range(40)),
        )
    assert kinds == {NEW: 1, COPY: 39}


_RIVAL = """
import sys
from datetime import UTC, datetime
from tests.contracts.test_seen_store import seen
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
kind, where, namespace, name = sys.argv[1:]
store = (SqliteSeen if kind == "sqlite" else ValkeySeen)(where, namespace=namespace)
store.epoch()
print("ready", flush=True)
sys.stdin.readline()
for n in range(200):
    offset = n + (1000 if name == "one" else 2000)
    verdict, = store.judge([seen(offset, f"{name} {n}", f"text {n}", feed=name)], now=datetime.now(UTC))
    print(n, verdict.kind, verdict.copies)
"""


def test_two_processes_that_see_one_text_at_once_make_one_story(address: tuple[str, str]) -> None:
    namespace = uuid.uuid4().hex
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", _RIVAL, *address, namespace, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for name in ("one", "two")
    ]
    said: list[str] = []
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    for rival in rivals:
        out, _ = rival.communicate(timeout=60)
        assert rival.returncode == 0
        said += out.splitlines()
    assert sorted(said) == sorted([f"{n} new 0" for n in range(200)] + [f"{n} copy 1" for n in range(200)])


def test_namespaces_know_nothing_of_each_other(open_store: Open) -> None:
    live, replay = open_store(), open_store(namespace=f"replay-{uuid.uuid4().hex}")
    live.judge([seen(0, "a", "one")], now=NOW)
    live.start_epoch("live")
    assert replay.judge([seen(0, "b", "one")], now=NOW)[0].kind is NEW
    assert replay.epoch() is None
    assert replay.known(key("a", 64)) is None


def test_a_verdict_is_not_given_to_another_story_at_the_same_offset(open_store: Open) -> None:
    """A log that was moved away, or a topic that was made anew, counts from 0 again."""
    store = open_store()
    store.judge([seen(7, "a", "one"), seen(7, "a", "one")], now=NOW)
    (other,) = store.judge([seen(7, "b", "two")], now=NOW)
    assert (other.kind, other.story) == (VerdictKind.NEW, key("b", 64))
    (again,) = store.judge([seen(7, "b", "later text")], now=NOW)
    assert again == other


def test_the_routes_of_the_version_before_are_told_and_told_again(open_store: Open) -> None:
    store, story = open_store(), key("a", 64)
    one = RoutedVersion(story=story, version=1, routes=("china-dprk", "sanctions"))
    two = RoutedVersion(story=story, version=2, routes=("sanctions",))
    assert list(store.record_routes([one])) == [()]
    assert list(store.record_routes([two])) == [("china-dprk", "sanctions")]
    again = open_store()
    assert list(again.record_routes([one, two])) == [(), ("china-dprk", "sanctions")]
    assert list(again.record_routes([two])) == [("china-dprk", "sanctions")]
    later = RoutedVersion(story=story, version=5, routes=())
    assert list(again.record_routes([later])) == [("sanctions",)]


def test_the_routes_of_the_last_eight_versions_are_kept(store: SeenStore) -> None:
    story = key("a", 64)
    store.judge([seen(n, "a", f"text {n}") for n in range(12)], now=NOW)
    store.record_routes([RoutedVersion(story=story, version=n, routes=(f"r{n}",)) for n in range(1, 13)])
    known = store.known(story)
    assert known is not None
    assert dict(known.routes) == {n: (f"r{n}",) for n in range(5, 13)}


def test_what_is_known_of_a_story_can_be_asked(store: SeenStore) -> None:
    store.judge([seen(0, "a", "one"), seen(1, "b", "one", feed="south"), seen(2, "a", "two")], now=NOW)
    original, copy = store.known(key("a", 64)), store.known(key("b", 64))
    assert original is not None
    assert copy is not None
    assert (original.version, original.copies, original.sources, original.original) == (2, 1, 2, None)
    assert original.first_seen == NOW
    assert (copy.version, copy.original) == (0, key("a", 64))
    assert store.known(key("never", 64)) is None
    assert store.known("what a person typed") is None


def test_the_epoch_is_absent_until_it_is_set_and_then_lasts(open_store: Open) -> None:
    assert open_store().epoch() is None
    open_store().start_epoch("2026-03-01")
    assert open_store().epoch() == "2026-03-01"


def test_verdicts_outlive_the_time_to_live_until_they_are_committed(open_store: Open) -> None:
    store = open_store(ttl_s=1)
    first = store.judge([seen(0, "a", "one")], now=NOW)
    time.sleep(1.2)
    later = NOW + timedelta(seconds=3)
    assert store.judge([seen(0, "a", "one")], now=later) == first
    assert store.judge([seen(3, "b", "one")], now=later)[0].kind is NEW


def test_what_is_touched_lives_on(open_store: Open) -> None:
    store = open_store(ttl_s=3)
    store.judge([seen(0, "a", "one")], now=NOW)
    for second in (2, 4):
        time.sleep(2)
        assert store.judge([seen(second, "a", "one")], now=NOW + timedelta(seconds=second))[0].kind is REPEAT


# What only one of them can show


def count_rows(path: Path, kind: bytes) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM seen WHERE substr(key, 3, 1) = ?", (kind,)).fetchone()[0])
    finally:
        connection.close()


def test_sqlite_forgets_committed_verdicts_after_an_hour_and_no_others(tmp_path: Path) -> None:
    path, here = tmp_path / "seen.db", ("news.raw", 0)
    store = SqliteSeen(path)
    store.judge([seen(offset, f"s{offset}", f"t{offset}") for offset in (0, 3, 6, 9)], now=NOW)
    store.committed({here: 6}, now=NOW)
    store.committed({here: 6}, now=NOW + timedelta(minutes=59))
    assert count_rows(path, b"r") == 4
    reset = store.judge([seen(1, "late", "late")], now=NOW + timedelta(minutes=59))
    store.committed({here: 6}, now=NOW + timedelta(minutes=61))
    assert count_rows(path, b"r") == 3
    assert store.judge([seen(6, "s6", "t6")], now=NOW + timedelta(hours=2))[0].kind is NEW
    assert store.judge([seen(1, "late", "late")], now=NOW + timedelta(hours=2)) == reset
    assert store.judge([seen(0, "s0", "t0")], now=NOW + timedelta(minutes=62))[0].kind is REPEAT
    store.close()


def test_sqlite_keeps_a_verdict_that_was_given_again_below_an_older_mark(tmp_path: Path) -> None:
    """A group that was set back judges anew what an earlier commit had passed; that commit proves nothing of it."""
    path, here = tmp_path / "seen.db", ("news.raw", 0)
    store = SqliteSeen(path)
    store.committed({here: 900}, now=NOW)
    given = store.judge([seen(300, "a", "one")], now=NOW + timedelta(minutes=30))
    store.committed({here: 300}, now=NOW + timedelta(minutes=65))
    assert store.judge([seen(300, "a", "one")], now=NOW + timedelta(minutes=66)) == given
    store.close()


def test_sqlite_deletes_what_has_expired_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    store = SqliteSeen(path, ttl_s=60)
    store.judge([seen(offset, f"s{offset}", f"t{offset}") for offset in range(50)], now=NOW)
    assert count_rows(path, b"s") == 50
    for offset in range(100, 106):
        store.judge([seen(offset, f"s{offset}", f"t{offset}")], now=NOW + timedelta(minutes=2))
    assert (count_rows(path, b"s"), count_rows(path, b"r")) == (6, 56)
    store.close()


def test_sqlite_locked_by_another_process_is_away_and_works_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    store = SqliteSeen(path, busy_s=0.2)
    store.judge([seen(0, "a", "one")], now=NOW)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SeenStoreAway, match="locked"):
        store.judge([seen(1, "b", "two")], now=NOW)
    other.execute("ROLLBACK")
    other.close()
    assert store.judge([seen(1, "b", "two")], now=NOW)[0].kind is NEW
    store.close()


def test_sqlite_on_a_full_disk_is_away_and_claims_nothing(tmp_path: Path) -> None:
    """The file may not grow: what SQLite says then is what it says on a full disk."""
    path = tmp_path / "seen.db"
    store = SqliteSeen(path)
    store.judge([seen(0, "a", "one")], now=NOW)
    store._connection.execute("PRAGMA max_page_count = 1")  # type: ignore[union-attr]
    many = [seen(offset, f"s{offset}", f"t{offset}") for offset in range(1, 500)]
    with pytest.raises(SeenStoreAway, match="full"):
        store.judge(many, now=NOW)
    assert {verdict.kind for verdict in store.judge(many, now=NOW)} == {NEW}
    store.close()


def test_sqlite_in_a_folder_that_is_not_there_is_away(tmp_path: Path) -> None:
    with pytest.raises(SeenStoreAway):
        SqliteSeen(tmp_path / "none" / "seen.db").epoch()


def test_sqlite_tells_a_damaged_file_from_one_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    path.write_bytes(b"this is no database, and longer than the header of one" * 100)
    with pytest.raises(UnreadableInput, match="damaged"):
        SqliteSeen(path).judge([seen(0, "a", "one")], now=NOW)


def test_sqlite_is_durable_in_a_file_and_warns_in_memory(tmp_path: Path) -> None:
    store, memory = SqliteSeen(tmp_path / "seen.db"), SqliteSeen(":memory:")
    assert memory.judge([seen(0, "a", "one"), seen(1, "b", "one")], now=NOW)[1].kind is COPY
    assert memory.judge([seen(2, "c", "one")], now=NOW)[0].kind is COPY
    assert list(store.warnings()) == []
    assert len(memory.warnings()) == 1
    store.epoch()
    assert store._connection is not None
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
    memory.close()


def test_values_of_a_newer_release_make_a_worker_wait(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    store = SqliteSeen(path)
    store.judge([seen(0, "a", "one")], now=NOW)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE seen SET value = CAST(x'02' || substr(value, 2) AS BLOB)")
    connection.commit()
    connection.close()
    with pytest.raises(SeenStoreAway, match="newer release"):
        store.judge([seen(1, "a", "two")], now=NOW)
    store.close()


class Wire:
    """Asks a real server directly."""

    def __init__(self, server: RedisServer) -> None:
        import redis

        self.client = redis.Redis.from_url(server.url)

    def ttl(self, namespace: str, offset: int) -> int:
        name = b"{dateline:%s}" % namespace.encode() + seen_values.verdict_key("news.raw", 0, offset)
        return int(self.client.ttl(name))


@pytest.fixture
def wire(own_redis: RedisServer) -> Iterator[Wire]:
    wire = Wire(own_redis)
    yield wire
    wire.client.close()


@pytest.mark.redis
def test_valkey_lets_verdicts_expire_an_hour_after_their_commit(own_redis: RedisServer, wire: Wire) -> None:
    store = ValkeySeen(own_redis.url, namespace="n")
    store.judge([seen(offset, f"s{offset}", f"t{offset}") for offset in (30, 33, 36, 39)], now=NOW)
    assert [wire.ttl("n", offset) for offset in (30, 36)] == [-1, -1]
    store.committed({("news.raw", 0): 36}, now=NOW)
    assert [3590 < wire.ttl("n", offset) <= 3600 for offset in (30, 33)] == [True, True]
    assert [wire.ttl("n", offset) for offset in (36, 39)] == [-1, -1]
    store.judge([seen(3, "late", "late")], now=NOW)  # the group was set back
    assert wire.ttl("n", 3) == -1
    store.committed({("news.raw", 0): 40}, now=NOW)
    assert all(0 < wire.ttl("n", offset) <= 3600 for offset in (3, 36, 39))
    store.close()


@pytest.mark.redis
def test_valkey_works_through_a_long_stretch_of_offsets_in_bounded_steps(own_redis: RedisServer, wire: Wire) -> None:
    store = ValkeySeen(own_redis.url, namespace="n")
    last = 3 * valkey_seen.FORGET * valkey_seen.FORGET_CALLS // 2 // 3 * 3
    store.judge([seen(0, "a", "one"), seen(last, "b", "two")], now=NOW)
    store.committed({("news.raw", 0): last + 1}, now=NOW)
    assert (wire.ttl("n", 0) > 0, wire.ttl("n", last)) == (True, -1)
    store.committed({("news.raw", 0): last + 1}, now=NOW)
    assert wire.ttl("n", last) > 0
    store.close()


@pytest.mark.redis
def test_valkey_keeps_the_whole_store_in_one_slot(own_redis: RedisServer, wire: Wire) -> None:
    store = ValkeySeen(own_redis.url, namespace="n")
    store.judge([seen(0, "a", "one")], now=NOW)
    store.record_routes([RoutedVersion(story=key("a", 64), version=1, routes=("r",))])
    store.start_epoch("e")
    names = [bytes(name) for name in wire.client.execute_command("KEYS", "*")]  # type: ignore[no-untyped-call]
    assert len(names) == 7  # verdict, story, link, text, routes, position, epoch
    assert {name[: name.index(b"}") + 1] for name in names} == {b"{dateline:n}"}
    store.close()


@pytest.mark.redis
def test_valkey_away_is_said_and_a_server_that_comes_back_still_knows_all(own_redis: RedisServer) -> None:
    store = ValkeySeen(own_redis.url)
    first = store.judge([seen(0, "a", "one")], now=NOW)
    own_redis.kill()
    for _ in range(2):
        with pytest.raises(SeenStoreAway):
            store.judge([seen(1, "b", "one")], now=NOW)
    own_redis.start()
    assert store.judge([seen(0, "a", "one")], now=NOW) == first
    assert store.judge([seen(1, "b", "one")], now=NOW)[0].kind is COPY
    store.close()


@pytest.mark.redis
def test_valkey_that_hangs_is_away_within_its_time_limit(own_redis: RedisServer) -> None:
    store = ValkeySeen(own_redis.url)
    store.judge([seen(0, "a", "one")], now=NOW)
    own_redis.freeze()
    began = time.monotonic()
    try:
        with pytest.raises(SeenStoreAway):
            store.judge([seen(1, "b", "one")], now=NOW)
        assert time.monotonic() - began < valkey_server.SOCKET_S + 2
    finally:
        own_redis.thaw()
    assert store.judge([seen(1, "b", "one")], now=NOW)[0].kind is COPY
    store.close()


@pytest.mark.redis
def test_valkey_restarted_or_without_its_scripts_is_used_on_without_a_word(own_redis: RedisServer, wire: Wire) -> None:
    store = ValkeySeen(own_redis.url)
    store.judge([seen(0, "a", "one")], now=NOW)
    wire.client.script_flush()
    assert store.judge([seen(1, "b", "one")], now=NOW)[0].kind is COPY
    store.committed({("news.raw", 1): 2}, now=NOW)
    wire.client.script_flush()
    store.judge([seen(4, "c", "one")], now=NOW)
    own_redis.stop()
    own_redis.start()
    assert store.judge([seen(2, "d", "one")], now=NOW)[0].kind is COPY
    store.close()


@pytest.mark.redis
def test_valkey_out_of_memory_or_read_only_is_away_and_claims_nothing(own_redis: RedisServer, wire: Wire) -> None:
    store = ValkeySeen(own_redis.url)
    wire.client.config_set("maxmemory", "1")
    with pytest.raises(SeenStoreAway, match="maxmemory"):
        store.judge([seen(0, "a", "one")], now=NOW)
    wire.client.config_set("maxmemory", "0")
    wire.client.replicaof("127.0.0.1", "1")
    with pytest.raises(SeenStoreAway):
        store.judge([seen(0, "a", "one")], now=NOW)
    wire.client.replicaof("NO", "ONE")
    until(lambda: wire.client.role()[0] == b"master")
    assert store.judge([seen(0, "a", "one")], now=NOW)[0].kind is NEW
    store.close()


@pytest.mark.redis
def test_valkey_warns_of_each_setting_that_is_weaker_than_every_write_on_disk(
    own_redis: RedisServer, wire: Wire
) -> None:
    store = ValkeySeen(own_redis.url)
    assert list(store.warnings()) == []
    wire.client.config_set("appendfsync", "everysec")
    for policy in ("allkeys-lru", "volatile-ttl"):
        wire.client.config_set("maxmemory-policy", policy)
        assert [warning.split()[2] for warning in store.warnings()] == ["appendfsync", "maxmemory-policy"]
    wire.client.config_set("maxmemory-policy", "noeviction")
    assert ["the last second" in warning for warning in store.warnings()] == [True]
    wire.client.config_set("appendonly", "no")
    assert ["appendonly is no" in warning and "nothing" in warning for warning in store.warnings()] == [True]
    wire.client.config_set("save", "60 1000")
    assert ["only snapshots (save 60 1000)" in warning for warning in store.warnings()] == [True]
    wire.client.acl_setuser("weak", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-config"])
    weak = ValkeySeen(own_redis.url.replace("redis://", "redis://weak@"), password="secret")
    assert weak.judge([seen(0, "a", "one")], now=NOW)[0].kind is NEW
    assert len(weak.warnings()) == 1
    assert "not permitted" in weak.warnings()[0]
    weak.close()
    store.close()


@pytest.mark.redis
def test_valkey_warns_of_replicas_that_may_take_over_without_the_last_writes(
    own_redis: RedisServer, wire: Wire
) -> None:
    replica = RedisServer("--replicaof", f"127.0.0.1 {own_redis.port}")
    replica.start()
    store, behind = ValkeySeen(own_redis.url), ValkeySeen(replica.url)
    try:
        until(store.warnings, what="the replica to be seen")
        assert ["min-replicas-to-write" in warning for warning in store.warnings()] == [True]
        wire.client.config_set("min-replicas-to-write", "1")
        assert list(store.warnings()) == []
        with pytest.raises(SeenStoreAway, match="read only"):
            behind.judge([seen(0, "a", "one")], now=NOW)
        own_redis.kill()
        wire.client.close()
        with client_of(replica) as client:
            client.config_set("replica-serve-stale-data", "no")
        until(lambda: says(behind, "MASTER is down"), what="a replica without its master that says so")
    finally:
        behind.close()
        store.close()
        replica.remove()


def client_of(server: RedisServer) -> Any:
    import redis

    return redis.Redis.from_url(server.url)


def batch_of(number: int) -> list[Fingerprint]:
    return [seen(number * 100 + n, f"s{number}-{n}", f"t{number}-{n}") for n in range(100)]


def says(store: SeenStore, words: str, batch: Sequence[Fingerprint] = ()) -> bool:
    """Tell whether the store is away and says *words*."""
    try:
        store.judge(batch or [seen(0, "a", "one")], now=NOW)
    except SeenStoreAway as error:
        return words in str(error)
    return False


@pytest.mark.redis
def test_valkey_that_cannot_write_to_its_disk_is_away_and_claims_nothing(own_redis: RedisServer, wire: Wire) -> None:
    """MISCONF: snapshots are asked for and fail; the folder that they go to is gone."""
    store = ValkeySeen(own_redis.url)
    wire.client.config_set("appendonly", "no")
    wire.client.config_set("save", "3600 1")
    (own_redis.folder / "dump.rdb").mkdir()
    wire.client.set("something", "to save")
    wire.client.bgsave()
    until(lambda: wire.client.info("persistence")["rdb_last_bgsave_status"] == "err")
    assert says(store, "MISCONF")
    (own_redis.folder / "dump.rdb").rmdir()
    wire.client.bgsave()
    until(lambda: wire.client.info("persistence")["rdb_last_bgsave_status"] == "ok")

    assert store.judge([seen(1, "b", "two")], now=NOW)[0].kind is NEW
    store.close()


@pytest.mark.redis
def test_valkey_whose_memory_runs_full_within_a_batch_takes_the_batch_whole_or_not_at_all(
    own_redis: RedisServer, wire: Wire
) -> None:
    """Memory is checked when the script starts; its writes then go over the limit rather than stop half way."""
    store = ValkeySeen(own_redis.url)
    store.start_epoch("e")
    names = wire.client.dbsize()
    limit = int(wire.client.info("memory")["used_memory"]) + 400_000
    wire.client.config_set("maxmemory", limit)
    number = 0
    while not says(store, "maxmemory", batch_of(number)):
        number += 1
        assert number < 200
        names = wire.client.dbsize()
    assert number
    assert wire.client.dbsize() == names
    wire.client.config_set("maxmemory", "0")

    assert {verdict.kind for verdict in store.judge(batch_of(number), now=NOW)} == {NEW}
    store.close()


@pytest.mark.redis
def test_valkey_that_loads_its_data_is_away_until_it_has_them(redis: RedisServer) -> None:  # noqa: ARG001 (skips where there is none)
    slow = ("--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024")
    server = RedisServer("--appendonly", "yes", "--appendfsync", "no", *slow)
    server.start()
    store = ValkeySeen(server.url)
    try:
        first = store.judge([seen(0, "a", "one")], now=NOW)
        with client_of(server) as client:
            client.mset({f"filler {n}": "x" * 20 for n in range(40_000)})
            client.bgrewriteaof()
            until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        server.stop()
        server.start()

        until(lambda: says(store, "loading"), what="a server that loads")
        until(lambda: not says(store, "loading"), within_s=60)
        assert store.judge([seen(0, "a", "one")], now=NOW) == first
    finally:
        store.close()
        server.remove()


@pytest.mark.redis
def test_valkey_with_a_wrong_password_is_away_and_does_not_tell_it(own_redis: RedisServer, wire: Wire) -> None:
    wire.client.acl_setuser("weak", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    store = ValkeySeen(own_redis.url.replace("redis://", "redis://weak@"), password="hunter2")
    with pytest.raises(SeenStoreAway) as caught:
        store.epoch()
    assert "hunter2" not in str(caught.value)
    store.close()
