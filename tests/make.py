"""Small makers of records for tests: sensible defaults, keyword for what matters."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from worker import wire
from worker.ports import LogRecord, NewRecord
from worker.records import (
    Article,
    Basis,
    Coordinates,
    Enriched,
    FeedInfo,
    RawArticle,
    Tags,
    Verdict,
    VerdictKind,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FEED = FeedInfo(id="example-wire", url="https://wire.example.org/rss", title="Example Wire")


def story(name: str) -> str:
    """Return a story id."""
    return hashlib.sha256(name.encode()).hexdigest()


def raw_article(name: str = "a", **changes: Any) -> RawArticle:
    """Return a raw article that a feed could have given."""
    link = f"https://wire.example.org/{name}"
    article = RawArticle(
        story=story(link),
        feed=FEED,
        fetched_at=NOW,
        title=f"Ministers meet in Vienna over the {name} dossier",
        link=link,
        canonical_link=link,
        guid=f"urn:example:{name}",
        summary=f"<p>Delegations from two countries met on Tuesday to discuss the {name} dossier.</p>",
        published_at=NOW,
    )
    return replace(article, **changes)


def raw_record(article: RawArticle, *, topic: str = "news.raw") -> NewRecord:
    """Return *article* as the poller would append it."""
    return wire.raw_record(article, topic=topic, now=NOW)


def as_read(record: NewRecord, *, partition: int = 0, offset: int = 0) -> LogRecord:
    """Return *record* as it would be read from the log."""
    return LogRecord(
        topic=record.topic,
        partition=partition,
        offset=offset,
        timestamp_ms=0,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )


def article(**changes: Any) -> Article:
    """Return an article as extraction makes it."""
    made = Article(
        story=story("a"),
        feed=FEED,
        title="Ministers meet in Vienna",
        body="Delegations from two countries met on Tuesday.",
        basis=Basis.FEED,
        extraction="html",
        language="en",
        link="https://wire.example.org/a",
        canonical_link="https://wire.example.org/a",
        guid=None,
        fetched_at=NOW,
        published_at=NOW,
    )
    return replace(made, **changes)


def enriched(**changes: Any) -> Enriched:
    """Return an enriched record of `article()`."""
    made = Enriched(
        article=article(),
        verdict=Verdict(kind=VerdictKind.NEW, story=story("a"), version=1, first_seen=NOW),
        tags=Tags(),
        enriched_at=NOW,
        taxonomy="1.0.0",
        raw=Coordinates(topic="news.raw", partition=3, offset=7),
    )
    return replace(made, **changes)
