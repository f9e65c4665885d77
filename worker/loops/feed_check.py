"""Look at one feed without touching the log: for `dateline feeds check`."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from datetime import datetime

from worker.feed_config import FeedConfig
from worker.loops.feed_poll import feed_request, text_length
from worker.polling import Clock, Fetcher, FetchFailed, FetchReason, NotAFeed, NotModified, Parse


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedReport:
    """What one feed gives now."""

    feed: str
    title: str | None
    status: str
    """`ok`, or the reason why there is nothing."""
    detail: str = ""
    kind: str | None = None
    language: str | None = None
    entries: int = 0
    newest: datetime | None = None
    text_median: int = 0
    """Characters of text in an entry."""
    text_longest: int = 0
    moved_to: str | None = None
    problems: tuple[str, ...] = ()
    seconds: float = 0.0


async def check_feed(feed: FeedConfig, *, fetcher: Fetcher, parse: Parse, clock: Clock) -> FeedReport:
    """Fetch and parse *feed* once."""
    started = time.perf_counter()
    answer = await fetcher.fetch(feed_request(feed))
    seconds = time.perf_counter() - started
    if isinstance(answer, NotModified):
        answer = FetchFailed(reason=FetchReason.NOT_MODIFIED)
    if isinstance(answer, FetchFailed):
        return FeedReport(
            feed=feed.id, title=feed.title, status=answer.reason.value, detail=answer.detail, seconds=seconds
        )
    base = answer.url if feed.path is None else None
    parsed = await asyncio.to_thread(
        parse, answer.body, content_type=answer.content_type, base_url=base, now=clock.now()
    )
    if isinstance(parsed, NotAFeed):
        return FeedReport(feed=feed.id, title=feed.title, status=parsed.reason, detail=parsed.detail, seconds=seconds)
    entries = parsed.entries
    lengths = [text_length(entry) for entry in entries] or [0]
    dates = [entry.published_at or entry.updated_at for entry in entries]
    problems = list(parsed.flags)
    if not entries:
        problems.append("no-entries")
    elif not any(dates):
        problems.append("no-dates")
    problems += dict.fromkeys(flag for entry in entries for flag in entry.flags)
    if any(entry.link is None for entry in entries):
        problems.append("no-link")
    return FeedReport(
        feed=feed.id,
        title=feed.title or parsed.title,
        status="ok",
        kind=parsed.kind,
        language=parsed.language,
        entries=len(entries),
        newest=max((date for date in dates if date), default=None),
        text_median=int(statistics.median(lengths)),
        text_longest=max(lengths),
        moved_to=answer.moved_to,
        problems=tuple(dict.fromkeys(problems)),
        seconds=seconds,
    )
