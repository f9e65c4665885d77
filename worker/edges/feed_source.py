"""
Where the feed list comes from, file or address, looked at again and again: a list counts only when all of it is right.

The list of an address is kept in data.dir, so that a restart does not depend on whoever serves it. Such a list may not
name local files, and hosts that are not public only where the settings permit that: who writes it is not always who
runs the poller.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from worker.edges import feed_list
from worker.edges.feed_settings import Defaults
from worker.edges.remote_file import RemoteFile
from worker.edges.yaml_file import Fault, FileFaults
from worker.feed_config import FeedConfig
from worker.polling import Fetched, RemoteAway

logger = logging.getLogger(__name__)
Feeds = tuple[FeedConfig, ...]
MAX_BYTES = 16 * 1024 * 1024


class FeedSource(Protocol):
    """Gives the feed list, and later what became of it."""

    async def first(self) -> Feeds:
        """Return the list. Raises: FileFaults: it is wrong; RemoteAway: ask again later."""

    async def changed(self) -> Feeds | None:
        """Return the list if it is another one than was last given, else None. Raises: as `first`."""


class PartSource:
    """Of another source those feeds whose ids are *wanted*: a shard."""

    def __init__(self, whole: FeedSource, wanted: Callable[[str], bool]) -> None:
        self._whole = whole
        self._wanted = wanted

    async def first(self) -> Feeds:
        return self._part(await self._whole.first())

    async def changed(self) -> Feeds | None:
        feeds = await self._whole.changed()
        return None if feeds is None else self._part(feeds)

    def _part(self, feeds: Feeds) -> Feeds:
        return tuple(feed for feed in feeds if self._wanted(feed.id))


class FileSource:
    """A file; in a cluster one that a ConfigMap is mounted as, which changes while we run."""

    def __init__(self, path: Path, *, defaults: Defaults) -> None:
        self._path = path
        self._defaults = defaults
        self._given = b""

    async def first(self) -> Feeds:
        digest = _digest(self._bytes())
        # In a thread: a long list takes seconds.
        feeds = await asyncio.to_thread(feed_list.read, self._path, defaults=self._defaults)
        self._given = digest
        return feeds

    async def changed(self) -> Feeds | None:
        return None if _digest(self._bytes()) == self._given else await self.first()

    def _bytes(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise FileFaults([Fault(file=str(self._path), line=0, reason=error.strerror or str(error))]) from error


class UrlSource:
    """An address; its last good list lies in *folder*."""

    def __init__(self, remote: RemoteFile, *, folder: Callable[[], Path], defaults: Defaults) -> None:
        self._remote = remote
        self._folder = folder
        self._defaults = defaults

    async def first(self) -> Feeds:
        try:
            feeds = await self.changed()
        except (FileFaults, RemoteAway) as error:
            kept = self._kept()
            if kept is None:
                raise
            logger.warning("the last good feed list is used", extra={"reason": str(error)})
            return kept
        if feeds is None:
            raise RemoteAway("the server gave nothing")
        return feeds

    async def changed(self) -> Feeds | None:
        answer = await self._remote.changed()
        return None if answer is None else await asyncio.to_thread(self._take, answer)

    def _take(self, answer: Fetched) -> Feeds:
        path = self._folder() / f"feeds-new{_ending(answer.body)}"
        try:
            path.write_bytes(answer.body)
            feeds = self._read(path)
            for other in self._lists():
                other.unlink()
            path.replace(path.with_stem("feeds"))
        except OSError as error:
            raise RemoteAway(f"it cannot be kept: {error}") from error
        self._remote.take(answer.body, answer)
        return feeds

    def _kept(self) -> Feeds | None:
        with suppress(OSError, FileFaults):
            for path in self._lists():
                feeds = self._read(path)
                self._remote.take(path.read_bytes())
                return feeds
        return None

    def _lists(self) -> list[Path]:
        return [path for path in sorted(self._folder().glob("feeds.*")) if path.suffix in {".yaml", ".opml"}]

    def _read(self, path: Path) -> Feeds:
        try:
            feeds = feed_list.read(path, defaults=self._defaults)
        except FileFaults as error:
            here = [Fault(file=self._remote.url, line=fault.line, reason=fault.reason) for fault in error.faults]
            raise FileFaults(here) from error
        refused = [
            Fault(file=self._remote.url, line=0, reason=f"feed {feed.id!r}: {why}")
            for feed in feeds
            if (why := self._refused(feed))
        ]
        if refused:
            raise FileFaults(refused)
        return feeds

    def _refused(self, feed: FeedConfig) -> str | None:
        if feed.path is not None:
            return "a list from an address may not name local files"
        if feed.private and not self._remote.private:
            return "a list from an address may name private hosts only with poller.feedsPrivate"
        return None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _ending(body: bytes) -> str:
    """Return the form of a list that has no file name: OPML is XML, and no YAML list begins like that."""
    return ".opml" if body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<" else ".yaml"
