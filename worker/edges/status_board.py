"""What a process tells its status page: counters, partitions, feeds, and the last stories in a bounded ring."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry

from worker import __version__
from worker.edges.logging_setup import redact
from worker.enriched_document import EnrichedDocument
from worker.feed_config import FeedConfig
from worker.metrics import FETCH_OK
from worker.records import Enriched, FeedState
from worker.status import (
    MAX_STORIES,
    Counter,
    FeedHealth,
    Feeds,
    PartitionLag,
    Status,
    StoryView,
    of_document,
    of_enriched,
)

MAX_FEEDS = 200
"""So many feeds are shown, the failing ones first."""
_WINDOW_S = 10.0
_SAMPLE_S = 1.0
_COST_SHARE = 50
"""What took t to look up is not looked up again for 50 t: at most 2 % of one core, however many feeds there are."""

Counts = Callable[[], Mapping[str, int]]
Labels = Mapping[str, str]
T = TypeVar("T")
Wanted = Mapping[str, tuple[str, Callable[[Labels], bool]]]
"""By counter the metric that it is made of, and which of its children count."""
WORKER_COUNTERS: Wanted = {
    "read": ("dateline_records_read_total", lambda _: True),
    "new": ("dateline_records_total", lambda labels: labels["outcome"] == "new"),
    "update": ("dateline_records_total", lambda labels: labels["outcome"] == "update"),
    "repeat": ("dateline_records_total", lambda labels: labels["outcome"] == "repeat"),
    "copy": ("dateline_records_total", lambda labels: labels["outcome"] == "copy"),
    "dead-letter": ("dateline_records_total", lambda labels: labels["outcome"] == "dead-letter"),
}
POLLER_COUNTERS: Wanted = {
    "fetches": ("dateline_fetches_total", lambda _: True),
    "failed-fetches": ("dateline_fetches_total", lambda labels: labels["result"] not in FETCH_OK),
    "entries": ("dateline_entries_total", lambda labels: labels["state"] != "known"),
}


class StatusBoard:
    """Parts of the process hang up what they have; the page's threads look at it."""

    def __init__(self, *, reasons: Callable[[], list[str]]) -> None:
        self.process = "starting"
        self.boot = uuid.uuid4().hex[:12]
        self.counts: list[Counts] = []
        self.partitions: Callable[[], Mapping[int, int | None]] | None = None
        self.feeds: Callable[[], Feeds] | None = None
        self.shows_stories = False
        self._reasons = reasons
        self._started_at = datetime.now(UTC)
        self._stories: deque[StoryView] = deque(maxlen=MAX_STORIES)
        self._number = 0
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque()
        self._lock = threading.Lock()
        self._status: Status | None = None
        self._again_at = 0.0

    def enriched(self, story: Enriched, routes: Iterable[str]) -> None:
        """Keep a story that is committed. The one call that the worker's loop makes here."""
        self._number += 1
        self._stories.append(of_enriched(story, routes, self._number))

    def read_back(self, document: EnrichedDocument, routes: Iterable[str]) -> None:
        """Keep a committed story that was read from the log."""
        self._number += 1
        self._stories.append(of_document(document, routes, self._number))

    def sample(self) -> None:
        """Look at the counters now and then, so that rates are known when somebody asks."""
        with self._lock:
            self._sample()

    def status(self) -> Status:
        """Return all of it, at most a second old; looking is bounded, whoever asks how often."""
        with self._lock:
            now = time.monotonic()
            if self._status is None or now >= self._again_at:
                self._status = self._look()
                self._again_at = now + max(_SAMPLE_S, _COST_SHARE * (time.monotonic() - now))
            return self._status

    def _look(self) -> Status:
        counts, rates = self._sample()
        return Status(
            process=self.process,
            version=__version__,
            boot=self.boot,
            started_at=self._started_at,
            at=datetime.now(UTC),
            reasons=tuple(redact(reason) for reason in self._reasons()),
            counters=tuple(
                Counter(name=name, total=total, per_second=rates.get(name)) for name, total in counts.items()
            ),
            partitions=None if self.partitions is None else _undisturbed(partial(_partitions, self.partitions)),
            feeds=None if self.feeds is None else self.feeds(),
            stories=_undisturbed(lambda: tuple(reversed(self._stories))) if self.shows_stories else None,
        )

    def _sample(self) -> tuple[Mapping[str, int], Mapping[str, float]]:
        """Return the counts now and, where it is known, how fast each grew lately."""
        now = time.monotonic()
        counts = {name: count for each in self.counts for name, count in each().items()}
        while len(self._samples) > 1 and self._samples[1][0] <= now - _WINDOW_S:
            self._samples.popleft()
        rates: dict[str, float] = {}
        if self._samples and (passed := now - self._samples[0][0]) >= _SAMPLE_S:
            before = self._samples[0][1]
            rates = {name: max(0, count - before.get(name, 0)) / passed for name, count in counts.items()}
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, counts))
        return counts, rates


def counts_of(registry: CollectorRegistry, wanted: Wanted) -> Counts:
    """Return what reads *wanted* from the metrics, which count anyway."""
    names = sorted({metric for metric, _ in wanted.values()})

    def read() -> Mapping[str, int]:
        samples = [each for family in registry.restricted_registry(names).collect() for each in family.samples]
        return {
            counter: int(sum(each.value for each in samples if each.name == metric and counts(each.labels)))
            for counter, (metric, counts) in wanted.items()
        }

    return read


def feeds_of(feeds: Callable[[], Iterable[FeedConfig]], states: Mapping[str, FeedState]) -> Callable[[], Feeds]:
    """Return what reads the health of the *feeds* that are polled, which may change, from the poller's *states*."""

    def read() -> Feeds:
        polled = [feed.id for feed in feeds() if feed.enabled]
        known = dict(states)  # in one step: the poller goes on in its own thread
        rows = [_health(feed, known.get(feed)) for feed in polled]
        rows.sort(key=lambda row: (-row.failures, row.last_success_at is not None, row.feed))
        return Feeds(
            total=len(rows), failing=sum(row.state == "failing" for row in rows), shown=tuple(rows[:MAX_FEEDS])
        )

    return read


def _health(feed: str, state: FeedState | None) -> FeedHealth:
    if state is None:
        return FeedHealth(feed=feed, state="not polled yet")
    return FeedHealth(
        feed=feed,
        state="failing" if state.failures else "ok",
        failures=state.failures,
        last_success_at=state.last_success_at,
        last_new_at=state.last_new_at,
        next_poll_at=state.next_poll_at,
        last_error=redact(state.last_error) if state.last_error and state.failures else None,
    )


def _partitions(read: Callable[[], Mapping[int, int | None]]) -> tuple[PartitionLag, ...]:
    return tuple(PartitionLag(partition=number, lag=lag) for number, lag in sorted(read().items()))


def _undisturbed(read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
    """Return what *read* gives; again when its owner changed it meanwhile, which is seldom."""
    for _ in range(5):
        with contextlib.suppress(RuntimeError):
            return read()
    return ()
