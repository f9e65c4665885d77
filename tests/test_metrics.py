"""Metrics stand at zero from the start, carry bounded labels, and please Prometheus's own linter."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from worker.metrics import MAX_FEED_LABELS, Metrics, seconds_between
from worker.wire import REASONS

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def full(feeds: int = 2) -> Metrics:
    return Metrics(
        CollectorRegistry(),
        reasons=REASONS,
        fetch_reasons=["dns", "timeout"],
        routes=["china-dprk"],
        feeds=[f"feed-{number:04}" for number in range(feeds)],
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
