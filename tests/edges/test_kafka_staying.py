"""Members that do not leave when they close: their partitions wait for them, and nobody else's move."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.kafka_members import settings_for
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]
PARTITIONS = 4


class Group:
    """Members of one group on one topic, driven in turns."""

    def __init__(self, log: KafkaLog, prefix: str, stack: ExitStack) -> None:
        self._log, self._prefix, self._stack = log, prefix, stack
        self.topic = prefix + "in"
        log.create_topics([TopicSpec(name=self.topic, partitions=PARTITIONS)])

    def join(self, name: str) -> KafkaMember:
        member = self._log.member(group=self._prefix + "g", identity=self._prefix + name, topics=[self.topic])
        self._stack.callback(member.close)
        return member

    @staticmethod
    def settle(*members: KafkaMember, within_s: float = 40.0) -> None:
        """Poll until the members share all partitions evenly."""

        def shared() -> bool:
            for member in members:
                member.poll(timeout_s=0.1)
            return all(len(member.assigned()) == PARTITIONS // len(members) for member in members)

        until(shared, within_s=within_s)


@pytest.fixture
def group(request: pytest.FixtureRequest, kafka: KafkaBroker, topic_prefix: str) -> Iterator[Group]:
    settings = dataclasses.replace(settings_for(kafka), session_timeout_ms=request.param, leave_on_close=False)
    with ExitStack() as stack:
        log = KafkaLog.open(settings)
        stack.callback(log.close)
        yield Group(log, topic_prefix, stack)


@pytest.mark.parametrize("group", [30_000], indirect=True)
def test_one_that_comes_back_in_time_finds_its_partitions_and_moves_no_others(group: Group) -> None:
    one, two = group.join("one"), group.join("two")
    group.settle(one, two)
    ones, twos = one.assigned(), two.assigned()
    two.close()
    away_until = time.monotonic() + 3
    while time.monotonic() < away_until:
        one.poll(timeout_s=0.1)
        assert one.assigned() == ones
    again = group.join("two")

    def back() -> bool:
        one.poll(timeout_s=0.1)
        assert one.assigned() == ones
        again.poll(timeout_s=0.1)
        return again.assigned() == twos

    until(back, within_s=20)


@pytest.mark.parametrize("group", [6_000], indirect=True)
def test_one_that_does_not_come_back_is_replaced_after_its_session(group: Group) -> None:
    one, two = group.join("one"), group.join("two")
    group.settle(one, two)
    two.close()
    closed = time.monotonic()
    group.settle(one, within_s=30)
    assert time.monotonic() - closed > 2, "the session timeout must count here, or this test shows nothing"
