"""A feed's entry as a record of `news.raw` that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from worker import wire
from worker.polling import FetchedPage
from worker.ports import NewRecord
from worker.records import FeedEntry, FeedInfo, Page, RawArticle, Truncation
from worker.stages.links import canonical_link, story_id


def raw_article(
    entry: FeedEntry, feed: FeedInfo, *, now: datetime, page: FetchedPage | None = None, flags: Sequence[str] = ()
) -> RawArticle:
    """Return the raw article of *entry*; *flags* are those of its document and its page."""
    canonical = canonical_link(entry.link) if entry.link else None
    text = "\n".join(part for part in (entry.title, entry.summary, entry.content) if part)
    return RawArticle(
        story=story_id(canonical, feed.id, entry.guid, text),
        feed=feed,
        fetched_at=now,
        title=entry.title,
        link=entry.link,
        canonical_link=canonical,
        guid=entry.guid,
        summary=entry.summary,
        content=entry.content,
        language=entry.language,
        published=entry.published,
        published_at=entry.published_at,
        updated=entry.updated,
        updated_at=entry.updated_at,
        authors=entry.authors,
        categories=entry.categories,
        extra=entry.extra,
        page=Page(url=page.url, html=page.html, fetched_at=now) if page else None,
        truncated=entry.truncated,
        flags=tuple(dict.fromkeys((*flags, *entry.flags, *(page.flags if page else ())))),
    )


def fitting_record(article: RawArticle, *, topic: str, now: datetime) -> NewRecord:
    """
    Return *article* as a record whose value is at most wire.MAX_RAW_BYTES; what is cut is noted in `truncated`.

    The longest text gives way first: the page, the content, the summary; then what no stage reads.
    """
    record = wire.raw_record(article, topic=topic, now=now)
    if len(record.value or b"") <= wire.MAX_RAW_BYTES:
        return record
    article = _without_bulk(article)
    while len(record.value or b"") > wire.MAX_RAW_BYTES:
        lengths = {
            "page": len(article.page.html) if article.page else 0,
            "content": len(article.content or ""),
            "summary": len(article.summary or ""),
            "title": len(article.title or ""),
            "guid": len(article.guid or ""),
        }
        field = max(lengths, key=lambda name: lengths[name])
        share = wire.MAX_RAW_BYTES / len(record.value or b"")
        article = _cut(article, field, int(lengths[field] * min(share, 0.95) * 0.98))
        record = wire.raw_record(article, topic=topic, now=now)
    return record


def _without_bulk(article: RawArticle) -> RawArticle:
    """Drop lists and unread fields when they are what makes the record large."""
    bulk = sum(len(name) for name in (*article.authors, *article.categories)) + len(str(article.extra))
    if bulk < wire.MAX_RAW_BYTES // 8:
        return article
    note = Truncation(field="extra", original_length=bulk)
    return replace(article, authors=(), categories=(), extra={}, truncated=(*article.truncated, note))


def _cut(article: RawArticle, field: str, length: int) -> RawArticle:
    if field == "page":
        if article.page is None:
            return article
        original = len(article.page.html)
        article = replace(article, page=replace(article.page, html=article.page.html[:length]))
    else:
        original = len(str(getattr(article, field)))
        shorter: dict[str, Any] = {field: str(getattr(article, field))[:length]}
        article = replace(article, **shorter)
    if any(note.field == field for note in article.truncated):
        return article
    return replace(article, truncated=(*article.truncated, Truncation(field=field, original_length=original)))
