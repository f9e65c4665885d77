"""
Who has a member's identity: the member itself, or another process that has displaced it.

A fence alone does not tell. The broker may have forgotten us, or a join of ours (or of our predecessor) that nobody
waits for may have reached it after the one that made us a member; another process would have begun transactions as us.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from worker.edges import kafka_clients
from worker.edges.kafka_topics import KafkaTopics
from worker.ports import Fenced

_LOG = logging.getLogger(__name__)
MAX_REJOINS = 5
"""So often a displaced member joins again before a commit succeeds: more, and joining does not mend it."""


class Identity:
    """A member's claim to its name."""

    def __init__(self, name: str, topics: KafkaTopics, *, beat: Callable[[], None]) -> None:
        """*beat*: called before the cluster is asked."""
        self.name = name
        self._beat = beat
        self.rejoins = 0
        """Since the last commit."""
        self._topics = topics
        self._suspected: Fenced | None = None
        self._held: set[tuple[int, int]] = set()
        """The producer ids and epochs under which our last producer worked."""

    def begins(self, producer: Any) -> None:
        """Transactions go on by *producer*, which has fenced all before it."""
        self._held = {kafka_clients.producer_epoch(producer)}

    def ends(self, producer: Any) -> None:
        """*producer* is given up; what it began is still ours, and the client may have raised its epoch."""
        self._held.add(kafka_clients.producer_epoch(producer))

    def suspect(self, failure: Fenced) -> None:
        """Another process may have the name; to be found out before anything else."""
        self._suspected = failure

    def confirmed(self) -> None:
        """A commit went through."""
        self.rejoins = 0

    def must_rejoin(self) -> bool:
        """
        Find out who has the name when that is in doubt, and tell whether we are to join again.

        Raises: Fenced: another process has it; LogUnavailable.
        """
        if self._suspected is None:
            return False
        self._beat()
        if self.rejoins >= MAX_REJOINS or self._topics.holder(self.name) not in {None, *self._held}:
            raise self._suspected
        _LOG.warning(
            "displaced, though no other process has our identity; joining again", extra={"identity": self.name}
        )
        return True

    def rejoined(self) -> None:
        self.rejoins += 1
        self._suspected = None
