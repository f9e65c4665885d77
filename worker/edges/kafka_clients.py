"""
Make and discard the client library's objects, so that none outlives its use and no wait is without end.

The client leaves threads and sockets behind when it cannot connect, and its `close` may raise before it stops anything.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

from worker.edges import kafka_errors
from worker.edges.kafka_settings import BATCH_BYTES, SETTLING_TIMEOUT_MS, Config, KafkaSettings, writing
from worker.ports import LogError, LogUnavailable, WrongSettings

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
INIT_ATTEMPTS = 3
DISCARD_S = 5.0


def connect(kind: Callable[..., T], config: Config, *, topics: tuple[str, ...] = ()) -> T:
    """
    Return a connected client of *kind*.

    Raises: LogUnavailable, NotAuthorised, WrongSettings; nothing of the failed attempt stays alive.
    """
    made: list[Any] = []
    tried = _Connections()

    def remember(**settings: Any) -> Any:
        client = _Client(**settings)
        client._manager._conns = tried  # noqa: SLF001
        made.append(client)
        return client

    try:
        return kind(*topics, **config, kafka_client=remember)
    except (KafkaError, OSError, ValueError, RuntimeError) as error:
        failures = tried.failures()
        for client in made:
            client.close()
        raise _failure(error, failures, config) from error


class _Client(KafkaNetClient):  # type: ignore[misc]  # untyped
    """
    The client's network, with the answer that its producer expects.

    A producer asks for a node before it sends a transaction's request. Told False it tries again, as it should; told by
    an exception that the node cannot be reached just then it forgets the request, and waits for its end for ever.
    """

    def await_ready(self, node_id: Any, timeout_ms: float = 30_000) -> bool:
        try:
            return bool(super().await_ready(node_id, timeout_ms=timeout_ms))
        except KafkaConnectionError:
            return False


class _Connections(dict[Any, Any]):
    """The client's connections; remembers those that it gives up, and with them why the broker refused us."""

    def __init__(self) -> None:
        super().__init__()
        self._all: deque[Any] = deque(maxlen=8)

    def __setitem__(self, node: Any, connection: Any) -> None:
        self._all.append(connection)
        super().__setitem__(node, connection)

    def last_failure(self) -> Exception | None:
        """Return why the last connection failed; None when it did not."""
        return self._all[-1].init_future.exception if self._all else None

    def failures(self) -> list[Exception]:
        return [each.init_future.exception for each in self._all if each.init_future.exception is not None]


def refusal(client: Any) -> LogError | None:
    """Return why the last connection of *client* was refused, when that is no matter of waiting."""
    failure = client._client._manager._conns.last_failure()  # noqa: SLF001
    if failure is None or kafka_errors.meaning(failure) is LogUnavailable:
        return None
    return kafka_errors.translate(failure, "the broker refuses us, or we it")


def _failure(error: Exception, tried: list[Exception], config: Config) -> LogError:
    where = ",".join(config["bootstrap_servers"])
    for failure in tried:
        # The client goes on trying until its time is up, and then says only that.
        if kafka_errors.meaning(failure) is not LogUnavailable:
            return kafka_errors.translate(failure, f"{where} refuses us, or we it")
    if isinstance(error, ValueError | RuntimeError | OSError):
        return WrongSettings(f"the Kafka client refuses its settings: {kafka_errors.words(error)}")
    why = f" ({kafka_errors.words(tried[-1])})" if tried else ""
    return kafka_errors.translate(error, f"cannot reach Kafka at {where}{why}")


def producer(settings: KafkaSettings, *, batch_bytes: int = BATCH_BYTES) -> Any:
    """Return an idempotent producer without transactions. Raises: as connect."""
    return connect(KafkaProducer, writing(settings, batch_bytes=batch_bytes))


def transactional_producer(
    settings: KafkaSettings, *, identity: str, batch_bytes: int = BATCH_BYTES, beat: Callable[[], None]
) -> Any:
    """
    Return a producer whose identity is ours alone: older holders are fenced, what they left open is settled.

    Raises: LogUnavailable, NotAuthorised, WrongSettings, Fenced.
    """
    return _begun(writing(settings, identity=identity, batch_bytes=batch_bytes), beat, attempts=INIT_ATTEMPTS)


def end_transaction(settings: KafkaSettings, *, identity: str, beat: Callable[[], None]) -> None:
    """
    Abort what *identity* has left open, and fence it. Raises: as transactional_producer, but sooner.

    The broker remembers the timeout, by which one that was fenced so can tell that nobody works in its place.
    """
    settling = writing(settings, identity=identity, transaction_timeout_ms=SETTLING_TIMEOUT_MS)
    discard(_begun(settling, beat, attempts=1))


def _begun(config: Config, beat: Callable[[], None], *, attempts: int) -> Any:
    """Return a producer that may begin transactions."""
    made = connect(KafkaProducer, config)
    identity = config["transactional_id"]
    for attempt in range(1, attempts + 1):
        beat()
        try:
            made.init_transactions()
        except KafkaTimeoutError as error:
            # Asking again goes on with the same attempt.
            if attempt == attempts:
                discard(made)
                raise LogUnavailable(f"cannot start transactions as {identity}: {kafka_errors.words(error)}") from error
        except KafkaError as error:
            discard(made)
            raise kafka_errors.translate(error, f"cannot start transactions as {identity}") from error
        else:
            return made
    raise AssertionError  # the loop returns or raises


def producer_epoch(made: Any) -> tuple[int, int]:
    """Return the id and epoch under which a transactional producer works; the broker knows of one for each identity."""
    held = made._transaction_manager.producer_id_and_epoch  # noqa: SLF001
    return held.producer_id, held.epoch


def send_offsets(
    made: Any, offsets: Mapping[TopicPartition, OffsetAndMetadata], group: ConsumerGroupMetadata, *, timeout_s: float
) -> None:
    """Add the group's *offsets* to the open transaction. Raises: KafkaError."""
    _settled(made, made._transaction_manager.send_offsets_to_transaction(offsets, group), timeout_s)  # noqa: SLF001


def commit(made: Any, *, timeout_s: float) -> None:
    """Commit the open transaction. Raises: KafkaError; after a KafkaTimeoutError only the broker knows its end."""
    _settled(made, made._transaction_manager.begin_commit(), timeout_s)  # noqa: SLF001


def drop_offsets(made: Any, group: ConsumerGroupMetadata, *, timeout_s: float) -> None:
    """
    Abort an empty transaction of the *group*: its coordinator drops what it holds of this producer. Raises: KafkaError.

    That is nothing, unless the coordinator has missed the end of a transaction; which no other request makes up for.
    """
    manager = made._transaction_manager  # noqa: SLF001
    made.begin_transaction()
    _settled(made, manager.send_offsets_to_transaction({}, group), timeout_s)
    _settled(made, manager.begin_abort(), timeout_s)


def _settled(made: Any, result: Any, timeout_s: float) -> None:
    """Wait for a step of a transaction, which the client itself would do without limit."""
    made._sender.wakeup()  # noqa: SLF001
    if not result.wait(timeout_ms=timeout_s * 1000):
        raise KafkaTimeoutError(f"a step of the transaction did not end within {timeout_s:.0f} s")


def discard(made: Any) -> None:
    """
    Stop a producer at once and for good, whatever state it is in; at most DISCARD_S.

    Unsent records are dropped and an open transaction stays open until its identity starts anew.
    """
    try:
        made.close(timeout=0)
    except KafkaError as error:
        _LOG.debug("closing a producer: %s", kafka_errors.words(error))
    # When `close` raised, the sender thread still runs, and the finalizer would try the same again.
    sender = made._sender  # noqa: SLF001
    sender.force_close()
    sender.join(DISCARD_S)
    made._closed = True  # noqa: SLF001
    if sender.is_alive():
        _LOG.warning("the sender thread of a discarded producer did not end within %s s", DISCARD_S)


def patiently(ask: Callable[[], T], *, doing: str, timeout_s: float, again: Callable[[], None] = lambda: None) -> T:
    """
    Return ask(); what may pass is tried again, with *again* called before, until *timeout_s* is over.

    Raises: LogUnavailable; without a second attempt what the table of errors says, and what `connect` raises.
    """
    deadline = time.monotonic() + timeout_s
    pause = 0.05
    while True:
        try:
            return ask()
        except KafkaError as error:
            failure = kafka_errors.translate(error, doing)
            if not error.retriable or not isinstance(failure, LogUnavailable) or time.monotonic() + pause > deadline:
                raise failure from error
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
        again()
