"""One poll of one feed: fetch, compare, parse, fetch pages, put the articles in the outbox; then the new state."""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from worker.feed_config import FeedConfig, FullText
from worker.loops.outbox import Outbox
from worker.loops.raw_articles import fitting_record, raw_article
from worker.polling import (
    HARD_FAILURES,
    Clock,
    Fetched,
    FetchedPage,
    Fetcher,
    FetchFailed,
    FetchRequest,
    NotAFeed,
    NotModified,
    Parse,
    ParsedFeed,
    PollerEvents,
)
from worker.ports import LogError
from worker.records import FeedEntry, FeedState
from worker.stages.schedule import Found, new_and_changed, next_poll

SHORT_TEXT = 400
"""Characters of text below which `when-short` fetches the page."""
_TOGETHER = 8
"""Articles made, and pages fetched, at once for one feed: the bound of what it holds in memory."""
_TAG = re.compile(r"<[^>]{0,2000}>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a poll came to."""

    state: FeedState
    result: str
    """`ok`, `not-modified`, `unchanged`, or the reason of a failure."""
    entries: int = 0
    new: int = 0
    changed: int = 0
    pages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPoll:
    """Does polls; holds what they share."""

    fetcher: Fetcher
    parse: Parse
    clock: Clock
    events: PollerEvents
    outbox: Outbox
    parse_threads: Executor
    raw_topic: str
    chance: Callable[[], float]

    async def __call__(self, feed: FeedConfig, state: FeedState) -> Outcome:
        """Poll *feed* once; on return its articles are acknowledged. Raises: LogError: the log refuses for good."""
        try:
            return await self._once(feed, state)
        except LogError:
            raise
        except Exception as error:  # noqa: BLE001  # a fault of ours that one feed brings out must not stop the others
            detail = f"{type(error).__name__}: {error}"[:300]
            return self._failed(feed, state, None, 0.0, reason="internal", detail=detail)

    async def _once(self, feed: FeedConfig, state: FeedState) -> Outcome:
        started = time.perf_counter()
        answer = await self.fetcher.fetch(feed_request(feed, state))
        seconds = time.perf_counter() - started
        if isinstance(answer, FetchFailed):
            return self._failed(feed, state, answer, seconds)
        if isinstance(answer, NotModified):
            return self._idle(feed, state, "not-modified", seconds)
        digest = hashlib.blake2b(answer.body, digest_size=16).hexdigest()
        if digest == state.body_hash:
            state = replace(state, etag=answer.etag, last_modified=answer.last_modified)
            return self._idle(feed, state, "unchanged", seconds)
        parsed, found = await self._understand(feed, state, answer)
        if isinstance(parsed, NotAFeed) or found is None:
            reason, detail = (parsed.reason, parsed.detail) if isinstance(parsed, NotAFeed) else ("not-a-feed", "")
            return self._failed(feed, state, None, seconds, reason=reason, detail=detail)
        self.events.fetched(feed.id, "ok", seconds)
        self.events.parsed(feed.id, len(parsed.entries), found.new, found.changed)
        pages = await self._publish(feed, parsed, found.entries)
        state = replace(
            self._succeeded(feed, state),
            known=found.known,
            body_hash=digest,
            etag=answer.etag,
            last_modified=answer.last_modified,
            moved_to=answer.moved_to or state.moved_to,
            last_new_at=self.clock.now() if found.entries else state.last_new_at,
        )
        return Outcome(
            state=state, result="ok", entries=len(parsed.entries), new=found.new, changed=found.changed, pages=pages
        )

    async def _understand(
        self, feed: FeedConfig, state: FeedState, answer: Fetched
    ) -> tuple[ParsedFeed | NotAFeed, Found | None]:
        """Parse and compare in a thread: a large feed takes a second, and the event loop serves hundreds."""
        now = self.clock.now()
        first = state.last_success_at is None and not state.known

        def work() -> tuple[ParsedFeed | NotAFeed, Found | None]:
            base = answer.url if feed.path is None else None
            parsed = self.parse(answer.body, content_type=answer.content_type, base_url=base, now=now)
            if isinstance(parsed, NotAFeed):
                return parsed, None
            age = feed.limits.first_age_s if first else None
            return parsed, new_and_changed(state.known, parsed.entries, now=now, first_age_s=age)

        return await asyncio.get_running_loop().run_in_executor(self.parse_threads, work)

    async def _publish(self, feed: FeedConfig, parsed: ParsedFeed, entries: Sequence[FeedEntry]) -> int:
        """Put the articles of *entries* into the log, a few at a time; return how many pages were fetched."""
        info = feed.info(title=parsed.title, language=parsed.language)
        left, fetched = feed.limits.pages_per_poll, 0
        for start in range(0, len(entries), _TOGETHER):
            group = entries[start : start + _TOGETHER]
            wanted = [wants_page(feed, entry) for entry in group]
            allowed = [want and sum(wanted[:at]) < left for at, want in enumerate(wanted)]
            left -= sum(allowed)
            pages = await asyncio.gather(
                *(self._page(feed, entry) if allow else _nothing() for entry, allow in zip(group, allowed, strict=True))
            )
            records = []
            for entry, page, want in zip(group, pages, wanted, strict=True):
                missed = ("page-failed",) if want and page is None else ()
                article = raw_article(entry, info, now=self.clock.now(), page=page, flags=(*parsed.flags, *missed))
                records.append(fitting_record(article, topic=self.raw_topic, now=self.clock.now()))
                fetched += page is not None
            await self.outbox.put(records)
            self.events.appended(len(records))
        return fetched

    async def _page(self, feed: FeedConfig, entry: FeedEntry) -> FetchedPage | None:
        """Fetch the page behind *entry*; a page that cannot be had costs nothing but the page."""
        request = FetchRequest(url=entry.link, private_host=private_host(feed), max_bytes=feed.limits.max_page_bytes)
        started = time.perf_counter()
        page = await self.fetcher.fetch_page(request)
        failed = isinstance(page, FetchFailed)
        self.events.page(feed.id, page.reason if isinstance(page, FetchFailed) else "ok", time.perf_counter() - started)
        return None if failed or isinstance(page, FetchFailed) else page

    def _idle(self, feed: FeedConfig, state: FeedState, result: str, seconds: float) -> Outcome:
        self.events.fetched(feed.id, result, seconds)
        return Outcome(state=self._succeeded(feed, state), result=result)

    def _succeeded(self, feed: FeedConfig, state: FeedState) -> FeedState:
        now = self.clock.now()
        due = next_poll(now=now, interval_s=feed.interval_s, random=self.chance())
        return replace(state, next_poll_at=due, last_success_at=now, failures=0, last_error=None)

    def _failed(
        self,
        feed: FeedConfig,
        state: FeedState,
        answer: FetchFailed | None,
        seconds: float,
        *,
        reason: str = "",
        detail: str = "",
    ) -> Outcome:
        """Count a failure; the validators stay, what a permanent redirect led to is forgotten."""
        if answer is not None:
            reason, detail = answer.reason.value, answer.detail
        self.events.fetched(feed.id, reason, seconds)
        self.events.failed(feed.id, reason, detail)
        due = next_poll(
            now=self.clock.now(),
            interval_s=feed.interval_s,
            random=self.chance(),
            failures=state.failures + 1,
            hard=answer is not None and answer.reason in HARD_FAILURES,
            retry_after_s=answer.retry_after_s if answer else None,
        )
        if state.moved_to:
            state = replace(state, moved_to=None, etag=None, last_modified=None)
        state = replace(state, next_poll_at=due, failures=state.failures + 1, last_error=reason)
        return Outcome(state=state, result=reason)


def feed_request(feed: FeedConfig, state: FeedState | None = None) -> FetchRequest:
    """Return the request for the feed's document, with the validators of *state*."""
    if feed.path is not None:
        return FetchRequest(path=feed.path, max_bytes=feed.limits.max_bytes)
    return FetchRequest(
        url=(state.moved_to if state else None) or feed.url,
        etag=state.etag if state else None,
        last_modified=state.last_modified if state else None,
        private_host=private_host(feed),
        max_bytes=feed.limits.max_bytes,
    )


def private_host(feed: FeedConfig) -> str | None:
    """Return the one host that this feed may reach although it is not public."""
    return urlsplit(feed.url).hostname if feed.private and feed.url else None


def text_length(entry: FeedEntry) -> int:
    """Return roughly how many characters of text the feed gives for *entry*, without markup."""
    source = max(entry.content or "", entry.summary or "", key=len)
    return len(" ".join(html.unescape(_TAG.sub(" ", source)).split()))


def wants_page(feed: FeedConfig, entry: FeedEntry) -> bool:
    """Tell whether the page behind *entry* is to be fetched."""
    if entry.link is None or feed.full_text is FullText.NEVER:
        return False
    return feed.full_text is FullText.ALWAYS or text_length(entry) < SHORT_TEXT


async def _nothing() -> None:
    """Stand in the place of a page that is not wanted."""
