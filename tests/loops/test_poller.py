"""The poller on a real log, with real feeds over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.web import Answer, Site, item, rss, site
from worker import wire
from worker.edges.feeds import parse
from worker.edges.fetch import FetchSettings, HttpFetcher
from worker.edges.sqlite_log import SqliteLog
from worker.feed_config import FeedConfig, FullText
from worker.loops.feed_check import check_feed
from worker.loops.poller import Poller, PollerSettings
from worker.polling import Summary
from worker.ports import Appender, LogUnavailable, NewRecord, NotAuthorised, TopicSpec
from worker.records import FeedState, RawArticle

TEXT = "The harbour council met on Monday and spoke of the ferry. " * 10


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(slots=True)
class Heard:
    """A listener that remembers."""

    results: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    appended_articles: int = 0
    away: int = 0
    back: int = 0
    alone: list[str] = field(default_factory=list)

    def fetched(self, feed: str, result: str, seconds: float) -> None:
        assert seconds >= 0
        self.results.append((feed, result))

    def failed(self, feed: str, reason: str, detail: str) -> None:
        self.failures.append((feed, reason, detail))

    def parsed(self, feed: str, entries: int, new: int, changed: int) -> None:
        assert feed
        assert new + changed <= entries

    def page(self, feed: str, result: str, seconds: float) -> None:
        assert feed
        assert seconds >= 0
        self.pages.append(result)

    def appended(self, articles: int) -> None:
        self.appended_articles += articles

    def log_away(self, detail: str) -> None:
        assert detail
        self.away += 1

    def log_back(self) -> None:
        self.back += 1

    def left_alone(self, feeds: Sequence[str], newer: str) -> None:
        assert newer
        self.alone += feeds


class StubbornLog(SqliteLog):
    """The embedded log whose appenders fail a few times first, as the port says they may."""

    failures = 0
    error: type[Exception] = LogUnavailable

    def appender(self) -> Any:
        return StubbornAppender(self, super().appender())


class StubbornAppender:
    def __init__(self, log: StubbornLog, inner: Appender) -> None:
        self._log = log
        self._inner = inner

    def append(self, records: Sequence[NewRecord], *, timeout_s: float = 30.0) -> None:
        if self._log.failures:
            self._log.failures -= 1
            raise self._log.error("the log is away")
        self._inner.append(records, timeout_s=timeout_s)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def log(tmp_path: Path) -> StubbornLog:
    log = StubbornLog.open(tmp_path / "log.sqlite")
    log.create_topics([TopicSpec(name="news.raw", partitions=3), TopicSpec(name="news.feed-state", compacted=True)])
    return log  # type: ignore[return-value]  # open is inherited and makes the class it is called on


def feed(server: Site, path: str = "/feed", **more: Any) -> FeedConfig:
    return FeedConfig(id=path.strip("/"), url=server.url(path), private=True, **more)


def poller(log: SqliteLog, feeds: Sequence[FeedConfig], fetcher: HttpFetcher, heard: Heard) -> Poller:
    return Poller(
        feeds, log=log, fetcher=fetcher, parse=parse, clock=SystemClock(), events=heard, settings=PollerSettings()
    )


async def once(log: SqliteLog, feeds: Sequence[FeedConfig], heard: Heard | None = None) -> Summary:
    """Poll each feed once with a poller of its own, as a process that starts and ends."""
    async with HttpFetcher(FetchSettings(total_s=5.0, per_host=50)) as fetcher:
        return await poller(log, feeds, fetcher, heard or Heard()).once()


def articles(log: SqliteLog) -> list[RawArticle]:
    reader = log.reader(["news.raw"])
    found = []
    while not reader.at_end():
        for record in reader.read(timeout_s=0.1):
            article = wire.decode_raw(record)
            assert isinstance(article, RawArticle), article
            assert record.key == article.story.encode()
            found.append(article)
    reader.close()
    return found


def states(log: SqliteLog) -> dict[str, FeedState]:
    reader = log.reader(["news.feed-state"])
    found = {}
    while not reader.at_end():
        for record in reader.read(timeout_s=0.1):
            state = wire.decode_feed_state(record.value)
            assert isinstance(state, FeedState), state
            found[state.feed] = state
    reader.close()
    return found


def run(scenario: Callable[[Site], Any], answers: dict[str, Answer]) -> Any:
    async def go() -> Any:
        async with site(answers) as server:
            return await scenario(server)

    return asyncio.run(go())


def test_new_and_changed_entries_flow_once_even_across_restarts(log: StubbornLog) -> None:
    async def scenario(server: Site) -> list[Summary]:
        summaries = [await once(log, [feed(server)])]
        summaries.append(await once(log, [feed(server)]))
        server.answers["/feed"] = Answer(body=rss(item(3), item(2), item(1, "It met again; corrected.")))
        summaries.append(await once(log, [feed(server)]))
        return summaries

    first, second, third = run(scenario, {"/feed": Answer(body=rss(item(2), item(1)))})
    assert (first.ok, first.entries, first.new) == (1, 2, 2)
    assert (second.unchanged, second.new) == (1, 0)
    assert (third.new, third.changed) == (1, 1)
    found = articles(log)
    assert sorted(article.title or "" for article in found) == ["Story 1", "Story 1", "Story 2", "Story 3"]
    assert {article.feed.title for article in found} == {"Bay Courier"}


def test_validators_are_sent_after_a_restart_and_a_304_writes_nothing(log: StubbornLog) -> None:
    async def scenario(server: Site) -> tuple[Summary, Site]:
        await once(log, [feed(server)])
        return await once(log, [feed(server)]), server

    summary, server = run(scenario, {"/feed": Answer(body=rss(item(1)), headers={"ETag": '"v1"'})})
    assert summary.unchanged == 1
    assert server.asked("/feed")[1]["if-none-match"] == '"v1"'
    assert sum(end for _, end in log.bounds(["news.feed-state"]).values()) == 1


def test_the_state_is_stored_only_once_the_articles_are_safe(log: StubbornLog) -> None:
    """A log that refuses for good stops the poller; nothing says that the entries were seen."""
    log.failures, log.error = 1, NotAuthorised

    async def scenario(server: Site) -> None:
        with pytest.raises(NotAuthorised):
            await once(log, [feed(server)])

    run(scenario, {"/feed": Answer(body=rss(item(1)))})
    assert states(log) == {}
    assert articles(log) == []


def test_a_log_that_is_away_pauses_the_poller_and_costs_nothing(log: StubbornLog) -> None:
    log.failures = 3
    heard = Heard()
    summary = run(lambda server: once(log, [feed(server)], heard), {"/feed": Answer(body=rss(item(1), item(2)))})
    assert summary.new == 2
    assert (heard.away, heard.back) == (1, 1)
    assert len(articles(log)) == heard.appended_articles == 2, "the feed's state is no article"
    assert list(states(log)) == ["feed"]


def test_a_failure_is_counted_kept_in_the_state_and_forgotten_after_a_success(log: StubbornLog) -> None:
    heard = Heard()

    async def scenario(server: Site) -> None:
        feeds = [feed(server), feed(server, "/page")]
        assert (await once(log, feeds, heard)).failed == {"not-a-feed": 1, "server": 1}
        broken = states(log)["feed"]
        assert (broken.failures, broken.last_error) == (1, "server")
        server.answers["/feed"] = Answer(body=rss(item(1)))
        assert (await once(log, feeds[:1], heard)).ok == 1

    run(scenario, {"/feed": Answer(status=503), "/page": Answer(body=b"<html><body>Sign in</body></html>")})
    mended = states(log)["feed"]
    assert (mended.failures, mended.last_error) == (0, None)
    assert ("feed", "server", "status 503") in heard.failures


def test_a_permanent_redirect_is_followed_directly_next_time_until_it_fails(log: StubbornLog) -> None:
    async def scenario(server: Site) -> Site:
        for _ in range(2):
            await once(log, [feed(server)])
        server.answers["/new"] = Answer(status=500)
        for _ in range(2):
            await once(log, [feed(server)])
        return server

    answers = {"/feed": Answer(status=301, headers={"Location": "/new"}), "/new": Answer(body=rss(item(1)))}
    server = run(scenario, answers)
    assert [path for path, _ in server.seen] == ["/feed", "/new", "/new", "/new", "/feed", "/new"]


def test_short_entries_get_their_page_and_a_page_that_fails_costs_only_itself(log: StubbornLog) -> None:
    async def scenario(server: Site) -> Summary:
        items = [
            item(1, link=server.url("/1")),
            item(2, text=TEXT, link=server.url("/2")),
            item(3, link=server.url("/3")),
            item(4, link="http://127.0.0.2:9/4"),
        ]
        server.answers["/feed"] = Answer(body=rss(*items))
        return await once(log, [feed(server, full_text=FullText.WHEN_SHORT)])

    page = Answer(body=b"<html><p>All of it</p></html>", headers={"Content-Type": "text/html"})
    summary = run(scenario, {"/1": page, "/2": page})
    assert summary.pages == 1
    found = {article.guid: article for article in articles(log)}
    first = found["c-1"].page
    assert first is not None
    assert "All of it" in first.html
    assert found["c-2"].page is None
    assert found["c-2"].flags == ()
    assert found["c-3"].flags == found["c-4"].flags == ("page-failed",)


def test_a_page_that_is_too_long_is_cut_noted_and_published(log: StubbornLog) -> None:
    async def scenario(server: Site) -> None:
        server.answers["/feed"] = Answer(body=rss(item(1, link=server.url("/1"))))
        await once(log, [feed(server, full_text=FullText.ALWAYS)])

    html = '<p class="x">"\u4e2d"\n</p>' * 100_000
    run(scenario, {"/1": Answer(body=html.encode(), headers={"Content-Type": "text/html; charset=utf-8"})})
    (article,) = articles(log)
    assert len(wire.raw_value(article)) <= wire.MAX_RAW_BYTES
    assert len(wire.raw_value(article)) > 0.8 * wire.MAX_RAW_BYTES
    assert [(note.field, note.original_length) for note in article.truncated] == [("page", len(html))]


def test_a_first_poll_takes_only_young_entries(log: StubbornLog) -> None:
    old = (datetime.now(UTC) - timedelta(days=9)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    answers = {"/feed": Answer(body=rss(item(1, pubDate=old), item(2)))}
    run(lambda server: once(log, [feed(server)]), answers)
    assert [article.guid for article in articles(log)] == ["c-2"]


def test_three_hundred_feeds_are_polled_together(log: StubbornLog) -> None:
    answers = {f"/f{n}": Answer(body=rss(item(n), item(n + 1000))) for n in range(300)}

    async def scenario(server: Site) -> tuple[Summary, Summary, float]:
        feeds = [feed(server, path) for path in answers]
        first = await once(log, feeds)
        cpu = time.process_time()
        second = await once(log, feeds)
        return first, second, time.process_time() - cpu

    first, second, cpu = run(scenario, answers)
    assert (first.ok, first.new) == (300, 600)
    assert second.unchanged == 300
    assert len(articles(log)) == 600
    assert len(states(log)) == 300
    print(f"{cpu / 300 * 1e6:.0f} us of CPU for an idle poll, its server included")


def test_a_running_poller_polls_again_and_stops_at_once(log: StubbornLog) -> None:
    async def scenario(server: Site) -> tuple[int, float]:
        stop = asyncio.Event()
        async with HttpFetcher() as fetcher:
            running = asyncio.ensure_future(
                poller(log, [feed(server, interval_s=0.1), feed(server, "/slow")], fetcher, Heard()).run(stop)
            )
            while len(server.asked("/feed")) < 4 or len(articles(log)) < 2:
                await asyncio.sleep(0.05)
                if len(server.asked("/feed")) == 2:
                    server.answers["/feed"] = Answer(body=rss(item(2), item(1)))
            started = time.monotonic()
            stop.set()
            await running
            return len(server.asked("/feed")), time.monotonic() - started

    _, seconds = run(scenario, {"/feed": Answer(body=rss(item(1)))})
    assert seconds < 3
    assert len(articles(log)) == 2


def test_a_feed_that_brings_out_a_fault_of_ours_does_not_stop_the_others(log: StubbornLog) -> None:
    def faulty(body: bytes, **more: Any) -> Any:
        if b"trap" in body:
            raise RuntimeError("a fault of ours")
        return parse(body, **more)

    async def scenario(server: Site) -> Summary:
        async with HttpFetcher() as fetcher:
            its = poller(log, [feed(server), feed(server, "/trap")], fetcher, Heard())
            its._poll = replace(its._poll, parse=faulty)
            return await its.once()

    answers = {"/feed": Answer(body=rss(item(1))), "/trap": Answer(body=rss(item(2, "trap")))}
    summary = run(scenario, answers)
    assert (summary.ok, summary.failed) == (1, {"internal": 1})


def test_the_poller_stops_in_time_while_the_log_hangs(log: StubbornLog) -> None:
    released = threading.Event()

    class Hanging(StubbornLog):
        def appender(self) -> Any:
            released.wait(30)
            return super().appender()

    hanging = Hanging(log._path, session_timeout_s=10.0)

    async def scenario(server: Site) -> float:
        stop = asyncio.Event()
        async with HttpFetcher() as fetcher:
            running = asyncio.ensure_future(poller(hanging, [feed(server)], fetcher, Heard()).run(stop))
            while not server.asked("/feed"):  # noqa: ASYNC110  # the server has no event to wait for
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            started = time.monotonic()
            stop.set()
            await running
            return time.monotonic() - started

    try:
        assert run(scenario, {"/feed": Answer(body=rss(item(1)))}) < 5
    finally:
        released.set()


def test_a_log_that_cannot_be_read_at_the_start_is_waited_for(log: StubbornLog) -> None:
    class Late(StubbornLog):
        asked = 0

        def reader(self, *topics: Any, **more: Any) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise LogUnavailable("not yet")
            return super().reader(*topics, **more)

    heard = Heard()
    late = Late(log._path, session_timeout_s=10.0)
    summary = run(lambda server: once(late, [feed(server)], heard), {"/feed": Answer(body=rss(item(1)))})
    assert (summary.new, heard.away) == (1, 1)


def test_a_large_feed_does_not_hold_up_the_event_loop(log: StubbornLog) -> None:
    body = rss(*(item(number, text=TEXT * 3) for number in range(1500)))

    async def scenario(server: Site) -> float:
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - before)

        watching = asyncio.ensure_future(watch())
        await once(log, [feed(server)])
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        return longest

    assert run(scenario, {"/feed": Answer(body=body)}) < 0.25  # all at once takes more than a second
    assert len(articles(log)) == 1500


def test_another_address_for_a_feed_keeps_what_is_known_and_drops_the_validators(log: StubbornLog) -> None:
    async def scenario(server: Site) -> Site:
        await once(log, [feed(server)])
        server.answers["/moved"] = server.answers["/feed"]
        await once(log, [replace(feed(server), url=server.url("/moved"))])
        return server

    server = run(scenario, {"/feed": Answer(body=rss(item(1)), headers={"ETag": '"v1"'})})
    assert "if-none-match" not in server.asked("/moved")[0]
    assert len(articles(log)) == 1


def test_a_feed_can_be_looked_at_without_the_log() -> None:
    async def scenario(server: Site) -> list[Any]:
        async with HttpFetcher() as fetcher:
            return [
                await check_feed(feed(server, path), fetcher=fetcher, parse=parse, clock=SystemClock())
                for path in ("/feed", "/none")
            ]

    good, bad = run(scenario, {"/feed": Answer(body=rss(item(1, text=TEXT), item(2)))})
    assert (good.status, good.kind, good.entries, good.problems) == ("ok", "rss20", 2, ("no-dates",))
    assert good.text_longest == len(TEXT.strip())
    assert (bad.status, bad.entries) == ("not-found", 0)


def test_a_feed_whose_state_a_newer_major_wrote_is_left_alone(log: StubbornLog) -> None:
    """What we cannot read we would overwrite with less; the other feeds are polled."""
    written = wire.feed_state_record(FeedState(feed="a", url="x"), topic="news.feed-state", now=datetime.now(UTC))
    headers = tuple((name, value.replace(b".v1", b".v2")) for name, value in written.headers)
    newer = replace(written, headers=headers, value=b'{"all": "different"}')
    appender = log.appender()
    appender.append([newer])
    heard = Heard()

    async def scenario(server: Site) -> Site:
        await once(log, [feed(server, "/a"), feed(server, "/b")], heard)
        return server

    server = run(scenario, {"/a": Answer(body=rss(item(1))), "/b": Answer(body=rss(item(2)))})
    assert heard.alone == ["a"]
    assert server.asked("/a") == []
    assert [article.title for article in articles(log)] == ["Story 2"]
    reader = log.reader(["news.feed-state"])
    assert [record.key for record in reader.read(timeout_s=1)].count(b"a") == 1
    reader.close()
    appender.append([written])  # the older release was told to take over: its state counts again
    run(scenario, {"/a": Answer(body=rss(item(1))), "/b": Answer(body=rss(item(2)))})
    assert len(articles(log)) == 2
    appender.close()


def test_a_feed_that_comes_back_into_a_changed_list_goes_on_where_it_was(log: StubbornLog) -> None:
    """Its state is read again, so that it brings nothing twice; the feed beside it is polled all the time."""

    async def run() -> list[str]:
        async with site({"/a": Answer(rss(item(1))), "/b": Answer(rss(item(2)))}) as server:
            both = [feed(server, "/a", interval_s=10.0), feed(server, "/b", interval_s=10.0)]
            heard, stop = Heard(), asyncio.Event()
            async with HttpFetcher(FetchSettings(total_s=5.0)) as fetcher:
                its = poller(log, both[:1], fetcher, heard)
                running = asyncio.create_task(its.run(stop))
                for feeds in (both, both[:1], both):
                    before = len(heard.results)
                    await its.change(feeds, stop)
                    await asyncio.sleep(0.5 if len(feeds) == 2 else 0.1)
                    assert len(feeds) == 1 or len(heard.results) >= before
                assert "b" in its.states
                assert its.states["b"].known
                stop.set()
                await running
            return [name for name, _ in heard.results]

    polled = asyncio.run(run())
    assert sorted(set(polled)) == ["a", "b"]
    assert len(articles(log)) == 2
