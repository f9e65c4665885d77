"""Fetching from real servers that behave and misbehave."""

from __future__ import annotations

import asyncio
import socket
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.web import Answer, Site, raw_server, read_head, rss, site
from worker.edges import guard
from worker.edges.fetch import FetchSettings, HttpFetcher
from worker.polling import Fetched, FetchedPage, FetchFailed, FetchReason, FetchRequest, NotModified

FAST = FetchSettings(connect_s=0.5, first_byte_s=0.6, total_s=1.5)
HOST = "127.0.0.1"


def request(url: str, **more: Any) -> FetchRequest:
    return FetchRequest(url=url, private_host=HOST, **more)


def fetch(answers: dict[str, Answer], path: str = "/feed", **more: Any) -> tuple[Any, Site]:
    """Fetch *path* of a site with these answers once."""

    async def run() -> tuple[Any, Site]:
        async with site(answers) as server, HttpFetcher(FAST) as fetcher:
            return await fetcher.fetch(request(server.url(path), **more)), server

    return asyncio.run(run())


def fetch_raw(*pieces: bytes, pause_s: float = 0.0, max_bytes: int = 100_000) -> tuple[Any, float]:
    """Fetch from a server that sends these bytes, with a pause after each, and then hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    async def run() -> tuple[Any, float]:
        async with raw_server(handle) as port, HttpFetcher(FAST) as fetcher:
            started = time.monotonic()
            answer = await fetcher.fetch(request(f"http://{HOST}:{port}/", max_bytes=max_bytes))
            return answer, time.monotonic() - started

    return asyncio.run(run())


def reason(answer: Any) -> str:
    assert isinstance(answer, FetchFailed), answer
    return answer.reason.value


def test_a_zipped_document_comes_with_its_validators_and_we_say_who_we_are() -> None:
    headers = {"ETag": '"v1"', "Last-Modified": "Tue, 24 Nov 2026 01:00:00 GMT", "Content-Type": "text/xml"}
    answer, server = fetch({"/feed": Answer(body=rss(), headers=headers, zipped=True)})
    assert answer == Fetched(
        url=server.url(),
        body=rss(),
        content_type="text/xml",
        etag='"v1"',
        last_modified="Tue, 24 Nov 2026 01:00:00 GMT",
    )
    asked = server.asked("/feed")[0]
    assert asked["accept-encoding"] == "gzip"
    assert asked["user-agent"].startswith("dateline/")
    assert "cookie" not in asked


def test_the_contact_stands_in_the_user_agent() -> None:
    assert FetchSettings(contact="https://desk.example/bot").user_agent.endswith("; +https://desk.example/bot)")


def test_what_did_not_change_is_not_sent_again() -> None:
    answer, _ = fetch({"/feed": Answer(body=rss(), headers={"ETag": '"v1"'})}, etag='"v1"')
    assert answer == NotModified()


def test_a_304_that_nobody_asked_for_is_a_failure() -> None:
    assert reason(fetch({"/feed": Answer(status=304)})[0]) == "not-modified"


@pytest.mark.parametrize("etag", ["x" * 1100, "caf\u00e9", " "])
def test_a_validator_that_is_long_or_not_ascii_is_not_kept(etag: str) -> None:
    answer, _ = fetch({"/feed": Answer(body=rss(), headers={"ETag": etag})})
    assert isinstance(answer, Fetched)
    assert answer.etag is None


@pytest.mark.parametrize(("status", "moved"), [(301, True), (308, True), (302, False), (303, False), (307, False)])
def test_redirects_are_followed_and_only_permanent_ones_are_remembered(status: int, moved: bool) -> None:
    answers = {"/feed": Answer(status=status, headers={"Location": "/new"}), "/new": Answer(body=rss())}
    answer, server = fetch(answers)
    assert isinstance(answer, Fetched)
    assert answer.url == server.url("/new")
    assert answer.moved_to == (server.url("/new") if moved else None)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "ssrf"),
        ("http://[::ffff:127.0.0.1]:{port}/secret", "ssrf"),
        ("http://localhost:{port}/secret", "ssrf"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://127.0.0.1:{port}/secret", "scheme"),
        ("http://u@127.0.0.1:{port}/secret", "url"),
        ("/feed", "too-many-redirects"),
    ],
)
def test_each_hop_is_judged_again(location: str, why: str) -> None:
    async def run() -> tuple[Any, Site]:
        async with site({"/secret": Answer(body=b"secret")}) as server, HttpFetcher(FAST) as fetcher:
            headers = {"Location": location.format(port=server.port)}
            server.answers["/feed"] = Answer(status=302, headers=headers)
            return await fetcher.fetch(request(server.url())), server

    answer, server = asyncio.run(run())
    assert reason(answer) == why
    assert server.asked("/secret") == []
    assert len(server.seen) <= 6


class Diverted(socket.socket):
    """A socket to a public address that lands on loopback instead; the guard has judged the public one."""

    def connect(self, address: Any) -> None:
        super().connect(("127.0.0.1", address[1]))


def diverted(info: guard.AddressInfo) -> socket.socket:
    guard.guarded_socket(info).close()
    return Diverted(info[0], info[1], info[2])


def test_a_public_host_is_fetched_and_validators_never_reach_another_host() -> None:
    async def public(_host: str, _port: int) -> list[str]:
        return ["198.41.0.4"]

    async def run() -> tuple[Any, Any, Site, Site]:
        async with site() as first, site({"/feed": Answer(body=rss(), headers={"ETag": '"b"'})}) as second:
            settings = replace(FAST, ports=frozenset({first.port, second.port}))
            two = f"http://two.example.com:{second.port}/feed"
            first.answers["/feed"] = Answer(status=301, headers={"Location": two})
            one = FetchRequest(url=f"http://one.example.com:{first.port}/feed", etag='"a"')
            async with HttpFetcher(settings, lookup=public, open_socket=diverted) as fetcher:
                return await fetcher.fetch(one), await fetcher.fetch(FetchRequest(url=two)), first, second

    redirected, direct, first, second = asyncio.run(run())
    assert first.asked("/feed")[0]["if-none-match"] == '"a"'
    assert "if-none-match" not in second.asked("/feed")[0]
    assert isinstance(redirected, Fetched)
    assert redirected.etag is None
    assert redirected.moved_to == direct.url
    assert direct.etag == '"b"'


def test_the_body_of_a_redirect_is_not_read() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: gopher://x/\r\nContent-Length: 99999999999\r\n\r\n"
    answer, seconds = fetch_raw(head, b"x" * 1000, pause_s=1.0)
    assert reason(answer) == "scheme"
    assert seconds < 0.5


@pytest.mark.parametrize(
    ("status", "why"),
    [(404, "not-found"), (410, "gone"), (403, "forbidden"), (429, "rate-limited"), (503, "server"), (206, "status")],
)
def test_each_status_has_its_reason(status: int, why: str) -> None:
    assert reason(fetch({"/feed": Answer(status=status)})[0]) == why


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("1000000000", 86_400.0), ("-1", None), ("soon", None), ("Tue, 01 Jan 2019 00:00:00 GMT", None)],
)
def test_retry_after_is_clamped_and_nonsense_is_ignored(value: str, seconds: float | None) -> None:
    answer, _ = fetch({"/feed": Answer(status=503, headers={"Retry-After": value})})
    assert isinstance(answer, FetchFailed)
    assert answer.retry_after_s == seconds


def test_a_gzip_bomb_is_stopped_and_costs_no_memory() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(64)) + packer.flush()
    answers = {"/feed": Answer(body=bomb, headers={"Content-Encoding": "gzip"})}
    assert reason(fetch(answers, max_bytes=50_000_000)[0]) == "bomb"
    assert reason(fetch(answers, max_bytes=500_000)[0]) == "too-large"


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate", "nonsense"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: str) -> None:
    assert reason(fetch({"/feed": Answer(body=b"x", headers={"Content-Encoding": coding})})[0]) == "coding"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<rss>", "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<rss>\r\n", "truncated"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n<rss>", "too-large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n<rss>", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n<rss>", "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(110)) + b"\r\n", "headers"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", "protocol"),
        (b"", "protocol"),
        (b"SSH-2.0-OpenSSH_9\r\n", "protocol"),
    ],
)
def test_a_server_that_breaks_the_rules_is_a_counted_failure(sent: bytes, why: str) -> None:
    assert reason(fetch_raw(sent)[0]) == why


def test_an_endless_body_is_cut_off_at_the_cap() -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n"
    more = [b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 50
    assert reason(fetch_raw(endless, *more)[0]) == "too-large"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 20],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 20],
    ],
)
def test_a_server_that_drips_is_left_at_the_total_deadline(pieces: list[bytes]) -> None:
    answer, seconds = fetch_raw(*pieces, pause_s=0.3)
    assert reason(answer) == "timeout"
    assert 1.3 < seconds < 2.5


def test_a_server_that_says_nothing_is_left_sooner() -> None:
    answer, seconds = fetch_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", pause_s=5)
    assert reason(answer) == "timeout"
    assert seconds < 1.2


def test_a_closed_port_and_an_unknown_name_are_counted() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("Name or service not known")

    async def run() -> list[Any]:
        async with raw_server(lambda _r, w: w.drain()) as port:
            closed = port
        async with HttpFetcher(FAST, lookup=unknown) as fetcher:
            return [
                await fetcher.fetch(request(f"http://{HOST}:{closed}/")),
                await fetcher.fetch(FetchRequest(url="http://gone.example.com/")),
            ]

    assert [reason(answer) for answer in asyncio.run(run())] == ["connect", "dns"]


def test_no_more_than_a_few_requests_reach_one_host_at_once() -> None:
    now, most = 0, 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        await read_head(reader)
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def run() -> list[Any]:
        async with raw_server(handle) as port, HttpFetcher(FAST) as fetcher:
            url = f"http://{HOST}:{port}/"
            return await asyncio.gather(*(fetcher.fetch(request(url)) for _ in range(40)))

    answers = asyncio.run(run())
    assert all(isinstance(answer, Fetched) for answer in answers)
    assert most == FAST.per_host


def test_a_local_file_is_read_and_a_missing_one_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.rss").write_bytes(rss())

    async def run() -> list[Any]:
        async with HttpFetcher(FAST) as fetcher:
            return [
                await fetcher.fetch(FetchRequest(path=tmp_path / "a.rss")),
                await fetcher.fetch(FetchRequest(path=tmp_path / "b.rss")),
                await fetcher.fetch(FetchRequest(path=tmp_path / "a.rss", max_bytes=5)),
            ]

    found, missing, large = asyncio.run(run())
    assert found.body == rss()
    assert (reason(missing), reason(large)) == ("file", "too-large")


def test_a_page_comes_as_text_in_whatever_charset_it_was() -> None:
    korean = '<html><head><meta charset="euc-kr"></head><body>북한 노동자</body></html>'.encode("euc-kr")

    async def run() -> list[Any]:
        answers = {
            "/ko": Answer(body=korean, headers={"Content-Type": "text/html"}),
            "/pdf": Answer(body=b"%PDF", headers={"Content-Type": "application/pdf"}),
        }
        async with site(answers) as server, HttpFetcher(FAST) as fetcher:
            return [await fetcher.fetch_page(request(server.url(path))) for path in ("/ko", "/pdf", "/none")]

    page, pdf, none = asyncio.run(run())
    assert isinstance(page, FetchedPage)
    assert "북한 노동자" in page.html
    assert (reason(pdf), reason(none)) == ("not-html", "not-found")


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert isinstance(fetch({"/feed": Answer(body=rss())})[0], Fetched)


def test_what_is_not_tls_fails_closed() -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + rss())

    async def run() -> Any:
        async with raw_server(handle) as port, HttpFetcher(FAST) as fetcher:
            return await fetcher.fetch(request(f"https://{HOST}:{port}/"))

    answer = asyncio.run(run())
    assert reason(answer) == FetchReason.TLS.value
