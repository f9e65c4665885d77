"""What the Kafka log does beyond the contract of all logs: each guard against the client library, on a real broker."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.structs import ConsumerGroupMetadata

from tests.support.installation import Installation
from tests.support.kafka_members import (
    Beats,
    all_values,
    carry_on,
    configure,
    fill,
    impatient,
    lower_limit,
    next_batch,
    records,
    settings_for,
    values,
)
from tests.support.services import KafkaBroker, RedisServer, free_ports
from tests.support.waiting import until
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.kafka_standing import Membership
from worker.edges.process import ExitCode
from worker.loops.settled import ends_since
from worker.ports import (
    Batch,
    Fenced,
    LogUnavailable,
    NewRecord,
    TopicSpec,
    TransactionFailed,
    UnreadableInput,
    WrongSettings,
)

pytestmark = pytest.mark.kafka
PARTITIONS = 2


@pytest.fixture
def settings(kafka: KafkaBroker) -> KafkaSettings:
    return settings_for(kafka)


@pytest.fixture
def log(settings: KafkaSettings, topic_prefix: str) -> Iterator[KafkaLog]:
    """Return a log with an empty topic `in` and an empty topic `out`."""
    opened = KafkaLog.open(settings)
    opened.create_topics([TopicSpec(name=topic_prefix + name, partitions=PARTITIONS) for name in ("in", "out")])
    yield opened
    opened.close()


@pytest.fixture
def join(log: KafkaLog, topic_prefix: str) -> Iterator[Callable[..., KafkaMember]]:
    """Return a function that joins the test's group, and close what it made."""
    joined: list[KafkaMember] = []

    def new(identity: str = "one", *, of: KafkaLog = log) -> KafkaMember:
        member = of.member(group=topic_prefix + "group", identity=topic_prefix + identity, topics=[topic_prefix + "in"])
        joined.append(member)
        return member

    yield new
    for member in joined:
        member.close()


def test_a_second_member_with_the_same_identity_fences_the_first(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    """The older one must stop, whatever it was about to write."""
    fill(log, topic_prefix + "in", b"a")
    older = join()
    batch = next_batch(older)
    join()
    with pytest.raises(Fenced):
        older.commit(batch, records(topic_prefix + "out", b"from the older"))
    with pytest.raises(Fenced):
        older.poll(timeout_s=0.1)
    assert all_values(log, topic_prefix + "out") == []


def test_a_batch_read_outside_the_group_is_refused(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    """Brokers do not fence a member that calls itself (-1, ""), which is what the client reports after losing it."""
    fill(log, topic_prefix + "in", b"a")
    member = join()
    batch = next_batch(member)
    lost = Membership(group=ConsumerGroupMetadata(topic_prefix + "group", -1, "", None), rewinds=0)
    with pytest.raises(TransactionFailed):
        member.commit(dataclasses.replace(batch, membership=lost), records(topic_prefix + "out", b"x"))
    assert all_values(log, topic_prefix + "out") == []
    assert values(next_batch(member)) == [b"a"]


def test_a_batch_of_an_older_generation_is_refused(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    fill(log, topic_prefix + "in", b"a")
    first = join("one")
    batch = next_batch(first)
    second = join("two")

    def shared() -> bool:
        first.poll(timeout_s=0.1)
        second.poll(timeout_s=0.1)
        return len(first.assigned()) == len(second.assigned()) == 1

    until(shared, what="both own a partition")
    with pytest.raises(TransactionFailed):
        first.commit(batch, records(topic_prefix + "out", b"x"))
    assert all_values(log, topic_prefix + "out") == []


def test_a_batch_is_committed_once(log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str) -> None:
    fill(log, topic_prefix + "in", b"a")
    member = join()
    batch = next_batch(member)
    member.commit(batch, records(topic_prefix + "out", b"x"))
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(topic_prefix + "out", b"x"))
    assert all_values(log, topic_prefix + "out") == [b"x"]


def test_a_batch_read_before_a_rewind_is_refused_as_it_comes_again(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    fill(log, topic_prefix + "in", b"a", b"b")
    member = join()
    batch = next_batch(member)
    member.rewind()
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(topic_prefix + "out", b"x"))
    again = next_batch(member)
    assert values(again) == values(batch)
    member.commit(again, records(topic_prefix + "out", b"y"))
    assert all_values(log, topic_prefix + "out") == [b"y"]


def test_a_rewind_goes_to_the_brokers_offset(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    fill(log, topic_prefix + "in", b"a", b"b", b"c", b"d")
    member = join()
    member.commit(next_batch(member, max_records=2), [])
    assert values(next_batch(member, max_records=1)) == [b"c"]
    member.rewind()
    assert values(next_batch(member)) == [b"c", b"d"]


def test_a_record_larger_than_its_topic_takes_is_refused_before_anything_is_sent(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    log.create_topics([TopicSpec(name=topic_prefix + "small", partitions=1, max_message_bytes=4096)])
    fill(log, topic_prefix + "in", b"a")
    member = join()
    batch = next_batch(member)
    large = records(topic_prefix + "small", b"x" * 5000)
    with pytest.raises(WrongSettings, match=r"small.*4096"):
        member.commit(batch, [*records(topic_prefix + "out", b"x"), *large])
    with pytest.raises(WrongSettings, match="4096"):
        log.appender().append(large)
    member.commit(batch, records(topic_prefix + "out", b"y"))
    assert all_values(log, topic_prefix + "out") == [b"y"]


def test_many_records_together_larger_than_a_topics_limit_arrive(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    """A batch above the limit would be split by the client, whose flush then fails for ever."""
    name = topic_prefix + "small"
    log.create_topics([TopicSpec(name=name, partitions=1, max_message_bytes=4096)])
    many = [random_bytes(1000, n) for n in range(20)]
    fill(log, name, *many)
    fill(log, topic_prefix + "in", b"a")
    member = join()
    member.commit(next_batch(member), records(name, *many))
    assert all_values(log, name) == many * 2


def test_a_limit_lowered_while_running_fails_the_transaction_and_is_learnt(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str, settings: KafkaSettings
) -> None:
    """The broker's refusal reaches us by a future alone; the second attempt refuses before sending."""
    out = topic_prefix + "out"
    fill(log, topic_prefix + "in", b"a")
    member = join()
    large = [NewRecord(topic=out, key=b"k", value=random_bytes(20_000))]
    batch = next_batch(member)
    member.commit(Batch(), records(out, b"known"))
    lower_limit(settings, out, 10_000)
    with pytest.raises(TransactionFailed):
        member.commit(batch, large)
    with pytest.raises(WrongSettings, match="10000"):
        member.commit(next_batch(member), large)
    assert all_values(log, out) == [b"known"]


def test_a_first_transaction_asks_for_all_its_topics_together(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    """The client pauses 0.1 s after each answer; a worker that has come back would wait for each topic."""
    names = [f"{topic_prefix}out-{number}" for number in range(6)]
    log.create_topics([TopicSpec(name=name, partitions=1) for name in names])
    fill(log, topic_prefix + "in", b"a")
    member = join()
    batch = next_batch(member)
    answers: list[object] = []
    member._producer._metadata.add_listener(answers.append)
    member.commit(batch, [record for name in names for record in records(name, b"b")])
    assert [all_values(log, name) for name in names] == [[b"b"]] * 6
    assert 1 <= len(answers) <= 2


def test_a_missing_topic_is_told_at_once(log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str) -> None:
    missing = topic_prefix + "missing"
    with pytest.raises(WrongSettings, match="missing"):
        log.appender().append(records(missing, b"x"))
    with pytest.raises(WrongSettings, match="missing"):
        log.member(group=topic_prefix + "g", identity=topic_prefix + "i", topics=[missing])
    with pytest.raises(WrongSettings, match="missing"):
        join().commit(Batch(), records(missing, b"x"))


def test_what_an_older_holder_left_open_is_settled_by_the_next(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str, settings: KafkaSettings
) -> None:
    """A killed process leaves a transaction open; it would hold back all readers until its timeout."""
    out = topic_prefix + "out"
    left: Any = KafkaProducer(
        bootstrap_servers=settings.bootstrap, transactional_id=topic_prefix + "one", metrics_enabled=False
    )
    left.init_transactions()
    left.begin_transaction()
    left.send(out, key=b"k", value=b"never committed", partition=0).get(10)
    left._sender.force_close()
    left._closed = True
    member = join("one")
    member.commit(Batch(), records(out, b"committed"))
    assert all_values(log, out) == [b"committed"]


def test_a_reader_reaches_the_end_behind_markers_and_aborted_records(
    log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str, settings: KafkaSettings
) -> None:
    out = topic_prefix + "out"
    join().commit(Batch(), records(out, b"committed"))
    aborting: Any = KafkaProducer(
        bootstrap_servers=settings.bootstrap, transactional_id=topic_prefix + "x", metrics_enabled=False
    )
    aborting.init_transactions()
    aborting.begin_transaction()
    aborting.send(out, key=b"k", value=b"aborted", partition=0).get(10)
    aborting.abort_transaction()
    aborting.close()
    assert all_values(log, out) == [b"committed"]


def test_a_second_log_never_alters_a_topic_that_is_there(log: KafkaLog, topic_prefix: str) -> None:
    name = topic_prefix + "in"
    told = log.create_topics([TopicSpec(name=name, partitions=5, retention_ms=1000, compacted=True)])[name]
    assert told.harms == ("cleanup.policy=delete instead of compact",)
    assert told.differs[:2] == ("partitions=2 instead of 5", "retention.ms=-1 instead of 1000")
    assert str(told).startswith("exists, but cleanup.policy=delete instead of compact, partitions=2")
    assert log.topics()[name] == PARTITIONS


def test_as_many_replicas_are_asked_for_as_are_set(kafka: KafkaBroker, tmp_path: Path) -> None:
    """One broker has no two; what it says shows that it was asked."""
    installation = Installation(tmp_path)
    installation.environ |= {"DATELINE_KAFKA_BOOTSTRAP": kafka.bootstrap, "DATELINE_TOPICS_REPLICAS": "2"}
    applied = installation.run("topics", "apply")
    assert applied.returncode != 0
    assert "replication" in applied.stderr.decode().lower(), applied.stderr


@pytest.mark.redis
def test_topics_apply_ends_with_code_2_where_a_topic_would_lose_records(
    kafka: KafkaBroker, redis: RedisServer, tmp_path: Path
) -> None:
    installation = Installation(tmp_path, kafka=kafka, redis=redis)

    def applied(**environ: str) -> tuple[int, str]:
        process = installation.run("topics", "apply", environ=environ)
        return process.returncode, process.stderr.decode()

    assert applied(DATELINE_TOPICS_MIN_INSYNC_REPLICAS="1") == (0, "")
    settings, enriched, raw = settings_for(kafka), installation.topics.enriched, installation.topics.raw
    configure(settings, enriched, {"cleanup.policy": "compact,delete", "retention.ms": "7776000000"})
    assert applied()[0] == 0, "still compacted, as docs/scaling.md advises"

    code, said = applied(DATELINE_TOPICS_REPLICAS="3", DATELINE_TOPICS_MIN_INSYNC_REPLICAS="2")
    assert code == ExitCode.SETTINGS
    assert f"  {raw}: replicas=1 instead of 3, min.insync.replicas=1 instead of 2\n" in said

    configure(settings, enriched, {"cleanup.policy": "delete"})
    configure(settings, raw, {"cleanup.policy": "compact,delete", "min.insync.replicas": "2"})
    code, said = applied()
    assert code == ExitCode.SETTINGS
    assert said.splitlines()[1:] == [
        f"  {raw}: min.insync.replicas=2 of 1 replicas: every write is refused,"
        " cleanup.policy=compact,delete instead of delete",
        f"  {enriched}: cleanup.policy=delete instead of compact",
    ]


def test_the_watchdogs_beat_is_called_around_every_step_that_may_block(
    settings: KafkaSettings, log: KafkaLog, join: Callable[..., KafkaMember], topic_prefix: str
) -> None:
    beats: list[int] = []
    fill(log, topic_prefix + "in", b"a")
    watched = KafkaLog.open(settings, beat=lambda: beats.append(1))
    member = join(of=watched)
    batch = next_batch(member)
    before = len(beats)
    member.commit(batch, records(topic_prefix + "out", b"x"))
    assert len(beats) - before >= 3
    before = len(beats)
    member.poll(timeout_s=0.1)
    assert len(beats) - before == 2
    member.close()
    watched.close()


def test_a_header_name_that_is_no_utf8_stops_nobody(
    join: Callable[..., KafkaMember], topic_prefix: str, settings: KafkaSettings
) -> None:
    """The client library would raise at this record for ever; it is read with the odd bytes replaced."""
    foreign: Any = KafkaProducer(bootstrap_servers=settings.bootstrap, metrics_enabled=False)
    foreign.send(topic_prefix + "in", key=b"k", value=b"odd", headers=[(NotUtf8("name"), b"1")], partition=0)
    foreign.send(topic_prefix + "in", key=b"k", value=b"plain", headers=[("name", b"2")], partition=0).get(10)
    foreign.close()

    found = next_batch(join()).records

    assert [(record.value, record.headers) for record in found] == [
        (b"odd", (("\ufffd\ufffd", b"1"),)),
        (b"plain", (("name", b"2"),)),
    ]


def test_a_batch_in_a_codec_that_we_lack_stops_the_member_for_good(
    join: Callable[..., KafkaMember], topic_prefix: str, settings: KafkaSettings
) -> None:
    """The client raises once, and its next poll would spin for ever: the process has to end and say why."""
    configure(settings, topic_prefix + "in", {"compression.type": "snappy"})
    foreign: Any = KafkaProducer(bootstrap_servers=settings.bootstrap, metrics_enabled=False)
    foreign.send(topic_prefix + "in", key=b"k", value=b"v", partition=0).get(10)
    foreign.close()
    member = join()
    with pytest.raises(UnreadableInput, match=r"in, partition 0: .*the batch of offsets 0 to 0 .* snappy"):
        next_batch(member)
    with pytest.raises(UnreadableInput):
        member.poll(timeout_s=0.2)


def test_an_output_that_cannot_be_unpacked_hides_what_went_out_and_stops_nobody(
    log: KafkaLog, topic_prefix: str, settings: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    out = topic_prefix + "out"
    configure(settings, out, {"compression.type": "snappy"})
    fill(log, out, b"v")
    assert ends_since(log, [out], 0, beat=lambda: None) == {}
    assert "not all that went out can be read" in caplog.text


def test_a_broker_that_falls_silent_in_a_transaction_costs_the_transaction_not_the_batch(
    own_kafka: KafkaBroker, topic_prefix: str
) -> None:
    """Its records expire unsent, of which flush and commit may say nothing; all is done again when it answers."""
    settings = impatient(own_kafka)
    beats = Beats()
    log = KafkaLog.open(settings, beat=beats)
    source, out = topic_prefix + "in", topic_prefix + "out"
    log.create_topics([TopicSpec(name=source, partitions=1), TopicSpec(name=out, partitions=1)])
    fill(log, source, b"a")
    member = log.member(group=topic_prefix + "group", identity=topic_prefix + "one", topics=[source])
    batch = next_batch(member)
    member.commit(Batch(), records(out, b"before"))
    beats.next = own_kafka.freeze  # called when all is handed to the client and nothing is acknowledged
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(out, b"lost"))
    with pytest.raises(LogUnavailable):
        member.poll(timeout_s=0.1)
    own_kafka.thaw()
    assert carry_on(member, records(out, b"after")) == [b"a"]
    assert all_values(log, out) == [b"before", b"after"]
    member.close()
    log.close()


def test_a_broker_killed_between_two_batches_loses_nothing_committed(own_kafka: KafkaBroker, topic_prefix: str) -> None:
    """
    Once the first commit can be read, that is.

    A lone node that dies before it has written a commit's markers takes the partitions for deleted when it comes back,
    skips the markers, and the transaction hangs: of the broker's making, and not with replicas.
    """
    log = KafkaLog.open(impatient(own_kafka))
    source, out = topic_prefix + "in", topic_prefix + "out"
    log.create_topics([TopicSpec(name=source, partitions=1), TopicSpec(name=out, partitions=1)])
    fill(log, source, b"a", b"b")
    member = log.member(group=topic_prefix + "group", identity=topic_prefix + "one", topics=[source])
    member.commit(next_batch(member, max_records=1), records(out, b"A"))
    batch = next_batch(member)
    until(lambda: all_values(log, out) == [b"A"] and log.committed(topic_prefix + "group", [source]))
    own_kafka.kill()
    with pytest.raises(TransactionFailed):
        member.commit(batch, records(out, b"B"))
    own_kafka.start()
    assert carry_on(member, records(out, b"B")) == [b"b"]
    assert all_values(log, out) == [b"A", b"B"]
    member.close()
    log.close()


def test_a_cluster_that_is_not_there_is_unavailable_not_wrong() -> None:
    nowhere = KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)[0]}", connect_timeout_ms=500)
    with pytest.raises(LogUnavailable):
        KafkaLog.open(nowhere)


def test_settings_whose_timeouts_contradict_each_other_are_refused(settings: KafkaSettings) -> None:
    with pytest.raises(WrongSettings, match="request < delivery"):
        dataclasses.replace(settings, transaction_timeout_ms=1000)
    with pytest.raises(WrongSettings, match="100 ms more"):  # the client would refuse it when it connects
        dataclasses.replace(settings, delivery_timeout_ms=settings.request_timeout_ms + 99)
    dataclasses.replace(settings, delivery_timeout_ms=settings.request_timeout_ms + 100)
    with pytest.raises(WrongSettings, match="assignor"):
        dataclasses.replace(settings, assignor="sticky")


class NotUtf8(str):
    """Text that is written as bytes which are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        return b"\xff\xfe"


def random_bytes(count: int, seed: int = 5) -> bytes:
    """Return bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(count)


def test_nobody_holds_an_identity_that_never_started_transactions(log: KafkaLog, topic_prefix: str) -> None:
    assert log._topics.holder(topic_prefix + "nobody") is None
