"""
Every metric, with unit and meaning. Labels take configured or fixed values only, never remote text.

Label children that can be known stand at 0 from the start, so that a rate over the first event is right.
"""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from worker import __version__
from worker.content_mix import ContentMix
from worker.enriching import STAGES
from worker.records import VerdictKind

if TYPE_CHECKING:
    from worker.ruleset import Taxonomy

MAX_FEED_LABELS = 500
"""Further feeds share the label `other`."""
FETCH_OK = ("ok", "not-modified", "unchanged")
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 43_200, 86_400)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Return the seconds from *earlier* to *later*; clocks differ, so never less than 0."""
    return max(0.0, (later - earlier).total_seconds())


class Metrics:
    """All metrics of one process in one registry."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        reasons: Iterable[str] = (),
        fetch_reasons: Iterable[str] = (),
        routes: Iterable[str] = (),
        feeds: Iterable[str] = (),
        regions: Iterable[str] = (),
        topics: Iterable[str] = (),
    ) -> None:
        """*reasons*: of dead letters; *fetch_reasons*: of failed fetches; the others: the configured ids and codes."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # their time series double the number for nothing that we ask
        self.registry = registry
        self._worker(registry, reasons, routes)
        self._latencies(registry)
        self._poller(registry, fetch_reasons, feeds)
        self.content = ContentMix(registry, regions=regions, topics=topics)
        self.ready = Gauge("dateline_ready", "1 while the process can work, as /readyz says, else 0", registry=registry)
        self.loop_age = Gauge(
            "dateline_loop_age_seconds", "Time since the main loop's last sign of life", registry=registry
        )
        build = Info("dateline_build", "Version of this program and of its Python", registry=registry)
        build.info({"version": __version__, "python": platform.python_version()})
        ProcessCollector(registry=registry)
        blocks = Gauge(
            "dateline_python_blocks",
            "Pieces of memory that Python objects take: a leak raises it, a high-water mark of the allocator does not",
            registry=registry,
        )
        blocks.set_function(sys.getallocatedblocks)

    def _worker(self, registry: CollectorRegistry, reasons: Iterable[str], routes: Iterable[str]) -> None:
        self.records_in = Counter("dateline_records_read_total", "Raw records read", registry=registry)
        self.records_out = Counter(
            "dateline_records_total",
            "Raw records whose end is committed, by outcome: new, update, repeat, copy, dead-letter",
            ["outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "dateline_dead_letters_total", "Dead letters committed, by reason", ["reason"], registry=registry
        )
        self.routed = Counter(
            "dateline_routed_total", "Enriched records committed to a route's topic", ["route"], registry=registry
        )
        self.unrouted = Counter(
            "dateline_unrouted_total", "Records that tell a route that a story has left it", registry=registry
        )
        self.tags_failed = Counter(
            "dateline_tags_failed_total",
            "Articles published without the tags of a tagger that failed",
            registry=registry,
        )
        self.dead_letter_run = Gauge(
            "dateline_dead_letter_run",
            "Dead letters in a row up to now, in the worst partition of this process; worker.deadLetterRun stops it",
            registry=registry,
        )
        self.dead_letter_share = Gauge(
            "dateline_dead_letter_ratio",
            "Share of the last worker.deadLetterWindow records that were refused, in the worst partition of this"
            " process; worker.deadLetterShare stops it",
            registry=registry,
        )
        self.unaccounted = Counter(
            "dateline_unaccounted_records_total",
            "Raw records that a committed transaction gave no end, or several: must stay 0",
            registry=registry,
        )
        self.skipped = Counter(
            "dateline_offsets_skipped_total",
            "Offsets of the input that were passed without a record, by partition: removed before they were read,"
            " or marks of a transactional writer",
            ["partition"],
            registry=registry,
        )
        self.stage = Histogram(
            "dateline_stage_seconds",
            "Time that one batch spent in a stage",
            ["stage"],
            buckets=_FAST,
            registry=registry,
        )
        self.batch = Histogram(
            "dateline_batch_records",
            "Raw records in one transaction",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
            registry=registry,
        )
        self.lag = Gauge(
            "dateline_lag_records",
            "Records behind the group's committed offset, by partition of the input that this process owns",
            ["partition"],
            registry=registry,
        )
        self._lagging: frozenset[str] = frozenset()
        self.partitions = Gauge(
            "dateline_assigned_partitions", "Partitions of the input that this process owns", registry=registry
        )
        self.transactions = Counter(
            "dateline_transactions_total", "Transactions by result: committed, failed", ["result"], registry=registry
        )
        self.seen_judge = Histogram(
            "dateline_seen_store_judge_seconds", "Time of one call to the seen store", buckets=_FAST, registry=registry
        )
        self.offset_resets = Counter(
            "dateline_offset_resets_total",
            "Partitions read on at their first offset because the one to go on from was not there: records may be lost",
            registry=registry,
        )
        self.seen_away = Counter(
            "dateline_seen_store_away_seconds_total", "Time waited for a seen store that was away", registry=registry
        )
        self.newer_record = Gauge(
            "dateline_newer_record_waiting",
            "1 while a record of a newer major release holds its partition back, else 0",
            registry=registry,
        )
        self.seen_weak = Gauge(
            "dateline_seen_store_weak_settings",
            "Settings of the seen store that are weaker than every write on disk",
            registry=registry,
        )
        self.seen_rebuilding = Gauge(
            "dateline_seen_store_rebuilding",
            "1 while this process rebuilds a seen store that lost its memory, else 0",
            registry=registry,
        )
        self.seen_restored = Counter(
            "dateline_seen_store_restored_total",
            "Verdicts that this process restored to a seen store from what was published",
            registry=registry,
        )
        self._taxonomy = Info("dateline_taxonomy", "Version of the tagging rules in force", registry=registry)
        self.taxonomy_refused = Gauge(
            "dateline_taxonomy_refused",
            "1 while the tagging rules are wrong or not to be had and earlier ones stay in force, else 0",
            registry=registry,
        )
        for outcome in (*VerdictKind, "dead-letter"):
            self.records_out.labels(outcome)
        for reason in reasons:
            self.dead_letters.labels(reason)
        self.set_routes(routes)
        for result in ("committed", "failed"):
            self.transactions.labels(result)
        self.stage_of = {stage: self.stage.labels(stage) for stage in STAGES}

    def set_routes(self, routes: Iterable[str]) -> None:
        """Let the counters of *routes* stand at 0 where they count nothing yet."""
        for route in routes:
            self.routed.labels(route)

    def _latencies(self, registry: CollectorRegistry) -> None:
        self.published_to_seen = Histogram(
            "dateline_published_to_seen_seconds",
            "From the publisher's date to our first verdict on the story: the publisher's and the poll interval's part",
            buckets=_SLOW,
            registry=registry,
        )
        self.seen_to_committed = Histogram(
            "dateline_seen_to_committed_seconds",
            "From the first verdict on a new story to its committed output",
            buckets=_SLOW,
            registry=registry,
        )
        self.fetched_to_committed = Histogram(
            "dateline_fetched_to_committed_seconds",
            "From the fetch of an entry to its committed output: our own part",
            buckets=_SLOW,
            registry=registry,
        )
        self.dates_ignored = Counter(
            "dateline_dates_ignored_total",
            "New stories without a publisher's date that latency can be told from, by why: missing, future",
            ["why"],
            registry=registry,
        )
        for why in ("missing", "future"):
            self.dates_ignored.labels(why)

    def _poller(self, registry: CollectorRegistry, reasons: Iterable[str], feeds: Iterable[str]) -> None:
        self.fetches = Counter(
            "dateline_fetches_total", "Feed fetches by result: ok or why not", ["result"], registry=registry
        )
        self.pages = Counter(
            "dateline_page_fetches_total", "Page fetches by result: ok or why not", ["result"], registry=registry
        )
        self.fetch_seconds = Histogram(
            "dateline_fetch_seconds", "Time of one feed fetch, redirects included", buckets=_FAST, registry=registry
        )
        self.entries = Counter(
            "dateline_entries_total",
            "Entries read from feeds by state: new, changed, known",
            ["state"],
            registry=registry,
        )
        self.appended = Counter(
            "dateline_articles_appended_total", "Articles that the log has acknowledged", registry=registry
        )
        self.log_away = Gauge("dateline_log_away", "1 while the log takes no articles, else 0", registry=registry)
        self.feeds = Gauge("dateline_feeds", "Feeds that this process polls", registry=registry)
        self.feed_list_refused = Gauge(
            "dateline_feed_list_refused",
            "1 while the feed list is wrong or not to be had and an earlier one stays in force, else 0",
            registry=registry,
        )
        self.feed_success = Gauge(
            "dateline_feed_last_success_timestamp_seconds",
            "Unix time of a feed's last good fetch; of the freshest one for the label other",
            ["feed"],
            registry=registry,
        )
        self.feeds_failing = Gauge(
            "dateline_feeds_failing", "Feeds whose last fetch by this process failed", registry=registry
        )
        self.feed_entries = Counter(
            "dateline_feed_new_entries_total", "New entries read from a feed", ["feed"], registry=registry
        )
        self.feed_failures = Gauge(
            "dateline_feed_failures", "Failed fetches of a feed since its last good one", ["feed"], registry=registry
        )
        for result in (*FETCH_OK, *reasons):
            self.fetches.labels(result)
        for result in ("ok", *reasons):
            self.pages.labels(result)
        for state in ("new", "changed", "known"):
            self.entries.labels(state)
        self._failing: set[str] = set()
        self._feed_labels: frozenset[str] = frozenset()
        self.set_feeds(feeds)

    def set_feeds(self, feeds: Iterable[str]) -> None:
        """Take *feeds* as the configured ones; what is known of others is dropped."""
        names = sorted(feeds)
        before, self._feed_labels = self._feed_labels, frozenset(names[:MAX_FEED_LABELS])
        self._failing.intersection_update(names)
        self.feeds_failing.set(len(self._failing))
        self.feeds.set(len(names))
        for name in before - self._feed_labels:
            for metric in (self.feed_success, self.feed_failures, self.feed_entries):
                with contextlib.suppress(KeyError):
                    metric.remove(name)
        for name in {self.feed_label(name) for name in names}:
            self.feed_failures.labels(name)
            self.feed_entries.labels(name)

    def feed_label(self, feed: str) -> str:
        """Return *feed* if it is one of the first MAX_FEED_LABELS configured ones, else `other`."""
        return feed if feed in self._feed_labels else "other"

    def feed_fetched(self, feed: str, *, result: str, seconds: float, now: datetime) -> None:
        """Count one fetch; *result* is of FETCH_OK or a reason."""
        label = self.feed_label(feed)
        self.fetches.labels(result).inc()
        self.fetch_seconds.observe(max(0.0, seconds))
        if result in FETCH_OK:
            self.feed_success.labels(label).set(now.timestamp())
            self.feed_failures.labels(label).set(0)
            self._failing.discard(feed)
        else:
            self.feed_failures.labels(label).inc()
            self._failing.add(feed)
        self.feeds_failing.set(len(self._failing))

    def feed_read(self, feed: str, *, entries: int, new: int, changed: int) -> None:
        """Count the entries of one document."""
        self.entries.labels("new").inc(new)
        self.entries.labels("changed").inc(changed)
        self.entries.labels("known").inc(max(0, entries - new - changed))
        self.feed_entries.labels(self.feed_label(feed)).inc(new)

    def latency(self, *, published: datetime | None, fetched: datetime, seen: datetime, committed: datetime) -> None:
        """Observe how long a new story took; only the publisher's date can be missing or untrue."""
        self.seen_to_committed.observe(seconds_between(seen, committed))
        self.fetched_to_committed.observe(seconds_between(fetched, committed))
        if published is None:
            self.dates_ignored.labels("missing").inc()
        elif published > seen:
            self.dates_ignored.labels("future").inc()
        else:
            self.published_to_seen.observe(seconds_between(published, seen))

    def owned(self, partitions: int, lag: Mapping[int, int]) -> None:
        """Set how many partitions are owned, and the lag of each; those owned no longer disappear."""
        self.partitions.set(partitions)
        labels = {str(partition): max(0, records) for partition, records in lag.items()}
        for gone in self._lagging - labels.keys():
            self.lag.remove(gone)
        for found in labels.keys() - self._lagging:
            self.skipped.labels(found)
        self._lagging = frozenset(labels)
        for partition, records in labels.items():
            self.lag.labels(partition).set(records)

    def set_rules(self, rules: Taxonomy) -> None:
        """Take *rules* as those in force: their version, and a 0 for what has counted nothing yet."""
        self.taxonomy(rules.version)
        self.set_routes(route.name for route in rules.routes)
        self.content.know(regions=rules.vocabulary.countries, topics=rules.vocabulary.topics)

    def taxonomy(self, version: str) -> None:
        """Say which tagging rules are in force."""
        self._taxonomy.info({"version": version})
