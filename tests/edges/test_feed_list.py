"""The feed list: what a person writes, and what they are told about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.edges.feed_list import read
from worker.edges.feed_settings import Defaults
from worker.edges.yaml_file import FileFaults
from worker.feed_config import FullText
from worker.records import BodyRights


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[tuple[int, str]]:
    with pytest.raises(FileFaults) as refused:
        read(path)
    return [(fault.line, fault.reason) for fault in refused.value.faults]


def opml(*lines: str) -> str:
    return "\n".join(
        ['<opml version="2.0" xmlns:d="urn:dateline:opml:1">', "<head/>", "<body>", *lines, "</body></opml>"]
    )


def test_opml_gives_feeds_in_order_and_groups_give_their_settings(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "feeds.opml",
        opml(
            '<outline text="Korea" language="ko" labels="country=KR; tier=1" d:interval="10m">',
            '<outline type="rss" text="Bay" xmlUrl="https://bay.example.com/rss" htmlUrl="https://bay.example.com/"/>',
            '<outline text="Deep"><outline text="Port" xmlUrl="https://port.example.com/rss" id="port" language="en"',
            ' d:fullText="when-short" rights="excerpt" usageTerms="Ask"',
            ' interval="60" enabled="no" maxAge="3d"/></outline>',
            "</outline>",
            '<outline text="File" xmlUrl="local/a.rss"/>',
            '<outline text="Same form" xmlUrl="file:///srv/feeds/b%20c.rss"/>',
        ),
    )
    bay, port, file, absolute = read(path)
    assert absolute.path == Path("/srv/feeds/b c.rss")
    assert (bay.title, bay.language, bay.interval_s, dict(bay.labels)) == (
        "Bay",
        "ko",
        600.0,
        {"country": "KR", "tier": "1"},
    )
    assert (port.id, port.language, port.full_text, port.enabled) == ("port", "en", FullText.WHEN_SHORT, False)
    assert (port.rights.body, port.rights.usage_terms) == (BodyRights.EXCERPT, "Ask")
    assert (port.interval_s, port.limits.first_age_s) == (60.0, 3 * 86_400.0)
    assert (file.url, file.path) == (None, tmp_path / "local" / "a.rss")


def test_yaml_gives_the_same_and_knows_a_short_form(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "feeds.yaml",
        """
defaults: {interval: 2m, labels: {tier: 1}}
feeds:
  - https://bay.example.com/rss
  - {id: port, url: "http://127.0.0.1:9000/rss", private: true, fullText: always, maxBytes: 1000}
  - {path: a.rss, interval: 1h, labels: {country: JP}}
""",
    )
    bay, port, file = read(path)
    assert (bay.url, bay.interval_s, dict(bay.labels)) == ("https://bay.example.com/rss", 120.0, {"tier": "1"})
    assert (port.private, port.full_text, port.limits.max_bytes) == (True, FullText.ALWAYS, 1000)
    assert (file.path, file.interval_s) == (tmp_path / "a.rss", 3600.0)


def test_an_id_that_is_not_given_depends_on_the_address_alone(tmp_path: Path) -> None:
    one = '<outline text="One" xmlUrl="https://bay.example.com/rss"/>'
    other = '<outline text="Other" xmlUrl="https://bay.example.com/atom"/>'
    renamed = one.replace("One", "Renamed")
    first = {feed.url: feed.id for feed in read(written(tmp_path, "a.opml", opml(one, other)))}
    second = {feed.url: feed.id for feed in read(written(tmp_path, "b.opml", opml(other, renamed)))}
    assert first == second
    assert len(set(first.values())) == 2
    assert all(name.startswith("bay.example.com-") for name in first.values())


def test_all_faults_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "feeds.opml",
        opml(
            '<outline text="a" id="same" xmlUrl="https://a.example.com/rss"/>',
            '<outline text="b" id="same" xmlUrl="https://b.example.com/rss"/>',
            '<outline text="c" xmlUrl="https://a.example.com/rss"/>',
            '<outline text="d" xmlUrl="http://127.0.0.1/rss" interval="1" fullText="maybe" colour="red"/>',
            '<outline text="e" xmlUrl="https://user:hunter2@e.example.com/rss" id="b d" private="perhaps"/>',
        ),
    )
    told = faults(path)
    assert [line for line, _ in told] == sorted(line for line, _ in told)
    reasons = {(line, reason.partition(":")[0]) for line, reason in told}
    assert (5, "id 'same' is also that of line 4") in reasons
    assert {(7, "interval"), (7, "fullText"), (7, "unknown attribute 'colour'"), (8, "id"), (8, "private")} <= reasons
    assert any(line == 6 and "also that of line 4" in reason for line, reason in told)
    assert not any("hunter2" in reason for _, reason in told)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.opml", "<opml><body>", "Premature end"),
        ("a.opml", "<html/>", "not OPML"),
        ("a.opml", opml(), "lists no feed"),
        ("a.yaml", "feeds: [{url: 1}]", "expected text"),
        ("a.yaml", "feeds: [{}]", "either an address or a path"),
        ("a.yaml", "feeds: [{url: 'https://a.example.com/', colour: red}]", "unknown key"),
        ("a.yaml", "feeds: [{url: 'https://a.example.com/', labels: {1: x}}]", "cannot be a label"),
        ("a.yaml", "feed: []", "unknown key"),
        ("a.yaml", "feeds: [", "expected"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_a_reason(tmp_path: Path, name: str, text: str, reason: str) -> None:
    assert any(reason in why for _, why in faults(written(tmp_path, name, text)))


def test_a_list_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path / "none.opml")[0][0] == 0


def test_opml_reads_no_other_file(tmp_path: Path) -> None:
    secret = written(tmp_path, "secret", "secret")
    doctype = f'<!DOCTYPE opml [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    path = written(
        tmp_path, "a.opml", doctype + opml('<outline text="a" xmlUrl="https://a.example.com/rss">&x;</outline>')
    )
    (feed,) = read(path)
    assert "secret" not in repr(feed)


def test_defaults_come_from_the_settings(tmp_path: Path) -> None:
    path = written(tmp_path, "a.opml", opml('<outline text="a" xmlUrl="https://a.example.com:8000/rss"/>'))
    assert faults(path)
    (feed,) = read(path, defaults=Defaults(interval_s=30.0, first_age_s=5.0, ports=frozenset({8000})))
    assert (feed.interval_s, feed.limits.first_age_s) == (30.0, 5.0)
