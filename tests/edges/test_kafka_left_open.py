"""Members that die within a transaction and do not come back: others go on without waiting for its timeout."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import NotCoordinatorError
from kafka.protocol.producer import InitProducerIdRequest

from tests.support.kafka_members import Beats, all_values, carry_on, fill, next_batch, records, settings_for
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges import kafka_clients, kafka_left_open
from worker.edges.kafka_left_open import LeftOpen
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import LogUnavailable, TopicSpec, TransactionFailed

pytestmark = pytest.mark.kafka
SESSION_S = 6.0
TIMEOUT_S = 110.0


class Killed(BaseException):
    """What a kill is to the code that it hits."""


class Scene:
    """A group whose transactions have a long timeout, on a topic with one partition and one to write to."""

    def __init__(self, broker: KafkaBroker, prefix: str) -> None:
        self.prefix, self.group, self.source, self.out = prefix, prefix + "group", prefix + "in", prefix + "out"
        self.settings = dataclasses.replace(settings_for(broker), transaction_timeout_ms=int(TIMEOUT_S * 1000))
        self.log = KafkaLog.open(self.settings)
        self.log.create_topics([TopicSpec(name=self.source, partitions=1), TopicSpec(name=self.out, partitions=1)])
        fill(self.log, self.source, b"a")
        self.topics = KafkaTopics(self.settings)
        self._open: list[Any] = [self.log, self.topics]

    def join(self, name: str) -> tuple[KafkaMember, Beats]:
        beats = Beats()
        log = KafkaLog.open(self.settings, beat=beats)
        member = log.member(group=self.group, identity=self.prefix + name, topics=[self.source])
        self._open[:0] = [member, log]
        return member, beats

    def begin(self, name: str) -> None:
        """Leave a transaction open under an identity."""
        made: Any = kafka_clients.transactional_producer(self.settings, identity=self.prefix + name, beat=lambda: None)
        made.begin_transaction()
        made.send(self.out, b"left open").get(timeout=10)
        kafka_clients.discard(made)

    def die(self, name: str, *, after: str) -> None:
        """Join, begin a commit, and be gone with the offsets, or only the outputs, sent."""
        member, beats = self.join(name)
        batch = next_batch(member)
        at_beat(beats, {"outputs": 1, "offsets": 2}[after], kill)
        with pytest.raises(Killed):
            member.commit(batch, records(self.out, b"of the dead"))
        member._consumer.client.close(autocommit=False)

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def scene(kafka: KafkaBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(kafka, topic_prefix)
    yield made
    made.close()


def at_beat(beats: Beats, later: int, act: Callable[[], None]) -> None:
    beats.next = act if later == 0 else lambda: at_beat(beats, later - 1, act)


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("after", ["outputs", "offsets"])
def test_who_takes_over_ends_what_the_dead_has_left_open(scene: Scene, after: str) -> None:
    scene.die("one", after=after)
    died = time.monotonic()
    second, _ = scene.join("two")
    assert carry_on(second, records(scene.out, b"A")) == [b"a"]
    second.poll(timeout_s=0.1)
    assert all_values(scene.log, scene.out) == [b"A"]  # readers do not wait either
    assert time.monotonic() - died < SESSION_S + 5


def test_it_is_tried_again_when_the_broker_did_not_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.die("one", after="offsets")
    second, _ = scene.join("two")
    asked: list[str] = []
    in_transaction = KafkaTopics.in_transaction

    def away_first(self: KafkaTopics, identity: str) -> bool:
        asked.append(identity)
        if len(asked) == 1:
            raise LogUnavailable("planted")
        return in_transaction(self, identity)

    monkeypatch.setattr(KafkaTopics, "in_transaction", away_first)
    assert carry_on(second, records(scene.out, b"A")) == [b"a"]
    assert asked == [scene.prefix + "one"] * 2


@pytest.mark.parametrize("ended", ["at once", "half", "long ago"])
def test_one_that_was_only_taken_for_dead_goes_on(scene: Scene, ended: str) -> None:
    """Fenced, it would else take itself for displaced by another process, and stop."""
    member, beats = scene.join("one")
    batch = next_batch(member)
    identity = scene.prefix + "one"

    def end() -> None:
        if ended == "half":
            fence_only(scene, identity)
        else:
            kafka_clients.end_transaction(scene.settings, identity=identity, beat=lambda: None)

    if ended == "long ago":
        end()
    else:
        at_beat(beats, 1, end)  # with its outputs sent, not yet its offsets
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(scene.out, b"in vain"))
    assert carry_on(member, records(scene.out, b"A")) == [b"a"]
    assert all_values(scene.log, scene.out) == [b"A"]


def fence_only(scene: Scene, identity: str) -> None:
    """Do the first half of beginning under *identity*: the broker aborts, and the one who asked never asks again."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=scene.settings.bootstrap)) as admin:
        asked = InitProducerIdRequest(transactional_id=identity, transaction_timeout_ms=50_000)

        async def send() -> Any:
            return await admin._manager.send(asked, node_id=admin._manager.cluster.brokers()[0].node_id)

        admin._manager.run(send)
    until(lambda: not scene.topics.in_transaction(identity))


def test_members_and_who_was_never_one_are_left_alone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_left_open, "AGAIN_S", 0.0)
    member, _ = scene.join("one")
    next_batch(member)
    scene.begin("stranger")
    scene.begin("two")
    seen = LeftOpen(scene.settings, scene.topics, group=scene.group, identity=scene.prefix + "one", beat=lambda: None)
    seen._members = frozenset({scene.prefix + "one", scene.prefix + "two"})
    member._producer.begin_transaction()
    member._producer.send(scene.out, b"x").get(timeout=10)

    def left() -> set[str]:
        return {name for name in ("one", "two", "stranger") if scene.topics.in_transaction(scene.prefix + name)}

    assert left() == {"one", "two", "stranger"}
    elsewhere = LeftOpen(
        scene.settings, scene.topics, group=scene.group, identity=scene.prefix + "not in", beat=lambda: None
    )
    elsewhere._members = seen._members
    elsewhere.look(5)  # who is not in the group itself cannot tell who else is
    assert left() == {"one", "two", "stranger"}
    seen.look(5)
    assert left() == {"one", "stranger"}


def test_a_broker_that_does_not_say_who_is_in_a_group_has_not_said_that_nobody_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.topics.static_members(scene.prefix + "nobody's") == frozenset()
    member, _ = scene.join("one")
    next_batch(member)
    assert scene.topics.static_members(scene.group) == {scene.prefix + "one"}
    said = {"error": str(NotCoordinatorError("planted")), "members": []}
    monkeypatch.setattr(KafkaAdminClient, "describe_groups", lambda *_, **__: {scene.group: said})
    with pytest.raises(LogUnavailable, match="NotCoordinator"):
        scene.topics.static_members(scene.group)
