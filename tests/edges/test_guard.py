"""Which addresses may be asked and connected to."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from tests.support.web import Answer, site
from worker.edges import guard
from worker.edges.fetch import FetchSettings, HttpFetcher
from worker.polling import FetchFailed, FetchReason, FetchRequest

REFUSED = [
    ("http://127.0.0.1/", "ssrf"),
    ("http://[::1]/", "ssrf"),
    ("http://0/", "ssrf"),
    ("http://2130706433/", "ssrf"),
    ("http://0x7f000001/", "ssrf"),
    ("http://0177.0.0.1/", "ssrf"),
    ("http://127.1/", "ssrf"),
    ("http://１２７.０.０.１/", "ssrf"),
    ("http://ⓛocalhost/", "ssrf"),
    ("http://%6cocalhost/", "ssrf"),
    ("http://169.254.169.254/latest/meta-data/", "ssrf"),
    ("http://[fd00:ec2::254]/", "ssrf"),
    ("http://100.100.100.200/", "ssrf"),
    ("http://168.63.129.16/", "ssrf"),
    ("http://metadata.google.internal/", "ssrf"),
    ("http://[::ffff:169.254.169.254]/", "ssrf"),
    ("http://[::ffff:a9fe:a9fe]/", "ssrf"),
    ("http://[::127.0.0.1]/", "ssrf"),
    ("http://[64:ff9b::a9fe:a9fe]/", "ssrf"),
    ("http://[64:ff9b:1::808:808]/", "ssrf"),
    ("http://[2002:7f00:1::]/", "ssrf"),
    ("http://[2001:0:7f00:1::]/", "ssrf"),
    ("http://[fe80::1]/", "ssrf"),
    ("http://[::]/", "ssrf"),
    ("http://[ff0e::1]/", "ssrf"),
    ("http://224.0.0.1/", "ssrf"),
    ("http://kubernetes.default.svc/", "ssrf"),
    ("http://x.ns.svc.cluster.local/", "ssrf"),
    ("http://printer.local./", "ssrf"),
    ("http://kafka:9092/", "ssrf"),
    ("http://localhost:8080/", "ssrf"),
    ("http://news.example.com:22/", "port"),
    ("https://news.example.com:9092/", "port"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://news.example.com/", "scheme"),
    ("ftp://news.example.com/", "scheme"),
    ("data:text/xml,<rss/>", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("http://good.example.com\\@127.0.0.1/", "url"),
    ("http://a@b@c.example.com/", "url"),
    ("http://user:secret@news.example.com/", "url"),
    ("http://news.example.com/\n", "url"),
    ("http://news.example.com/\tx", "url"),
    ("http:///etc/passwd", "ssrf"),
    ("http://", "url"),
    ("//news.example.com/", "url"),
    ("http:news.example.com/", "url"),
    ("http://news.example.com/" + "a" * 2100, "url"),
    ("http://news.example.com/\ud800", "url"),
    ("http://[::1/", "url"),
    ("http://a b.example.com/", "url"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_an_address_that_does_not_lead_to_the_public_internet_is_refused_by_its_writing(url: str, reason: str) -> None:
    refused = guard.check(url)
    assert isinstance(refused, FetchFailed), refused
    assert refused.reason.value == reason


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://News.Example.com:443/a/../rss?x=1#top", "https://news.example.com/rss?x=1#top"),
        ("http://bücher.example.com:8080/", "http://xn--bcher-kva.example.com:8080/"),
        ("https://8.8.8.8/feed", "https://8.8.8.8/feed"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://[64:ff9b::808:808]/", "https://[64:ff9b::808:808]/"),
    ],
)
def test_a_public_address_passes_in_its_normal_form(url: str, normal: str) -> None:
    target = guard.check(url)
    assert isinstance(target, guard.Target)
    assert target.url == normal


def test_the_private_host_of_a_feed_is_exempt_and_no_other() -> None:
    assert isinstance(guard.check("http://127.0.0.1:9999/f", private_host="127.0.0.1"), guard.Target)
    assert isinstance(guard.check("http://127.0.0.2:9999/f", private_host="127.0.0.1"), FetchFailed)
    assert isinstance(guard.check("http://kafka:9092/", private_host="wiki"), FetchFailed)
    still = guard.check("file:///etc/passwd", private_host="127.0.0.1")
    assert isinstance(still, FetchFailed)
    assert still.reason is FetchReason.SCHEME


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "fe80::1%eth0", "::ffff:10.0.0.1", "fc00::1", "nonsense"])
def test_no_socket_is_made_for_an_address_that_is_not_public(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(guard.AddressRefused):
        guard.guarded_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("answers", [["10.0.0.5"], ["93.184.215.14", "10.0.0.5"], ["2606:4700::1", "::1"]])
def test_a_public_name_that_leads_to_any_private_address_is_refused_as_a_whole(answers: list[str]) -> None:
    async def look(_host: str, _port: int) -> list[str]:
        return answers

    async def fetch() -> object:
        async with HttpFetcher(lookup=look) as fetcher:
            return await fetcher.fetch(FetchRequest(url="http://news.example.com/feed"))

    failed = asyncio.run(fetch())
    assert isinstance(failed, FetchFailed)
    assert failed.reason is FetchReason.SSRF


def test_a_second_answer_of_the_name_server_is_never_asked_for() -> None:
    """DNS rebinding: public at first, private from then on."""
    asked = []

    async def look(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["198.41.0.4"] if len(asked) == 1 else ["127.0.0.1"]

    async def fetch() -> tuple[object, int]:
        async with site({"/feed": Answer(body=b"secret")}) as server:
            settings = FetchSettings(connect_s=0.3, total_s=1.0, ports=frozenset({server.port}))
            async with HttpFetcher(settings, lookup=look) as fetcher:
                url = f"http://news.example.com:{server.port}/feed"
                return await fetcher.fetch(FetchRequest(url=url)), len(server.seen)

    failed, requests = asyncio.run(fetch())
    assert isinstance(failed, FetchFailed)
    assert asked == ["news.example.com"]
    assert requests == 0


def test_a_literal_address_that_got_past_the_writing_is_still_stopped_at_the_socket() -> None:
    """The resolver is not asked for literals; the socket factory sees every connection."""

    async def connect() -> int:
        async with site({"/feed": Answer(body=b"secret")}) as server, HttpFetcher() as fetcher:
            session = fetcher._session(private=False)
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await session.get(server.url())
            assert isinstance(refused.value.os_error, guard.AddressRefused)
            return len(server.seen)

    assert asyncio.run(connect()) == 0
