"""What every seen store promises when its memory is lost: it judges nothing, and is rebuilt by one worker at a time."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.contracts.test_seen_store import key, seen
from tests.support.services import RedisServer
from tests.support.waiting import until
from worker.edges import sqlite_rebuild, valkey_seen
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.ports import RoutedVersion, SeenStore, SeenStoreLost
from worker.records import Fingerprint, Published, VerdictKind

NOW = datetime.now(UTC)
RAW = frozenset(("news.raw", number) for number in range(3))


@dataclass
class Stand:
    """One store that a test may open several times, and lose."""

    open: Callable[[], SeenStore]
    lose: Callable[[], None]
    """As if flushed, or deleted, under its users."""


@pytest.fixture(params=["sqlite", pytest.param("valkey", marks=pytest.mark.redis)])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    opened: list[SeenStore] = []
    namespace = f"n*[{uuid.uuid4().hex}]"
    path = tmp_path / "seen.db"
    server: RedisServer | None = None if request.param == "sqlite" else request.getfixturevalue("own_redis")

    def open_() -> SeenStore:
        if server is None:
            opened.append(SqliteSeen(path, namespace=namespace))
        else:
            opened.append(ValkeySeen(server.url, namespace=namespace))
        return opened[-1]

    def lose() -> None:
        if server is None:
            for end in ("", "-wal", "-shm"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        else:
            import redis

            with redis.Redis.from_url(server.url) as client:
                client.flushall()

    yield Stand(open=open_, lose=lose)
    for store in opened:
        store.close()


def published(store: SeenStore, *prints: Fingerprint, keep: bool = True) -> list[Published]:
    """Judge *prints* and return what goes out."""
    verdicts = store.judge(prints, now=NOW)
    return [
        Published(fingerprint=each, verdict=verdict, at=NOW, may_come_again=keep)
        for each, verdict in zip(prints, verdicts, strict=True)
    ]


def test_a_store_that_is_new_gets_one_marker_however_many_start_it(stand: Stand) -> None:
    stores = [stand.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        markers = set(pool.map(lambda store: store.start_epoch(uuid.uuid4().hex), stores))

    assert markers == {stores[0].epoch()}
    assert stores[3].judge([seen(0, "a", "one")], now=NOW)[0].kind is VerdictKind.NEW


def test_a_store_whose_marker_is_gone_or_another_does_nothing(stand: Stand) -> None:
    store, other = stand.open(), stand.open()
    store.start_epoch("first")
    store.judge([seen(0, "a", "one")], now=NOW)
    routes = [RoutedVersion(story=key("a", 64), version=1, routes=("r",))]
    stand.lose()
    for _ in range(2):
        with pytest.raises(SeenStoreLost):
            store.judge([seen(3, "b", "two")], now=NOW)
        with pytest.raises(SeenStoreLost):
            store.record_routes(routes)
        assert other.start_epoch("second") == "second"

    (fresh,) = other.judge([seen(3, "b", "two")], now=NOW)
    with pytest.raises(SeenStoreLost):
        store.committed({("news.raw", 0): 9}, now=NOW)

    assert fresh.kind is VerdictKind.NEW
    store.join("second")
    assert list(store.judge([seen(3, "b", "two")], now=NOW)) == [fresh]


def test_who_has_not_joined_a_marked_store_is_told_nothing(stand: Stand) -> None:
    stand.open().start_epoch("first")

    with pytest.raises(SeenStoreLost):
        stand.open().judge([seen(0, "a", "one")], now=NOW)


def test_one_holder_has_the_lease_until_it_runs_out(stand: Stand) -> None:
    one, other = stand.open(), stand.open()
    assert one.lease("one", seconds=30)
    assert one.lease("one", seconds=0.5)
    assert not other.lease("other", seconds=30)
    assert other.start_epoch("second") is None

    until(lambda: other.lease("other", seconds=30))

    for late in (
        lambda: one.clear("one", seconds=30),
        lambda: one.restore((), holder="one", seconds=30, now=NOW),
        lambda: one.finish("one", "late"),
    ):
        with pytest.raises(SeenStoreLost):
            late()
    other.finish("other", "second")
    assert one.epoch() == "second"
    assert not one.lease("one", seconds=30)


def test_a_lost_store_loses_the_lease_and_who_stands_still_too(stand: Stand) -> None:
    store = stand.open()
    assert store.lease("one", seconds=30)
    assert store.stand_still(RAW) == RAW
    stand.lose()

    with pytest.raises(SeenStoreLost):
        store.restore((), holder="one", seconds=30, now=NOW)
    assert store.stand_still([("news.raw", 1)]) == {("news.raw", 1)}


def test_those_who_stand_still_are_noted_until_there_is_a_marker(stand: Stand) -> None:
    one, other = stand.open(), stand.open()
    assert one.stand_still([("news.raw", 0)]) == {("news.raw", 0)}
    assert other.stand_still([("news.raw", 1), ("news.raw", 2)]) == RAW
    assert one.stand_still([]) == RAW
    one.lease("one", seconds=30)
    one.finish("one", "first")
    assert other.stand_still(RAW) == frozenset()
    stand.lose()
    assert other.stand_still([]) == frozenset()


def test_what_is_left_of_a_lost_store_is_cleared_in_parts(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that is left without its verdict would turn its own story into a repeat: lost."""
    monkeypatch.setattr(sqlite_rebuild, "CLEAR", 50)
    monkeypatch.setattr(valkey_seen, "CLEAR", 50)
    store = stand.open()
    store.judge([seen(number, f"s{number}", f"text {number}") for number in range(60)], now=NOW)
    store.stand_still(RAW)
    assert store.lease("one", seconds=30)
    parts = 1
    while not store.clear("one", seconds=30):
        parts += 1

    assert parts > 2
    assert store.stand_still([]) == RAW
    store.finish("one", "second")
    assert store.judge([seen(0, "s0", "text 0")], now=NOW)[0].kind is VerdictKind.NEW


def test_a_rebuilt_store_gives_the_verdicts_that_it_gave_and_goes_on_from_there(stand: Stand) -> None:
    store = stand.open()
    prints = [seen(0, "a", "one"), seen(1, "b", "one", feed="south"), seen(2, "a", "two"), seen(3, "c", "other")]
    out = published(store, *prints)
    store.record_routes([RoutedVersion(story=key("a", 64), version=2, routes=("sanctions",))])
    stand.lose()
    one = stand.open()
    assert one.lease("one", seconds=30)
    assert one.clear("one", seconds=30)
    routed = replace(out[2], routes=("sanctions",))
    for part in ([out[0]], [routed, out[3]], [out[1]], [out[1]]):
        one.restore(part, holder="one", seconds=30, now=NOW)
    one.finish("one", "second")

    assert list(one.judge(prints, now=NOW + timedelta(days=2))) == [item.verdict for item in out]
    update, copy = one.judge([seen(4, "a", "three"), seen(5, "d", "other", feed="south")], now=NOW)
    assert (update.kind, update.version, update.copies) == (VerdictKind.UPDATE, 3, 1)
    assert (copy.kind, copy.story) == (VerdictKind.COPY, key("c", 64))
    assert list(one.record_routes([RoutedVersion(story=key("a", 64), version=3, routes=())])) == [("sanctions",)]


def test_verdicts_that_cannot_come_again_are_not_kept(stand: Stand) -> None:
    store = stand.open()
    (out,) = published(store, seen(0, "a", "one"), keep=False)
    stand.lose()
    one = stand.open()
    one.lease("one", seconds=30)
    one.restore([out], holder="one", seconds=30, now=NOW)
    one.finish("one", "second")

    assert one.judge([seen(0, "a", "one")], now=NOW)[0].kind is VerdictKind.REPEAT


def test_sqlite_in_a_file_that_another_took_the_place_of_is_lost(tmp_path: Path) -> None:
    """A deleted file can be written on by who has it open; nobody else would ever see that."""
    path = tmp_path / "seen.db"
    store = SqliteSeen(path)
    store.start_epoch("first")
    path.rename(tmp_path / "elsewhere.db")

    with pytest.raises(SeenStoreLost):
        store.judge([seen(0, "a", "one")], now=NOW)
    store.close()


def test_a_lease_from_before_the_clock_was_set_back_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    store = SqliteSeen(path)
    assert store.lease("one", seconds=30)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE leases SET until = ?", (time.time() + 86_400,))

    assert store.lease("other", seconds=30)
    store.close()
