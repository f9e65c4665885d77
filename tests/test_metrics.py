"""Metrics stand at zero from the start, carry bounded labels, and please Prometheus's own linter."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.make import article, enriched
from worker.edges.clock import SystemClock
from worker.edges.health import Readiness
from worker.edges.process import StopFlag
from worker.edges.watchdog import Watchdog
from worker.edges.worker_events import WorkerEvents
from worker.metrics import MAX_FEED_LABELS, Metrics, seconds_between
from worker.records import Coordinates, RegionTag, Tags, TopicTag, VerdictKind
from worker.service import Service
from worker.settings import Settings
from worker.stages.fingerprint import fingerprint
from worker.wire import REASONS

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def full(feeds: int = 2) -> Metrics:
    return Metrics(
        CollectorRegistry(),
        reasons=REASONS,
        fetch_reasons=["dns", "timeout"],
        routes=["china-dprk"],
        feeds=[f"feed-{number:04}" for number in range(feeds)],
        regions=["CN", "KP", "US"],
        topics=["sanctions"],
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_counters_stand_at_zero_before_anything_has_happened() -> None:
    metrics = full()
    for outcome in ("new", "update", "repeat", "copy", "dead-letter"):
        assert value(metrics, "dateline_records_total", outcome=outcome) == 0
    for reason in REASONS:
        assert value(metrics, "dateline_dead_letters_total", reason=reason) == 0
    assert value(metrics, "dateline_transactions_total", result="failed") == 0
    assert value(metrics, "dateline_fetches_total", result="dns") == 0
    assert value(metrics, "dateline_stage_seconds_count", stage="judge") == 0


def test_what_python_objects_take_is_counted() -> None:
    metrics = full()
    before = value(metrics, "dateline_python_blocks")
    kept = [object() for _ in range(10_000)]
    after = value(metrics, "dateline_python_blocks")
    assert kept
    assert before is not None
    assert after is not None
    assert 9_000 < after - before < 20_000


def test_feeds_beyond_the_limit_share_one_label() -> None:
    metrics = full(MAX_FEED_LABELS + 2)
    metrics.feed_fetched("feed-0000", result="dns", seconds=1, now=NOW)
    metrics.feed_fetched(f"feed-{MAX_FEED_LABELS:04}", result="dns", seconds=1, now=NOW)
    metrics.feed_fetched(f"feed-{MAX_FEED_LABELS + 1:04}", result="dns", seconds=1, now=NOW)
    assert value(metrics, "dateline_feed_failures", feed="feed-0000") == 1
    assert value(metrics, "dateline_feed_failures", feed="other") == 2
    lines = generate_latest(metrics.registry).decode().splitlines()
    assert sum(line.startswith("dateline_feed_failures{") for line in lines) == MAX_FEED_LABELS + 1


def test_a_good_fetch_ends_a_row_of_failures_and_is_stamped() -> None:
    metrics = full()
    metrics.feed_fetched("feed-0001", result="timeout", seconds=1, now=NOW)
    metrics.feed_fetched("feed-0001", result="not-modified", seconds=1, now=NOW)
    assert value(metrics, "dateline_feed_failures", feed="feed-0001") == 0
    assert value(metrics, "dateline_feed_last_success_timestamp_seconds", feed="feed-0001") == NOW.timestamp()


def test_a_latency_is_never_negative_and_an_untrue_date_is_counted_apart() -> None:
    assert seconds_between(NOW, NOW - timedelta(seconds=5)) == 0
    metrics = full()
    for published in (None, NOW + timedelta(days=365), NOW - timedelta(minutes=1)):
        metrics.latency(published=published, fetched=NOW, seen=NOW, committed=NOW - timedelta(seconds=1))
    assert value(metrics, "dateline_published_to_seen_seconds_count") == 1
    assert value(metrics, "dateline_published_to_seen_seconds_sum") == 60
    assert value(metrics, "dateline_dates_ignored_total", why="missing") == 1
    assert value(metrics, "dateline_dates_ignored_total", why="future") == 1
    assert value(metrics, "dateline_fetched_to_committed_seconds_sum") == 0


def test_the_lag_of_a_partition_that_went_to_another_worker_disappears() -> None:
    metrics = full()
    metrics.owned(2, {0: 5, 1: 7})
    metrics.owned(1, {1: -1})
    assert value(metrics, "dateline_lag_records", partition="0") is None
    assert value(metrics, "dateline_lag_records", partition="1") == 0
    assert value(metrics, "dateline_assigned_partitions") == 1
    assert value(metrics, "dateline_offsets_skipped_total", partition="0") == 0


def test_what_stories_are_about_is_counted_by_known_codes_alone() -> None:
    metrics = full()
    tags = Tags(
        regions=(
            RegionTag(code="CN", about=True, relevance=90),
            RegionTag(code="KP", about=True, relevance=80),
            RegionTag(code="ATLANTIS", about=True, relevance=80),
            RegionTag(code="US", about=False, relevance=5),
        ),
        topics=(TopicTag(slug="sanctions", relevance=9, confidence=9), TopicTag(slug="x", relevance=9, confidence=9)),
    )
    for name in ("dateline_story_regions_total", "dateline_story_topics_total", "dateline_story_languages_total"):
        label = name.split("_")[2][:-1]
        assert value(metrics, name, **{label: "untagged"}) == 0, "stands at 0 before the first story"

    metrics.content.count(enriched(tags=tags))
    metrics.content.count(enriched(tags=Tags(), article=article(language="und")))
    metrics.content.count(enriched(tags=Tags(), article=article(language="tlh")))

    for code, count in {"CN": 1, "KP": 1, "US": 0, "other": 1, "untagged": 2}.items():
        assert value(metrics, "dateline_story_regions_total", region=code) == count, code
    for slug, count in {"sanctions": 1, "other": 1, "untagged": 2}.items():
        assert value(metrics, "dateline_story_topics_total", topic=slug) == count, slug
    for language, count in {"en": 1, "other": 1, "untagged": 1, "ko": 0}.items():
        assert value(metrics, "dateline_story_languages_total", language=language) == count, language
    both = "dateline_story_region_topics_total"
    assert value(metrics, both, region="KP", topic="sanctions") == 1
    assert value(metrics, both, region="untagged", topic="untagged") == 2
    assert value(metrics, both, region="US", topic="sanctions") is None
    lines = generate_latest(metrics.registry).decode()
    assert "ATLANTIS" not in lines
    assert "tlh" not in lines


def test_a_process_that_tags_nothing_counts_no_content() -> None:
    lines = generate_latest(Metrics(CollectorRegistry(), feeds=["a"]).registry).decode()
    assert "dateline_story_regions_total{" not in lines


def test_feeds_whose_last_fetch_failed_are_counted_beyond_the_limit_of_labels_too() -> None:
    metrics = full(MAX_FEED_LABELS + 3)
    for number in (0, MAX_FEED_LABELS, MAX_FEED_LABELS + 1):
        metrics.feed_fetched(f"feed-{number:04}", result="dns", seconds=1, now=NOW)
        metrics.feed_fetched(f"feed-{number:04}", result="dns", seconds=1, now=NOW)
    assert value(metrics, "dateline_feeds_failing") == 3
    metrics.feed_fetched(f"feed-{MAX_FEED_LABELS:04}", result="ok", seconds=1, now=NOW)
    assert value(metrics, "dateline_feeds_failing") == 2


def test_new_entries_are_counted_by_feed() -> None:
    metrics = full()
    assert value(metrics, "dateline_feed_new_entries_total", feed="feed-0000") == 0
    metrics.feed_read("feed-0000", entries=9, new=4, changed=2)
    assert value(metrics, "dateline_feed_new_entries_total", feed="feed-0000") == 4
    for state, count in {"new": 4, "changed": 2, "known": 3}.items():
        assert value(metrics, "dateline_entries_total", state=state) == count


def worker_events(metrics: Metrics) -> WorkerEvents:
    stop = StopFlag()
    return WorkerEvents(metrics=metrics, readiness=Readiness(), watchdog=Watchdog(limit_s=60), clock=SystemClock(stop))


def test_content_and_latency_are_those_of_new_stories() -> None:
    metrics = full()
    events = worker_events(metrics)
    events.enriched(enriched(), ["china-dprk"], [])
    for changed in (
        enriched(verdict=replace(enriched().verdict, kind=VerdictKind.UPDATE, version=2)),
        enriched(reprocessed=True),
    ):
        events.enriched(changed, [], [])
    assert value(metrics, "dateline_story_languages_total", language="en") == 1
    assert value(metrics, "dateline_fetched_to_committed_seconds_count") == 1


def test_a_dead_letter_sent_again_is_a_new_story_and_late_for_no_fault_of_ours() -> None:
    metrics = full()
    again = replace(fingerprint(article(), Coordinates(topic="news.raw", partition=0, offset=7)), origin_key="0" * 32)
    worker_events(metrics).enriched(enriched(fingerprint=again), [], [])
    assert value(metrics, "dateline_story_languages_total", language="en") == 1
    assert value(metrics, "dateline_fetched_to_committed_seconds_count") == 0


def test_a_process_is_ready_when_it_says_so() -> None:
    service = Service(Settings())
    assert value(service.metrics, "dateline_ready") == 0
    service.readiness.clear("process")
    assert value(service.metrics, "dateline_ready") == 1


@pytest.mark.promtool
def test_promtool_finds_nothing_to_lint(promtool: Path) -> None:
    metrics = full()
    metrics.taxonomy("1")
    metrics.owned(1, {0: 1})
    metrics.feed_fetched("feed-0001", result="ok", seconds=0.2, now=NOW)
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(metrics.registry), capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")
