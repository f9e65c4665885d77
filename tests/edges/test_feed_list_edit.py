"""`feeds add` changes a list as a careful person would: one line more, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.edges import feed_list, feed_list_edit
from worker.edges.yaml_file import FileFaults

NEW = {"url": "https://example.org/new.xml", "title": 'Bay & Sons: "Kurier"', "language": "en"}


def added(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    feed = feed_list_edit.add(path, NEW)
    assert feed_list.read(path)[-1] == feed
    assert (feed.url, feed.title, feed.language) == (NEW["url"], NEW["title"], NEW["language"])
    return path.read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "feeds:\n  - https://example.org/a.xml\n",
        "feeds:\n- https://example.org/a.xml",
        "# ours\nfeeds:\n  - url: https://example.org/a.xml   # the first\n    labels:\n      tier: 1\n# the end\n",
        "feeds:\n    - {url: 'https://example.org/a.xml'}\n\ndefaults: {language: ko}\n",
        "feeds: [https://example.org/a.xml]\ndefaults: {language: ko}\n",
        "defaults: {language: ko}\n",
        "",
    ],
)
def test_a_yaml_list_keeps_every_line_and_gets_one_feed_more(tmp_path: Path, text: str) -> None:
    after = added(tmp_path / "feeds.yaml", text)
    left = after.splitlines()
    for line in text.splitlines():
        assert any(line.rstrip("]") in other for other in left), line
    assert len(feed_list.read(tmp_path / "feeds.yaml")) == (2 if "a.xml" in text else 1)


def test_an_opml_list_keeps_what_it_has_and_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "feeds.opml"
    path.write_bytes(
        "<?xml version='1.0' encoding='windows-1251'?>\n<opml version='2.0'><body>\n"
        "  <outline text='Вестник' xmlUrl='https://example.org/a.xml'/>\n</body></opml>\n".encode("cp1251")
    )
    feed_list_edit.add(path, NEW | {"title": "조선신보"})
    assert [feed.title for feed in feed_list.read(path)] == ["Вестник", "조선신보"]
    assert "Вестник" in path.read_bytes().decode("cp1251")


@pytest.mark.parametrize("name", ["new.yaml", "new.opml"])
def test_a_list_that_is_not_there_is_made(tmp_path: Path, name: str) -> None:
    feed_list_edit.add(tmp_path / name, NEW)
    assert [feed.url for feed in feed_list.read(tmp_path / name)] == [NEW["url"]]


@pytest.mark.parametrize(
    ("name", "text", "feed"),
    [
        ("feeds.yaml", "feeds:\n  - https://example.org/new.xml\n", NEW),
        ("feeds.yaml", "feeds:\n  - https://example.org/a.xml\n", {"url": "http://10.0.0.1/"}),
        ("feeds.yaml", "feeds:\n  - {id: nonsense}\n", NEW),
        ("feeds.yaml", "feeds: [", NEW),
        ("feeds.yaml", "feeds: none\n", NEW),
        ("feeds.opml", "<opml>", NEW),
        ("feeds.opml", "<opml version='2.0'></opml>", NEW),
    ],
)
def test_what_would_be_wrong_is_told_and_nothing_is_written(
    tmp_path: Path, name: str, text: str, feed: dict[str, str]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFaults) as caught:
        feed_list_edit.add(path, feed)
    assert str(caught.value).startswith(str(path))
    assert path.read_text("utf-8") == text
    assert list(tmp_path.iterdir()) == [path]
