"""A file at an address that whoever runs this has configured, fetched again and again: only what changed comes."""

from __future__ import annotations

import hashlib

from worker.edges import guard
from worker.edges.fetch import FetchSettings, HttpFetcher
from worker.polling import Fetched, FetchFailed, FetchRequest, NotModified, RemoteAway


class RemoteFile:
    """Asks with the validators of what was taken last; *private*: its host may be one that is not public."""

    def __init__(self, url: str, *, private: bool, fetch: FetchSettings, max_bytes: int) -> None:
        self.url = url
        self.private = private
        self._settings = fetch
        self._max_bytes = max_bytes
        self._digest = b""
        self._validators: tuple[str | None, str | None] = (None, None)

    async def changed(self) -> Fetched | None:
        """Return the file, None when it is the one that was taken last. Raises: RemoteAway."""
        etag, last_modified = self._validators
        request = FetchRequest(
            url=self.url,
            etag=etag,
            last_modified=last_modified,
            private_host=guard.host_of(self.url) if self.private else None,
            max_bytes=self._max_bytes,
        )
        async with HttpFetcher(self._settings) as fetcher:
            answer = await fetcher.fetch(request)
        if isinstance(answer, NotModified):
            return None
        if isinstance(answer, FetchFailed):
            raise RemoteAway(f"{answer.reason}: {answer.detail}" if answer.detail else str(answer.reason))
        return None if hashlib.sha256(answer.body).digest() == self._digest else answer

    def take(self, body: bytes, answer: Fetched | None = None) -> None:
        """Note that *body* is in force; one that is wrong is never taken, and so is fetched and told again."""
        self._digest = hashlib.sha256(body).digest()
        self._validators = (answer.etag, answer.last_modified) if answer else (None, None)
