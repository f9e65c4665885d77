"""
Each guard against a defect of the client library (docs/decisions.md, P1 to P19), with its cause brought about for real.

Guards with a test elsewhere: P6 and P12 in test_kafka_log.py, P13 in test_kafka_contact.py, P16 and P17 in
test_kafka_stale_offsets.py, P18 in test_kafka_security.py, P19 in test_kafka_joins.py, sockets in
test_kafka_sockets.py; the watchdog behind that of P8, with whole processes, in tests/faults/test_exits.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.net.compat import KafkaNetClient
from kafka.producer.transaction_manager import TransactionalRequestResult, TxnOffsetCommitHandler
from kafka.structs import OffsetAndMetadata

from tests.support.kafka_members import Beats, all_values, carry_on, next_batch, records, settings_for
from tests.support.proxy import ADD_OFFSETS, END_TXN, OFFSET_FETCH, PRODUCE, Fate, Once, ProxiedBroker
from tests.support.services import free_ports
from tests.support.waiting import until
from worker.edges import kafka_clients, kafka_identity, kafka_log, kafka_member
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_member import KafkaMember
from worker.edges.kafka_records import Outgoing, send
from worker.edges.kafka_settings import KafkaSettings
from worker.ports import Batch, Fenced, LogUnavailable, NewRecord, TopicSpec, TransactionFailed

pytestmark = pytest.mark.kafka


class Scene:
    """A log reached through the proxy, an input and an output topic, and the members that joined."""

    def __init__(self, broker: ProxiedBroker, prefix: str) -> None:
        self.broker, self.proxy = broker, broker.proxy
        self.group, self.source, self.out = (prefix + name for name in ("group", "in", "out"))
        self.prefix = prefix
        self.beats = Beats()
        self.settings = dataclasses.replace(
            settings_for(broker),
            bootstrap=broker.proxy.bootstrap,
            request_timeout_ms=1000,
            delivery_timeout_ms=1500,
            connect_timeout_ms=2000,
        )
        self.direct = KafkaLog.open(settings_for(broker))
        self.direct.create_topics([TopicSpec(name=self.source, partitions=2), TopicSpec(name=self.out, partitions=1)])
        self._open: list[Any] = [self.direct]

    def join(self, identity: str = "one", **changed: int) -> KafkaMember:
        log = KafkaLog.open(dataclasses.replace(self.settings, **changed), beat=self.beats)  # type: ignore[arg-type]
        member = log.member(group=self.group, identity=self.prefix + identity, topics=[self.source])
        self._open[:0] = [member, log]
        return member

    def fill(self, *texts: bytes, key: bytes = b"k") -> None:
        appender = self.direct.appender()
        appender.append(records(self.source, *texts, key=key))
        appender.close()

    def outputs(self, *texts: bytes) -> list[NewRecord]:
        return records(self.out, *texts)

    def written(self) -> list[bytes | None]:
        return all_values(self.direct, self.out)

    def committed(self) -> int:
        return sum(self.direct.committed(self.group, [self.source]).values())

    def close(self) -> None:
        self.proxy.reset()
        for each in self._open:
            each.close()


@pytest.fixture
def scene(proxied_kafka: ProxiedBroker, topic_prefix: str) -> Iterator[Scene]:
    made = Scene(proxied_kafka, topic_prefix)
    yield made
    made.close()


def test_offsets_of_lost_partitions_are_never_sent_later(scene: Scene) -> None:
    """P1: after a refusal the client keeps them, and would put another member's offset back with its next commit."""
    keys = {zlib.crc32(key) % 2: key for key in (b"%d" % n for n in range(20))}
    scene.fill(b"a", key=keys[0])
    scene.fill(b"b", key=keys[1])
    first = scene.join("one", heartbeat_interval_ms=2000)
    batch = Batch()
    while len(batch.records) < 2:
        first.rewind()
        batch = first.poll(timeout_s=0.5)
    assert {record.partition for record in batch.records} == {0, 1}
    member_id = first._consumer.client.group_metadata().member_id

    def leave() -> None:
        scene.direct._topics.remove_member(scene.group, identity=scene.prefix + "one", member_id=member_id)

    scene.beats.next = lambda: setattr(scene.beats, "next", leave)  # not before flush: before the offsets
    with pytest.raises(TransactionFailed):
        first.commit(batch, scene.outputs(b"refused"))

    second = scene.join("two")
    share(first, second)
    lost = next(iter(second.assigned()))
    scene.fill(b"c", b"d", key=keys[lost[1]])
    done: list[bytes | None] = []
    while len(done) < 3:
        done += carry_on(second, [])
    until(lambda: scene.direct.committed(scene.group, [scene.source]).get(lost) == 3)
    carry_on(first, scene.outputs(b"mine"))
    until(lambda: scene.committed() == 4)
    assert scene.direct.committed(scene.group, [scene.source])[lost] == 3
    assert scene.written() == [b"mine"]


def test_a_commit_that_would_succeed_without_its_records_is_not_tried(scene: Scene) -> None:
    """P2: the broker refuses a batch's sequence, the client raises its epoch, forgets the transaction and `commits`."""
    scene.fill(b"a")
    member = scene.join()
    member.commit(Batch(), scene.outputs(b"before"))
    batch = next_batch(member)
    scene.proxy.rule = lambda key, request: out_of_sequence(request) if key == PRODUCE else Fate.PASS
    with pytest.raises(TransactionFailed):
        member.commit(batch, scene.outputs(b"refused"))
    scene.proxy.reset()
    assert carry_on(member, scene.outputs(b"after")) == [b"a"]
    assert scene.written() == [b"before", b"after"]


@pytest.mark.parametrize("sent", [True, False])
def test_a_batch_that_expired_fails_the_transaction(scene: Scene, sent: bool) -> None:
    """P3: its future fails, the transaction does not; flush says nothing, and the commit would go through."""
    scene.fill(b"a")
    member = scene.join()
    member.commit(Batch(), scene.outputs(b"before"))
    batch = next_batch(member)
    if sent:
        scene.proxy.rule = lambda key, _: Fate.CUT if key == PRODUCE else Fate.PASS
    else:
        scene.proxy.refusing = True
        scene.proxy.cut()
    again = threading.Timer(1.6, scene.proxy.reset)
    again.start()
    with pytest.raises(TransactionFailed):
        member.commit(batch, scene.outputs(b"expired"))
    again.join()
    assert carry_on(member, scene.outputs(b"after")) == [b"a"]
    assert scene.written() == [b"before", b"after"]


@pytest.mark.parametrize(("fate", "came_again"), [(Fate.UNANSWERED, False), (Fate.LOSE, True)])
def test_a_commit_without_an_answer_is_settled_by_what_the_broker_has(
    scene: Scene, fate: Fate, came_again: bool
) -> None:
    """P4: one late answer is fatal to the client. The commit that arrived is not done again, the other one is."""
    scene.fill(b"a")
    # Left open, the offsets could not be read before its timeout: the new producer has to end it.
    member = scene.join(transaction_timeout_ms=110_000)
    batch = next_batch(member)
    scene.proxy.rule = rule = Once(END_TXN, fate)
    rule.armed = True
    with pytest.raises(TransactionFailed):
        member.commit(batch, scene.outputs(b"A"))
    assert rule.done.is_set()
    if came_again:
        assert carry_on(member, scene.outputs(b"A again")) == [b"a"]
    scene.fill(b"b")
    assert carry_on(member, scene.outputs(b"B")) == [b"b"]
    assert scene.written() == [b"A again" if came_again else b"A", b"B"]


def test_offsets_whose_request_was_lost_are_sent_again(scene: Scene) -> None:
    """P4 in the middle of a transaction."""
    scene.fill(b"a")
    member = scene.join()
    batch = next_batch(member)
    scene.proxy.rule = rule = Once(ADD_OFFSETS, Fate.LOSE)
    rule.armed = True
    with pytest.raises(TransactionFailed):
        member.commit(batch, scene.outputs(b"A"))
    assert rule.done.is_set()
    assert carry_on(member, scene.outputs(b"A")) == [b"a"]
    assert scene.written() == [b"A"]


@pytest.mark.parametrize("step", ["offsets", "commit"])
def test_a_request_of_a_transaction_that_meets_a_lost_connection_is_sent_again(scene: Scene, step: str) -> None:
    """P8: told by an exception that it cannot be sent now the client forgets it, and waits for its end for ever."""
    scene.fill(b"a")
    member = scene.join(delivery_timeout_ms=9000)
    batch = next_batch(member)
    lose_connections(scene, member, step)
    member.commit(batch, scene.outputs(b"A"))
    assert scene.written() == [b"A"]


def test_a_step_of_a_transaction_without_an_end_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """P8: whatever the client waits for, the member waits no longer than a record may take."""
    monkeypatch.setattr(kafka_clients, "_Client", KafkaNetClient)
    scene.fill(b"a")
    member = scene.join()
    batch = next_batch(member)
    lose_connections(scene, member, "commit")
    with pytest.raises(TransactionFailed, match=r"did not end within"):
        member.commit(batch, scene.outputs(b"A"))
    assert carry_on(member, scene.outputs(b"A")) == [b"a"]
    assert scene.written() == [b"A"]


@pytest.mark.parametrize("limit", [1_048_576, 4096])
def test_a_batch_that_could_not_even_be_begun_comes_again(scene: Scene, limit: int) -> None:
    """The broker goes away before the commit asks it for a topic's limit, or before a producer is made that fits it."""
    scene.fill(b"a", b"b")
    scene.direct.create_topics([TopicSpec(name=scene.prefix + "other", partitions=1, max_message_bytes=limit)])
    member = scene.join()
    batch = next_batch(member, max_records=1)
    outputs = records(scene.prefix + "other", b"x")
    if limit == 4096:
        member._topics.facts(scene.prefix + "other")
    scene.proxy.refusing = True
    scene.proxy.cut()
    with pytest.raises(LogUnavailable):
        member.commit(batch, outputs)
    scene.proxy.reset()
    assert carry_on(member, scene.outputs(b"A"))[0] == b"a"


def test_a_member_whose_group_dropped_it_between_poll_and_commit_commits_nothing(scene: Scene) -> None:
    """P5: it now calls itself (-1, ""), and of exactly that the broker checks nothing."""
    scene.fill(b"a")
    member = scene.join(transaction_timeout_ms=2000, max_poll_interval_ms=2500)
    batch = next_batch(member)
    until(lambda: member._consumer.client.group_metadata().generation_id < 0, what="the client gives its membership up")
    with pytest.raises(TransactionFailed):
        member.commit(batch, scene.outputs(b"not fenced"))
    assert scene.committed() == 0
    assert carry_on(member, scene.outputs(b"A")) == [b"a"]
    assert scene.written() == [b"A"]


def test_records_polled_while_the_membership_ended_are_not_given_out(scene: Scene) -> None:
    """P5: the client's own thread may end it after the records were taken and before the membership is read."""
    scene.fill(b"a")
    member = scene.join()
    until(lambda: member.poll(timeout_s=0.1).records == () and member.assigned())
    coordinator, poll = member._consumer.client._coordinator, member._consumer.client.poll

    def poll_and_lose(**wanted: Any) -> Any:
        found = poll(**wanted)
        if found:
            coordinator.reset_generation()
        return found

    member.rewind()
    member._consumer.client.poll = poll_and_lose
    while coordinator._generation.generation_id >= 0:
        assert member.poll(timeout_s=0.2).records == ()
    member._consumer.client.poll = poll
    assert carry_on(member, scene.outputs(b"A")) == [b"a"]


def test_an_idle_member_learns_that_another_took_its_identity(scene: Scene) -> None:
    """P9: its heartbeat is told so and falls silent; with nothing to commit it would wait for ever."""
    older = scene.join()
    until(lambda: older.poll(timeout_s=0.1).records == () and older.assigned())
    newer = scene.join()
    until(lambda: newer.poll(timeout_s=0.1).records == () and newer.assigned())

    def told() -> bool:
        try:
            older.poll(timeout_s=0.1)
        except Fenced:
            return True
        return False

    until(told, within_s=5)
    scene.fill(b"a")
    assert carry_on(newer, scene.outputs(b"A")) == [b"a"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_member_displaced_by_a_late_join_of_its_own_joins_again(scene: Scene, busy: bool) -> None:
    """P14: as when a join that was given up reaches the broker after the one that followed it."""
    scene.fill(b"a")
    member = scene.join()
    batch = next_batch(member)
    if not busy:
        member.commit(batch, scene.outputs(b"A"))
    late_join(scene)
    if busy:
        with pytest.raises(TransactionFailed):
            member.commit(batch, scene.outputs(b"A"))
        assert carry_on(member, scene.outputs(b"A")) == [b"a"]
    scene.fill(b"b")
    assert carry_on(member, scene.outputs(b"B")) == [b"b"]
    assert scene.written() == [b"A", b"B"]


def test_a_member_that_is_displaced_again_and_again_gives_up(scene: Scene) -> None:
    """Somebody else joins under its name, without transactions under its identity."""
    member = scene.join()

    def displace_again() -> None:
        until(lambda: member.poll(timeout_s=0.1).records == () and member.assigned())
        before = member._identity.rejoins
        late_join(scene)
        until(lambda: member.poll(timeout_s=0.1).records == () and member._identity.rejoins > before)

    for _ in range(kafka_identity.MAX_REJOINS):
        displace_again()
    with pytest.raises(Fenced):
        displace_again()


@pytest.mark.parametrize("anew", [False, True])
def test_offsets_that_the_broker_forgot_are_not_read_again(scene: Scene, anew: bool) -> None:
    """P15: a broker that was killed may come back with older offsets of the group, and with older members."""
    scene.fill(b"a", b"b", b"c")
    member = scene.join()
    batch = next_batch(member)
    assert len(batch.records) == 3
    member.commit(batch, scene.outputs(b"abc"))
    set_back(scene, batch.records[0].partition)
    assert scene.committed() == 1
    if anew:
        late_join(scene)
    else:
        member.rewind()
    scene.fill(b"d")
    assert carry_on(member, scene.outputs(b"d")) == [b"d"]
    until(lambda: scene.committed() == 4)
    assert scene.written() == [b"abc", b"d"]


def test_twenty_failures_leave_no_thread_and_no_socket_behind(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """P3b, P7, P10: a producer closed with records unsent keeps its thread; collected, it silences the client's log."""
    caplog.set_level(logging.CRITICAL + 1, "kafka")
    scene.fill(b"a")
    member = scene.join()
    member.commit(Batch(), scene.outputs(b"before"))
    threads, files = client_threads(), open_files()
    for _ in range(20):
        batch = next_batch(member)
        scene.proxy.rule = lambda key, _: Fate.LOSE if key == PRODUCE else Fate.PASS
        scene.beats.next = fail  # when the records are handed to the client
        with pytest.raises(TransactionFailed):
            member.commit(batch, scene.outputs(b"lost"))
        scene.proxy.reset()
    assert carry_on(member, scene.outputs(b"after")) == [b"a"]
    gc.collect()
    until(lambda: client_threads() <= threads, what="the threads of discarded producers end")
    until(lambda: open_files() <= files + 4, what="the sockets of discarded producers are closed")
    assert scene.written() == [b"before", b"after"]


def test_twenty_failed_connections_leave_no_thread_and_no_socket_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "kafka")  # kept log records would hold what they tell of
    nowhere = KafkaSettings(bootstrap=f"127.0.0.1:{free_ports(1)[0]}", connect_timeout_ms=100)
    KafkaLog(nowhere).close()
    threads, files = client_threads(), open_files()
    gc.collect()
    gc.disable()  # a worker's is not to be relied on
    try:
        for _ in range(20):
            with pytest.raises(LogUnavailable):
                kafka_clients.producer(nowhere)
        until(lambda: client_threads() <= threads, what="threads end")
        assert open_files() <= files + 2
    finally:
        gc.enable()


def test_an_appender_holds_no_more_in_flight_than_its_bound(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """P11: the client takes whatever it is given; with a broker that does not answer, all of it would lie in memory."""
    monkeypatch.setattr(kafka_log, "MAX_IN_FLIGHT_BYTES", 1_000_000)
    log = KafkaLog.open(dataclasses.replace(scene.settings, request_timeout_ms=3000, delivery_timeout_ms=4000))
    appender = log.appender()
    appender.append(scene.outputs(b"before"))
    scene.proxy.rule = lambda key, _: Fate.LOSE if key == PRODUCE else Fate.PASS
    held: list[int] = []
    handed = send

    def counted(sending: Sequence[Outgoing], producer: Any) -> Any:
        held.extend(len(each.record.value or b"") for each in sending)
        return handed(sending, producer)

    monkeypatch.setattr(kafka_log, "send", counted)
    with pytest.raises(LogUnavailable):
        appender.append(scene.outputs(*[bytes(50_000)] * 100), timeout_s=1)
    assert 900_000 <= sum(held) <= 1_050_000
    appender.close()
    log.close()


def test_the_clients_are_set_as_the_promises_need(scene: Scene) -> None:
    """Stable offsets, committed records, the earliest start, no offsets committed by themselves, nothing unpacked."""
    asked: list[bytes] = []

    def listen(key: int, request: bytes) -> Fate:
        if key == OFFSET_FETCH:
            asked.append(request)
        return Fate.PASS

    scene.proxy.rule = listen
    member = scene.join()
    until(lambda: member.poll(timeout_s=0.1).records == () and member.assigned())
    member.rewind()
    reading, writing = member._consumer.client.config, member._producer.config
    wanted = {
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "key_deserializer": None,
        "value_deserializer": None,
        "allow_auto_create_topics": False,
        "group_instance_id": scene.prefix + "one",
    }
    assert {name: reading[name] for name in wanted} == wanted
    assert (writing["acks"], writing["enable_idempotence"]) == (-1, True)
    assert writing["transactional_id"] == scene.prefix + "one"
    assert writing["request_timeout_ms"] < writing["delivery_timeout_ms"] < writing["transaction_timeout_ms"]
    assert writing["transaction_timeout_ms"] < reading["max_poll_interval_ms"]
    assert {struct.unpack_from(">h", request, 2)[0] for request in asked} <= {7, 8}
    assert {request[-2:] for request in asked} == {b"\x01\x00"}, "require_stable, then no tagged fields"


def test_offsets_that_wait_for_a_transaction_which_has_ended_are_dropped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P15: such a broker may have missed the end of a transaction, and would never say where to go on."""
    monkeypatch.setattr(kafka_member, "UNSETTLED_S", 1.0)
    scene.fill(b"a")
    member = scene.join()
    batch = next_batch(member)
    member.commit(batch, scene.outputs(b"A"))
    with unverified(scene):
        leave_offsets_waiting(member, batch)
    member.rewind()
    scene.fill(b"b")
    assert carry_on(member, scene.outputs(b"B")) == [b"b"]
    assert scene.written() == [b"A", b"B"]


@contextlib.contextmanager
def unverified(scene: Scene) -> Iterator[None]:
    """Let the broker take offsets from a producer without asking whether it has begun a transaction."""
    name = "transaction.partition.verification.enable"
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=scene.broker.bootstrap)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {name: "false"})])
        time.sleep(1)
        yield
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", {name: "true"})])


def leave_offsets_waiting(member: KafkaMember, batch: Batch) -> None:
    """Give the group's coordinator offsets of a transaction that the coordinator of transactions knows nothing of."""
    manager = member._producer._transaction_manager
    member._producer.begin_transaction()
    offsets = {TopicPartition(batch.records[0].topic, batch.records[0].partition): OffsetAndMetadata(1)}
    manager._pending_txn_offset_commits.update(offsets)
    result = TransactionalRequestResult()
    manager._enqueue_request(TxnOffsetCommitHandler(manager, member._consumer.membership(), offsets, result))
    member._producer._sender.wakeup()
    assert result.wait(timeout_ms=5000)
    assert result.succeeded
    member._abandon()


def set_back(scene: Scene, partition: int) -> None:
    """Give the group offset 1; the broker takes it from whoever names no member."""
    foreign: Any = KafkaProducer(
        bootstrap_servers=scene.settings.bootstrap, transactional_id=scene.prefix + "foreign", metrics_enabled=False
    )
    foreign.init_transactions()
    foreign.begin_transaction()
    foreign.send_offsets_to_transaction({TopicPartition(scene.source, partition): OffsetAndMetadata(1)}, scene.group)
    foreign.commit_transaction()
    foreign.close()
    until(lambda: scene.committed() == 1)


def late_join(scene: Scene) -> None:
    """Have the broker take a join as member "one", and wait until the member before it is told."""
    other: Any = KafkaConsumer(
        scene.source,
        bootstrap_servers=scene.settings.bootstrap,
        group_id=scene.group,
        group_instance_id=scene.prefix + "one",
        session_timeout_ms=6000,
        max_poll_interval_ms=scene.settings.max_poll_interval_ms,
        partition_assignment_strategy=(RangePartitionAssignor,),
        enable_auto_commit=False,
        metrics_enabled=False,
    )

    def joined() -> bool:
        other.poll(timeout_ms=100, max_records=1)
        return bool(other.assignment())

    until(joined, what="the late join")
    other.close(autocommit=False)


def lose_connections(scene: Scene, member: KafkaMember, step: str) -> None:
    """Let the producer of *member* lose its connections, for half a second, right before *step* of its next commit."""

    def lose() -> None:
        scene.proxy.refusing = True
        scene.proxy.cut()
        connections = member._producer._sender._client._manager._conns.values()
        until(lambda: not any(each.connected for each in list(connections)))
        threading.Timer(0.5, scene.proxy.reset).start()

    def after(beats: int) -> None:
        scene.beats.next = lose if beats == 0 else lambda: after(beats - 1)

    after({"offsets": 1, "commit": 2}[step])


def share(first: KafkaMember, second: KafkaMember) -> None:
    """Poll until each owns one partition; what was read on the way is read again."""

    def shared() -> bool:
        for member in (first, second):
            with contextlib.suppress(LogUnavailable):
                member.poll(timeout_s=0.1)
        return len(first.assigned()) == len(second.assigned()) == 1

    until(shared, within_s=40, what="both own a partition")
    first.rewind()
    second.rewind()


def out_of_sequence(request: bytes) -> bytes:
    """Return a produce request whose only batch pretends that a hundred records came before it."""
    for at in range(len(request) - 61):
        if request[at + 16] != 2:
            continue
        end = at + 12 + struct.unpack_from(">i", request, at + 8)[0]
        if end <= len(request) and crc32c(request[at + 21 : end]) == struct.unpack_from(">I", request, at + 17)[0]:
            body = bytearray(request[at + 21 : end])
            struct.pack_into(">i", body, 32, 100)
            return request[: at + 17] + struct.pack(">I", crc32c(bytes(body))) + bytes(body) + request[end:]
    raise AssertionError("no batch in the request")


def fail() -> None:
    raise TimeoutError("planted")


def client_threads() -> int:
    """Count the threads that are not the proxy's."""
    return sum(not thread.name.startswith("prox") for thread in threading.enumerate())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
