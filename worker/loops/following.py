"""Which feeds are followed, each in a task of its own, while the list of them may change at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from worker.feed_config import FeedConfig


class Following:
    """Runs *turn* for each feed again and again: it waits until the feed is due, and the feed is then polled."""

    def __init__(
        self,
        feeds: Iterable[FeedConfig],
        *,
        due: Callable[[FeedConfig], float],
        poll: Callable[[FeedConfig], Awaitable[object]],
    ) -> None:
        """*due* says in how many seconds a feed is to be polled."""
        self._feeds = {feed.id: feed for feed in feeds}
        self._due = due
        self._poll = poll
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._polling: set[str] = set()
        self._changed = asyncio.Event()

    def change(self, feeds: Iterable[FeedConfig]) -> None:
        """Follow *feeds* from now on. A poll that is under way ends as it began."""
        before, self._feeds = self._feeds, {feed.id: feed for feed in feeds}
        for name, task in self._tasks.items():
            if self._feeds.get(name) != before.get(name) and name not in self._polling:
                task.cancel()
        self._changed.set()

    async def run(self) -> None:
        """Follow the feeds until cancelled. Raises: what the poll of one raised."""
        try:
            while True:
                self._changed.clear()
                for name in self._feeds.keys() - self._tasks.keys():
                    self._tasks[name] = asyncio.create_task(self._follow(name))
                changed = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait([changed, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                for name, task in [(name, task) for name, task in self._tasks.items() if task.done()]:
                    del self._tasks[name]
                    if not task.cancelled():
                        task.result()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, name: str) -> None:
        while (feed := self._feeds.get(name)) is not None:
            await asyncio.sleep(self._due(feed))
            self._polling.add(name)
            try:
                await self._poll(feed)
            finally:
                self._polling.discard(name)
