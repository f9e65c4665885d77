"""What a worker's loop tells becomes metrics, log lines, readiness and signs of life here."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from worker.edges.clock import SystemClock
from worker.edges.health import Readiness
from worker.edges.status_board import StatusBoard
from worker.edges.watchdog import Watchdog
from worker.enriching import NEWER_RECORD, Judged
from worker.metrics import Metrics
from worker.ports import TopicPartition
from worker.records import Enriched, VerdictKind

logger = logging.getLogger(__name__)
_NAMED = 20
_PROGRESS_S = 10.0


class WorkerEvents:
    """Implements enriching.EnricherEvents."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        readiness: Readiness,
        watchdog: Watchdog,
        clock: SystemClock,
        board: StatusBoard | None = None,
    ) -> None:
        """*board*: where the stories that went out are shown, if anywhere."""
        self._metrics = metrics
        self._readiness = readiness
        self._watchdog = watchdog
        self._clock = clock
        self._board = board
        self._reason: str | None = None
        self._away_since: float | None = None
        self._restored = 0
        self._told_at = 0.0

    def beat(self) -> None:
        self._watchdog.beat()

    def polled(self, owned: Collection[TopicPartition], lag: Mapping[TopicPartition, int]) -> None:
        self._metrics.owned(len(owned), {partition: count for (_, partition), count in lag.items()})

    def enriched(self, story: Enriched, routes: Sequence[str], left: Sequence[str]) -> None:
        metrics, verdict, article = self._metrics, story.verdict, story.article
        metrics.records_out.labels(verdict.kind).inc()
        if self._board is not None:
            self._board.enriched(story, routes)
        for route in routes:
            metrics.routed.labels(route).inc()
        metrics.unrouted.inc(len(left))
        if story.tags.failed:
            metrics.tags_failed.inc()
            logger.warning("tags left out", extra={"story": verdict.story, "taggers": ",".join(story.tags.failed)})
        if verdict.kind is not VerdictKind.NEW or story.reprocessed:
            return
        metrics.content.count(story)
        if story.fingerprint is None or story.fingerprint.origin_key is None:  # a dead letter's second chance is late
            metrics.latency(
                published=article.published_at,
                fetched=article.fetched_at,
                seen=verdict.first_seen,
                committed=self._clock.now(),
            )

    def duplicate(self, judged: Judged) -> None:
        self._metrics.records_out.labels(judged.verdict.kind).inc()

    def rejected(self, reason: str) -> None:
        self._metrics.records_out.labels("dead-letter").inc()
        self._metrics.dead_letters.labels(reason).inc()
        logger.warning("dead letter", extra={"reason": reason})

    def refusals(self, run: int, share: float) -> None:
        self._metrics.dead_letter_run.set(run)
        self._metrics.dead_letter_share.set(share)

    def stage(self, name: str, seconds: float, records: int) -> None:
        if records:
            self._metrics.stage_of[name].observe(max(0.0, seconds))
        if name == "decode":
            self._metrics.records_in.inc(records)
        elif name == "judge" and records:
            self._metrics.seen_judge.observe(max(0.0, seconds))

    def committed(self, records: int, lag: Mapping[TopicPartition, int]) -> None:
        self._metrics.transactions.labels("committed").inc()
        self._metrics.batch.observe(records)
        logger.debug("batch committed", extra={"records": records, "lag": sum(lag.values())})

    def accounted(self, unaccounted: Sequence[str], skipped: Mapping[TopicPartition, int]) -> None:
        """Implements loops.accounting.Books."""
        if unaccounted:
            self._metrics.unaccounted.inc(len(unaccounted))
            logger.error(
                "raw records without exactly one end; `dateline audit` shows them",
                extra={"records": len(unaccounted), "first": ",".join(unaccounted[:_NAMED])},
            )
        for (topic, partition), count in skipped.items():
            self._metrics.skipped.labels(str(partition)).inc(count)
            logger.warning("offsets without a record", extra={"partition": f"{topic}/{partition}", "offsets": count})

    def aborted(self, reason: str) -> None:
        self._metrics.transactions.labels("failed").inc()
        logger.warning("transaction failed; its records will come again", extra={"reason": reason})

    def waiting(self, reason: str | None) -> None:
        self._count_absence(away=reason is not None and reason.startswith("seen store"))
        self._metrics.newer_record.set(reason is not None and reason.startswith(NEWER_RECORD))
        if reason is None:
            self._readiness.clear("worker")
        else:
            self._readiness.blocked("worker", reason)
        if reason != self._reason:
            if reason is not None:
                logger.warning("waiting", extra={"reason": reason})
            elif self._reason is not None:
                logger.info("going on", extra={"after": self._reason})
        self._reason = reason

    def rebuilding(self, restored: int | None) -> None:
        now = self._clock.monotonic()
        if restored is None:
            self._metrics.seen_rebuilding.set(0)
            logger.info("seen store: the rebuild ended", extra={"restored": self._restored})
            self._restored, self._told_at = 0, 0.0
            return
        self._metrics.seen_rebuilding.set(1)
        self._metrics.seen_restored.inc(restored)
        self._restored += restored
        if now - self._told_at >= _PROGRESS_S:
            self._told_at = now
            logger.info("seen store: rebuilding it from what was published", extra={"restored": self._restored})

    def _count_absence(self, *, away: bool) -> None:
        """Add the time since the last call to the seen store's absence if it was away then."""
        now = self._clock.monotonic()
        if self._away_since is not None:
            self._metrics.seen_away.inc(max(0.0, now - self._away_since))
        self._away_since = now if away else None
