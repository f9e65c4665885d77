"""The identity of a story."""

from __future__ import annotations

import pytest

from worker.stages.links import canonical_link, story_id


@pytest.mark.parametrize(
    ("link", "canonical"),
    [
        ("https://Example.com/a?utm_source=rss&id=7&utm_medium=feed#top", "https://example.com/a?id=7"),
        ("https://example.com/a?b=2&a=1", "https://example.com/a?a=1&b=2"),
        ("https://example.com/a?fbclid=x", "https://example.com/a"),
        ("https://example.com:443/x/../a", "https://example.com/a"),
        ("https://example.com/a?ref=rss", "https://example.com/a"),
        ("https://example.com/a?ref=123", "https://example.com/a?ref=123"),
        ("https://example.com/a?at_medium=RSS&at_campaign=KARANGA", "https://example.com/a"),
        ("https://example.com/a?xtor=RSS-3", "https://example.com/a"),
        ("https://example.com/a?page=2&p=9&story=5&from=here", "https://example.com/a?from=here&p=9&page=2&story=5"),
        ("https://example.com/%7euser/%e4%b8%ad", "https://example.com/~user/%E4%B8%AD"),
        ("http://example.com/a", "http://example.com/a"),
        ("https://例え.example/", "https://xn--r8jz45g.example/"),
        ("mailto:a@example.com", None),
        ("javascript:alert(1)", None),
        ("not a link", None),
        ("https://user:pass@example.com/", None),
        ("https://example.com/\ud800", None),
        ("", None),
    ],
)
def test_a_link_loses_what_tracks_the_reader_and_nothing_that_names_the_article(
    link: str, canonical: str | None
) -> None:
    assert canonical_link(link) == canonical


def test_the_story_id_is_made_of_the_best_name_that_is_there() -> None:
    link = story_id("https://example.com/a", "f", "g", "text")
    assert link == story_id("https://example.com/a", "other", None, "other text")
    guid = story_id(None, "f", "g", "text")
    assert guid == story_id(None, "f", "g", "other text")
    assert guid != story_id(None, "f2", "g", "text")
    assert story_id(None, "f", None, "Some  TEXT") == story_id(None, "f2", None, "some text")
    assert len({link, guid, story_id(None, "f", None, "text")}) == 3
    assert len(link) == 64
