"""What every log promises (ports.Log); each test runs on the SQLite file and on a real Kafka."""

from __future__ import annotations

import time
import zlib

import pytest

from tests.contracts.conftest import Bench, poll, values
from tests.support.waiting import until
from worker.ports import (
    Batch,
    Fenced,
    LogRecord,
    LogUnavailable,
    Member,
    NewRecord,
    RecordTooLarge,
    TopicOutcome,
    TopicPartition,
    TopicSpec,
    TransactionFailed,
    WrongSettings,
)


def out(topic: str, *texts: bytes) -> list[NewRecord]:
    return [NewRecord(topic=topic, key=text, value=text) for text in texts]


def test_what_is_appended_is_read_back_identical(bench: Bench) -> None:
    """Key, value, a tombstone's missing value, headers in their order (names may repeat), our clock."""
    topic = bench.topic("t", partitions=1)
    headers = (("b", b"1"), ("a", b"\xff\x00"), ("b", b""))
    bench.append(NewRecord(topic=topic, key=b"k\x00", value=b"\xfe v", headers=headers))
    bench.append(NewRecord(topic=topic, key=b"k", value=None), NewRecord(topic=topic, key=b"", value=b""))
    first, tombstone, empty = bench.read_all(topic)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, first.headers) == (b"k\x00", b"\xfe v", headers)
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, ())
    assert (empty.key, empty.value) == (b"", b"")
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60


def test_a_key_decides_the_partition_and_keeps_its_order(bench: Bench) -> None:
    topic = bench.topic("t", partitions=5)
    bench.append(
        *(NewRecord(topic=topic, key=b"key %d" % (n % 7), value=b"%d" % n) for n in range(70)),
    )
    found = bench.read_all(topic)
    assert len(found) == 70
    for record in found:
        assert record.partition == zlib.crc32(record.key or b"") % 5
    for key in {record.key for record in found}:
        numbers = [int(record.value or b"") for record in found if record.key == key]
        assert numbers == sorted(numbers)


def test_a_new_group_starts_at_the_earliest_record(bench: Bench) -> None:
    topic = bench.topic("t")
    expected = bench.fill(topic, 10)
    assert values(*poll(bench.join(topic), 10)) == sorted(expected)


def test_polling_gives_at_most_what_was_asked_for_and_nothing_when_there_is_nothing(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    member = bench.join(topic)
    assert member.poll(timeout_s=0.1).records == ()
    bench.fill(topic, 10)
    sizes: list[int] = []

    def all_came() -> bool:
        sizes.append(len(member.poll(timeout_s=0.2, max_records=4).records))
        return sum(sizes) == 10

    until(all_came)
    assert max(sizes) <= 4


def test_outputs_and_offsets_are_committed_together(bench: Bench) -> None:
    topic, first, second = bench.topic("t"), bench.topic("first"), bench.topic("second")
    bench.fill(topic, 10)
    member = bench.join(topic)
    done = 0
    while done < 10:
        (batch,) = poll(member, 1)
        done += len(batch.records)
        texts = [record.value or b"" for record in batch.records]
        member.commit(batch, out(first, *texts) + out(second, *texts))
    # Kafka acknowledges a commit a moment before its markers are written and others can see it.
    until(lambda: sum(bench.log.committed(bench.prefix + "group", [topic]).values()) == 10)
    until(lambda: len(bench.read_all(first)) == len(bench.read_all(second)) == 10)
    assert sum(member.lag().values()) == 0


def test_a_transaction_that_cannot_be_written_whole_writes_nothing(bench: Bench) -> None:
    topic, first = bench.topic("t"), bench.topic("first")
    bench.fill(topic, 4)
    member = bench.join(topic)
    (batch,) = poll(member, 1)
    with pytest.raises(WrongSettings, match="missing"):
        member.commit(batch, out(first, b"x") + out(bench.prefix + "missing", b"x"))
    assert bench.read_all(first) == []
    assert bench.log.committed(bench.prefix + "group", [topic]) == {}


def test_polled_and_not_committed_comes_again_after_a_rewind(bench: Bench) -> None:
    topic = bench.topic("t")
    expected = bench.fill(topic, 10)
    member = bench.join(topic)
    stale = poll(member, 10)
    member.rewind()
    with pytest.raises(TransactionFailed):
        member.commit(stale[0], [])
    assert values(*poll(member, 10)) == sorted(expected)


def test_a_paused_partition_holds_up_no_other_one_and_comes_again_after_a_rewind(bench: Bench) -> None:
    topic = bench.topic("t", partitions=6)
    expected = bench.fill(topic, 60)
    member = bench.join(topic)
    first = polled_once(member)
    held = at(first)
    member.pause([held])
    theirs = {record.value or b"" for record in bench.read_all(topic) if at(record) != held}

    others = poll(member, len(theirs))

    assert set(values(*others)) == theirs
    bench.append(NewRecord(topic=topic, key=first.key or b"", value=b"late"))
    assert member.poll(timeout_s=0.3).records == ()
    for batch in others:
        member.commit(batch, [])
    assert member.poll(timeout_s=0.3).records == ()
    assert member.paused() == {held}
    member.rewind()
    again = poll(member, 61 - len(theirs))
    assert set(values(*others, *again)) == {*expected, b"late"}
    assert not member.paused()


@pytest.mark.parametrize("ahead", [True, False], ids=["read ahead", "all polled"])
def test_nothing_of_a_paused_partition_is_passed_over_when_the_group_changes(bench: Bench, ahead: bool) -> None:
    """It may stay paused or come again from the committed offset; never does it go on behind what was polled."""
    topic = bench.topic("t", partitions=4)
    keys = [b"key %d" % n for n in range(40)]
    first = [key for key in keys if zlib.crc32(key) % 4 == 0]  # of partition 0, which the first of two members keeps
    rest = [key for key in keys if key not in first]
    bench.append(*(NewRecord(topic=topic, key=key, value=key) for key in first))
    one = bench.join(topic)
    if ahead:
        one.pause([at(polled_once(one))])
    else:
        poll(one, len(first))
    bench.append(*(NewRecord(topic=topic, key=key, value=key) for key in rest))
    poll(one, len(rest))
    one.pause(one.assigned())
    assert one.poll(timeout_s=0.3).records == ()
    two = bench.join(topic, identity="two")
    came: set[bytes] = set()

    def shared() -> bool:
        for member in (one, two):
            came.update(values(member.poll(timeout_s=0.1)))
        return len(one.assigned()) == len(two.assigned()) == 2

    until(shared, within_s=40)
    held = one.paused()
    bench.append(*(NewRecord(topic=topic, key=key, value=b"late " + key) for key in keys))
    theirs = {record.value or b"" for record in bench.read_all(topic) if at(record) not in held}
    until(lambda: shared() and came >= theirs)
    assert came == theirs
    one.rewind()
    until(lambda: shared() and len(came) == 80)
    assert came >= set(keys)


def test_polled_and_not_committed_comes_again_to_whoever_joins_after_a_close(bench: Bench) -> None:
    topic = bench.topic("t")
    expected = bench.fill(topic, 10)
    member = bench.join(topic)
    poll(member, 10)
    member.close()
    assert values(*poll(bench.join(topic), 10)) == sorted(expected)


def test_committed_offsets_are_where_the_next_process_goes_on(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    bench.fill(topic, 10)
    member = bench.join(topic)
    batch = Batch()
    while not batch.records:
        batch = member.poll(timeout_s=0.2, max_records=4)
    member.commit(batch, [])
    rest = poll(bench.join(topic), 10 - len(batch.records))
    assert rest[0].records[0].offset == batch.records[-1].offset + 1


def test_a_batch_is_committed_once(bench: Bench) -> None:
    topic, first = bench.topic("t"), bench.topic("first")
    bench.fill(topic, 1)
    member = bench.join(topic)
    (batch,) = poll(member, 1)
    member.commit(batch, out(first, b"x"))
    with pytest.raises(TransactionFailed):
        member.commit(batch, out(first, b"x"))
    until(lambda: len(bench.read_all(first)) == 1)


def test_the_older_holder_of_an_identity_is_fenced_and_writes_nothing(bench: Bench) -> None:
    """The new holder owns the partitions at once, without waiting for the older one's session to end."""
    topic, first = bench.topic("t"), bench.topic("first")
    expected = bench.fill(topic, 10)
    older = bench.join(topic)
    batch = poll(older, 10)[-1]
    owned = older.assigned()
    newer = bench.join(topic)
    began = time.monotonic()
    assert values(*poll(newer, 10)) == sorted(expected)
    assert time.monotonic() - began < 5
    assert newer.assigned() == owned
    with pytest.raises(Fenced):
        older.commit(batch, out(first, b"from the grave"))
    assert bench.read_all(first) == []


def test_two_members_share_the_partitions_and_what_they_commit_is_there_once(bench: Bench) -> None:
    """A batch that was polled before the partitions moved is refused whole."""
    topic, copies = bench.topic("t", partitions=4), bench.topic("copies")
    expected = bench.fill(topic, 40)
    one = bench.join(topic)
    before = poll(one, 40)
    two = bench.join(topic, identity="two")
    members = (one, two)
    settle(one, two)
    assert one.assigned().isdisjoint(two.assigned())
    with pytest.raises(TransactionFailed):
        one.commit(Batch(records=before[0].records, membership=before[0].membership), out(copies, b"stale"))
    one.rewind()
    two.rewind()

    def all_copied() -> bool:
        for member in members:
            copy(member, copies)
        return len(bench.read_all(copies)) >= 40

    until(all_copied)
    assert sorted(record.value or b"" for record in bench.read_all(copies)) == sorted(expected)


def test_one_who_leaves_gives_its_partitions_to_the_others(bench: Bench) -> None:
    topic = bench.topic("t", partitions=4)
    one, two = bench.join(topic), bench.join(topic, identity="two")
    settle(one, two)
    two.close()
    began = time.monotonic()
    until(lambda: [one.poll(timeout_s=0.1)] and len(one.assigned()) == 4)
    assert time.monotonic() - began < 6


def test_groups_do_not_see_each_other(bench: Bench) -> None:
    topic = bench.topic("t")
    expected = bench.fill(topic, 5)
    for group in ("a", "b"):
        member = bench.join(topic, group=group, identity=group)
        for batch in poll(member, 5):
            member.commit(batch, [])
    for group in ("a", "b"):
        assert committed(bench, topic, 5, group=group) == len(expected)


def test_lag_counts_what_lies_behind_the_committed_offset(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    bench.fill(topic, 10)
    member = bench.join(topic)
    batch = Batch()
    while not batch.records:
        batch = member.poll(timeout_s=0.2, max_records=4)
    assert member.lag() == {(topic, 0): 10}
    member.commit(batch, [])
    assert member.lag() == {(topic, 0): 10 - len(batch.records)}


def test_a_reader_starts_at_an_offset_at_a_time_or_at_the_beginning(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    bench.fill(topic, 3)
    time.sleep(0.05)
    middle = int(time.time() * 1000)
    bench.fill(topic, 2)

    def offsets(start: dict[tuple[str, int], int] | None, from_ms: int | None) -> list[int]:
        reader = bench.log.reader([topic], start=start, from_ms=from_ms)
        found: list[int] = []

        def ended() -> bool:
            found.extend(record.offset for record in reader.read(timeout_s=0.2))
            return reader.at_end()

        until(ended)
        reader.close()
        return found

    assert offsets(None, None) == [0, 1, 2, 3, 4]
    assert offsets({(topic, 0): 4}, None) == [4]
    assert offsets(None, middle) == [3, 4]
    assert offsets(None, middle + 3_600_000) == []


def test_a_reader_at_its_end_goes_on_when_more_comes(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    reader = bench.log.reader([topic])
    assert reader.at_end()
    bench.fill(topic, 2)
    found: list[int] = []

    def came() -> bool:
        found.extend(record.offset for record in reader.read(timeout_s=0.2))
        return len(found) == 2

    until(came)
    reader.close()


def test_a_compacted_topic_keeps_at_least_the_latest_value_of_each_key(bench: Bench) -> None:
    topic = bench.topic("t", compacted=True)
    for round_ in range(5):
        bench.append(*(NewRecord(topic=topic, key=b"%d" % n, value=b"%d/%d" % (n, round_)) for n in range(10)))
    bench.append(NewRecord(topic=topic, key=b"3", value=None))
    last = {record.key: record.value for record in bench.read_all(topic)}
    expected: dict[bytes | None, bytes | None] = {b"%d" % n: b"%d/4" % n for n in range(10)}
    assert last == expected | {b"3": None}


def test_topics_are_created_once_and_never_altered(bench: Bench) -> None:
    name = bench.prefix + "t"
    assert bench.log.create_topics([TopicSpec(name=name, partitions=3)]) == {name: TopicOutcome(created=True)}
    assert bench.log.create_topics([TopicSpec(name=name, partitions=3)]) == {name: TopicOutcome()}
    told = bench.log.create_topics([TopicSpec(name=name, partitions=5)])[name]
    assert told == TopicOutcome(differs=("partitions=3 instead of 5",))
    told = bench.log.create_topics([TopicSpec(name=name, partitions=3, compacted=True)])[name]
    assert len(told.harms) == 1
    assert bench.log.topics()[name] == 3


def test_bounds_and_committed_tell_where_things_are(bench: Bench) -> None:
    topic = bench.topic("t", partitions=1)
    assert bench.log.bounds([topic]) == {(topic, 0): (0, 0)}
    assert bench.log.committed(bench.prefix + "group", [topic]) == {}
    bench.fill(topic, 3)
    assert bench.log.bounds([topic]) == {(topic, 0): (0, 3)}
    member = bench.join(topic)
    for batch in poll(member, 3):
        member.commit(batch, [])
    until(lambda: bench.log.committed(bench.prefix + "group", [topic]) == {(topic, 0): 3})


def test_an_unknown_topic_is_a_wrong_setting(bench: Bench) -> None:
    missing = bench.prefix + "missing"
    with pytest.raises(WrongSettings, match="missing"):
        bench.append(*out(missing, b"x"))
    with pytest.raises(WrongSettings, match="missing"):
        bench.join(missing)
    with pytest.raises(WrongSettings, match="missing"):
        bench.log.reader([missing])


def test_a_record_above_its_topics_limit_is_refused(bench: Bench) -> None:
    name = bench.prefix + "small"
    bench.log.create_topics([TopicSpec(name=name, partitions=1, max_message_bytes=2000)])
    with pytest.raises(WrongSettings, match="2000"):
        bench.append(NewRecord(topic=name, key=b"k", value=b"x" * 3000))
    assert bench.read_all(name) == []


def test_a_batch_whose_output_is_too_large_can_be_committed_with_less(bench: Bench) -> None:
    topic, small = bench.topic("t"), bench.prefix + "small"
    bench.log.create_topics([TopicSpec(name=small, partitions=1, max_message_bytes=2000)])
    bench.fill(topic, 1)
    member = bench.join(topic)
    (batch,) = poll(member, 1)
    with pytest.raises(RecordTooLarge) as refused:
        member.commit(batch, out(small, b"x" * 3000))
    assert (refused.value.topic, refused.value.limit) == (small, 2000)
    member.commit(batch, out(small, b"x" * 500))
    until(lambda: [len(record.value or b"") for record in bench.read_all(small)] == [500])


def test_a_log_that_is_away_is_unavailable(bench: Bench) -> None:
    appender = bench.away()
    with pytest.raises(LogUnavailable):
        appender.append(out("t", b"x"), timeout_s=1)
    appender.close()


def at(record: LogRecord) -> TopicPartition:
    return record.topic, record.partition


def polled_once(member: Member) -> LogRecord:
    """Return one record, polled alone: more of its partition may have been read ahead."""
    found: list[LogRecord] = []

    def came() -> bool:
        found.extend(member.poll(timeout_s=0.2, max_records=1).records)
        return bool(found)

    until(came, what="a record")
    return found[0]


def copy(member: Member, topic: str) -> None:
    """Poll once and commit the same values; a refused commit is done again by the next call."""
    batch = member.poll(timeout_s=0.1)
    if batch.records:
        try:
            member.commit(batch, out(topic, *(record.value or b"" for record in batch.records)))
        except TransactionFailed:
            member.rewind()


def settle(*members: Member) -> None:
    """Poll until each member owns two partitions; what they read on the way is left uncommitted."""
    owned: list[int] = []

    def settled() -> bool:
        for member in members:
            member.poll(timeout_s=0.1)
        owned[:] = [len(member.assigned()) for member in members]
        return owned == [2] * len(members)

    until(settled, within_s=40, what="two partitions each")


def committed(bench: Bench, topic: str, count: int, *, group: str) -> int:
    """Wait until the group has committed *count* records of *topic*; return how many it has."""
    found: list[int] = []

    def enough() -> bool:
        found.append(sum(bench.log.committed(bench.prefix + group, [topic]).values()))
        return found[-1] >= count

    until(enough, what="the commit to be seen")
    return found[-1]
