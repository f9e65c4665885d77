"""Who rebuilds a lost seen store, and when: on the embedded log and the embedded store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from worker.edges.clock import SystemClock
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.enriching import SilentEvents, TopicNames
from worker.loops import rebuilding
from worker.loops.rebuilding import Rebuilding, RebuildSettings
from worker.ports import NewRecord, SeenStoreLost, TopicSpec

NAMES = TopicNames()
PLACES = [(NAMES.raw, 0), (NAMES.raw, 1)]
ONE, OTHER = frozenset(PLACES[:1]), frozenset(PLACES[1:])


class Stand:
    """A log whose group has worked before, and two workers that have joined the store."""

    def __init__(self, folder: Path) -> None:
        self.log = SqliteLog.open(folder / "log.db")
        self.log.create_topics(
            [TopicSpec(name=name, partitions=2) for name in (NAMES.raw, NAMES.enriched, NAMES.duplicates)]
        )
        self.path = folder / "seen.db"
        self.stores: list[SqliteSeen] = []

    def work(self) -> None:
        appender = self.log.appender()
        appender.append([NewRecord(topic=NAMES.raw, key=b"k", value=b"v")])
        appender.close()
        member = self.log.member(group="g", identity="earlier", topics=[NAMES.raw])
        batch = member.poll(timeout_s=5)
        outputs = [NewRecord(topic=topic, key=b"k", value=b"{}") for topic in (NAMES.enriched, NAMES.duplicates)]
        member.commit(batch, outputs)
        member.close()

    def worker(self, name: str) -> Rebuilding:
        self.stores.append(SqliteSeen(self.path))
        return Rebuilding(
            log=self.log,
            seen=self.stores[-1],
            clock=SystemClock(),
            events=SilentEvents(),
            settings=RebuildSettings(group="g", identity=name, topics=NAMES, remembered=timedelta(days=30)),
        )

    def lose(self) -> None:
        self.path.unlink()

    def close(self) -> None:
        for store in self.stores:
            store.close()
        self.log.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.close()


def test_a_store_of_a_group_that_never_committed_begins_without_a_rebuild(stand: Stand) -> None:
    one, other = stand.worker("one"), stand.worker("other")

    assert [one.step(frozenset()), other.step(frozenset())] == [None, None]
    assert not one.lost()
    assert not other.lost()


def test_nothing_is_rebuilt_before_the_owners_of_all_partitions_stand_still(stand: Stand) -> None:
    """What an owner judged before the loss may still be on its way to the log: it would be missing."""
    one, other = stand.worker("one"), stand.worker("other")
    assert [one.step(ONE), other.step(OTHER)] == [None, None]
    stand.work()
    stand.lose()
    assert one.lost()
    assert other.lost()

    for _ in range(3):
        assert "owners of 1 partitions" in (one.step(ONE) or "")
    assert other.step(OTHER) is None
    assert one.step(ONE) is None
    assert not other.lost()
    assert not one.lost()


def test_a_store_that_is_empty_at_the_start_of_a_group_that_has_worked_is_rebuilt(stand: Stand) -> None:
    stand.work()

    assert "owners of 1 partitions" in (stand.worker("one").step(ONE) or "")


def test_while_one_rebuilds_the_others_wait_and_one_of_them_follows_a_dead_one(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "SLICE_S", 0.0)
    monkeypatch.setattr(rebuilding, "LEASE_S", 2.0)
    stand.work()
    one, other = stand.worker("one"), stand.worker("other")
    other.step(OTHER)

    first = one.step(ONE)
    waiting = other.step(OTHER)

    assert first is not None
    assert "rebuilding" in first
    assert waiting is not None
    assert "another worker rebuilds it" in waiting
    for _ in range(60):  # *one* says nothing any more
        if other.step(OTHER) is None:
            break
    assert one.step(ONE) is None
    assert not one.lost()


def test_a_rebuild_that_is_overtaken_by_a_second_loss_begins_anew(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "SLICE_S", 0.0)
    stand.work()
    one = stand.worker("one")
    owned = ONE | OTHER
    assert "rebuilding" in (one.step(owned) or "")
    stand.lose()

    with pytest.raises(SeenStoreLost):
        one.step(owned)
    for _ in range(10):
        if one.step(owned) is None:
            break
    assert not one.lost()
