"""
The worker's loop: a batch of raw records in; enriched records, duplicates and dead letters out, in one transaction.

What can refuse a record (decode, extract) comes before its verdict; the seen store is asked once for the batch; after
that nothing fails, so a verdict is never taken back. Listeners hear of a record only after its commit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from worker import wire
from worker.enriching import NEWER_RECORD, Clock, EnricherEvents, Judged, TopicNames
from worker.loops.dead_letter_limit import DeadLetterWatch, Past, no_past
from worker.loops.publishing import Publisher, Routed
from worker.loops.reading import article_of, fingerprint_of, until_newer_major, would_be_refused
from worker.loops.rebuilding import Rebuilding
from worker.loops.settled import Ends, Settled
from worker.loops.tagging import tag
from worker.ports import (
    Batch,
    LogRecord,
    LogUnavailable,
    Member,
    RecordTooLarge,
    SeenStore,
    SeenStoreAway,
    SeenStoreLost,
    TopicPartition,
    TransactionFailed,
)
from worker.records import (
    Article,
    Enriched,
    Rejected,
    VerdictKind,
)
from worker.ruleset import Taxonomy
from worker.stages.extract import Detect
from worker.stages.refusals import Limits

FAILURES_IN_A_ROW = 5
"""So many failed transactions one after another, and the process is better started afresh."""
FIRST_BATCH = 100
"""A process begins with a small batch: all of a partition has waited for its start, and sees by it that it goes on."""
MAX_BACKOFF_S = 5.0
IDLE_ASK_S = 1.0
"""How often a worker without records asks whether the seen store is still the one that it knows."""


class TooManyFailures(Exception):
    """Transactions keep failing: start afresh (exit 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnricherSettings:
    """How the loop behaves."""

    topics: TopicNames = field(default_factory=TopicNames)
    output: TopicNames | None = None
    """Where a replay writes; None = the same topics."""
    max_records: int = 500
    dead_letters: Limits = field(default_factory=Limits)
    """More refused records than this stop the worker."""
    reprocessed: bool = False
    """Mark what is written as made by a replay."""


class Enricher:
    """Copies raw records into judged, tagged and routed ones, batch by batch, on the calling thread."""

    def __init__(
        self,
        *,
        member: Member,
        seen: SeenStore,
        taxonomy: Taxonomy,
        detect: Detect,
        clock: Clock,
        events: EnricherEvents,
        settings: EnricherSettings,
        past: Past = no_past,
        ends: Ends | None = None,
        rebuilding: Rebuilding | None = None,
    ) -> None:
        """
        *ends*: finds what went out already, should the log forget what was committed.

        *past*: reads again what came before, to know how much of it would be refused.

        *rebuilding*: joins the seen store and brings a lost one back; without it the store is joined, or its own.
        """
        self._member = member
        self._seen = seen
        self._taxonomy = taxonomy
        self._detect = detect
        self._clock = clock
        self._events = events
        self._settings = settings
        self._coming: Taxonomy | None = None
        self._publisher = self._publisher_with(taxonomy)
        self._rebuilding = rebuilding
        self._joined = rebuilding is None
        self._newer = ""
        self._settled = Settled(seen, ends)
        # A clock that is set forward does not make the hour pass for which verdicts are kept.
        self._begun = clock.now() - timedelta(seconds=clock.monotonic())
        self._asked_at = 0.0
        self._failures = 0
        self._batch_records = min(FIRST_BATCH, settings.max_records)
        self._dead_letters = DeadLetterWatch(settings.dead_letters, refuses=self._refuses, past=past)

    def run(self, stopping: Callable[[], bool], *, timeout_s: float = 0.5) -> None:
        """Work until *stopping*, to the end of a batch. Raises: what says stop, in worker.ports and here."""
        while not stopping():
            self.step(timeout_s=timeout_s)

    def change(self, taxonomy: Taxonomy) -> None:
        """Tag and route by *taxonomy* from the next batch on; any thread may ask for it, and does the compiling."""
        taxonomy.topics.prepare(like=self._taxonomy.topics)
        self._coming = taxonomy

    def _publisher_with(self, taxonomy: Taxonomy) -> Publisher:
        settings = self._settings
        return Publisher(
            seen=self._seen,
            taxonomy=taxonomy,
            topics=settings.output or settings.topics,
            reprocessed=settings.reprocessed,
            clock=self._clock,
        )

    def step(self, *, timeout_s: float) -> int:
        """Work off what one poll gives and return how many records were committed."""
        self._events.beat()
        coming, self._coming = self._coming, None
        if coming is not None:
            self._taxonomy, self._publisher = coming, self._publisher_with(coming)
        if self._rebuilding is not None and not self._joined:
            self._join(self._rebuilding)
            return 0
        try:
            batch = self._member.poll(timeout_s=timeout_s, max_records=self._batch_records)
        except LogUnavailable as error:
            self._wait(f"log: {error}")
            return 0
        assigned = self._member.assigned()
        self._events.polled(assigned, self._member.lag())
        self._settled.assigned(assigned)
        if not batch.records:
            if self._failures == 0 and self._still_joined():
                self._events.waiting(self._held())
            return 0
        batch, newer = until_newer_major(batch)
        if batch.records and not self._enrich(batch):
            return 0
        if newer:
            self._newer = next(iter(newer.values()))
            self._member.pause(newer)
            self._events.waiting(self._held())
        return len(batch.records)

    def _held(self) -> str | None:
        """Say why some of our partitions do not go on; none of them is read again before it is assigned anew."""
        return f"{NEWER_RECORD} ({self._newer}) is waiting for that release" if self._member.paused() else None

    def _join(self, rebuilding: Rebuilding) -> None:
        """Bring the seen store back, or wait for who does; what is polled meanwhile only keeps the membership."""
        try:
            if self._member.poll(timeout_s=0.1, max_records=1).records:
                self._member.rewind()
            self._events.polled(self._member.assigned(), self._member.lag())
            reason = rebuilding.step(self._member.assigned())
        except SeenStoreAway as error:
            self._wait(f"seen store: {error}")
        except (LogUnavailable, TransactionFailed) as error:
            self._wait(f"log: {error}")
        else:
            self._joined = reason is None
            self._events.waiting(None if reason is None else f"seen store: {reason}")

    def _still_joined(self) -> bool:
        """Ask the store now and then while nothing comes; else an idle worker would not notice that it is gone."""
        now = self._clock.monotonic()
        if self._rebuilding is None or now < self._asked_at + IDLE_ASK_S:
            return True
        self._asked_at = now
        try:
            self._joined = not self._rebuilding.lost()
        except SeenStoreAway as error:
            self._wait(f"seen store: {error}")
            return False
        return self._joined

    def _enrich(self, batch: Batch) -> bool:
        """Work off *batch* and tell whether it is committed; if not, its records come again."""
        try:
            batch = replace(batch, out=self._settled.went_out(batch.records))
        except SeenStoreAway as error:
            self._store_away(error)
            return False
        except LogUnavailable as error:
            self._member.rewind()
            self._wait(f"log: {error}")
            return False
        articles, refused = self._read([record for record in batch.records if not batch.went_out(record)])
        try:
            refusals = self._dead_letters.check(batch.records, refused)
        except LogUnavailable as error:
            self._member.rewind()
            self._wait(f"log: {error}")
            return False
        try:
            judged = self._judge(articles)
            enriched, duplicates = self._tag(judged)
            with self._timed("route", len(enriched)):
                routed = self._publisher.route(enriched)
        except SeenStoreAway as error:
            self._store_away(error)
            return False
        try:
            self._commit(batch, routed, duplicates, refused)
        except LogUnavailable as error:
            self._events.aborted(type(error).__name__)
            self._wait(f"log: {error}")  # a full disk may last for days: no reason to start afresh
            return False
        except TransactionFailed as error:
            self._events.aborted(type(error).__name__)
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise TooManyFailures(f"{self._failures} transactions failed in a row; the last: {error}") from error
            self._wait(f"transaction: {error}")
            return False
        self._events.refusals(*self._dead_letters.keep(refusals, owned=self._member.assigned()))
        self._after_commit(batch, routed, duplicates, refused)
        return True

    def _store_away(self, error: SeenStoreAway) -> None:
        self._member.rewind()
        self._joined = self._rebuilding is None or not isinstance(error, SeenStoreLost)
        self._wait(f"seen store: {error}")

    def _commit(
        self,
        batch: Batch,
        routed: Sequence[Routed],
        duplicates: Sequence[Judged],
        refused: Sequence[tuple[LogRecord, Rejected]],
    ) -> None:
        """Write and commit; what turns out to be larger than its topic takes is cut. Raises: as Member.commit."""
        while True:
            with self._timed("encode", len(batch.records)):
                outputs = self._publisher.records(routed, duplicates, refused)
            self._events.beat()
            try:
                with self._timed("commit", len(batch.records)):
                    self._member.commit(batch, outputs)
            except RecordTooLarge as error:
                if not self._publisher.cut_to(error.topic, error.limit):
                    raise
                self._events.aborted(type(error).__name__)
            else:
                return

    def _read(
        self, records: Sequence[LogRecord]
    ) -> tuple[list[tuple[LogRecord, Article]], list[tuple[LogRecord, Rejected]]]:
        """Return the articles in *records*, and what has to be refused."""
        with self._timed("decode", len(records)):
            decoded = [(record, wire.decode_raw(record)) for record in records]
        articles: list[tuple[LogRecord, Article]] = []
        refused: list[tuple[LogRecord, Rejected]] = []
        with self._timed("extract", len(records)):
            for record, raw in decoded:
                result = raw if isinstance(raw, Rejected) else article_of(raw, self._detect)
                if isinstance(result, Rejected):
                    refused.append((record, result))
                else:
                    articles.append((record, result))
        return articles, refused

    def _refuses(self, record: LogRecord) -> bool:
        """Tell whether an earlier record would be refused now."""
        self._events.beat()  # hundreds of pages may have to be read again
        return would_be_refused(record, self._detect)

    def _judge(self, articles: Sequence[tuple[LogRecord, Article]]) -> list[Judged]:
        if not articles:
            return []
        with self._timed("fingerprint", len(articles)):
            prints = [fingerprint_of(record, article) for record, article in articles]
        with self._timed("judge", len(articles)):
            verdicts = self._seen.judge(prints, now=self._clock.now())
        return [
            Judged(record=record, article=article, fingerprint=fingerprint_, verdict=verdict)
            for (record, article), fingerprint_, verdict in zip(articles, prints, verdicts, strict=True)
        ]

    def _tag(self, judged: Sequence[Judged]) -> tuple[list[Enriched], list[Judged]]:
        """Return the stories to publish with their tags, and the duplicates, which get none."""
        enriched, duplicates = [], []
        with self._timed("tag", len(judged)):
            for item in judged:
                if item.verdict.kind in (VerdictKind.REPEAT, VerdictKind.COPY):
                    duplicates.append(item)
                    continue
                enriched.append(
                    Enriched(
                        article=item.article,
                        verdict=item.verdict,
                        tags=tag(item.article, self._taxonomy),
                        enriched_at=self._clock.now(),
                        taxonomy=self._taxonomy.version,
                        raw=item.record.coordinates,
                        reprocessed=self._settings.reprocessed,
                        fingerprint=item.fingerprint,
                    )
                )
        return enriched, duplicates

    def _after_commit(
        self,
        batch: Batch,
        routed: Sequence[Routed],
        duplicates: Sequence[Judged],
        refused: Sequence[tuple[LogRecord, Rejected]],
    ) -> None:
        self._failures = 0
        self._batch_records = self._settings.max_records
        offsets: dict[TopicPartition, int] = {}
        for record in batch.records:
            offsets[record.topic, record.partition] = record.offset + 1
        self._settled.committed(offsets, batch.out)
        try:
            self._seen.committed(offsets, now=self._begun + timedelta(seconds=self._clock.monotonic()))
        except SeenStoreAway as error:
            self._events.waiting(f"seen store: {error}")  # only bookkeeping: the next commit makes up for it
        else:
            self._events.waiting(self._held())
        for item in routed:
            self._events.enriched(item.story, item.routes, item.left)
        for duplicate in duplicates:
            self._events.duplicate(duplicate)
        for _, rejected in refused:
            self._events.rejected(rejected.reason)
        self._events.committed(len(batch.records), self._member.lag())

    def _wait(self, reason: str) -> None:
        """Say why nothing can go on, and wait a little, longer after each failure."""
        self._events.waiting(reason)
        self._clock.sleep(min(MAX_BACKOFF_S, 0.5 * 2**self._failures) * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)

    @contextmanager
    def _timed(self, stage: str, records: int) -> Iterator[None]:
        start = self._clock.monotonic()
        yield
        self._events.stage(stage, self._clock.monotonic() - start, records)
