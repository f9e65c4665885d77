"""
How Dateline talks to a Kafka cluster: one record of settings, and what each client library object gets from it.

The order that must hold: request < delivery < transaction timeout < longest pause between two polls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor

from worker.ports import WrongSettings

Config = dict[str, Any]
BATCH_BYTES = 900 * 1024
"""A batch that stays below the usual topic limit of 1 MiB: the client cannot mend one that the broker refuses."""
LINGER_MS = 100
"""Nothing waits for it, as all is flushed; with 0 what belongs together goes in many requests."""
SETTLING_TIMEOUT_MS = 1_000
"""The transaction timeout of who only ends what another has left open; no worker works with one so short."""
ASSIGNORS: Mapping[str, type] = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Where the cluster is and how to behave there; times in milliseconds."""

    bootstrap: str
    """host:port,host:port."""
    security_protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    client_id: str = "dateline"
    compression: str | None = "lz4"
    """lz4, zstd, gzip or None."""
    assignor: str = "range"
    """One of ASSIGNORS. A running group cannot change it: all members must stop first."""
    replication_factor: int = -1
    """Of topics: -1 = what the broker's default says."""
    min_insync_replicas: int = 0
    """Of topics: so many replicas hold a record when it is acknowledged; 0 = what the broker's default says."""
    session_timeout_ms: int = 15_000
    """How long a dead member keeps its partitions."""
    heartbeat_interval_ms: int = 1_000
    """So long a member may not know that its group moves partitions, and for so long they stand still."""
    request_timeout_ms: int = 15_000
    delivery_timeout_ms: int = 30_000
    transaction_timeout_ms: int = 45_000
    max_poll_interval_ms: int = 120_000
    """
    How long a member may stay away from the group's business; also how long the others wait for one that neither comes
    to a rebalance nor is known to be dead.
    """
    metadata_max_age_ms: int = 30_000
    """How long members and writers may overlook that a topic has got more partitions or other limits."""
    connect_timeout_ms: int = 10_000
    """How long one attempt to reach the cluster, or to start its transactions, may last."""
    leave_on_close: bool = True
    """
    Tell the group when a member closes in good order, so that others take its partitions at once.

    False: a member that restarts within the session timeout finds its partitions still its own.
    """

    def __post_init__(self) -> None:
        if self.assignor not in ASSIGNORS:
            raise WrongSettings(f"unknown assignor {self.assignor!r}; known are {', '.join(ASSIGNORS)}")
        times = (self.request_timeout_ms, self.delivery_timeout_ms, self.transaction_timeout_ms)
        if list(times) != sorted(set(times)) or self.transaction_timeout_ms >= self.max_poll_interval_ms:
            raise WrongSettings("wanted: request < delivery < transaction timeout < max poll interval")
        if self.delivery_timeout_ms < self.request_timeout_ms + LINGER_MS:
            raise WrongSettings(f"the delivery timeout must be {LINGER_MS} ms more than that of a request")
        if self.transaction_timeout_ms <= SETTLING_TIMEOUT_MS:
            raise WrongSettings(f"the transaction timeout must be more than {SETTLING_TIMEOUT_MS} ms")
        for path in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile):
            if path is not None and not path.is_file():
                raise WrongSettings(f"no such file: {path}")


def common(settings: KafkaSettings) -> Config:
    """Return what every client gets: addresses, credentials, bounds on waiting."""
    return {
        "bootstrap_servers": settings.bootstrap.split(","),
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism if settings.security_protocol.startswith("SASL") else None,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": settings.sasl_password,
        "ssl_cafile": _text(settings.ssl_cafile),
        "ssl_certfile": _text(settings.ssl_certfile),
        "ssl_keyfile": _text(settings.ssl_keyfile),
        "bootstrap_timeout_ms": settings.connect_timeout_ms,
        "request_timeout_ms": settings.request_timeout_ms,
        "reconnect_backoff_max_ms": 2_000,
    }


def reading(settings: KafkaSettings) -> Config:
    """Return what a consumer outside any group gets. No deserializers: one that raises makes every later poll hang."""
    return common(settings) | {
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "fetch_max_bytes": 16 * 1024 * 1024,
        "max_partition_fetch_bytes": 2 * 1024 * 1024,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def joining(settings: KafkaSettings, *, group: str, identity: str) -> Config:
    """Return what the consumer of a group's static member gets."""
    return reading(settings) | {
        "group_id": group,
        "group_instance_id": identity,
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": min(settings.heartbeat_interval_ms, settings.session_timeout_ms // 3),
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        "partition_assignment_strategy": (ASSIGNORS[settings.assignor],),
    }


def writing(
    settings: KafkaSettings,
    *,
    identity: str | None = None,
    batch_bytes: int = BATCH_BYTES,
    transaction_timeout_ms: int | None = None,
) -> Config:
    """
    Return what a producer gets: idempotent, and transactional when it has an *identity*.

    *transaction_timeout_ms*: instead of that of the settings.
    """
    config = common(settings) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": settings.compression,
        "batch_size": batch_bytes,
        "linger_ms": LINGER_MS,
        "max_block_ms": settings.connect_timeout_ms,
        "max_request_size": 8 * 1024 * 1024,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        "delivery_timeout_ms": settings.delivery_timeout_ms,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }
    if identity is not None:
        config |= {
            "transactional_id": identity,
            "transaction_timeout_ms": transaction_timeout_ms or settings.transaction_timeout_ms,
        }
    return config


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
