"""JSON Feed 1.0 and 1.1, read strictly: no NaN, no key twice, no endless numbers, no lone surrogates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import orjson

from worker.edges.feed_entries import Limited, absolute, clean, finish, moment, pick_link, plain
from worker.polling import NotAFeed, ParsedFeed
from worker.records import FeedEntry

_KINDS = {
    "https://jsonfeed.org/version/1": "json1",
    "https://jsonfeed.org/version/1.1": "json11",
}
_MAX_DIGITS = 30
_TAKEN = frozenset(
    "id url external_url title content_html content_text summary date_published date_modified author authors tags"
    " language".split()
)


def parse(
    text: str, *, base_url: str | None, now: datetime, max_entries: int, flags: Sequence[str]
) -> ParsedFeed | NotAFeed:
    """Return the feed that *text* is."""
    try:
        orjson.loads(text)  # refuses NaN, lone surrogates and depth; cannot tell a key that stands twice
        document = json.loads(
            text, object_pairs_hook=_unique, parse_int=_number(int), parse_float=_number(float), parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        return NotAFeed(reason="json", detail=f"{type(error).__name__}: {error}"[:300])
    kind = _KINDS.get(str(document.get("version")).replace("http://", "https://").rstrip("/"))
    items = document.get("items")
    if kind is None or not isinstance(items, list):
        return NotAFeed(reason="not-a-feed", detail="JSON, but not a JSON Feed 1.0 or 1.1")
    base = absolute(_text(document, "home_page_url"), base_url) or base_url
    language = _text(document, "language")
    entries = finish(
        _entry(item, base=base, language=language, now=now) for item in items[:max_entries] if isinstance(item, dict)
    )
    cut = ("entries-cut",) if len(items) > max_entries else ()
    return ParsedFeed(
        kind=kind, title=_text(document, "title"), language=language, entries=entries, flags=(*flags, *cut)
    )


def _entry(item: Mapping[str, Any], *, base: str | None, language: str | None, now: datetime) -> FeedEntry:
    limited = Limited()
    links = [link for name in ("url", "external_url") if (link := _text(item, name))]
    link, dropped = pick_link(links, base)
    guid = item.get("id")
    authors = item.get("authors") or [item.get("author")]
    tags = item.get("tags")
    published, updated = _text(item, "date_published"), _text(item, "date_modified")
    return FeedEntry(
        title=limited.field("title", _text(item, "title")),
        link=link,
        guid=limited.field("guid", clean(str(guid)) if isinstance(guid, str | int) else None),
        summary=limited.field("summary", _text(item, "summary")),
        content=limited.field("content", _text(item, "content_html") or _text(item, "content_text")),
        language=_text(item, "language") or language,
        published=limited.field("published", published),
        published_at=_time(published, now),
        updated=limited.field("updated", updated),
        updated_at=_time(updated, now),
        authors=limited.names(
            "authors",
            (_text(one, "name") for one in (authors if isinstance(authors, list) else ()) if isinstance(one, dict)),
        ),
        categories=limited.names(
            "categories", (clean(tag) for tag in (tags if isinstance(tags, list) else ()) if isinstance(tag, str))
        ),
        extra={
            name: kept
            for name, value in item.items()
            if name not in _TAKEN and (kept := plain(value)) not in (None, "", [], {})
        },
        truncated=tuple(limited.truncated),
        flags=("link-dropped",) if dropped else (),
    )


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return clean(value) if isinstance(value, str) else None


def _time(value: str | None, now: datetime) -> datetime | None:
    try:
        return moment(datetime.fromisoformat(value), now) if value else None
    except ValueError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _number(kind: type[int | float]) -> Any:
    def read(digits: str) -> int | float:
        if len(digits) > _MAX_DIGITS:
            raise ValueError("a number is too long")
        return kind(digits)

    return read


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
