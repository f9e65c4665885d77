"""What the poller tells becomes metrics, log lines and readiness here."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from worker.edges.clock import SystemClock
from worker.edges.health import Readiness
from worker.metrics import Metrics

logger = logging.getLogger(__name__)


class PollEvents:
    """Implements polling.PollerEvents."""

    def __init__(self, *, metrics: Metrics, readiness: Readiness, clock: SystemClock) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock

    def fetched(self, feed: str, result: str, seconds: float) -> None:
        self._metrics.feed_fetched(feed, result=result, seconds=seconds, now=self._clock.now())
        logger.debug("feed fetched", extra={"feed": feed, "result": result, "seconds": round(seconds, 3)})

    def failed(self, feed: str, reason: str, detail: str) -> None:
        logger.warning("feed failed", extra={"feed": feed, "reason": reason, "detail": detail})

    def parsed(self, feed: str, entries: int, new: int, changed: int) -> None:
        self._metrics.feed_read(feed, entries=entries, new=new, changed=changed)
        logger.debug("feed read", extra={"feed": feed, "entries": entries, "new": new, "changed": changed})

    def page(self, feed: str, result: str, seconds: float) -> None:
        self._metrics.pages.labels(result).inc()
        logger.debug("page fetched", extra={"feed": feed, "result": result, "seconds": round(seconds, 3)})

    def appended(self, articles: int) -> None:
        self._metrics.appended.inc(articles)

    def log_away(self, detail: str) -> None:
        self._metrics.log_away.set(1)
        self._readiness.blocked("log", detail)
        logger.warning("the log takes no articles; polling waits", extra={"detail": detail})

    def log_back(self) -> None:
        self._metrics.log_away.set(0)
        self._readiness.clear("log")
        logger.info("the log takes articles again")

    def left_alone(self, feeds: Sequence[str], newer: str) -> None:
        reason = f"{len(feeds)} are left alone: their state is of a newer release ({newer}), which has to poll them"
        self._readiness.blocked("feeds", reason)
        logger.warning("feeds left alone", extra={"reason": reason, "first": feeds[0]})
