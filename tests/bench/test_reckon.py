"""The tables of docs/scaling.md are those that are reckoned from the measured costs."""

from __future__ import annotations

from pathlib import Path

from tests.bench import reckon

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")


def test_the_page_shows_what_is_reckoned() -> None:
    assert reckon.table(reckon.article_rows()) in PAGE
    assert reckon.table(reckon.feed_rows()) in PAGE
