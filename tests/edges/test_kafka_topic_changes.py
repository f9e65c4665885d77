"""Topics that change under those who use them: made anew, given more partitions, cut at either end."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.support.kafka_members import all_values, carry_on, fill, next_batch, records, settings_for, values
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import LogUnavailable, NewRecord, TopicSpec, TransactionFailed

pytestmark = pytest.mark.kafka


class Scene:
    """A log with an input and an output topic of one partition each, its administration, and one member."""

    def __init__(self, kafka: KafkaBroker, prefix: str) -> None:
        self.group, self.source, self.out = (prefix + name for name in ("group", "in", "out"))
        self._identity = prefix + "one"
        self.resets: list[int] = []
        self.log = KafkaLog.open(
            dataclasses.replace(settings_for(kafka), metadata_max_age_ms=1000), reset=lambda: self.resets.append(1)
        )
        self.admin: Any = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        self.create(self.source, self.out)
        self.members: list[KafkaMember] = []

    def create(self, *topics: str) -> None:
        self.log.create_topics([TopicSpec(name=topic, partitions=1) for topic in topics])

    def join(self) -> KafkaMember:
        self.members.append(self.log.member(group=self.group, identity=self._identity, topics=[self.source]))
        return self.members[-1]

    def copy(self, member: KafkaMember, count: int) -> list[bytes | None]:
        """Copy to the output what *member* reads, until *count* records are there; return what is there."""

        def copied() -> bool:
            try:
                batch = member.poll(timeout_s=0.2)
                member.commit(batch, records(self.out, *(value or b"" for value in values(batch))))
            except (LogUnavailable, TransactionFailed):
                return False
            return len(all_values(self.log, self.out)) >= count

        until(copied, within_s=40, what=f"{count} copies")
        return all_values(self.log, self.out)

    def close(self) -> None:
        for each in (*self.members, self.log, self.admin):
            each.close()


@pytest.fixture
def scene(kafka: KafkaBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(kafka, topic_prefix)
    yield made
    made.close()


@pytest.mark.parametrize("count", [3, 9])
def test_a_topic_made_anew_is_read_from_its_beginning(
    scene: Scene, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The client would go on at offset 5, whatever the offsets now mean: with nine new records five are never read."""
    old, new = [b"old %d" % n for n in range(5)], [b"new %d" % n for n in range(count)]
    fill(scene.log, scene.source, *old)
    member = scene.join()
    assert scene.copy(member, 5) == old
    fill(scene.log, scene.source, b"polled, not committed")
    stale = next_batch(member)
    scene.admin.delete_topics([scene.source])
    until(lambda: scene.source not in scene.log.topics())
    scene.create(scene.source)
    fill(scene.log, scene.source, *new)
    until(lambda: [member.poll(timeout_s=0.1)] and "created again" in caplog.text)
    with pytest.raises(TransactionFailed):
        member.commit(stale, records(scene.out, b"stale"))
    assert scene.copy(member, 5 + count) == old + new


def test_records_of_a_partition_that_was_added_are_read_from_its_first(scene: Scene) -> None:
    member = scene.join()
    fill(scene.log, scene.source, b"old")
    assert scene.copy(member, 1) == [b"old"]
    scene.admin.create_partitions({scene.source: 3})
    appender = scene.log.appender()
    sent = [NewRecord(topic=scene.source, key=key, value=key) for key in (b"%d" % n for n in range(9))]
    until(lambda: scene.log._topics.facts(scene.source).partitions == 3, what="the writer knows the new partitions")
    appender.append(sent)
    appender.close()
    assert {zlib.crc32(each.key) % 3 for each in sent} == {0, 1, 2}
    assert sorted(scene.copy(member, 10)) == sorted([b"old", *(each.key for each in sent)])  # type: ignore[type-var]


def test_an_output_topics_new_partitions_are_written_to(scene: Scene) -> None:
    member = scene.join()
    fill(scene.log, scene.source, b"first")
    scene.copy(member, 1)
    scene.admin.create_partitions({scene.out: 2})
    until(lambda: scene.log._topics.facts(scene.out).partitions == 2, what="the writer knows the new partition")
    fill(scene.log, scene.source, b"second")
    keys = {zlib.crc32(key) % 2: key for key in (b"%d" % n for n in range(20))}
    # A producer that does not know it yet costs a transaction, not the batch.
    outputs = [NewRecord(topic=scene.out, key=key, value=key) for key in keys.values()]
    assert carry_on(member, outputs) == [b"second"]
    until(lambda: sorted(all_values(scene.log, scene.out)) == sorted([b"first", *keys.values()]))  # type: ignore[type-var]


def test_an_offset_that_retention_has_passed_is_left_loudly(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    fill(scene.log, scene.source, b"a", b"b", b"c", b"d")
    scene.copy(scene.join(), 4)
    scene.members.pop().close()
    scene.admin.alter_group_offsets(scene.group, {TopicPartition(scene.source, 0): OffsetAndMetadata(1, "", -1)})
    scene.admin.delete_records({TopicPartition(scene.source, 0): 3})
    caplog.set_level(logging.WARNING, "worker")
    assert carry_on(scene.join(), []) == [b"d"]
    assert len(scene.resets) == 1
    (said,) = (record for record in caplog.records if "reading on at the first" in record.message)
    assert (vars(said)["topic"], vars(said)["partition"], vars(said)["offset"]) == (scene.source, 0, 1)


def test_an_offset_behind_the_end_is_left_loudly(scene: Scene) -> None:
    fill(scene.log, scene.source, b"a", b"b")
    scene.copy(scene.join(), 2)
    scene.members.pop().close()
    scene.admin.alter_group_offsets(scene.group, {TopicPartition(scene.source, 0): OffsetAndMetadata(1000, "", -1)})
    assert carry_on(scene.join(), []) == [b"a", b"b"]
    assert len(scene.resets) == 1


def test_a_new_group_and_a_rewind_are_no_resets(scene: Scene) -> None:
    member = scene.join()
    until(lambda: member.poll(timeout_s=0.1).records == () and member.assigned())
    member.rewind()
    fill(scene.log, scene.source, b"a")
    next_batch(member)
    member.rewind()
    assert carry_on(member, []) == [b"a"]
    assert scene.resets == []
