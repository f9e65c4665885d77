"""Newspapers whose feeds grow over HTTP while a poller reads them; they know what they have served."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.load import text
from tests.support.web import Answer, Site, item, rss, site

_TICK_S = 0.1


class Papers:
    """A web server in a thread, and its feeds; each entry has a link and a text of its own."""

    def __init__(self, *, feeds: int = 20, per_second: float = 20.0, host: str = "127.0.0.1") -> None:
        self._host = host
        self._names = [f"paper{number}" for number in range(feeds)]
        self._listed = list(self._names)
        self._per_second = per_second
        self._items: dict[str, list[str]] = {name: [] for name in self._names}
        self._links: set[str] = set()
        self._growing = threading.Event()
        self._closing = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="papers", daemon=True)
        self._site: Site | None = None

    def __enter__(self) -> Self:
        self._growing.set()
        self._thread.start()
        assert self._started.wait(10), "the web server does not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._thread.join()

    def stop_growing(self) -> frozenset[str]:
        """Print no further entries; return the links of all that there are."""
        self._growing.clear()
        return frozenset(self._links)

    def requests(self) -> int:
        """Return how often somebody has asked for a feed."""
        assert self._site is not None
        return len(self._site.seen)

    def feed_list(self, folder: Path, *, interval_s: float) -> Path:
        """Write the list of the feeds."""
        path = folder / "feeds.yaml"
        path.write_text(self.feed_list_text(interval_s=interval_s))
        return path

    def feed_list_text(self, *, interval_s: float) -> str:
        """Return the list of the feeds."""
        assert self._site is not None
        lines = [f"  - {{id: {name}, url: '{self._site.url('/' + name)}', private: true}}" for name in self._listed]
        return "\n".join([f"defaults: {{interval: {interval_s}s}}", "feeds:", *lines, ""])

    def print_once(self, name: str, *items: str) -> None:
        """Serve one more feed, which the list names from then on; its *items* are not counted."""
        assert self._site is not None
        self._site.answers[f"/{name}"] = Answer(body=rss(*items))
        self._listed.append(name)

    async def _serve(self) -> None:
        async with site(host=self._host) as server:
            self._site = server
            self._grow(3 * len(self._names))
            self._started.set()
            due = 0.0
            while not self._closing.is_set():
                await asyncio.sleep(_TICK_S)
                if self._growing.is_set():
                    due += self._per_second * _TICK_S
                    self._grow(int(due))
                    due -= int(due)

    def _grow(self, count: int) -> None:
        assert self._site is not None
        changed = set()
        for number in range(len(self._links), len(self._links) + count):
            name = self._names[number % len(self._names)]
            link = f"https://{name}.example.org/{number}"
            words = text(number)
            self._items[name].insert(0, item(number, words, title=" ".join(words.split()[-8:]), link=link, guid=link))
            self._links.add(link)
            changed.add(name)
        for name in changed:
            items = self._items[name]
            self._site.answers[f"/{name}"] = Answer(body=rss(*items), headers={"ETag": f'"{len(items)}"'})
