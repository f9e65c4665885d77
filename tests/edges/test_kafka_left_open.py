"""Members that die within a transaction and do not come back: others go on without waiting for its timeout."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kafka_members import Beats, all_values, carry_on, fill, next_batch, records, settings_for
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges import kafka_clients
from worker.edges.kafka_left_open import LeftOpen
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import TopicSpec, TransactionFailed

pytestmark = pytest.mark.kafka
SESSION_S = 6.0
TIMEOUT_S = 110.0


class Killed(BaseException):
    """What a kill is to the code that it hits."""


class Scene:
    """Members whose names begin alike, on a topic with one partition and one to write to."""

    def __init__(self, broker: KafkaBroker, prefix: str) -> None:
        self.prefix, self.group, self.source, self.out = prefix, prefix + "group", prefix + "in", prefix + "out"
        self.settings = dataclasses.replace(
            settings_for(broker),
            siblings=prefix + "enrich-",
            transaction_timeout_ms=int(TIMEOUT_S * 1000),
        )
        self.log = KafkaLog.open(self.settings)
        self.log.create_topics([TopicSpec(name=self.source, partitions=1), TopicSpec(name=self.out, partitions=1)])
        self._open: list[Any] = [self.log]

    def join(self, name: str, **changed: str) -> tuple[KafkaMember, Beats]:
        beats = Beats()
        log = KafkaLog.open(dataclasses.replace(self.settings, **changed), beat=beats)  # type: ignore[arg-type]
        member = log.member(group=self.group, identity=self.prefix + name, topics=[self.source])
        self._open[:0] = [member, log]
        return member, beats

    def die(self, member: KafkaMember, beats: Beats, *, after: str) -> None:
        """Begin a commit and end with the offsets, or only the outputs, sent; the group hears no more of the member."""
        batch = next_batch(member)

        def kill() -> None:
            raise Killed

        def later(beats_more: int) -> None:
            beats.next = kill if beats_more == 0 else lambda: later(beats_more - 1)

        later({"outputs": 1, "offsets": 2}[after])
        with pytest.raises(Killed):
            member.commit(batch, records(self.out, b"of the dead"))
        member._consumer.client.close(autocommit=False)

    def transactions(self) -> list[str]:
        topics = KafkaTopics(self.settings)
        try:
            return list(topics.open_transactions(self.prefix, older_than_ms=0))
        finally:
            topics.close()

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def scene(kafka: KafkaBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(kafka, topic_prefix)
    yield made
    made.close()


@pytest.mark.parametrize("after", ["outputs", "offsets"])
def test_who_takes_over_ends_what_the_dead_has_left_open(scene: Scene, after: str) -> None:
    fill(scene.log, scene.source, b"a")
    first, beats = scene.join("enrich-a-0")
    scene.die(first, beats, after=after)
    died = time.monotonic()
    second, _ = scene.join("enrich-b-0")
    assert carry_on(second, records(scene.out, b"A")) == [b"a"]
    assert all_values(scene.log, scene.out) == [b"A"]  # readers do not wait either
    assert time.monotonic() - died < SESSION_S + 5


def test_one_that_was_only_taken_for_dead_goes_on(scene: Scene) -> None:
    """Fenced, it would else take itself for displaced by another process, and stop."""
    fill(scene.log, scene.source, b"a")
    member, beats = scene.join("enrich-a-0")
    batch = next_batch(member)
    identity = scene.prefix + "enrich-a-0"
    beats.next = lambda: setattr(  # with its outputs sent, not yet its offsets
        beats,
        "next",
        lambda: kafka_clients.end_transaction(scene.settings, identity=identity, beat=lambda: None),
    )
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(scene.out, b"in vain"))
    assert carry_on(member, records(scene.out, b"A")) == [b"a"]
    assert all_values(scene.log, scene.out) == [b"A"]


def test_neither_members_nor_strangers_are_ended(scene: Scene) -> None:
    """A stranger here: whose name begins otherwise, though it read this group's partition; and what is young."""
    fill(scene.log, scene.source, b"a")
    stranger, beats = scene.join("other-a-0")
    scene.die(stranger, beats, after="outputs")
    left = scene.prefix + "other-a-0"
    until(lambda: scene.transactions() == [left])
    member, _ = scene.join("enrich-b-0")
    next_batch(member)
    member._producer.begin_transaction()
    member._producer.send(scene.out, b"x").get(timeout=10)
    mine = scene.prefix + "enrich-b-0"
    with contextlib.closing(KafkaTopics(scene.settings)) as topics:
        topics_of = LeftOpen(scene.settings, topics, group=scene.group, identity=mine, beat=lambda: None)
        elsewhere = LeftOpen(scene.settings, topics, group=scene.group + "2", identity=mine, beat=lambda: None)
        assert elsewhere.end() == []  # nobody's member, but young
        time.sleep(SESSION_S / 2 + 0.5)
        assert topics_of.end() == []
        assert sorted(scene.transactions()) == sorted([mine, left])
        replay = LeftOpen(scene.settings, topics, group=scene.group + "2", identity="replay", beat=lambda: None)
        assert replay.end() == []
        assert elsewhere.end() == [mine]
        assert scene.transactions() == [left]
