"""Bodies to feeds: the forms that are understood and the inputs that are refused."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.web import item, rss
from worker.edges.feeds import parse
from worker.polling import NotAFeed, ParsedFeed
from worker.records import FeedEntry

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def read(body: bytes | str, content_type: str = "", base: str | None = "https://courier.example/rss") -> Any:
    body = body.encode() if isinstance(body, str) else body
    return parse(body, content_type=content_type, base_url=base, now=NOW)


def entries(body: bytes | str, **more: Any) -> tuple[FeedEntry, ...]:
    feed = read(body, **more)
    assert isinstance(feed, ParsedFeed), feed
    return feed.entries


def refused(body: bytes | str, **more: Any) -> str:
    feed = read(body, **more)
    assert isinstance(feed, NotAFeed), feed
    return feed.reason


def test_rss_gives_all_that_it_says() -> None:
    body = rss(
        '<item><title>Ferry &amp; rail</title><link>/news/1</link><guid isPermaLink="false">n1</guid>'
        "<pubDate>Tue, 24 Nov 2026 09:00:00 +0900</pubDate><description>&lt;p&gt;Teaser&lt;/p&gt;</description>"
        "<category>Transport</category><author>desk@courier.example (Ana Kim)</author>"
        '<enclosure url="https://courier.example/1.mp3" length="3" type="audio/mpeg"/></item>'
    )
    (entry,) = entries(body)
    assert entry.title == "Ferry & rail"
    assert entry.link == "https://courier.example/news/1"
    assert entry.guid == "n1"
    assert entry.summary == "<p>Teaser</p>"
    assert entry.published == "Tue, 24 Nov 2026 09:00:00 +0900"
    assert entry.published_at == datetime(2026, 11, 24, tzinfo=UTC)
    assert entry.categories == ("Transport",)
    assert json.dumps(dict(entry.extra))
    assert read(body).kind == "rss20"


def test_atom_gives_content_language_and_both_dates() -> None:
    feed = read(
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="ko"><title>만 신문</title><entry><id>tag:x,1</id>'
        '<title>제목</title><link href="https://courier.example/k/1"/><summary>짧다</summary>'
        '<content type="html">&lt;p&gt;본문&lt;/p&gt;</content><published>2026-11-23T10:00:00Z</published>'
        "<updated>2026-11-24T10:00:00Z</updated><author><name>김</name></author></entry></feed>"
    )
    assert (feed.kind, feed.title) == ("atom10", "만 신문")
    (entry,) = feed.entries
    assert (entry.content, entry.summary, entry.language) == ("<p>본문</p>", "짧다", "ko")
    assert entry.published_at < entry.updated_at
    assert entry.authors == ("김",)


def test_rdf_is_read() -> None:
    (entry,) = entries(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="https://c.example/"><title>港</title>'
        '</channel><item rdf:about="https://c.example/1"><title>船</title><link>https://c.example/1</link>'
        "<dc:date>2026-11-24T09:00:00+09:00</dc:date></item></rdf:RDF>"
    )
    assert (entry.title, entry.link) == ("船", "https://c.example/1")
    assert datetime(2026, 11, 24, tzinfo=UTC) in {entry.published_at, entry.updated_at}


def json_feed(*items: object, version: str = "https://jsonfeed.org/version/1.1", **more: object) -> str:
    return json.dumps({"version": version, "title": "Bay", "items": items, **more})


def test_json_feed_is_read_in_both_versions() -> None:
    one = {"id": 7, "url": "/a", "content_html": "<p>x</p>", "date_published": "2026-11-24T09:00:00+09:00", "_own": 1}
    for version, kind in (("1.1", "json11"), ("1", "json1")):
        feed = read(json_feed(one, version=f"https://jsonfeed.org/version/{version}", language="ja"))
        assert (feed.kind, feed.language) == (kind, "ja")
        (entry,) = feed.entries
        assert (entry.guid, entry.link, entry.content) == ("7", "https://courier.example/a", "<p>x</p>")
        assert entry.published_at == datetime(2026, 11, 24, tzinfo=UTC)
        assert entry.extra == {"_own": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": ' + "9" * 10_000 + "}]}",
        '{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": NaN}]}',
        '{"version": "https://jsonfeed.org/version/1.1", "items": [], "items": [1]}',
        '{"version": "https://jsonfeed.org/version/1.1", "items": ' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"version": "https://jsonfeed.org/version/1.1", "items": [{"title": "\\ud800"}]}',
        '{"version": ',
    ],
)
def test_json_that_is_not_strict_is_refused(text: str) -> None:
    assert refused(text) == "json"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "not-a-feed"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not-a-feed"),
        (b"plain words", "not-a-feed"),
        (b'{"a": 1}', "not-a-feed"),
        (b"<opml><body/></opml>", "not-a-feed"),
    ],
)
def test_what_is_no_feed_is_told_so(body: bytes, reason: str) -> None:
    assert refused(body) == reason


def test_a_body_that_is_a_path_does_not_open_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.rss"
    path.write_bytes(rss(item(1)))
    assert refused(str(path)) == "not-a-feed"


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE rss [<!ENTITY l0 "ha">{LAUGHS}]>',
        '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE rss [<!ENTITY % p SYSTEM "http://127.0.0.1/p.dtd"> %p;]>',
        '<!-- <rss> --><!DOCTYPE rss [<!ENTITY x "y">]>',
    ],
)
def test_a_document_that_declares_entities_is_refused(doctype: str) -> None:
    text = f"<?xml version='1.0'?>{doctype}<rss version='2.0'><channel><title>&x;&l9;</title></channel></rss>"
    assert refused(text) == "doctype"


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ("<a>" * 100_000 + "</a>" * 100_000, "too-complex"),
        ("<item " + " ".join(f'a{n}="1"' for n in range(100_000)) + "/>", "too-complex"),
        ("<item><title>x</title></item>" * 150_000, "too-complex"),
        ("<a>" * 1_000_000, "too-complex"),
        ("<item><title>x</item>&" * 10_000, None),
        ("<item><description>" + "&lt;p&gt;text " * 300_000 + "</description></item>", None),
        ("&" * 2_000_000, None),
        ("<![CDATA[" * 300_000, None),
        ("<!--" * 500_000, None),
    ],
)
def test_hostile_xml_ends_within_seconds(inner: str, reason: str | None) -> None:
    body = rss(inner)
    started = time.thread_time()
    feed = read(body)
    assert time.thread_time() - started < 12
    if reason:
        assert isinstance(feed, NotAFeed)
        assert feed.reason == reason


def test_a_feed_that_is_not_well_formed_is_mended_and_flagged() -> None:
    feed = read(
        "<rss version='2.0'><channel><title>Q&A</title><item><title>Fish & chips&nbsp;now \x0b</title>"
        "<link>https://courier.example/?a=1&b=2</link><description><![CDATA[<p>R&D</p>]]></description></item>"
    )
    assert "ill-formed" in feed.flags
    (entry,) = feed.entries
    assert entry.title == "Fish & chips\u00a0now"
    assert entry.link == "https://courier.example/?a=1&b=2"
    assert entry.summary == "<p>R&D</p>"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "북한 노동자 훈춘"),
        ("euc-kr", "북한 노동자 훈춘에 도착"),
        ("gb18030", "三千朝鲜工人抵达珲春的消息"),
        ("big5", "北韓工人抵達琿春的消息"),
        ("shift_jis", "北朝鮮の労働者が琿春に到着した"),
        ("euc-jp", "北朝鮮の労働者が琿春に到着した"),
        ("iso-2022-jp", "北朝鮮の労働者が琿春に到着した"),
        ("koi8-r", "Северокорейские рабочие прибыли в Хуньчунь"),
        ("windows-1251", "Северокорейские рабочие прибыли в Хуньчунь"),
        ("windows-1252", "Café “déjà vu”"),
        ("utf-16", "北朝鮮の労働者"),
    ],
)
@pytest.mark.parametrize("declared", ["header", "declaration", "wrong"])
def test_every_charset_is_read_by_header_declaration_or_guess(charset: str, text: str, declared: str) -> None:
    said = {"header": "", "declaration": f" encoding='{charset}'", "wrong": " encoding='utf-8'"}[declared]
    document = (
        f"<?xml version='1.0'{said}?><rss version='2.0'><channel><item><title>{text * 5}</title></item></channel></rss>"
    )
    header = f"text/xml; charset={charset}" if declared == "header" else "text/xml"
    feed = read(document.encode(charset), content_type=header)
    assert feed.entries[0].title == text * 5
    guessed = declared == "wrong" and charset not in {"utf-8", "utf-16", "iso-2022-jp"}
    assert ("charset-guessed" in feed.flags) == guessed


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "utf-7", "hex", "idna", "rot13", "nonsense"])
def test_no_odd_codec_is_ever_used(charset: str) -> None:
    (entry,) = entries(b"<?xml version='1.0' encoding='%s'?>" % charset.encode() + rss(item(1))[38:])
    assert entry.title == "Story 1"


def test_bytes_that_fit_no_charset_are_replaced_and_flagged() -> None:
    feed = read(
        rss("<item><title>good \xff".encode("latin-1").decode("latin-1") + "</title></item>").replace(
            "ÿ".encode(), b"\xff\xfe\x81"
        )
    )
    assert isinstance(feed, ParsedFeed)
    title = feed.entries[0].title
    assert title is not None
    assert title.startswith("good")
    assert title.encode()
    assert feed.flags


def test_a_guid_shared_by_several_links_is_dropped() -> None:
    shared = [item(1, guid="same"), item(2, guid="same"), item(3)]
    found = entries(rss(*shared))
    assert [entry.guid for entry in found] == [None, None, "c-3"]
    assert ["guid-shared" in entry.flags for entry in found] == [True, True, False]


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "https://u:p@evil.example/", "x" * 20_000])
def test_a_link_that_is_no_web_address_is_dropped_and_flagged(link: str) -> None:
    (entry,) = entries(rss(item(1, link=link, guid="https-less")), base=None)
    assert entry.link is None
    assert "link-dropped" in entry.flags


@pytest.mark.parametrize(
    "date",
    ["9999-12-31T00:00:00Z", "0001-01-01", "Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "2026-12-01T00:00:00Z", "2"],
)
def test_a_date_that_makes_no_sense_is_kept_as_written_and_not_understood(date: str) -> None:
    (entry,) = entries(rss(item(1, pubDate=date)))
    assert entry.published == date
    assert entry.published_at is None


def test_entries_and_fields_have_caps() -> None:
    feed = read(rss(*(item(number) for number in range(2100))))
    assert len(feed.entries) == 2000
    assert "entries-cut" in feed.flags
    (entry,) = entries(rss(item(1, text="x" * 400_000)))
    assert len(entry.summary or "") == 256 * 1024
    assert entry.truncated[0].original_length == 400_000
