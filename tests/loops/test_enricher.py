"""The worker's loop on the embedded log: each raw record ends once, in the right place, whatever happens between."""

from __future__ import annotations

import resource
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest

from tests.make import raw_article, raw_record
from tests.support.services import RedisServer
from worker import wire
from worker.edges.clock import SystemClock
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.taxonomy import load_taxonomy
from worker.edges.valkey_seen import ValkeySeen
from worker.enriching import Judged, SilentEvents, TopicNames
from worker.loops import reading
from worker.loops.dead_letter_limit import DeadLetterLimit
from worker.loops.enricher import FAILURES_IN_A_ROW, FIRST_BATCH, Enricher, EnricherSettings
from worker.loops.past import records_between
from worker.loops.settled import Settled, ends_since
from worker.ports import Fenced, LogRecord, Member, NewRecord, RecordTooLarge, SeenStore, TopicPartition, TopicSpec
from worker.records import Enriched, RawArticle, Rejected
from worker.ruleset import Taxonomy
from worker.stages.refusals import Limits

NAMES = TopicNames()
SANCTIONS = "<p>The Security Council imposed new sanctions on North Korea and froze the assets of three banks.</p>"
HARVEST = "<p>The harvest festival opened with a parade of lanterns through the old town on Sunday evening.</p>"


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@dataclass
class Heard(SilentEvents):
    """Remembers what the loop told."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: list[str | None] = field(default_factory=list)
    worst: tuple[int, float] = (0, 0.0)
    lag: dict[TopicPartition, int] = field(default_factory=dict)
    waiting_records: list[int] = field(default_factory=list)
    owned: int = 0

    def polled(self, owned: Collection[TopicPartition], lag: Mapping[TopicPartition, int]) -> None:
        self.owned = len(owned)
        self.waiting_records.append(sum(lag.values()))

    def enriched(self, story: Enriched, routes: Sequence[str], left: Sequence[str]) -> None:
        self.outcomes[story.verdict.kind] += 1
        self.outcomes["routed"] += len(routes)
        self.outcomes["unrouted"] += len(left)

    def duplicate(self, judged: Judged) -> None:
        self.outcomes[judged.verdict.kind] += 1

    def rejected(self, reason: str) -> None:
        self.outcomes[reason] += 1

    def refusals(self, run: int, share: float) -> None:
        self.worst = (run, share)

    def waiting(self, reason: str | None) -> None:
        self.reasons.append(reason)

    def committed(self, records: int, lag: Mapping[TopicPartition, int]) -> None:
        assert records
        self.lag.update(lag)


class Bench:
    """A log with the topics, a seen store and a worker that is stepped by hand."""

    def __init__(self, folder: Path, taxonomy: Taxonomy, *, limit: int = 1_048_576) -> None:
        self.taxonomy = taxonomy
        self.log = SqliteLog.open(folder / "log.sqlite")
        topics = [NAMES.raw, NAMES.enriched, NAMES.duplicates, NAMES.dead_letter]
        topics += [NAMES.route(route.topic) for route in taxonomy.routes]
        specs = [TopicSpec(name=name, partitions=2) for name in topics]
        self.log.create_topics([specs[0], *(replace(spec, max_message_bytes=limit) for spec in specs[1:])])
        self.seen: SeenStore = SqliteSeen(folder / "seen.sqlite")
        self.heard = Heard()
        self._appender = self.log.appender()
        self._members: list[Member] = []

    def give(self, *items: RawArticle | NewRecord) -> None:
        self._appender.append(
            [item if isinstance(item, NewRecord) else raw_record(item, topic=NAMES.raw) for item in items]
        )

    def worker(
        self, identity: str = "w0", *, max_records: int = 500, limits: Limits | None = None, reprocessed: bool = False
    ) -> Enricher:
        member = self.log.member(group="enrich", identity=identity, topics=[NAMES.raw])
        self._members.append(member)
        return Enricher(
            member=member,
            seen=self.seen,
            taxonomy=self.taxonomy,
            detect=lambda _text, hint: hint or "en",
            clock=SystemClock(),
            events=self.heard,
            settings=EnricherSettings(
                topics=NAMES, max_records=max_records, dead_letters=limits or Limits(), reprocessed=reprocessed
            ),
            past=partial(records_between, self.log),
            ends=partial(
                ends_since,
                self.log,
                [NAMES.enriched, NAMES.duplicates, NAMES.dead_letter],
                beat=lambda: None,
            ),
        )

    def drain(self, worker: Enricher | None = None) -> None:
        worker = worker or self.worker()
        while worker.step(timeout_s=0.3):
            pass

    def there(self, *topics: str) -> list[LogRecord]:
        reader = self.log.reader(list(topics))
        records: list[LogRecord] = []
        while not reader.at_end():
            records += reader.read(timeout_s=0.2)
        reader.close()
        return records

    def ends(self) -> Counter[str]:
        """Return how often each raw record is named by an output."""
        records = self.there(NAMES.enriched, NAMES.duplicates, NAMES.dead_letter)
        return Counter(str(wire.raw_coordinates(record.headers)) for record in records)

    def close_members(self) -> None:
        for member in self._members:
            member.close()
        self._members.clear()

    def close(self) -> None:
        self.close_members()
        self._appender.close()
        self.seen.close()
        self.log.close()


@pytest.fixture
def bench(tmp_path: Path, taxonomy: Taxonomy) -> Iterator[Bench]:
    bench = Bench(tmp_path, taxonomy)
    yield bench
    bench.close()


def test_a_new_story_is_enriched_and_names_the_raw_record_it_was_made_from(bench: Bench) -> None:
    bench.give(raw_article("a", summary=SANCTIONS))

    bench.drain()

    (record,) = bench.there(NAMES.enriched)
    document = wire.decode_enriched(record.value)
    assert not isinstance(document, Rejected)
    assert document.dateline.verdict.kind == "new"
    assert wire.raw_coordinates(record.headers) == bench.there(NAMES.raw)[0].coordinates
    assert [item.topic for item in bench.there(NAMES.route("sanctions"))] == [NAMES.route("sanctions")]


def test_each_kind_of_record_ends_once_and_in_its_place(bench: Bench) -> None:
    """New, update, repeat, copy, dead letter: five records in, five ends out."""
    first = raw_article("a", summary=SANCTIONS)
    bench.give(first)
    bench.drain()
    bench.give(
        replace(first, summary=SANCTIONS.replace("three", "four")),
        replace(first, summary=SANCTIONS.replace("three", "four")),
        raw_article("b", title=first.title, summary=SANCTIONS),
        NewRecord(topic=NAMES.raw, key=b"x", value=b"\xff"),
    )

    bench.drain()

    assert bench.heard.outcomes["new"] == 1
    assert bench.heard.outcomes["update"] == 1
    assert bench.heard.outcomes["repeat"] == 1
    assert bench.heard.outcomes["copy"] == 1
    assert bench.heard.outcomes["not-json"] == 1
    assert set(bench.ends().values()) == {1}
    assert len(bench.ends()) == 5
    assert set(bench.heard.lag.values()) == {0}


def test_a_duplicate_names_its_original(bench: Bench) -> None:
    first = raw_article("a", summary=SANCTIONS)
    bench.give(first)
    bench.drain()
    bench.give(raw_article("b", title=first.title, summary=SANCTIONS))

    bench.drain()

    (record,) = bench.there(NAMES.duplicates)
    duplicate = wire.decode_duplicate(record.value)
    assert not isinstance(duplicate, Rejected)
    assert (duplicate.kind, duplicate.original, duplicate.matched_by) == ("copy", first.story, "text")


def test_a_dead_letter_keeps_its_bytes(bench: Bench) -> None:
    bench.give(NewRecord(topic=NAMES.raw, key=b"k", value=b'{"story": 1}', headers=(("h", b"1"),)))

    bench.drain()

    (record,) = bench.there(NAMES.dead_letter)
    assert (record.key, record.value, wire.header(record.headers, "h")) == (b"k", b'{"story": 1}', "1")
    assert wire.header(record.headers, "dateline-reason") == "wrong-type"


def test_a_version_that_no_longer_matches_tells_the_route(bench: Bench) -> None:
    first = raw_article("a", title="Council acts", summary=SANCTIONS)
    bench.give(first)
    bench.drain()
    bench.give(replace(first, title="Lanterns", summary=HARVEST))
    bench.give(replace(first, title="Lanterns glow", summary=HARVEST.replace("Sunday", "Monday")))

    bench.drain()

    told = [wire.header(record.headers, "kind") for record in bench.there(NAMES.route("sanctions"))]
    assert told == ["new", "unrouted"]


def test_all_that_a_replay_writes_onto_a_route_is_marked_with_its_version(bench: Bench) -> None:
    """A subscriber's table must tell a replayed `unrouted` from one that is news."""
    first = raw_article("a", title="Council acts", summary=SANCTIONS)
    bench.give(first)
    worker = bench.worker(reprocessed=True)
    bench.drain(worker)
    bench.give(replace(first, title="Lanterns", summary=HARVEST))

    bench.drain(worker)

    told = [
        tuple(wire.header(record.headers, name) for name in ("kind", "version", "reprocessed"))
        for record in bench.there(NAMES.route("sanctions"))
    ]
    assert told == [("new", "1", "true"), ("unrouted", "2", "true")]


def test_routes_that_share_a_topic_send_a_story_there_once(bench: Bench) -> None:
    """And it has not left the topic while one of them still holds."""
    shared = [replace(route, name=name) for route in bench.taxonomy.routes if route.name == "sanctions"
              for name in ("one", "two")]  # fmt: skip
    bench.taxonomy = replace(bench.taxonomy, routes=tuple(shared))
    first = raw_article("a", title="Council acts", summary=SANCTIONS)
    bench.give(first)
    bench.drain()
    bench.taxonomy = replace(bench.taxonomy, routes=tuple(shared[:1]))
    bench.give(replace(first, title="Council acts again", summary=SANCTIONS.replace("three", "four")))

    bench.drain(bench.worker("w0"))

    told = [wire.header(record.headers, "kind") for record in bench.there(NAMES.route("sanctions"))]
    assert told == ["new", "update"]


def test_a_story_that_was_judged_and_not_committed_keeps_its_verdict(bench: Bench) -> None:
    """The worker is fenced between verdict and commit; its successor finds the same stories new."""
    bench.give(
        *(
            raw_article(f"n{number}", summary=f"<p>Report {number} of the commission on wells.</p>")
            for number in range(5)
        )
    )
    older = bench.worker("w0")
    real, successor = bench.seen, []

    class Overtaken:
        """The store, and in the moment after its answer a successor with the same identity."""

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def judge(self, *args: object, **kwargs: object) -> object:
            verdicts = real.judge(*args, **kwargs)  # type: ignore[arg-type]
            successor.append(bench.worker("w0"))
            return verdicts

    older._seen = Overtaken()  # type: ignore[assignment]

    with pytest.raises(Fenced):
        bench.drain(older)
    assert bench.ends() == Counter()
    bench.drain(successor[0])

    assert bench.heard.outcomes["new"] == 5
    assert list(bench.ends().values()) == [1] * 5


@pytest.mark.redis
def test_while_the_seen_store_is_away_nothing_is_guessed_and_nothing_dropped(
    bench: Bench, own_redis: RedisServer
) -> None:
    bench.seen = ValkeySeen(own_redis.url, namespace="t")
    bench.give(raw_article("a"), raw_article("b"))
    worker = bench.worker()
    own_redis.stop()

    assert worker.step(timeout_s=1.0) == 0
    assert bench.ends() == Counter()
    assert any(reason and reason.startswith("seen store") for reason in bench.heard.reasons)
    assert (bench.heard.owned, bench.heard.waiting_records) == (2, [2])
    bench.give(raw_article("c"))
    assert worker.step(timeout_s=1.0) == 0
    assert bench.heard.waiting_records == [2, 3], "the lag is told while nothing can be committed"
    own_redis.start()
    bench.drain(worker)

    assert list(bench.ends().values()) == [1, 1, 1]


def test_a_record_of_a_newer_release_waits_and_those_before_it_do_not(bench: Bench) -> None:
    newer = NewRecord(
        topic=NAMES.raw,
        key=raw_article("a").story.encode(),
        value=b"?",
        headers=(("ce_type", b"dateline.news.item.discovered.v2"),),
    )
    bench.give(raw_article("a"), newer, raw_article("a", summary=HARVEST))

    worker = bench.worker()
    assert [worker.step(timeout_s=0.3) for _ in range(3)] == [1, 0, 0]

    assert bench.heard.outcomes == Counter(new=1, routed=0, unrouted=0)
    assert "newer release" in (bench.heard.reasons[-1] or "")

    others = [raw_article(f"n{number}", summary=f"<p>Text {number}</p>") for number in range(20)]
    bench.give(*others)
    assert worker.step(timeout_s=0.3) == sum(partition_of(each) != partition_of(raw_article("a")) for each in others)
    assert worker.step(timeout_s=0.3) == 0
    assert all("newer release" in (reason or "") for reason in bench.heard.reasons[-2:])


def partition_of(article: RawArticle) -> int:
    return crc32(article.story.encode()) % 2


def bad(number: int, key: bytes = b"k") -> NewRecord:
    return NewRecord(topic=NAMES.raw, key=key, value=b"%d" % number)


def good(number: int) -> RawArticle:
    return raw_article(f"n{number}", summary=f"<p>Text {number}</p>")


def test_a_worker_begins_with_a_small_batch(bench: Bench) -> None:
    """What waited for its start sees soon that it goes on; the records are of two partitions."""
    bench.give(*(good(number) for number in range(400)))
    worker = bench.worker()

    taken = [worker.step(timeout_s=0.3) for _ in range(2)]

    assert taken == [FIRST_BATCH, 300]


def test_when_nothing_but_refusals_comes_the_worker_stops_before_the_topic_drains(bench: Bench) -> None:
    bench.give(*(bad(number) for number in range(50)))
    limits = Limits(run=25, window=100)

    with pytest.raises(DeadLetterLimit, match=r"partition news\.raw/\d: 26 records in a row .* for wrong-type"):
        bench.drain(bench.worker(max_records=10, limits=limits))

    assert len(bench.there(NAMES.dead_letter)) == 20
    assert bench.heard.worst == (20, 0.2)


def test_a_worker_that_is_started_again_and_again_writes_no_more_than_the_limit(bench: Bench) -> None:
    """Each process takes the batches as they come; the run that it did not see itself is read again."""
    bench.give(*(bad(number) for number in range(200)))
    limits = Limits(run=25, window=100)

    for batch in (10, 7, 3, 1, 1, 50):
        with pytest.raises(DeadLetterLimit):
            bench.drain(bench.worker(max_records=batch, limits=limits))

    assert len(bench.there(NAMES.dead_letter)) == 25


def test_a_worker_stops_when_too_large_a_share_is_refused(bench: Bench) -> None:
    """Two of three are bad, and never more than two in a row."""
    same = next(number for number in range(100) if crc32(raw_article(f"n{number}").story.encode()) % 2 == 0)
    key = raw_article(f"n{same}").story.encode()
    for number in range(100):
        bench.give(bad(2 * number, key), bad(2 * number + 1, key), good(same))
    limits = Limits(run=25, window=90, share=0.5)

    for _ in range(3):
        with pytest.raises(DeadLetterLimit, match="46 of the last 90 records"):
            bench.drain(bench.worker(max_records=10, limits=limits))

    assert len(bench.there(NAMES.dead_letter)) <= 45


def test_a_release_that_refuses_what_was_good_writes_no_dead_letter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.give(*(good(number) for number in range(100)))
    bench.drain(bench.worker(max_records=10))
    bench.give(*(good(number) for number in range(100, 110)))

    def broken(*_: object) -> object:
        raise KeyError("our own fault")

    monkeypatch.setattr(reading, "extract", broken)

    with pytest.raises(DeadLetterLimit, match="extraction-failed"):
        bench.drain(bench.worker("w1", limits=Limits(run=25, window=100)))

    assert bench.there(NAMES.dead_letter) == []


def test_some_bad_records_among_good_ones_stop_nothing(bench: Bench) -> None:
    for number in range(30):
        bench.give(bad(number), good(number))

    bench.drain(bench.worker(max_records=10, limits=Limits(run=25, window=100)))

    assert len(bench.ends()) == 60


def test_what_is_larger_than_its_topic_takes_is_cut_and_flagged(tmp_path: Path, taxonomy: Taxonomy) -> None:
    bench = Bench(tmp_path, taxonomy, limit=100_000)
    long = raw_article("long", summary=f"<p>{SANCTIONS}</p>" + "<p>The delegations met again.</p>" * 10_000)
    bench.give(long, NewRecord(topic=NAMES.raw, key=b"x" * 70_000, value=b"{" * 300_000))

    bench.drain()

    (published,) = bench.there(NAMES.enriched)
    (routed,) = bench.there(NAMES.route("sanctions"))
    told = wire.decode_enriched(published.value)
    assert not isinstance(told, Rejected)
    assert published.value == routed.value
    (cut,) = told.dateline.provenance.truncated
    assert (cut.field, cut.original_length > 250_000) == ("body", True)
    (dead,) = bench.there(NAMES.dead_letter)
    assert wire.header(dead.headers, "dateline-cut-length") == "300000"
    assert sorted(bench.ends().values()) == [1, 1]


def test_a_limit_that_no_cutting_can_meet_stops_the_worker(tmp_path: Path, taxonomy: Taxonomy) -> None:
    bench = Bench(tmp_path, taxonomy, limit=500)
    bench.give(raw_article())
    with pytest.raises(RecordTooLarge, match=r"max\.message\.bytes=500"):
        bench.drain()


def test_a_log_without_room_is_waited_for_however_long_it_takes(bench: Bench, tmp_path: Path) -> None:
    """A limit on file sizes stands in for the full disk; the seen store has room, so that the commits fail."""
    bench.seen = SqliteSeen(":memory:")
    worker = bench.worker()
    bench.give(*(raw_article(f"n{n}", title=f"Report {n}", summary=SANCTIONS * 20) for n in range(40)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        assert [worker.step(timeout_s=0.2) for _ in range(FAILURES_IN_A_ROW + 1)] == [0] * 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {str(reason).partition(":")[0] for reason in bench.heard.reasons} == {"log"}  # not a failed transaction
    bench.drain(worker)
    assert len(bench.ends()) == 40
    assert set(bench.ends().values()) == {1}


def set_back(bench: Bench, folder: Path) -> None:
    """Let the log forget what was committed, as a broker that was killed may; the seen store was told of it."""
    ends = {place: end for place, (_, end) in bench.log.bounds([NAMES.raw]).items()}
    bench.seen.committed(ends, now=datetime.now(UTC) + timedelta(minutes=2))
    bench.close_members()
    with closing(sqlite3.connect(folder / "log.sqlite")) as db:
        db.execute("UPDATE committed SET offset = 0")
        db.commit()


def test_what_a_log_forgot_to_be_committed_does_not_go_out_again(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [NewRecord(topic=NAMES.raw, key=b"%d" % n, value=b"no JSON") for n in range(4)]
    bench.give(*bad, *[raw_article(name, summary=SANCTIONS) for name in "abcdab"], *bad)
    bench.drain()
    set_back(bench, tmp_path)
    bench.give(*[raw_article(name, summary=SANCTIONS) for name in "efgh"])
    worker = bench.worker("w1", max_records=2)
    for _ in range(30):
        worker.step(timeout_s=0.05)
    assert len(bench.ends()) == 18
    assert set(bench.ends().values()) == {1}
    assert sum(bench.log.committed("enrich", [NAMES.raw]).values()) == 18
    assert caplog.text.count("may have forgotten what the group had committed") == 1


def test_nothing_is_left_out_without_an_end_that_was_written_after_it(bench: Bench) -> None:
    """The log was made anew, and the seen store was not; or the raw topic was, and the output topics were not."""
    bench.give(raw_article("a", summary=SANCTIONS))
    bench.drain()
    (raw,) = bench.there(NAMES.raw)
    (end,) = bench.there(NAMES.enriched)
    settled = Settled(bench.seen, partial(ends_since, bench.log, [NAMES.enriched], beat=lambda: None))
    bench.seen.committed({(raw.topic, raw.partition): 1}, now=datetime.now(UTC) + timedelta(minutes=2))
    assert settled.went_out([raw]) == {raw.coordinates}
    later = replace(raw, timestamp_ms=end.timestamp_ms + 1)
    assert settled.went_out([later]) == frozenset()
    assert Settled(bench.seen, lambda _since: {}).went_out([raw]) == frozenset()
