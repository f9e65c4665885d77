"""
What may move a member's position behind its back: a topic that was made anew, an offset that is not there (any more).

Of both the client library says nothing that a program could hear; reaches into kafka-python 3.0, pinned below 3.1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

_LOG = logging.getLogger(__name__)


class Positions:
    """Watches one consumer."""

    def __init__(self, consumer: Any, topics: Iterable[str], *, reset: Callable[[], None]) -> None:
        """*reset* is called when the client goes to the first offset because the one it wanted is not there."""
        self._cluster = consumer._client.cluster  # noqa: SLF001
        self._ids = {topic: self._cluster.topic_id(topic) for topic in topics}
        subscription = consumer._subscription  # noqa: SLF001
        request = subscription.request_offset_reset

        def noted(partition: Any, strategy: Any = None) -> Any:
            if strategy is None:  # the client's own doing: who seeks to an end names it
                position = subscription.assignment[partition].position
                at = {
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "offset": position and position.offset,
                }
                _LOG.warning("the offset to go on from is not there; reading on at the first that is", extra=at)
                reset()
            return request(partition, strategy)

        subscription.request_offset_reset = noted

    def made_anew(self) -> frozenset[str]:
        """Return the topics that were deleted and created again since the last call; their offsets began anew."""
        now = {topic: self._cluster.topic_id(topic) or known for topic, known in self._ids.items()}
        changed = frozenset(topic for topic, known in self._ids.items() if known not in {None, now[topic]})
        self._ids = now
        return changed
