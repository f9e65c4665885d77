"""
What the client library knows of a member's standing in its group, and keeps to itself.

Reaches into kafka-python 3.0, pinned below 3.1.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from kafka.errors import UnstableOffsetCommitError
from kafka.future import Future
from kafka.structs import ConsumerGroupMetadata

LEAST_WAIT_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The proof under which a batch was read: the group's, and how often we had rewound by then."""

    group: ConsumerGroupMetadata
    rewinds: int

    @property
    def valid(self) -> bool:
        """A member that lost its group reports (-1, ""), and brokers do not fence exactly that."""
        return bool(self.group.generation_id >= 0 and self.group.member_id)


class UnsettledOffsets:
    """Since when *consumer* is not told the group's offsets because they wait for the end of a transaction."""

    def __init__(self, consumer: Any) -> None:
        self._since: float | None = None
        coordinator = consumer._coordinator  # noqa: SLF001
        answered = coordinator._handle_offset_fetch_response  # noqa: SLF001

        def noted(response: Any) -> Any:
            try:
                offsets = answered(response)
            except UnstableOffsetCommitError:
                self._since = self._since or time.monotonic()
                raise
            self._since = None
            return offsets

        coordinator._handle_offset_fetch_response = noted  # noqa: SLF001

    def again(self) -> None:
        """Count from the next answer on."""
        self._since = None

    def for_s(self) -> float:
        """Return for how long; 0 when they do not wait."""
        return 0.0 if self._since is None else time.monotonic() - self._since


class FreshOffsets:
    """
    Sees to it that *consumer* goes on where its group stands, not where it stood before others had the partition.

    The client keeps three things too long. An answer for the group's offsets that comes after its poll has given up is
    taken when those of just the same partitions are wanted again. A position is kept for each partition that is ours
    before and after a join, also when we have missed the generations in between. And the records that it had of a
    paused partition when it was asked for others are put aside for ever, and none is fetched while they lie there.
    """

    def __init__(self, consumer: Any) -> None:
        self._coordinator = consumer._coordinator  # noqa: SLF001
        self._fetcher = consumer._fetcher  # noqa: SLF001
        subscription = consumer._subscription  # noqa: SLF001
        joined = self._coordinator._on_join_complete_async  # noqa: SLF001

        async def joined_anew(*args: Any, **kwargs: Any) -> Any:
            self.forget()
            owned = list(subscription.assigned_partitions())
            subscription.assign_from_subscribed([])
            subscription.assign_from_subscribed(owned)  # cooperative assignors ask what we had
            return await joined(*args, **kwargs)

        self._coordinator._on_join_complete_async = joined_anew  # noqa: SLF001

    def forget(self) -> None:
        """Ask anew next time, for offsets and for what was paused."""
        self._coordinator._offset_fetch_futures.clear()  # noqa: SLF001
        self._fetcher._paused_completed_fetches.clear()  # noqa: SLF001
        self._fetcher._paused_partition_records.clear()  # noqa: SLF001


def take_late_joins(consumer: Any) -> None:
    """
    Let *consumer* take an answer to its join that came between two polls.

    The client throws it away and joins again, and so must the whole group; members whose polls do not overlap never
    come to an end of it. Where the membership has ended since, it joins again; where we have not heard of that yet, the
    next heartbeat tells, or the commit is refused.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    join = coordinator.join_group_async

    async def take_or_join(timeout_ms: float | None = None) -> Any:
        answer = coordinator._join_task  # noqa: SLF001
        if answer is not None and answer.is_done and not coordinator._generation.is_lost():  # noqa: SLF001
            coordinator._join_task = unread = Future()  # noqa: SLF001
            coordinator._manager.call_soon(lambda: answer.chain(unread))  # noqa: SLF001
        return await join(timeout_ms=timeout_ms)

    coordinator.join_group_async = take_or_join


def displaced(consumer: Any) -> bool:
    """
    Tell whether another process has joined under the identity of *consumer*; an idle one would else wait for ever.

    Its heartbeat is told so, switches itself off and says nothing; else it is off only while joining.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    with coordinator._lock:  # noqa: SLF001
        return bool(coordinator.stable() and not coordinator.rejoining and not coordinator._heartbeat_enabled)  # noqa: SLF001


def unanswered_s(consumer: Any, *, since: float) -> float:
    """Return for how long the group has not answered, counted from *since* at the earliest: the client never says."""
    answered: float = consumer._coordinator.heartbeat.last_receive  # noqa: SLF001
    return time.monotonic() - max(since, answered)


def pace(consumer: Any) -> None:
    """
    Let a poll of *consumer* rest while a heartbeat is overdue.

    The client then waits for nothing: a broker that is silent for seconds keeps a core busy, and each round hangs some
    objects on the fetch that has no answer. Heartbeats are sent by the client's own thread: none comes later by this.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    due_s = coordinator.time_to_next_poll
    coordinator.time_to_next_poll = lambda: max(due_s(), LEAST_WAIT_S)
