"""What the poller says to its fetcher, parser, clock and listeners, and what they answer: values and Protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from worker.records import FeedEntry


class FetchReason(StrEnum):
    """Why a fetch failed: a metric label. Nothing remote ever becomes one."""

    URL = "url"
    """Not an address that all parsers read alike: control characters, backslash, userinfo, too long, no host."""
    SCHEME = "scheme"
    PORT = "port"
    SSRF = "ssrf"
    """The host is, or resolves to, something that is not on the public internet."""
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    """Not HTTP as it should be: bad lengths, closed too early before the headers."""
    HEADERS = "headers"
    """Too many or too long headers."""
    CODING = "coding"
    """A content coding that was not asked for."""
    TOO_LARGE = "too-large"
    BOMB = "bomb"
    TRUNCATED = "truncated"
    """The body ended before its length."""
    REDIRECT = "redirect"
    """Leads nowhere, or from https to http."""
    TOO_MANY_REDIRECTS = "too-many-redirects"
    NOT_MODIFIED = "not-modified"
    """A 304 that nobody asked for."""
    GONE = "gone"
    NOT_FOUND = "not-found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    SERVER = "server"
    STATUS = "status"
    """Any other status."""
    NOT_HTML = "not-html"
    FILE = "file"


HARD_FAILURES = frozenset(
    {
        FetchReason.URL,
        FetchReason.SCHEME,
        FetchReason.PORT,
        FetchReason.SSRF,
        FetchReason.GONE,
        FetchReason.NOT_FOUND,
        FetchReason.FORBIDDEN,
        FetchReason.BOMB,
    }
)
"""Failures that seldom go away by themselves: asked again less and less, down to once a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """One document to fetch: a feed's address or local file, or a page."""

    url: str | None = None
    path: Path | None = None
    """Only ever a configured one; remote content never gets here."""
    etag: str | None = None
    last_modified: str | None = None
    private_host: str | None = None
    """Host that may have a non-public address: that of a feed so configured."""
    max_bytes: int = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A document as it came, decompressed."""

    url: str
    """Where the last redirect led; the path of a local file."""
    body: bytes
    content_type: str = ""
    etag: str | None = None
    last_modified: str | None = None
    moved_to: str | None = None
    """Where only permanent redirects led; None when there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedPage:
    """A web page as text."""

    url: str
    html: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """The server says that nothing changed since the validators it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed:
    """Nothing was fetched."""

    reason: FetchReason
    detail: str = ""
    """For a person, one line, at most 300 characters; without the address."""
    retry_after_s: float | None = None
    status: int | None = None


class RemoteAway(Exception):
    """A configured file at an address cannot be had now; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFeed:
    """A feed's document, understood."""

    kind: str
    """`rss20`, `atom10`, `rss10`, `json11`, …"""
    title: str | None = None
    language: str | None = None
    entries: tuple[FeedEntry, ...] = ()
    """In the document's order."""
    flags: tuple[str, ...] = ()
    """`ill-formed`, `charset-guessed`, `charset-errors`, `entries-cut`."""
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAFeed:
    """A body that holds no feed, or one that is refused."""

    reason: str
    """`empty`, `not-a-feed`, `doctype`, `too-complex`, `ill-formed`, `json`: a metric label."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What `poll --once` did."""

    feeds: int = 0
    ok: int = 0
    unchanged: int = 0
    """Answered 304, or with the same body again."""
    failed: dict[str, int] = field(default_factory=dict)
    """By reason."""
    entries: int = 0
    new: int = 0
    changed: int = 0
    pages: int = 0
    seconds: float = 0.0


class Clock(Protocol):
    """The time of day, as the edges tell it."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""


class Fetcher(Protocol):
    """Fetches over the network or from disk; every failure is a value."""

    async def fetch(self, request: FetchRequest) -> Fetched | NotModified | FetchFailed: ...

    async def fetch_page(self, request: FetchRequest) -> FetchedPage | FetchFailed: ...


class Parse(Protocol):
    """Turns a body into entries; never raises for what the body holds."""

    def __call__(
        self, body: bytes, *, content_type: str, base_url: str | None, now: datetime
    ) -> ParsedFeed | NotAFeed: ...


class PollerEvents(Protocol):
    """Listens to the poller: metrics and log lines. Called on the event loop; must be quick and must not raise."""

    def fetched(self, feed: str, result: str, seconds: float) -> None:
        """*result*: `ok`, `not-modified`, `unchanged`, or the reason of a failure."""

    def failed(self, feed: str, reason: str, detail: str) -> None: ...

    def parsed(self, feed: str, entries: int, new: int, changed: int) -> None: ...

    def page(self, feed: str, result: str, seconds: float) -> None:
        """*result*: `ok` or the reason of a failure."""

    def appended(self, articles: int) -> None:
        """The log has acknowledged so many raw articles."""

    def log_away(self, detail: str) -> None:
        """The log did not take a batch; fetching pauses until it does."""

    def log_back(self) -> None: ...

    def left_alone(self, feeds: Sequence[str], newer: str) -> None:
        """*feeds* are not polled, since a newer major release has written their state, of the type *newer*."""
