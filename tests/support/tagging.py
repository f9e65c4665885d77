"""Articles and the shipped region rules, for the tests of the taggers."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import worker
from worker.edges.region_data import load_regions
from worker.gazetteer import PairRules
from worker.records import Article, Basis, FeedInfo
from worker.stages.pairs import PairResult, tag_pairs
from worker.stages.regions import RegionResult, tag_regions
from worker.toponyms import Gazetteer

TAXONOMY = Path(worker.__file__).parent / "taxonomy"


@cache
def shipped() -> tuple[Gazetteer, PairRules]:
    """Return the shipped rules, compiled once for all tests."""
    regions, pairs = load_regions(TAXONOMY)
    return Gazetteer(regions), pairs


def article(body: str, *, title: str = "", language: str = "en") -> Article:
    """Return an article of plain text."""
    return Article(
        story="0" * 64,
        feed=FeedInfo(id="test"),
        title=title,
        body=body,
        basis=Basis.FEED,
        extraction="text",
        language=language,
        link=None,
        canonical_link=None,
        guid=None,
        fetched_at=datetime(2026, 1, 1, tzinfo=UTC),
        published_at=None,
    )


def regions(body: str, *, title: str = "", language: str = "en") -> RegionResult:
    """Tag a text with the shipped rules."""
    return tag_regions(article(body, title=title, language=language), shipped()[0])


def codes(body: str, *, title: str = "", language: str = "en") -> set[str]:
    """Return the countries that a text names."""
    return {tag.code for tag in regions(body, title=title, language=language).regions}


def pairs(body: str, *, title: str = "", language: str = "en") -> PairResult:
    """Tag the pairs of a text with the shipped rules."""
    gazetteer, rules = shipped()
    text = article(body, title=title, language=language)
    found = tag_regions(text, gazetteer)
    return tag_pairs(text, found.mentions, found.regions, rules)
