"""P16: an answer to "where does the group stand" must not outlive what it was true of."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator

import pytest

from tests.support.kafka_members import all_values, carry_on, records, settings_for
from tests.support.proxy import OFFSET_FETCH, Fate, ProxiedBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import TopicSpec

pytestmark = pytest.mark.kafka


class Held:
    """A rule that keeps the first request for offsets back until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def __call__(self, key: int, _request: bytes) -> Fate:
        if key == OFFSET_FETCH:
            self.asked.set()
            self.let_go.wait(20)
        return Fate.PASS


@pytest.fixture
def held(proxied_kafka: ProxiedBroker) -> Iterator[Held]:
    rule = Held()
    proxied_kafka.proxy.rule = rule
    yield rule
    rule.let_go.set()
    proxied_kafka.proxy.reset()


def test_an_answer_of_before_a_rebalance_does_not_count_after_it(
    proxied_kafka: ProxiedBroker, topic_prefix: str, held: Held
) -> None:
    """The client keeps what it asked for a set of partitions, and takes it when it gets just that set again."""
    source, out, group = (topic_prefix + name for name in ("in", "out", "group"))
    direct = KafkaLog.open(settings_for(proxied_kafka))
    direct.create_topics([TopicSpec(name=source, partitions=1), TopicSpec(name=out, partitions=1)])
    behind = dataclasses.replace(settings_for(proxied_kafka), bootstrap=proxied_kafka.proxy.bootstrap)

    def join(log: KafkaLog, identity: str) -> KafkaMember:
        return log.member(group=group, identity=topic_prefix + identity, topics=[source])

    def fill(text: bytes) -> None:
        appender = direct.appender()
        appender.append(records(source, text))
        appender.close()

    fill(b"first")
    before = join(direct, "1")
    assert carry_on(before, []) == [b"first"]
    before.close()
    fill(b"a")
    slow = KafkaLog.open(behind)
    one = join(slow, "2")
    until(lambda: one.poll(timeout_s=0.1).records == () and held.asked.is_set(), what="it has asked and given up")
    two = join(direct, "1")  # whom the partition goes to when there are two
    assert two.poll(timeout_s=0.5).records == ()
    held.let_go.set()
    until(one._consumer.client._coordinator.need_rejoin, what="it knows that it must join again")

    def worked_on() -> bool:
        assert one.poll(timeout_s=0.1).records == ()
        batch = two.poll(timeout_s=0.1)
        if batch.records:
            two.commit(batch, records(out, b"A"))
        return bool(batch.records)

    until(worked_on, within_s=30, what="the other has the partition, and works on it")
    two.close()
    fill(b"b")
    assert carry_on(one, records(out, b"B")) == [b"b"]
    assert all_values(direct, out) == [b"A", b"B"]
    for each in (one, slow, direct):
        each.close()
