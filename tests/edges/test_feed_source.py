"""The feed list while the poller runs: what is right is taken over, what is wrong or away leaves the one before."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import ParamSpec

import pytest

from tests.support.web import Answer, Site, site
from worker.edges.feed_settings import Defaults
from worker.edges.feed_source import MAX_BYTES, FileSource, UrlSource
from worker.edges.fetch import FetchSettings
from worker.edges.remote_file import RemoteFile
from worker.edges.yaml_file import FileFaults
from worker.polling import RemoteAway

P = ParamSpec("P")
ONE = b"feeds:\n  - {id: quay, url: 'https://example.org/quay.xml'}\n"
TWO = ONE + b"  - {id: bay, url: 'https://example.org/bay.xml'}\n"
OPML = b"<opml version='2.0'><body><outline text='Bay' id='bay' xmlUrl='https://example.org/bay.xml'/></body></opml>"


def in_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def source(server: Site, folder: Path, *, private: bool = True) -> UrlSource:
    return UrlSource(
        RemoteFile(server.url("/list"), private=private, fetch=FetchSettings(total_s=5.0), max_bytes=MAX_BYTES),
        folder=lambda: folder,
        defaults=Defaults(),
    )


async def ids(its: UrlSource | FileSource) -> list[str] | None:
    feeds = await its.changed()
    return None if feeds is None else [feed.id for feed in feeds]


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@in_a_loop
async def test_a_file_is_given_again_only_when_it_changed_and_a_wrong_one_is_told_each_time(tmp_path: Path) -> None:
    path = tmp_path / "feeds.yaml"
    path.write_bytes(ONE)
    its = FileSource(path, defaults=Defaults())
    assert [feed.id for feed in await its.first()] == ["quay"]
    assert await ids(its) is None
    path.write_bytes(TWO)
    assert await ids(its) == ["quay", "bay"]
    path.write_bytes(b"feeds: [nonsense]\n")
    for _ in range(2):
        with pytest.raises(FileFaults):
            await its.changed()
    path.unlink()
    with pytest.raises(FileFaults):
        await its.changed()
    path.write_bytes(TWO)
    assert await ids(its) is None  # it is the one that was given last


@in_a_loop
async def test_a_list_from_an_address_is_asked_for_with_its_validator_and_given_when_it_changed(tmp_path: Path) -> None:
    async with site({"/list": Answer(ONE, headers={"ETag": '"1"'})}) as server:
        its = source(server, tmp_path)
        assert [feed.id for feed in await its.first()] == ["quay"]
        assert await ids(its) is None
        assert server.asked("/list")[-1]["if-none-match"] == '"1"'
        server.answers["/list"] = Answer(OPML)
        assert await ids(its) == ["bay"]
        assert kept(tmp_path) == ["feeds.opml"]
        server.answers["/list"] = Answer(b"feeds: [")
        with pytest.raises(FileFaults) as caught:
            await its.changed()
        assert str(caught.value).startswith(server.url("/list"))
        assert "feeds.opml" in kept(tmp_path)


@in_a_loop
async def test_a_new_process_uses_the_last_good_list_while_the_address_gives_none(tmp_path: Path) -> None:
    async with site({"/list": Answer(TWO)}) as server:
        await source(server, tmp_path).first()
        for answer in (Answer(status=503), Answer(b"feeds: [nonsense]")):
            server.answers["/list"] = answer
            its = source(server, tmp_path)
            assert [feed.id for feed in await its.first()] == ["quay", "bay"]
            with pytest.raises((RemoteAway, FileFaults)):
                await its.changed()
        server.answers["/list"] = Answer(TWO)
        assert await ids(its) is None
    with pytest.raises(RemoteAway):
        await source(server, tmp_path / "empty").first()


@in_a_loop
async def test_an_address_in_a_private_network_is_asked_only_where_that_is_permitted(tmp_path: Path) -> None:
    async with site({"/list": Answer(ONE)}) as server:
        with pytest.raises(RemoteAway, match="ssrf"):
            await source(server, tmp_path, private=False).first()
        assert server.seen == []


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (b"{id: a, path: /etc/passwd}", "local files"),
        (b"{id: a, url: 'file:///etc/passwd'}", "local files"),
    ],
)
@in_a_loop
async def test_a_list_from_an_address_names_no_local_files(tmp_path: Path, entry: bytes, why: str) -> None:
    async with site({"/list": Answer(b"feeds: [" + entry + b"]")}) as server:
        with pytest.raises(FileFaults, match=why):
            await source(server, tmp_path).first()


def test_a_list_from_an_address_names_private_hosts_only_where_that_is_permitted(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_bytes(b"feeds: [{id: a, url: 'http://10.0.0.1/feed', private: true}]")
    its = UrlSource(
        RemoteFile("https://example.org/list", private=False, fetch=FetchSettings(), max_bytes=MAX_BYTES),
        folder=lambda: tmp_path,
        defaults=Defaults(),
    )
    assert its._kept() is None
