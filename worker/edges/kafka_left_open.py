"""
The transactions that dead members of a group have left open, and their end.

A member that dies between its offsets and its commit leaves both unsettled: nobody may go on behind those offsets, or
read behind those records, until its identity starts anew or the transaction's timeout is over. When it does not come
back, whoever takes its partitions ends its transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from worker.edges import kafka_clients
from worker.edges.kafka_settings import KafkaSettings
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import LogError

_LOG = logging.getLogger(__name__)
AGAIN_S = 2.0


class LeftOpen:
    """Of one group, as one of its members sees it. Not for more than one thread."""

    def __init__(
        self, settings: KafkaSettings, topics: KafkaTopics, *, group: str, identity: str, beat: Callable[[], None]
    ) -> None:
        """*identity*: of the member; a replay, whose is not like those of the workers, ends nothing of theirs."""
        self._settings = settings
        self._siblings = settings.siblings if identity.startswith(settings.siblings) else ""
        self._topics = topics
        self._group = group
        self._beat = beat
        self._generation = -1
        self._due = 0.0

    def polled(self, generation: int, *, waiting: bool) -> None:
        """
        End what is left open: once in each *generation* of the group, and again while *waiting* for offsets.

        Never raises LogError: without it there is still the timeout.
        """
        now = time.monotonic()
        if generation < 0 or (generation == self._generation and not (waiting and now >= self._due)):
            return
        self._generation, self._due = generation, now + AGAIN_S
        try:
            self.end()
        except LogError as error:
            _LOG.warning("cannot end what dead members have left open: %s", error, extra={"group": self._group})

    def end(self) -> list[str]:
        """
        End the transactions of workers that are in the group no more; return their identities.

        Who lives all the same, and was only taken for dead, learns of it as of any fence, and joins again: see
        KafkaTopics.holder. Raises: LogError.
        """
        if not self._siblings:
            return []
        # Begun before its member's last sign of life; what began since is the work of somebody who is not in yet.
        old = self._topics.open_transactions(self._siblings, older_than_ms=self._settings.session_timeout_ms // 2)
        if not old:
            return []
        members = self._topics.static_members(self._group)
        dead = [identity for identity in old if identity not in members]
        for identity in dead:
            self._beat()
            _LOG.warning("ending the transaction that a dead worker has left open", extra={"identity": identity})
            kafka_clients.end_transaction(self._settings, identity=identity, beat=self._beat)
        return dead
