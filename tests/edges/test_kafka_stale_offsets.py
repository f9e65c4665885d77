"""P16, P17: where a member goes on must not be what was true before others worked on its partition."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.kafka_members import all_values, carry_on, records, settings_for
from tests.support.proxy import JOIN_GROUP, OFFSET_FETCH, Fate, Once, ProxiedBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import Batch, LogUnavailable, TopicSpec

pytestmark = pytest.mark.kafka


class Scene:
    """Two identities and one partition: it goes to the first where both are there; the second is behind the proxy."""

    def __init__(self, broker: ProxiedBroker, prefix: str) -> None:
        self._prefix, self.proxy = prefix, broker.proxy
        self.source, self.out = prefix + "in", prefix + "out"
        quick = dataclasses.replace(settings_for(broker), transaction_timeout_ms=5000, max_poll_interval_ms=6000)
        self.direct = KafkaLog.open(quick)
        self.direct.create_topics([TopicSpec(name=name, partitions=1) for name in (self.source, self.out)])
        self._behind = KafkaLog.open(dataclasses.replace(quick, bootstrap=self.proxy.bootstrap))
        self._members: list[KafkaMember] = []

    def first(self) -> KafkaMember:
        return self._join(self.direct, "1")

    def second(self) -> KafkaMember:
        return self._join(self._behind, "2")

    def _join(self, log: KafkaLog, identity: str) -> KafkaMember:
        joined = log.member(group=self._prefix + "group", identity=self._prefix + identity, topics=[self.source])
        self._members.append(joined)
        return joined

    def fill(self, text: bytes) -> None:
        appender = self.direct.appender()
        appender.append(records(self.source, text))
        appender.close()

    def work(self, member: KafkaMember, *, beside: Callable[[], None]) -> None:
        """Have *member* work on one batch while *beside* is done again and again."""

        def worked() -> bool:
            beside()
            batch = Batch()
            with contextlib.suppress(LogUnavailable):  # the broker waits for the other to join, and says nothing
                batch = member.poll(timeout_s=0.1)
            if batch.records:
                member.commit(batch, records(self.out, *(each.value or b"" for each in batch.records)))
            return bool(batch.records)

        until(worked, within_s=40, what="the other has the partition, and works on it")

    def close(self) -> None:
        self.proxy.reset()
        for member in self._members:
            member.close()
        self._behind.close()
        self.direct.close()


@pytest.fixture
def scene(proxied_kafka: ProxiedBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(proxied_kafka, topic_prefix)
    yield made
    made.close()


class Held:
    """A rule that keeps the first request for offsets back until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def __call__(self, key: int, _request: bytes) -> Fate:
        if key == OFFSET_FETCH:
            self.asked.set()
            self.let_go.wait(20)
        return Fate.PASS


def test_an_answer_of_before_a_rebalance_does_not_count_after_it(scene: Scene) -> None:
    """P16: the client keeps what it asked for a set of partitions, and takes it when it gets just that set again."""
    scene.fill(b"a")
    before = scene.first()
    assert carry_on(before, records(scene.out, b"a")) == [b"a"]
    before.close()
    scene.fill(b"b")
    scene.proxy.rule = held = Held()
    second = scene.second()
    until(lambda: second.poll(timeout_s=0.1).records == () and held.asked.is_set(), what="it has asked and given up")
    first = scene.first()
    assert first.poll(timeout_s=0.5).records == ()
    held.let_go.set()
    until(second._consumer.client._coordinator.need_rejoin, what="it knows that it must join again")

    def nothing_comes() -> None:
        assert second.poll(timeout_s=0.1).records == ()

    scene.work(first, beside=nothing_comes)
    first.close()
    scene.fill(b"c")
    assert carry_on(second, records(scene.out, b"c")) == [b"c"]
    assert all_values(scene.direct, scene.out) == [b"a", b"b", b"c"]


def test_a_position_of_before_a_generation_that_was_missed_does_not_count_after_it(scene: Scene) -> None:
    """P17: the client keeps the positions of partitions that it has before and after, whoever had them in between."""
    scene.fill(b"a")
    second = scene.second()
    assert carry_on(second, records(scene.out, b"a")) == [b"a"]
    lost = Once(JOIN_GROUP, Fate.LOSE)
    scene.proxy.rule = lost
    lost.armed = True
    first = scene.first()

    def tries_to_join() -> None:
        with contextlib.suppress(LogUnavailable):
            assert second.poll(timeout_s=0.1).records == ()

    def asks() -> bool:
        tries_to_join()
        assert first.poll(timeout_s=0.1).records == ()
        return lost.done.is_set()

    until(asks, what="its request to join again is lost")
    scene.fill(b"b")
    scene.work(first, beside=tries_to_join)
    first.close()
    scene.fill(b"c")
    assert carry_on(second, records(scene.out, b"c")) == [b"c"]
    assert all_values(scene.direct, scene.out) == [b"a", b"b", b"c"]
