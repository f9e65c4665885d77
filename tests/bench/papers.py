"""
Newspapers for pollers: `python -m tests.bench.papers PORT idle|news [CERTIFICATE KEY]`, on every address of loopback.

Any path is a feed of 20 entries of 1.5 KB. `idle`: it never changes, a conditional request gets 304. `news`: it has one
entry more each time that it is asked for. Connections are closed after each answer, as between polls minutes apart.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections import Counter

ENTRIES = 20
_TEXT = "The council of the district met on Tuesday and spoke of wells, roads and the price of seed. " * 15


class Papers:
    """All feeds of one server."""

    def __init__(self, *, news: bool) -> None:
        self._news = news
        self._asked: Counter[str] = Counter()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            self._asked[path] += self._news
            tag = f'"{self._asked[path]}"'
            if f"if-none-match: {tag}" in head.lower():
                writer.write(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
            else:
                body = self._document(path).encode()
                lines = f"ETag: {tag}\r\nContent-Type: application/rss+xml\r\nContent-Length: {len(body)}"
                writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _document(self, path: str) -> str:
        last = self._asked[path] + ENTRIES
        items = "".join(
            f"<item><title>Report {number} of {path}</title><link>https://papers.example{path}/{number}</link>"
            f"<guid>{path}-{number}</guid><description>Number {number}. {_TEXT}</description></item>"
            for number in range(last, last - ENTRIES, -1)
        )
        return f'<rss version="2.0"><channel><title>Paper {path}</title>{items}</channel></rss>'


async def serve(port: int, *, news: bool, tls: ssl.SSLContext | None) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Papers(news=news).answer, "0.0.0.0", port, ssl=tls, backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _, _port, _mode, *_certificate = sys.argv
    _tls = None
    if _certificate:
        _tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _tls.load_cert_chain(*_certificate)
    asyncio.run(serve(int(_port), news=_mode == "news", tls=_tls))
