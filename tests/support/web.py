"""A small web server for tests: documents by path, and handlers that speak raw bytes."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

RSS_HEAD = '<?xml version="1.0" encoding="utf-8"?><rss version="2.0"><channel><title>Bay Courier</title>'


@dataclass(slots=True)
class Answer:
    """What the server says at one path."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    zipped: bool = False


@dataclass(slots=True)
class Site:
    """A running server; `answers` can be changed at any time, `seen` holds the head of each request."""

    port: int
    answers: dict[str, Answer]
    host: str = "127.0.0.1"
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str = "/feed") -> str:
        return f"http://{self.host}:{self.port}{path}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of each request for *path*."""
        return [headers for name, headers in self.seen if name == path]


@asynccontextmanager
async def site(answers: Mapping[str, Answer] | None = None, *, host: str = "127.0.0.1") -> AsyncIterator[Site]:
    """Serve *answers* on a free port of *host*; a conditional request that matches gets 304."""
    its: list[Site] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, headers = await read_head(reader)
        its[0].seen.append((path, headers))
        answer = its[0].answers.get(path, Answer(status=404))
        etag = answer.headers.get("ETag")
        if etag is not None and headers.get("if-none-match") == etag:
            answer = Answer(status=304)
        body = gzip.compress(answer.body) if answer.zipped else answer.body
        extra = {"Content-Encoding": "gzip"} if answer.zipped else {}
        lines = {"Content-Length": str(len(body)), "Connection": "close", **extra, **answer.headers}
        head = f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(head.encode("latin-1") + b"\r\n" + (b"" if answer.status == 304 else body))

    async with raw_server(handle, host=host) as port:
        its.append(Site(port=port, answers=dict(answers or {}), host=host))
        yield its[0]


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], *, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Serve with *handle* and yield the port."""
    open_now: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up, as some tests want it to
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(guarded(reader, writer))
        open_now.add(task)
        task.add_done_callback(open_now.discard)

    server = await asyncio.start_server(connected, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Return path and headers (names in lower case) of a request."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0].split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


def rss(*items: str) -> bytes:
    """Return an RSS document with these items."""
    return (RSS_HEAD + "".join(items) + "</channel></rss>").encode()


def item(number: int, text: str = "The council met and adjourned.", **more: str) -> str:
    """Return an RSS item; *more* are further elements."""
    fields = {"title": f"Story {number}", "link": f"https://courier.example/{number}", "guid": f"c-{number}", **more}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<item>{inner}<description>{text}</description></item>"
