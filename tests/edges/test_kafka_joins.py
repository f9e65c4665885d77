"""
P19: the answer to a member's join comes while nobody polls that member.

That of the leader counts: when it asks again the whole group must join again; others are told what they were told.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.support.kafka_members import all_values, records, settings_for, values
from tests.support.services import KafkaBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import LogUnavailable, TopicPartition, TopicSpec, TransactionFailed

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]
SESSION_S = 6.0


class Pair:
    """Two members; the first had all partitions, is the leader, and neither has read the answer to its latest join."""

    def __init__(self, log: KafkaLog, prefix: str, stack: ExitStack) -> None:
        self._prefix, self._stack, self.log = prefix, stack, log
        self.topic, self.out = prefix + "in", prefix + "out"
        log.create_topics([TopicSpec(name=name, partitions=2) for name in (self.topic, self.out)])
        self.first = self._join("first")
        until(lambda: len(polled(self.first)) == 2)
        self.second = self._join("second")
        for member in (self.second, self.first):
            until(lambda member=member: polled(member, 0.001) is not None and joining(member))  # type: ignore[misc]
        until(lambda: all(coordinator(member)._join_task.is_done for member in (self.first, self.second)))

    def _join(self, name: str) -> KafkaMember:
        member = self.log.member(group=self._prefix + "g", identity=self._prefix + name, topics=[self.topic])
        self._stack.callback(member.close)
        return member

    def generation(self) -> int:
        """Return how often the group has joined, as the first member knows it."""
        generation: int = coordinator(self.first)._generation.generation_id
        return generation


def coordinator(member: KafkaMember) -> Any:
    return member._consumer.client._coordinator


def joining(member: KafkaMember) -> bool:
    return coordinator(member)._join_task is not None


def polled(member: KafkaMember, timeout_s: float = 0.1) -> Collection[TopicPartition]:
    """Poll *member* and return what it has then."""
    member.poll(timeout_s=timeout_s)
    return member.assigned()


@pytest.fixture
def pair(kafka: KafkaBroker, topic_prefix: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        log = KafkaLog.open(settings_for(kafka))
        stack.callback(log.close)
        yield Pair(log, topic_prefix, stack)


def test_an_answer_between_two_polls_is_taken_and_the_group_need_not_join_again(pair: Pair) -> None:
    joined = pair.generation()
    quiet_until = time.monotonic() + 2.0  # four heartbeats
    while time.monotonic() < quiet_until:
        assert len(polled(pair.first)) == 1
        assert len(polled(pair.second)) == 1
    assert pair.generation() == joined


def test_an_answer_to_a_membership_that_has_ended_since_is_not_taken(pair: Pair) -> None:
    """A heartbeat that was on its way when the member joined may be told so: the client then forgets who it is."""
    coordinator(pair.first).reset_generation()
    until(lambda: [polled(pair.second)] and len(polled(pair.first)) == 1)
    assert not coordinator(pair.first)._generation.is_lost()


def test_an_answer_that_is_taken_after_the_session_is_over_lets_nothing_go_out_twice(pair: Pair) -> None:
    expected = [b"%d" % number for number in range(20)]
    appender = pair.log.appender()
    for value in expected:
        appender.append(records(pair.topic, value, key=value))
    appender.close()
    done: list[bytes | None] = []

    def work(*members: KafkaMember) -> int:
        for member in members:
            with suppress(LogUnavailable, TransactionFailed):
                batch = member.poll(timeout_s=0.2)
                member.commit(batch, records(pair.out, *(value or b"" for value in values(batch))))
                done.extend(values(batch))
        return len(done)

    until(lambda: work(pair.first) == len(expected), within_s=SESSION_S + 10)
    until(lambda: work(pair.second, pair.first) and len(pair.second.assigned()) == 1)
    assert sorted(value or b"" for value in all_values(pair.log, pair.out)) == sorted(expected)
