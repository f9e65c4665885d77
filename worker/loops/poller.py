"""
The poller: each feed when it is due, its new entries to `news.raw`, then, once they are safe, its state to the log.

In this order a crash at any moment repeats entries and never loses one. Several pollers on the same feeds cost repeats.
So shards (stages/sharding.py) may join and leave in any order: each reads what was stored of its feeds when it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from worker import wire
from worker.feed_config import FeedConfig
from worker.loops.daemon_thread import DaemonThread
from worker.loops.feed_poll import FeedPoll, Outcome
from worker.loops.following import Following
from worker.loops.outbox import Outbox
from worker.polling import Clock, Fetcher, Parse, PollerEvents, Summary
from worker.ports import Log, LogRecord, LogUnavailable
from worker.records import FeedState, Rejected
from worker.stages.schedule import longest_pause_s, wait_s

_STATE_EVERY_S = 3600.0
"""A state in which only times changed is stored this often: an idle poll writes nothing."""
_CLOSE_S = 2.0
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerSettings:
    """What the poller needs to know beside its feeds."""

    raw_topic: str = "news.raw"
    state_topic: str = "news.feed-state"
    concurrency: int = 100
    """Feeds fetched at once."""
    parse_threads: int = 2


class Poller:
    """Polls many feeds in one process; `run` for ever, or `once`."""

    def __init__(
        self,
        feeds: Sequence[FeedConfig],
        *,
        log: Log,
        fetcher: Fetcher,
        parse: Parse,
        clock: Clock,
        events: PollerEvents,
        settings: PollerSettings | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """The *log*'s clients are opened, used and closed in one thread of the poller's own."""
        self._settings = settings or PollerSettings()
        self._feeds = [feed for feed in feeds if feed.enabled]
        self._log = log
        self._clock = clock
        self._events = events
        self._states: dict[str, FeedState] = {}
        self._stored_at: dict[str, float] = {}
        self._due: dict[str, float] = {}
        """By feed when it is due, in monotonic time, once this process has polled it."""
        self._following = Following((), due=self._due_in, poll=self._poll_feed)
        self._followed = asyncio.Event()
        self._newer: dict[str, str] = {}
        """By feed the type of its state, where a newer major release wrote that."""
        self._closing = False
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        self._log_thread = DaemonThread("log")
        self._parse_threads = ThreadPoolExecutor(self._settings.parse_threads, thread_name_prefix="parse")
        self._outbox = Outbox(log.appender, self._log_thread, events)
        self._poll = FeedPoll(
            fetcher=fetcher,
            parse=parse,
            clock=clock,
            events=events,
            outbox=self._outbox,
            parse_threads=self._parse_threads,
            raw_topic=self._settings.raw_topic,
            chance=chance,
        )

    @property
    def feeds(self) -> Sequence[FeedConfig]:
        """Return the feeds that are polled now."""
        return self._feeds

    @property
    def states(self) -> Mapping[str, FeedState]:
        """Return what is known of each feed now, by its id."""
        return self._states

    async def run(self, stop: asyncio.Event) -> None:
        """
        Poll until *stop* is set; return within five seconds of it.

        Raises: LogError other than LogUnavailable: the log refuses for good.
        """
        try:
            await self._load_states(stop)
            if not stop.is_set():
                self._following.change(self._feeds)
                self._followed.set()
                await self._until(stop, [self._following.run()])
        finally:
            await self._close()

    async def change(self, feeds: Sequence[FeedConfig], stop: asyncio.Event) -> None:
        """
        While `run` polls: poll *feeds* from now on instead.

        What the log knows of those that come new is read first, so that a feed that comes back goes on where it was.
        """
        await self._followed.wait()  # else the states of the feeds before are still being read
        wanted = [feed for feed in feeds if feed.enabled]
        ids = {feed.id for feed in wanted}
        for gone in self._states.keys() - ids:
            del self._states[gone]
        await self._load_states(stop, ids - self._states.keys())
        self._feeds = [feed for feed in wanted if feed.id not in self._newer]
        self._following.change(self._feeds)

    async def once(self, stop: asyncio.Event | None = None) -> Summary:
        """Poll each feed once, whether it is due or not, and say what came of it. Raises: as `run`."""
        started = time.perf_counter()
        stop = stop or asyncio.Event()
        outcomes: list[Outcome] = []

        async def one(feed: FeedConfig) -> None:
            outcomes.append(await self._poll_feed(feed))

        async def all_of_them() -> None:
            await asyncio.gather(*(one(feed) for feed in self._feeds))
            stop.set()

        try:
            await self._load_states(stop)
            await self._until(stop, [all_of_them()])
        finally:
            await self._close()
        return _summary(outcomes, feeds=len(self._feeds), seconds=time.perf_counter() - started)

    def _due_in(self, feed: FeedConfig) -> float:
        return self._due.pop(feed.id) - time.monotonic() if feed.id in self._due else self._wait(feed)

    def _wait(self, feed: FeedConfig) -> float:
        state = self._states.get(feed.id)
        longest = longest_pause_s(feed.interval_s, state.failures if state else 0)
        return wait_s(state.next_poll_at if state else None, self._clock.now(), longest_s=longest)

    async def _poll_feed(self, feed: FeedConfig) -> Outcome:
        async with self._slots:
            await self._outbox.available.wait()
            before = self._state(feed)
            outcome = await self._poll(feed, before)
            self._states[feed.id] = outcome.state
            # By the clock that nobody sets, and before the log is waited for: the other one may jump meanwhile.
            self._due[feed.id] = time.monotonic() + self._wait(feed)
            if self._worth_storing(before, outcome.state):
                now = self._clock.now()
                record = wire.feed_state_record(outcome.state, topic=self._settings.state_topic, now=now)
                await self._outbox.put([record])
                self._stored_at[feed.id] = time.monotonic()
        return outcome

    def _state(self, feed: FeedConfig) -> FeedState:
        """Return the feed's state; under another address the validators mean nothing, the known entries still do."""
        state = self._states.get(feed.id)
        if state is None:
            return FeedState(feed=feed.id, url=feed.source)
        if state.url != feed.source:
            return FeedState(feed=feed.id, url=feed.source, known=state.known, last_success_at=state.last_success_at)
        return state

    def _worth_storing(self, before: FeedState, after: FeedState) -> bool:
        stored = self._stored_at.get(after.feed)
        if stored is None or time.monotonic() - stored > _STATE_EVERY_S:
            return True
        return replace(after, next_poll_at=before.next_poll_at, last_success_at=before.last_success_at) != before

    async def _load_states(self, stop: asyncio.Event, wanted: Iterable[str] | None = None) -> None:
        """Read the topic of feed states to its end, for *wanted* or all: the last record of each feed counts."""
        ids = {feed.id for feed in self._feeds} if wanted is None else set(wanted)
        while ids and not stop.is_set():
            try:
                await self._in_log_thread(lambda: self._read_states(ids))
            except LogUnavailable as error:
                self._events.log_away(str(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _RETRY_S)
            else:
                self._leave_newer()
                return

    def _read_states(self, wanted: Collection[str]) -> None:
        reader = self._log.reader([self._settings.state_topic])
        try:
            while not self._closing:
                records = reader.read(timeout_s=0.2, max_records=5000)
                for record in records:
                    # Told by the key: of many feeds in the topic only a few may be this shard's.
                    if (record.key or b"").decode("utf-8", "replace") in wanted:
                        self._read_state(record)
                if not records and reader.at_end():
                    return
        finally:
            reader.close()

    def _read_state(self, record: LogRecord) -> None:
        newer = wire.newer_major(record, "feed-state")
        if newer is not None:
            self._newer[(record.key or b"").decode("utf-8", "replace")] = newer
            return
        state = wire.decode_feed_state(record.value)
        if not isinstance(state, Rejected):
            self._newer.pop(state.feed, None)
            self._states[state.feed] = state
            self._stored_at[state.feed] = time.monotonic()

    def _leave_newer(self) -> None:
        """Leave alone the feeds whose state a newer major has written: ours would overwrite what we cannot read."""
        if self._newer:
            self._events.left_alone(sorted(self._newer), next(iter(self._newer.values())))
            self._feeds = [feed for feed in self._feeds if feed.id not in self._newer]

    async def _in_log_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._log_thread, work)

    async def _until(self, stop: asyncio.Event, work: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run *work* and the outbox until *stop*, or until one of them fails; raise what it raised."""
        tasks = [asyncio.ensure_future(one) for one in (stop.wait(), self._outbox.run(), *work)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        for error in failed:
            if error is not None:
                raise error

    async def _close(self) -> None:
        self._closing = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._outbox.close(), _CLOSE_S)
        self._log_thread.shutdown()
        self._parse_threads.shutdown(wait=False, cancel_futures=True)


def _summary(outcomes: Sequence[Outcome], *, feeds: int, seconds: float) -> Summary:
    results = Counter(outcome.result for outcome in outcomes)
    ok, unchanged = results.pop("ok", 0), results.pop("not-modified", 0) + results.pop("unchanged", 0)
    return Summary(
        feeds=feeds,
        ok=ok,
        unchanged=unchanged,
        failed=dict(sorted(results.items())),
        entries=sum(outcome.entries for outcome in outcomes),
        new=sum(outcome.new for outcome in outcomes),
        changed=sum(outcome.changed for outcome in outcomes),
        pages=sum(outcome.pages for outcome in outcomes),
        seconds=seconds,
    )
