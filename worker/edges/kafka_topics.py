"""What is asked of the cluster itself: topics and their limits, offsets and members of groups, bounds of partitions."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec, TransactionState
from kafka.errors import (
    GroupIdNotFoundError,
    KafkaError,
    TopicAlreadyExistsError,
    TransactionalIdNotFoundError,
    for_code,
)

from worker import ports
from worker.edges import kafka_clients
from worker.edges.kafka_settings import SETTLING_TIMEOUT_MS, KafkaSettings, common
from worker.ports import LogError, NotAuthorised, TopicOutcome, TopicSpec, WrongSettings

T = TypeVar("T")
USUAL_LIMIT = 1_048_576
_SOON_S = 5.0
"""What is asked between two polls is not asked for long."""
_BEGINNING_S = 3.0
"""Beginning under an identity that has a transaction open takes two requests, the client's pause and the abort."""
_ABORTING = {TransactionState.PREPARE_EPOCH_FENCE, TransactionState.PREPARE_ABORT, TransactionState.COMPLETE_ABORT}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """What a writer must know of a topic."""

    partitions: int
    max_message_bytes: int


class KafkaTopics:
    """The administrative side of a cluster; one connection, made when first needed; safe to use from many threads."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._admin: Any = None
        self._facts: dict[str, TopicFacts] = {}
        self._asked_at = time.monotonic()

    def create(self, wanted: Sequence[TopicSpec]) -> Mapping[str, TopicOutcome]:
        """Create what is missing; return by topic what became of it."""
        there = self._replicas()
        said = {}
        for spec in wanted:
            if spec.name not in there:
                said[spec.name] = TopicOutcome(created=self._create(spec))
        self._ask(lambda admin: admin.wait_for_topics([spec.name for spec in wanted]), "waiting for new topics")
        for spec in wanted:
            if spec.name in there:
                said[spec.name] = self._compare(spec, there[spec.name])
        return said

    def partitions(self) -> Mapping[str, int]:
        """Return the number of partitions by topic, without the cluster's own topics."""
        return {name: len(replicas) for name, replicas in self._replicas().items()}

    def _replicas(self) -> Mapping[str, Sequence[int]]:
        """Return by topic the number of replicas of each partition."""
        described = self._ask(lambda admin: admin.describe_topics(), "listing topics")
        return {
            topic["name"]: [len(partition["replica_nodes"]) for partition in topic["partitions"]]
            for topic in described
            if not topic["error_code"] and not topic["is_internal"]
        }

    def facts(self, topic: str) -> TopicFacts:
        """Return what is known of *topic*, asked now and then. Raises: WrongSettings: there is no such topic."""
        if time.monotonic() - self._asked_at > self._settings.metadata_max_age_ms / 1000:
            self._facts.clear()
            self._asked_at = time.monotonic()
        known = self._facts.get(topic)
        if known is None:
            partitions = self.partitions().get(topic)
            if partitions is None:
                raise WrongSettings(f"topic {topic} does not exist; `dateline topics apply` creates what is missing")
            known = self._facts[topic] = TopicFacts(partitions=partitions, max_message_bytes=self._limit(topic))
        return known

    def forget_facts(self) -> None:
        """Ask again next time: limits and topics may have changed."""
        self._facts.clear()

    def committed(self, group: str, topics: Sequence[str]) -> Mapping[ports.TopicPartition, int]:
        """Return the offsets that *group* has committed; partitions without one are left out."""
        wanted = self._all_partitions(topics)
        if not wanted:
            return {}
        try:
            found = self._ask(lambda admin: admin.list_group_offsets({group: wanted}), f"reading offsets of {group}")
        except LogError as error:
            if isinstance(error.__cause__, GroupIdNotFoundError):
                return {}
            raise
        return {(tp.topic, tp.partition): at.offset for tp, at in found.get(group, {}).items() if at.offset >= 0}

    def bounds(self, topics: Sequence[str], *, settled: bool = False) -> Mapping[ports.TopicPartition, tuple[int, int]]:
        """Return by partition the first offset there and the next one; *settled*: the first of an open transaction."""
        wanted = self._all_partitions(topics)
        if not wanted:
            return {}
        first = self._offsets_at(wanted, OffsetSpec.EARLIEST, "read_uncommitted")
        end = self._offsets_at(wanted, OffsetSpec.LATEST, "read_committed" if settled else "read_uncommitted")
        return {(tp.topic, tp.partition): (first[tp].offset, end[tp].offset) for tp in wanted}

    def holder(self, identity: str) -> tuple[int, int] | None:
        """
        Return the producer id and epoch of who last started transactions as *identity*.

        None: nobody. Not for a week; or the last was fenced, by its transaction's timeout or by who ended what it had
        left open, and none has begun in its place. Who begins now is waited for, some seconds.
        """
        deadline = time.monotonic() + _BEGINNING_S
        while True:
            last = self._transaction(identity)
            if last is None or last.transaction_timeout_ms == SETTLING_TIMEOUT_MS:
                return None
            if last.state not in _ABORTING:  # workers abort by fencing alone, or right before they begin anew
                return last.producer_id, last.producer_epoch
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)

    def in_transaction(self, identity: str) -> bool:
        """Tell whether a transaction of *identity* is open."""
        last = self._transaction(identity)
        return last is not None and last.state == TransactionState.ONGOING

    def static_members(self, group: str) -> frozenset[str]:
        """Return the identities of the members of *group*, those included that are not yet known to be dead."""

        def ask(admin: Any) -> frozenset[str]:
            described = admin.describe_groups([group])[group]
            if described["error"] is not None:  # the client does not raise it, and shows no members
                code = int(re.findall(r"\[Error (-?\d+)\]", described["error"])[0])
                raise for_code(code)(described["error"])
            names = (member["group_instance_id"] for member in described["members"])
            return frozenset(name for name in names if name)  # a member that is not static is no worker

        try:
            return self._ask(ask, f"listing members of {group}", timeout_s=_SOON_S)
        except LogError as error:
            if isinstance(error.__cause__, GroupIdNotFoundError):
                return frozenset()
            raise

    def _transaction(self, identity: str) -> Any:
        """Return what the broker says of the last transaction of *identity*; None: it knows none."""
        try:
            found = self._ask(
                lambda admin: admin.describe_transactions([identity]), f"asking who is {identity}", timeout_s=_SOON_S
            )
        except LogError as error:
            if isinstance(error.__cause__, TransactionalIdNotFoundError):
                return None
            raise
        return found[identity]

    def remove_member(self, group: str, *, identity: str, member_id: str) -> None:
        """
        Take a static member out of its group, if it still is the one with *member_id*; the client's own close does not.

        Best effort: without it the group waits for the session timeout.
        """
        member = MemberToRemove(group_instance_id=identity, member_id=member_id)
        with contextlib.suppress(LogError):
            self._ask(lambda admin: admin.remove_group_members(group, [member]), "leaving the group", timeout_s=2.0)

    def close(self) -> None:
        """Release the connection; never raises."""
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(KafkaError, OSError):
                admin.close()

    def _all_partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(self.facts(topic).partitions)]

    def _offsets_at(
        self, partitions: Sequence[TopicPartition], spec: Any, isolation: str
    ) -> Mapping[TopicPartition, Any]:
        specs = dict.fromkeys(partitions, spec)
        return self._ask(lambda admin: admin.list_partition_offsets(specs, isolation_level=isolation), "reading bounds")

    def _create(self, spec: TopicSpec) -> bool:
        request = {
            spec.name: {
                "num_partitions": spec.partitions,
                "replication_factor": self._settings.replication_factor,
                "configs": _configs(spec) | self._safety(),
            }
        }
        try:
            self._ask(lambda admin: admin.create_topics(request), f"creating topic {spec.name}")
        except LogError as error:
            if isinstance(error.__cause__, TopicAlreadyExistsError):
                return False
            raise
        return True

    def _compare(self, spec: TopicSpec, replicas: Sequence[int]) -> TopicOutcome:
        actual = self._describe(spec.name)
        differs, harms = [], self._unsafe(min(replicas), actual.get("min.insync.replicas"))
        if len(replicas) != spec.partitions:
            differs.append(f"partitions={len(replicas)} instead of {spec.partitions}")
        for name, want in _configs(spec).items():
            have = actual.get(name)
            if have is None or have == want:
                continue
            if name != "cleanup.policy":
                differs.append(f"{name}={have} instead of {want}")
            elif (have, want) != ("compact,delete", "compact"):
                # That is what docs/scaling.md advises; the reverse would lose records of a topic that is only deleted.
                harms.append(f"{name}={have} instead of {want}")
        if replicas[0] > 1 and actual.get("min.insync.replicas") == "1" and not harms:
            differs.append("min.insync.replicas=1: what one broker has acknowledged, no other need have")
        return TopicOutcome(differs=tuple(differs), harms=tuple(harms))

    def _unsafe(self, replicas: int, in_sync: str | None) -> list[str]:
        """Say where fewer brokers hold a record than is asked for, or fewer than a write waits for."""
        said = []
        if replicas < self._settings.replication_factor:
            said.append(f"replicas={replicas} instead of {self._settings.replication_factor}")
        if in_sync is not None and int(in_sync) < self._settings.min_insync_replicas:
            said.append(f"min.insync.replicas={in_sync} instead of {self._settings.min_insync_replicas}")
        if in_sync is not None and int(in_sync) > replicas:
            said.append(f"min.insync.replicas={in_sync} of {replicas} replicas: every write is refused")
        return said

    def _safety(self) -> dict[str, str]:
        wanted = self._settings.min_insync_replicas
        return {"min.insync.replicas": str(wanted)} if wanted else {}

    def _limit(self, topic: str) -> int:
        try:
            return int(self._describe(topic).get("max.message.bytes", USUAL_LIMIT))
        except NotAuthorised:
            return USUAL_LIMIT  # reading a topic's settings is a right of its own, which writers need not have

    def _describe(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self._ask(
            lambda admin: admin.describe_configs([resource], config_filter="all"), f"reading the settings of {topic}"
        )
        return {name: str(entry["value"]) for name, entry in found["topic"][topic].items()}

    def _ask(self, ask: Callable[[Any], T], doing: str, *, timeout_s: float = 20.0) -> T:
        return kafka_clients.patiently(
            lambda: ask(self._connected()), doing=doing, timeout_s=timeout_s, again=self.close
        )

    def _connected(self) -> Any:
        with self._lock:
            if self._admin is None:
                self._admin = kafka_clients.connect(KafkaAdminClient, common(self._settings))
            return self._admin


def _configs(spec: TopicSpec) -> dict[str, str]:
    configs = {
        "cleanup.policy": "compact" if spec.compacted else "delete",
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
        "max.message.bytes": str(spec.max_message_bytes),
    }
    if spec.compacted:
        configs["min.compaction.lag.ms"] = str(spec.min_compaction_lag_ms)
    return configs
