"""
HTTP for the poller: every fetch ends as a value within its deadline, and every connection passes the guard.

Redirects are followed by hand so that each hop is judged; bodies are decompressed here so that their size is ours to
bound. aiohttp makes the connections: two pools, so that one to a private host is never used for anything else.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from worker import __version__
from worker.edges import charsets, guard
from worker.edges.http_answer import Failure, header, read_body, refused_status, retry_after, validator
from worker.polling import Fetched, FetchedPage, FetchFailed, FetchReason, FetchRequest, NotModified

MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})
_FEED_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/rdf+xml, application/xml;q=0.9,"
    " text/xml;q=0.8, application/json;q=0.7, */*;q=0.1"
)
_PAGE_ACCEPT = "text/html, application/xhtml+xml;q=0.9, */*;q=0.1"
_HTML = ("text/html", "application/xhtml+xml", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """Deadlines in seconds and bounds of every fetch."""

    connect_s: float = 5.0
    first_byte_s: float = 10.0
    """Also the longest pause between two pieces of a body."""
    total_s: float = 30.0
    """From the first look-up to the last byte, redirects included."""
    redirects: int = 5
    per_host: int = 4
    ports: frozenset[int] = guard.PORTS
    allow_downgrade: bool = False
    """Follow redirects from https to http."""
    contact: str = ""
    """Page or mailbox where publishers can reach whoever runs this."""

    @property
    def user_agent(self) -> str:
        return f"dateline/{__version__} (feed reader" + (f"; +{self.contact})" if self.contact else ")")


class HttpFetcher:
    """Fetches feeds and pages; one event loop, many fetches at once. Use as an async context manager."""

    def __init__(
        self,
        settings: FetchSettings | None = None,
        *,
        lookup: guard.Lookup = guard.lookup,
        open_socket: guard.OpenSocket = guard.guarded_socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        *lookup* resolves names; *tls* replaces the system's trust, for private authorities.

        *open_socket* makes the sockets of all but private hosts, and so has the last word on each of their addresses.
        """
        self._settings = settings or FetchSettings()
        self._lookup = lookup
        self._open_socket = open_socket
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def fetch(self, request: FetchRequest) -> Fetched | NotModified | FetchFailed:
        """Fetch a feed's document or read its local file."""
        if request.path is not None:
            return await asyncio.to_thread(_read_file, request.path, request.max_bytes)
        return await self._bounded(request, _FEED_ACCEPT)

    async def fetch_page(self, request: FetchRequest) -> FetchedPage | FetchFailed:
        """Fetch a web page as text."""
        answer = await self._bounded(request, _PAGE_ACCEPT)
        if isinstance(answer, FetchFailed):
            return answer
        if isinstance(answer, NotModified):
            return FetchFailed(reason=FetchReason.NOT_MODIFIED)
        kind = answer.content_type.partition(";")[0].strip().lower()
        if kind not in _HTML:
            return FetchFailed(reason=FetchReason.NOT_HTML, detail=kind[:100])
        html, flags = charsets.decode(answer.body, answer.content_type)
        return FetchedPage(url=answer.url, html=html, flags=flags)

    async def _bounded(self, request: FetchRequest, accept: str) -> Fetched | NotModified | FetchFailed:
        if request.url is None:
            return FetchFailed(reason=FetchReason.URL, detail="no address")
        host = guard.host_of(request.url) or ""
        slots = self._hosts.get(host)
        if slots is None:
            slots = self._hosts[host] = asyncio.Semaphore(self._settings.per_host)
        async with slots:  # waiting for a turn is not the server's fault: the deadline starts behind it
            try:
                async with asyncio.timeout(self._settings.total_s):
                    return await self._follow(request, accept)
            except Failure as failure:
                return failure.value
            except TimeoutError as error:
                return FetchFailed(reason=FetchReason.TIMEOUT, detail=_timeout_detail(error))
            except Exception as error:  # noqa: BLE001  # whatever a server makes the client do is that server's fault
                return _failed(error)

    async def _follow(self, request: FetchRequest, accept: str) -> Fetched | NotModified:
        url, moved_to, permanent = str(request.url), None, True
        first: guard.Target | None = None
        for _ in range(self._settings.redirects + 1):
            target = guard.check(url, private_host=request.private_host, ports=self._settings.ports)
            if isinstance(target, FetchFailed):
                raise Failure(target)
            if (
                first is not None
                and not self._settings.allow_downgrade
                and (first.scheme, target.scheme) == ("https", "http")
            ):
                raise Failure.of(FetchReason.REDIRECT, "from https to http")
            first = first or target
            same_host = target.host == first.host
            step = await self._ask(request, target, accept, conditional=same_host)
            if not isinstance(step, _Redirect):
                if isinstance(step, Fetched):
                    # Validators are the answering host's and are only ever sent to the one that is asked first.
                    step = step if same_host else replace(step, etag=None, last_modified=None)
                    return replace(step, moved_to=moved_to)
                return step
            url = urljoin(target.url, step.location)
            permanent = permanent and step.permanent
            moved_to = url if permanent else moved_to
        raise Failure.of(FetchReason.TOO_MANY_REDIRECTS, f"more than {self._settings.redirects}")

    async def _ask(
        self, request: FetchRequest, target: guard.Target, accept: str, *, conditional: bool
    ) -> Fetched | NotModified | _Redirect:
        headers = {"Accept": accept}
        if conditional and request.etag:
            headers["If-None-Match"] = request.etag
        if conditional and request.last_modified:
            headers["If-Modified-Since"] = request.last_modified
        session = self._session(private=target.private)
        async with session.get(URL(target.url, encoded=True), headers=headers, allow_redirects=False) as response:
            raw = response.raw_headers
            if len(raw) > MAX_HEADERS or sum(len(name) + len(value) for name, value in raw) > MAX_HEADER_BYTES:
                raise Failure.of(FetchReason.HEADERS, f"{len(raw)} headers")
            if response.status in _REDIRECTS:
                location = header(response, "Location")
                response.close()  # its body is never read
                if not location:
                    raise Failure.of(FetchReason.REDIRECT, f"{response.status} without a target")
                return _Redirect(location=location, permanent=response.status in _PERMANENT)
            if response.status == 304:
                if "If-None-Match" not in headers and "If-Modified-Since" not in headers:
                    raise Failure.of(FetchReason.NOT_MODIFIED, "304 without validators", status=304)
                return NotModified()
            if response.status != 200:
                response.close()
                raise Failure(
                    refused_status(response.status, retry_after(header(response, "Retry-After"), time.time()))
                )
            return Fetched(
                url=target.url,
                body=await read_body(response, request.max_bytes),
                content_type=(header(response, "Content-Type") or "")[:200],
                etag=validator(header(response, "ETag")),
                last_modified=validator(header(response, "Last-Modified")),
            )

    def _session(self, *, private: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(private)
        if session is None:
            tls: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls}
            connector = aiohttp.TCPConnector(
                limit=0,
                resolver=guard.GuardedResolver(self._lookup, private=private),
                socket_factory=None if private else self._open_socket,
                **tls,
            )
            session = self._sessions[private] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_headers=MAX_HEADERS + 28,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._settings.connect_s, sock_read=self._settings.first_byte_s
                ),
                headers={"User-Agent": self._settings.user_agent, "Accept-Encoding": "gzip"},
            )
        return session


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str
    permanent: bool


def _read_file(path: Path, max_bytes: int) -> Fetched | FetchFailed:
    try:
        with path.open("rb") as file:
            body = file.read(max_bytes + 1)
    except OSError as error:
        return FetchFailed(reason=FetchReason.FILE, detail=error.strerror or type(error).__name__)
    if len(body) > max_bytes:
        return FetchFailed(reason=FetchReason.TOO_LARGE, detail=f"more than {max_bytes} bytes")
    return Fetched(url=str(path), body=body)


def _timeout_detail(error: TimeoutError) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return "silent for too long"
    return "the whole took too long"


def _failed(error: Exception) -> FetchFailed:
    """Say as a value why aiohttp could not do it; the address itself stays out of the detail."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, guard.AddressRefused):
            return FetchFailed(reason=FetchReason.SSRF, detail=str(cause))
        cause = getattr(cause, "os_error", None) or cause.__cause__
    reasons: list[tuple[type[Exception] | tuple[type[Exception], ...], FetchReason]] = [
        (aiohttp.ClientConnectorDNSError, FetchReason.DNS),
        ((aiohttp.ClientSSLError, ssl.SSLError), FetchReason.TLS),
        (aiohttp.ClientConnectorError, FetchReason.CONNECT),
        (aiohttp.ClientPayloadError, FetchReason.TRUNCATED),
        (aiohttp.InvalidURL, FetchReason.URL),
        (aiohttp.ClientResponseError, FetchReason.PROTOCOL),
        (aiohttp.ServerConnectionError, FetchReason.PROTOCOL),
        (OSError, FetchReason.CONNECT),
    ]
    reason = next((reason for kind, reason in reasons if isinstance(error, kind)), FetchReason.PROTOCOL)
    inner = getattr(error, "os_error", None)
    if isinstance(inner, OSError) and inner.errno is not None and inner.errno in errno.errorcode:
        detail = f"{errno.errorcode[inner.errno]}: {inner.strerror or inner}"
    else:
        detail = str(getattr(error, "message", "") or inner or type(error).__name__)
    return FetchFailed(reason=reason, detail=" ".join(detail.split())[:300])
