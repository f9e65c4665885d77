"""
Read an article as people and scripts write it: a raw record, or the short form of one JSON object.

Short form: {"id", "title", "text" or "html", "url", "published", "language", "feed"}; all but the title are optional.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import orjson

from worker import wire
from worker.records import FeedInfo, RawArticle, Rejected
from worker.stages.links import canonical_link, story_id

DEFAULT_FEED = "pipe"
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


class ShortForm(msgspec.Struct):
    """One article, as short as it can be said."""

    title: str
    id: str | int | None = None
    text: str | None = None
    html: str | None = None
    url: str | None = None
    published: str | None = None
    language: str | None = None
    feed: str | None = None


_DECODER = msgspec.json.Decoder(ShortForm)


def read_article(line: bytes, *, now: datetime) -> tuple[RawArticle | Rejected, Any]:
    """Return the article that *line* holds, or why there is none, and the id it was given (None: it had none)."""
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "too-deep" if "depth limit" in str(error) else "not-json"
        return Rejected(reason=reason, detail=str(error)[:1000]), None
    if not isinstance(given, dict):
        return Rejected(reason="wrong-type", detail=f"Expected `object`, got `{type(given).__name__}`"), None
    if "story" in given:
        return wire.read_raw(line), given.get("id", given.get("story"))
    try:
        short = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return wire.rejected(error), given.get("id")
    return _raw(short, now=now), short.id


def _raw(short: ShortForm, *, now: datetime) -> RawArticle:
    name = short.feed or DEFAULT_FEED
    feed = FeedInfo(id=_NOT_IN_ID.sub("-", name).strip("-._")[:128] or DEFAULT_FEED, title=name[:1000])
    link = canonical_link(short.url) if short.url else None
    guid = str(short.id) if short.id is not None and link is None else None
    text = short.html if short.html is not None else short.text
    return RawArticle(
        story=story_id(link, feed.id, guid, f"{short.title}\n{text or ''}"),
        feed=feed,
        fetched_at=now,
        title=short.title,
        link=short.url if link else None,
        canonical_link=link,
        guid=guid,
        content=text,
        language=short.language,
        published=short.published,
        published_at=_time(short.published) if short.published else None,
        flags=("link-dropped",) if short.url and not link else (),
    )


def _time(text: str) -> datetime | None:
    """Understand RFC 3339 and RFC 5322 times; None for anything else. Without a zone they count as UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            time = parsedate_to_datetime(text)
        except ValueError:
            return None
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        return None
