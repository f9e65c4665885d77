"""
The transactions that dead members of a group have left open, and their end.

A member that dies within a transaction leaves its records and offsets unsettled: nobody may read behind those records,
or go on behind those offsets, until its identity starts anew or the transaction's timeout is over. When it does not
come back, those who take its partitions end its transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from worker.edges import kafka_clients
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import LogError, LogUnavailable

_LOG = logging.getLogger(__name__)
AGAIN_S = 2.0


class LeftOpen:
    """Of one group, as its member *identity* sees it. Not for more than one thread."""

    def __init__(
        self, settings: KafkaSettings, topics: KafkaTopics, *, group: str, identity: str, beat: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._group = group
        self._identity = identity
        self._beat = beat
        self._members: frozenset[str] = frozenset()
        """Whom we have seen in the group. Nobody else's transactions are touched, whatever their names."""
        self._looked_at: int | None = None
        self._tried: int | None = None
        self._due = 0.0

    def look(self, generation: int) -> None:
        """
        End what those have left open who are in the group no more; once in each *generation*, -1 before the first.

        Never raises LogError: what fails is tried again after AGAIN_S, and without it there is still the timeout.
        """
        now = time.monotonic()
        if generation == self._looked_at or (generation == self._tried and now < self._due):
            return
        self._tried, self._due = generation, now + AGAIN_S
        try:
            if self._look(member=generation >= 0):
                self._looked_at = generation
        except LogUnavailable as error:
            _LOG.warning("cannot look for what dead members have left open: %s", error, extra={"group": self._group})
        except LogError as error:
            self._looked_at = generation  # neither rights nor a broker's version change soon
            _LOG.warning("cannot end what dead members have left open: %s", error, extra={"group": self._group})

    def _look(self, *, member: bool) -> bool:
        """Tell whether the broker said who is in the group, and all is ended. Raises: LogError."""
        members = self._topics.static_members(self._group)
        if not member:
            self._members |= members
            return True
        if self._identity not in members:
            return False  # it is we who are taken for dead
        for identity in sorted(self._members - members):
            self._beat()
            # Asked anew for each: it may have come back, or another may have ended it.
            if self._topics.in_transaction(identity) and identity not in self._topics.static_members(self._group):
                _LOG.warning("ending the transaction that a dead worker has left open", extra={"identity": identity})
                kafka_clients.end_transaction(self._settings, identity=identity, beat=self._beat)
        self._members = members
        return True
