"""A member whose broker has fallen silent says so, though it has nothing to do; and goes on when the broker answers."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

import pytest

from tests.support.kafka_members import fill, next_batch, settings_for, values
from tests.support.proxy import Fate, ProxiedBroker
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.ports import LogUnavailable, TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def test_an_idle_member_that_gets_no_answers_is_cut_off_not_idle(
    proxied_kafka: ProxiedBroker, topic_prefix: str
) -> None:
    settings = settings_for(proxied_kafka)
    direct = KafkaLog.open(settings)
    source = topic_prefix + "in"
    direct.create_topics([TopicSpec(name=source, partitions=1)])
    log = KafkaLog.open(dataclasses.replace(settings, bootstrap=proxied_kafka.proxy.bootstrap))
    with contextlib.closing(
        log.member(group=topic_prefix + "group", identity=topic_prefix + "one", topics=[source])
    ) as member:
        fill(direct, source, b"a")
        assert values(next_batch(member)) == [b"a"]
        idle_until = time.monotonic() + settings.session_timeout_ms / 1000 + 2
        while time.monotonic() < idle_until:
            assert not member.poll(timeout_s=0.2).records

        proxied_kafka.proxy.rule = lambda _key, _request: Fate.LOSE
        until(lambda: says_so(member), within_s=20, what="LogUnavailable from a member that is cut off")

        proxied_kafka.proxy.reset()
        proxied_kafka.proxy.cut()
        until(lambda: not says_so(member), within_s=20, what="contact again")
    log.close()
    direct.close()


def test_a_member_rests_while_its_broker_is_silent(proxied_kafka: ProxiedBroker, topic_prefix: str) -> None:
    """P13: the client itself would go round and round, and keep what each round made."""
    direct = KafkaLog.open(settings_for(proxied_kafka))
    source = topic_prefix + "in"
    direct.create_topics([TopicSpec(name=source, partitions=1)])
    log = KafkaLog.open(dataclasses.replace(settings_for(proxied_kafka), bootstrap=proxied_kafka.proxy.bootstrap))
    group, identity = topic_prefix + "group", topic_prefix + "one"
    with contextlib.closing(log.member(group=group, identity=identity, topics=[source])) as member:
        fill(direct, source, b"a")
        assert values(next_batch(member)) == [b"a"]
        proxied_kafka.proxy.rule = lambda _key, _request: Fate.LOSE
        rounds = 0
        fetch = member._consumer.client._fetcher.fetch_records

        def counted(*arguments: Any, **more: Any) -> Any:
            nonlocal rounds
            rounds += 1
            return fetch(*arguments, **more)

        member._consumer.client._fetcher.fetch_records = counted
        quiet_until = time.monotonic() + 3  # heartbeats are due each half second
        while time.monotonic() < quiet_until:
            with contextlib.suppress(LogUnavailable):
                member.poll(timeout_s=0.5)
        assert 0 < rounds < 100
        proxied_kafka.proxy.reset()
        proxied_kafka.proxy.cut()
    log.close()
    direct.close()


def says_so(member: KafkaMember) -> bool:
    try:
        member.poll(timeout_s=0.2)
    except LogUnavailable as error:
        assert "has not answered for" in str(error)  # noqa: PT017  (it may also not be raised)
        return True
    return False
