"""The books of a member: they close on what a worker writes, and say by name where a broken publisher's do not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.make import raw_article, raw_record
from worker.edges.clock import SystemClock
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.taxonomy import load_taxonomy
from worker.enriching import SilentEvents, TopicNames
from worker.loops.accounting import AccountedMember, unaccounted
from worker.loops.enricher import Enricher, EnricherSettings
from worker.loops.publishing import Publisher
from worker.ports import Batch, LogRecord, NewRecord, TopicPartition, TopicSpec, TransactionFailed

NAMES = TopicNames()
ENDS = (NAMES.enriched, NAMES.duplicates, NAMES.dead_letter)
TEXT = "<p>The Security Council imposed new sanctions on North Korea and froze the assets of bank {}.</p>"


class Heard:
    """Remembers what the books say."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.skipped: dict[TopicPartition, int] = {}
        self.times = 0

    def accounted(self, unaccounted: Sequence[str], skipped: Mapping[TopicPartition, int]) -> None:
        self.times += 1
        self.wrong += unaccounted
        for place, count in skipped.items():
            self.skipped[place] = self.skipped.get(place, 0) + count


def raw(offset: int, partition: int = 0) -> LogRecord:
    return LogRecord(topic=NAMES.raw, partition=partition, offset=offset, timestamp_ms=0, key=b"k", value=b"")


def end(offset: int, topic: str = NAMES.duplicates, partition: int = 0) -> NewRecord:
    return NewRecord(topic=topic, key=b"k", value=b"", headers=(("raw", b"news.raw/%d/%d" % (partition, offset)),))


def test_one_end_each_is_right_and_copies_on_routes_are_no_ends() -> None:
    outputs = [end(0), end(1, NAMES.enriched), end(1, "news.sanctions"), end(2, NAMES.dead_letter)]
    assert unaccounted([raw(0), raw(1), raw(2)], outputs, ENDS) == []


def test_a_record_without_end_with_two_or_from_elsewhere_is_named() -> None:
    outputs = [end(0), end(0, NAMES.enriched), end(7), end(1, "news.sanctions")]
    assert unaccounted([raw(0), raw(1)], outputs, ENDS) == ["news.raw/0/0", "news.raw/0/1", "news.raw/0/7"]


class Scripted:
    """A member that commits all, or fails."""

    def __init__(self) -> None:
        self.fails = False

    def poll(self, *, timeout_s: float, max_records: int = 500) -> Batch:
        raise NotImplementedError

    def commit(self, batch: Batch, outputs: Sequence[NewRecord]) -> None:
        del batch, outputs
        if self.fails:
            raise TransactionFailed("scripted")

    def rewind(self) -> None: ...

    def pause(self, partitions: Collection[TopicPartition]) -> None: ...

    def paused(self) -> frozenset[TopicPartition]:
        return frozenset()

    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset()

    def lag(self) -> Mapping[TopicPartition, int]:
        return {}

    def close(self) -> None: ...


class Scene:
    """A member over a group whose offsets a test sets."""

    def __init__(self) -> None:
        self.heard, self.inner = Heard(), Scripted()
        self.group: dict[TopicPartition, int] = {}
        self.asked = 0
        self.member = AccountedMember(self.inner, ends=ENDS, committed=self._committed, books=self.heard)

    def _committed(self) -> Mapping[TopicPartition, int]:
        self.asked += 1
        return self.group

    def commit(self, *offsets: int) -> None:
        self.member.commit(Batch(records=tuple(raw(offset) for offset in offsets)), [end(each) for each in offsets])
        self.group[NAMES.raw, 0] = offsets[-1] + 1


def test_advance_is_ends_and_skipped() -> None:
    """Retention took 0 to 4, a mark stands at 7, two more between the batches."""
    scene = Scene()
    scene.group[NAMES.raw, 0] = 0
    scene.commit(5, 6, 8)
    scene.commit(9)
    scene.commit(12)
    assert scene.heard.skipped == {(NAMES.raw, 0): 5 + 1 + 2}
    assert scene.asked == 2, "asked only where a batch does not go on behind the last"
    assert scene.heard.wrong == []


def test_what_another_member_worked_off_meanwhile_is_not_skipped() -> None:
    scene = Scene()
    scene.commit(0, 1)
    scene.group[NAMES.raw, 0] = 100
    scene.commit(100)
    assert scene.heard.skipped == {}


def test_a_failed_commit_is_not_in_the_books() -> None:
    scene = Scene()
    scene.inner.fails = True
    with pytest.raises(TransactionFailed):
        scene.commit(3)
    scene.inner.fails = False
    scene.group = {(NAMES.raw, 0): 3}
    scene.commit(3)
    assert (scene.heard.times, scene.heard.skipped, scene.heard.wrong) == (1, {}, [])


def test_what_went_out_before_has_its_end_already() -> None:
    scene = Scene()
    records = tuple(raw(offset) for offset in (3, 4, 5))
    scene.member.commit(
        Batch(records=records, out=frozenset({records[0].coordinates, records[1].coordinates})), [end(5)]
    )
    assert scene.heard.wrong == []
    scene.member.commit(Batch(records=records, out=frozenset({records[0].coordinates})), [end(5)])
    assert scene.heard.wrong == ["news.raw/0/4"]


Break = Callable[[list[NewRecord]], list[NewRecord]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog.open(tmp_path / "log.sqlite")
    topics = [NAMES.raw, *ENDS, *(NAMES.route(route.topic) for route in load_taxonomy().routes)]
    log.create_topics([TopicSpec(name=name, partitions=1) for name in topics])
    yield log
    log.close()


@pytest.mark.parametrize(
    ("broken", "wrong"),
    [
        (lambda outputs: outputs, []),
        (lambda outputs: [each for each in outputs if each.topic != NAMES.dead_letter], ["news.raw/0/3"]),
        (lambda outputs: [*outputs, outputs[0]], ["news.raw/0/0"]),
        (lambda outputs: outputs[1:], ["news.raw/0/0"]),
    ],
    ids=["good", "dead letter forgotten", "doubled", "enriched forgotten, its copies not"],
)
def test_a_broken_publisher_is_found_out(
    log: SqliteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Break, wrong: list[str]
) -> None:
    articles = [raw_article(f"n{n}", title=f"Talks {n}", summary=TEXT.format(n)) for n in range(2)]
    appender = log.appender()
    made = [raw_record(each, topic=NAMES.raw) for each in (*articles, articles[0])]
    appender.append([*made, NewRecord(topic=NAMES.raw, key=b"k", value=b"\xff")])
    appender.close()
    good = Publisher.records
    monkeypatch.setattr(Publisher, "records", lambda *args: broken(good(*args)))
    heard, seen = Heard(), SqliteSeen(tmp_path / "seen.sqlite")
    member = log.member(group="enrich", identity="w", topics=[NAMES.raw])
    books = AccountedMember(member, ends=ENDS, committed=lambda: log.committed("enrich", [NAMES.raw]), books=heard)
    enricher = Enricher(
        member=books,
        seen=seen,
        taxonomy=load_taxonomy(),
        detect=lambda _text, hint: hint or "en",
        clock=SystemClock(),
        events=SilentEvents(),
        settings=EnricherSettings(topics=NAMES),
    )

    assert enricher.step(timeout_s=2) == 4

    assert (heard.times, heard.wrong, heard.skipped) == (1, wrong, {})
    member.close()
    seen.close()
